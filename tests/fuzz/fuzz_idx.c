/* fuzz_idx.c - IDX files, plain or gz: what is read has the size it says.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "train/dataset.h"

#define MAX_BYTES (1u << 16)

static void check(const struct idx *x)
{
    volatile uint8_t sink = 0;
    size_t n = 1;

    for (uint32_t i = 0; i < x->rank; i++)
        n *= x->dims[i];
    if (x->rank < 1 || x->rank > 4 || n != x->n_bytes || n > MAX_BYTES)
        abort();
    for (size_t i = 0; i < n; i++)
        sink = (uint8_t)(sink ^ x->data[i]);
}

void fuzz_idx(const uint8_t *bytes, size_t n)
{
    int fd = memfd_create("idx", MFD_CLOEXEC);
    struct idx x;
    struct unstir_error err;
    char path[40];

    if (fd < 0)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bool is_written = write(fd, bytes, n) == (ssize_t)n;
    for (uint32_t rank = 0; is_written && rank <= 3; rank++)
        if (idx_read(&x, path, rank, MAX_BYTES, &err) == UNSTIR_OK) {
            check(&x);
            alloc_free(x.data);
        } else if (!err.detail[0]) {
            abort();
        }
    (void)close(fd);
}

FUZZ_ENTRY(fuzz_idx)
