/* pack_file.c - packed weights in a file, checked before every use.
 *
 * The sum runs in eight lanes, so that it is as fast as memory; a lane is a
 * one-to-one function of each word for the others fixed, so that no damage
 * within one word is missed.  It protects from accidents and leftovers, not
 * from a forger, who would have to be this user.  An image is summed by pieces,
 * which cores share when it is mapped, and the sum is that of their sums.
 *
 * Files are not flushed to disk: what a crash leaves behind fails its sum.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/pack_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/path.h"
#include "base/pool.h"

#define PACK_VERSION 2
#define SUFFIX       ".pack"
/* Bytes that are summed as one. */
#define PIECE ((size_t)16 << 20)

/* A file that a killed process left half written. */
#define STALE_S 86400

static const char magic[8] = "UNSTPACK";

struct header {
    char magic[8];
    uint32_t order; /* 0x01020304 as this machine stores it                  */
    uint32_t version;
    uint64_t n_bytes, layout, image_sum;
    char key[PACK_FILE_KEY];
    uint64_t header_sum; /* of all before it                                 */
};

static uint64_t lane_next(uint64_t lane, const unsigned char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    lane = (lane ^ word) * 0xff51afd7ed558ccdU;
    return lane << 29 | lane >> 35;
}

/* n is a multiple of 8; the last block may be short. */
static uint64_t sum_of(const void *bytes, size_t n)
{
    const unsigned char *p = bytes, *end = p + n;
    uint64_t a[8], sum = n;

    for (size_t i = 0; i < 8; i++)
        a[i] = 0x9e3779b97f4a7c15U * (i + 1);
    for (; end - p >= 64; p += 64) { /* written out: lanes in registers */
        a[0] = lane_next(a[0], p);
        a[1] = lane_next(a[1], p + 8);
        a[2] = lane_next(a[2], p + 16);
        a[3] = lane_next(a[3], p + 24);
        a[4] = lane_next(a[4], p + 32);
        a[5] = lane_next(a[5], p + 40);
        a[6] = lane_next(a[6], p + 48);
        a[7] = lane_next(a[7], p + 56);
    }
    for (size_t i = 0; p < end; p += 8, i++)
        a[i] = lane_next(a[i], p);
    for (size_t i = 0; i < 8; i++) {
        sum = (sum ^ a[i]) * 0xc4ceb9fe1a85ec53U;
        sum ^= sum >> 32;
    }
    return sum;
}

struct pieces {
    const unsigned char *image;
    size_t n_bytes;
    uint64_t *sums;
};

static void sum_piece(void *arg, size_t i, unsigned worker)
{
    const struct pieces *p = arg;
    size_t left = p->n_bytes - i * PIECE;

    (void)worker;
    p->sums[i] = sum_of(p->image + i * PIECE, left < PIECE ? left : PIECE);
}

/* pool NULL: the caller alone. */
static enum unstir_status sum_image(uint64_t *out, const void *image, size_t n,
                                    struct pool *pool, struct unstir_error *err)
{
    size_t n_pieces = (n + PIECE - 1) / PIECE;
    struct pieces p = {.image = image, .n_bytes = n};

    TRY(alloc_zero(&p.sums, n_pieces, sizeof *p.sums, err));
    pool_run(pool, n_pieces, sum_piece, &p);
    *out = sum_of(p.sums, n_pieces * sizeof *p.sums);
    alloc_free(p.sums);
    return UNSTIR_OK;
}

/* The same by all cores, if they are worth being woken for it and to be had. */
static enum unstir_status sum_image_soon(uint64_t *out, const void *image,
                                         size_t n, struct unstir_error *err)
{
    struct pool *pool = NULL;
    enum unstir_status status;

    if (n > PIECE)
        (void)pool_new(&pool, 0, 0, NULL);
    status = sum_image(out, image, n, pool, err);
    pool_free(pool);
    return status;
}

static struct header header_of(const struct pack_key *key, uint64_t image_sum)
{
    struct header h = {.order = 0x01020304,
                       .version = PACK_VERSION,
                       .n_bytes = key->n_bytes,
                       .layout = key->layout,
                       .image_sum = image_sum};

    memcpy(h.magic, magic, sizeof h.magic);
    (void)snprintf(h.key, sizeof h.key, "%s", key->text);
    h.header_sum = sum_of(&h, offsetof(struct header, header_sum));
    return h;
}

/* NULL if all is well, else what is wrong. */
static const char *fault_of(const unsigned char *bytes, size_t n,
                            const struct pack_key *key)
{
    struct header found, wanted;
    uint64_t sum;

    if (n < PACK_FILE_HEADER)
        return "it is cut off in its header";
    memcpy(&found, bytes, sizeof found);
    if (memcmp(found.magic, magic, sizeof magic) != 0)
        return "it is no file of packed weights";
    if (found.header_sum != sum_of(&found, offsetof(struct header, header_sum)))
        return "its header is damaged";
    /* Whatever differs now belongs to something else. */
    wanted = header_of(key, found.image_sum);
    if (memcmp(&found, &wanted, sizeof wanted) != 0)
        return "it is of other weights, rules or another version";
    for (size_t i = sizeof found; i < PACK_FILE_HEADER; i++)
        if (bytes[i] != 0)
            return "its header is damaged";
    if (n - PACK_FILE_HEADER != key->n_bytes)
        return "its size is not what its header says";
    if (sum_image_soon(&sum, bytes + PACK_FILE_HEADER, key->n_bytes, NULL) !=
        UNSTIR_OK)
        return "there is no memory to check it";
    if (sum != found.image_sum)
        return "its image is damaged";
    return NULL;
}

