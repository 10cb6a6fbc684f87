/* arena.c - a bump allocator over one aligned block.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/arena.h"

#include "base/alloc.h"
#include "base/size.h"

enum unstir_status arena_init(struct arena *a, size_t size,
                              struct unstir_error *err)
{
    *a = (struct arena){0};
    TRY(alloc_aligned(&a->base, size, 1, err));
    a->size = size;
    return UNSTIR_OK;
}

void arena_fini(struct arena *a)
{
    alloc_free(a->base);
    *a = (struct arena){0};
}

void *arena_take(struct arena *a, size_t n)
{
    size_t start = size_align(a->used, 64);
    if (start > a->size || n > a->size - start)
        return NULL;
    a->used = start + n;
    if (a->used > a->peak)
        a->peak = a->used;
    return a->base + start;
}

enum unstir_status arena_reserve(struct arena *a, size_t size,
                                 struct unstir_error *err)
{
    if (size <= a->size)
        return UNSTIR_OK;
    arena_fini(a);
    return arena_init(a, size, err);
}
