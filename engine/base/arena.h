/* arena.h - one block of memory that many short lives share.
 *
 * A bump allocator over a caller-given block: per-step scratch without the
 * heap.  Alignment 64 bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/error.h"

struct arena {
    unsigned char *base;
    size_t size, used, peak;
};

enum unstir_status arena_init(struct arena *a, size_t size,
                              struct unstir_error *err);
void arena_fini(struct arena *a);

/* NULL if fewer than n bytes are left. */
void *arena_take(struct arena *a, size_t n);

/* Remember `used`, and come back to it. */
static inline size_t arena_mark(const struct arena *a)
{
    return a->used;
}
static inline void arena_reset(struct arena *a, size_t mark)
{
    a->used = mark;
}

/* Make it at least `size` bytes; contents are lost. */
enum unstir_status arena_reserve(struct arena *a, size_t size,
                                 struct unstir_error *err);

#endif
