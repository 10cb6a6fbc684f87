/* fuzz_pack_file.c - files of packed weights: as they are, and as changes to a
 * good one, none of which may go unnoticed.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/pack_file.h"
#include "fuzz.h"

#define N_IMAGE 192
#define N_FILE  (PACK_FILE_HEADER + N_IMAGE)

static const struct pack_key key = {"digest unet avx2-2-f32", 7, N_IMAGE};

static void make_good(unsigned char file[N_FILE])
{
    char path[] = "/tmp/unstir-fuzz-XXXXXX";
    unsigned char image[N_IMAGE];
    struct unstir_error err;
    struct mapfile m;
    int fd = mkstemp(path);

    for (size_t i = 0; i < N_IMAGE; i++)
        image[i] = (unsigned char)(i * 37);
    if (fd < 0 || close(fd) != 0 || pack_file_write(path, &key, image, &err) ||
        pack_file_open(&m, path, &key, &err))
        abort();
    memcpy(file, m.bytes, N_FILE);
    mapfile_close(&m);
    (void)unlink(path);
}

/* Bytes by threes: where (two) and what to flip. */
static void change(const unsigned char *good, const uint8_t *bytes, size_t n)
{
    unsigned char file[N_FILE];

    memcpy(file, good, N_FILE);
    for (; n >= 3; bytes += 3, n -= 3)
        file[(bytes[0] | bytes[1] << 8) % N_FILE] ^= bytes[2];
    if (pack_file_check(file, N_FILE, &key) !=
        (memcmp(file, good, N_FILE) == 0))
        abort();
}

void fuzz_pack_file(const uint8_t *bytes, size_t n)
{
    static unsigned char good[N_FILE];

    if (good[0] == 0)
        make_good(good);
    if (pack_file_check(bytes, n, &key) && n != N_FILE)
        abort();
    if (n > 0 && pack_file_check(good, n % N_FILE, &key))
        abort();
    change(good, bytes, n);
}

FUZZ_ENTRY(fuzz_pack_file)