bool pack_file_check(const unsigned char *bytes, size_t n,
                     const struct pack_key *key)
{
    return fault_of(bytes, n, key) == NULL;
}

static enum unstir_status fault(struct unstir_error *err, const char *path,
                                const char *what)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "%s: %s", path, what);
}

enum unstir_status pack_file_is_ours(const char *path, struct unstir_error *err)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fault(err, path, "it is not a regular file");
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return fault(err, path, "it belongs to somebody else");
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return fault(err, path, "others may write to it");
    return UNSTIR_OK;
}

enum unstir_status pack_file_open(struct mapfile *m, const char *path,
                                  const struct pack_key *key,
                                  struct unstir_error *err)
{
    const char *what;

    *m = (struct mapfile){0};
    TRY(pack_file_is_ours(path, err));
    TRY(mapfile_open(m, path, 0, err));
    what = fault_of(m->bytes, m->n_bytes, key);
    if (what) {
        mapfile_close(m);
        return fault(err, path, what);
    }
    /* Its time says when it was used last; a failure only makes it older. */
    (void)utimensat(AT_FDCWD, path, NULL, 0);
    return UNSTIR_OK;
}

struct pages {
    unsigned char header[PACK_FILE_HEADER];
    const void *image;
    size_t n_bytes;
};

static enum unstir_status put_pages(void *arg, struct mapfile_sink *sink,
                                    struct unstir_error *err)
{
    const struct pages *p = arg;

    TRY(mapfile_put(sink, p->header, sizeof p->header, err));
    return mapfile_put(sink, p->image, p->n_bytes, err);
}

enum unstir_status pack_file_write(const char *path, const struct pack_key *key,
                                   const void *image, struct unstir_error *err)
{
    struct pages pages = {.image = image, .n_bytes = key->n_bytes};
    struct header h;
    uint64_t sum;

    if (strlen(path) + sizeof ".XXXXXX" > PATH_BYTES)
        return fault(err, "pack cache", "its path is too long");
    TRY(sum_image(&sum, image, key->n_bytes, NULL, err));
    h = header_of(key, sum);
    memcpy(pages.header, &h, sizeof h);
    return mapfile_write_cache(path, put_pages, &pages, err);
}

/* -- the folder -------------------------------------------------------- */

enum unstir_status pack_folder_make(const char *folder,
                                    struct unstir_error *err)
{
    char path[PATH_BYTES];
    size_t n = strlen(folder);

    if (n == 0 || n >= sizeof path)
        return fault(err, "pack cache", "its path is empty or too long");
    memcpy(path, folder, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        path[i] = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return error_set(err, UNSTIR_ERR_IO, "%s: %s", path,
                             strerror(errno));
        path[i] = i < n ? '/' : '\0';
    }
    return UNSTIR_OK;
}

bool pack_folder_any(const char *folder, const char *ending, pack_file_fn is_it,
                     const void *arg)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    char path[PATH_BYTES];
    bool is_found = false;

    if (!dir)
        return false;
    while (!is_found && (entry = readdir(dir)) != NULL)
        is_found = affix_ends(entry->d_name, ending) &&
                   path_join(path, folder, entry->d_name, NULL) == UNSTIR_OK &&
                   is_it(path, arg);
    (void)closedir(dir);
    return is_found;
}

struct oldest {
    char path[PATH_BYTES];
    struct timespec used;
    uint64_t total; /* of all pack files                                     */
};

static bool is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec < b.tv_sec ||
           (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static void look_at(struct oldest *o, const char *folder, const char *name)
{
    const char *suffix = strstr(name, SUFFIX);
    char path[PATH_BYTES];
    struct stat st;

    if (!suffix || path_join(path, folder, name, NULL) != UNSTIR_OK ||
        lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    if (strcmp(suffix, SUFFIX) != 0) { /* on its way, or left behind */
        if (st.st_mtim.tv_sec + STALE_S < time(NULL))
            (void)unlink(path);
        return;
    }
    o->total += (uint64_t)st.st_size;
    if (o->path[0] == '\0' || is_before(st.st_mtim, o->used)) {
        memcpy(o->path, path, sizeof path);
        o->used = st.st_mtim;
    }
}

static bool find_oldest(struct oldest *o, const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    *o = (struct oldest){.total = 0};
    if (!dir)
        return false;
    while ((entry = readdir(dir)) != NULL)
        look_at(o, folder, entry->d_name);
    (void)closedir(dir);
    return true;
}

bool pack_folder_trim(const char *folder, uint64_t room, uint64_t max_bytes)
{
    struct statvfs fs;
    struct oldest o;

    if (room > max_bytes)
        return false;
    for (;;) {
        if (!find_oldest(&o, folder))
            return false;
        if (o.total <= max_bytes - room)
            break;
        if (unlink(o.path) != 0)
            return false;
    }
    return statvfs(folder, &fs) == 0 &&
           (uint64_t)fs.f_bavail * fs.f_frsize / 2 >= room;
}
