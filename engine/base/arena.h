/* arena.h - one block of memory for the steps of a run, without the heap.
 *
 * Aligned to 64 bytes, zeroed.  struct arena {0} is an empty one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/error.h"

struct arena {
    unsigned char *base;
    size_t size;
};

/* Make it at least `size` bytes; if it was smaller, contents are lost.  On
 * failure it is empty. */
enum unstir_status arena_reserve(struct arena *a, size_t size,
                                 struct unstir_error *err);
void arena_fini(struct arena *a);

#endif
