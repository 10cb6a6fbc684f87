/* alloc.c - the only file of the engine that names malloc and free.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

/* Test hooks, the engine's only mutable globals: they steer and count, and
 * carry no data between threads, so relaxed order suffices. */
static atomic_long fail_after;
static atomic_uint_fast64_t n_allocations;

static bool must_fail(void)
{
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_after, memory_order_relaxed) == 0)
        return false;
    return atomic_fetch_sub_explicit(&fail_after, 1, memory_order_relaxed) == 1;
}

static enum unstir_status no_memory(struct unstir_error *err, size_t n,
                                    size_t size)
{
    return error_set(err, UNSTIR_ERR_NOMEM,
                     "out of memory: %zu items of %zu bytes wanted", n, size);
}

enum unstir_status alloc_zero(void **out, size_t n, size_t size,
                              struct unstir_error *err)
{
    size_t bytes;
    *out = NULL;
    if (!size_mul(n, size, &bytes) || must_fail())
        return no_memory(err, n, size);
    *out = calloc(bytes ? bytes : 1, 1);
    return *out ? UNSTIR_OK : no_memory(err, n, size);
}

enum unstir_status alloc_aligned(void **out, size_t n, size_t size,
                                 struct unstir_error *err)
{
    size_t bytes;
    *out = NULL;
    if (!size_mul(n, size, &bytes) || bytes > SIZE_MAX - 64 || must_fail())
        return no_memory(err, n, size);
    bytes = size_align(bytes ? bytes : 1, 64);
    *out = aligned_alloc(64, bytes);
    if (!*out)
        return no_memory(err, n, size);
    memset(*out, 0, bytes);
    return UNSTIR_OK;
}

enum unstir_status alloc_grow(void **array, size_t *capacity, size_t wanted,
                              size_t size, struct unstir_error *err)
{
    if (wanted <= *capacity)
        return UNSTIR_OK;
    size_t bigger = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    size_t n = bigger > wanted ? bigger : wanted;
    if (n < 8)
        n = 8;
    size_t bytes;
    if (!size_mul(n, size, &bytes) || must_fail())
        return no_memory(err, n, size);
    void *grown = realloc(*array, bytes ? bytes : 1);
    if (!grown)
        return no_memory(err, n, size);
    memset((char *)grown + *capacity * size, 0, (n - *capacity) * size);
    *array = grown;
    *capacity = n;
    return UNSTIR_OK;
}

enum unstir_status alloc_strdup(char **out, const char *text,
                                struct unstir_error *err)
{
    size_t n = strlen(text) + 1;
    void *copy;
    *out = NULL;
    TRY(alloc_zero(&copy, n, 1, err));
    memcpy(copy, text, n);
    *out = copy;
    return UNSTIR_OK;
}

void alloc_free(void *pointer)
{
    free(pointer);
}

void alloc_test_fail_after(long k)
{
    atomic_store_explicit(&fail_after, k, memory_order_relaxed);
}

uint64_t alloc_test_count(void)
{
    return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}
