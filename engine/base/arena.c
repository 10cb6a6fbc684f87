/* arena.c - one block of memory for the steps of a run.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/arena.h"

#include "base/alloc.h"

enum unstir_status arena_reserve(struct arena *a, size_t size,
                                 struct unstir_error *err)
{
    if (size <= a->size)
        return UNSTIR_OK;
    arena_fini(a);
    TRY(alloc_aligned(&a->base, size, 1, err));
    a->size = size;
    return UNSTIR_OK;
}

void arena_fini(struct arena *a)
{
    alloc_free(a->base);
    *a = (struct arena){0};
}
