/* alloc.c - the only file of the engine that names malloc and free.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"

#define SMALL_PAGE ((size_t)4 << 10)
#define LARGE_PAGE ((size_t)2 << 20)

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

/* Give *out, a pointer of any type, that value: by its bytes, since an lvalue
 * of type void * may not name it. */
static enum unstir_status give(void *out, void *memory, size_t n, size_t size,
                               struct unstir_error *err)
{
    memcpy(out, &memory, sizeof memory);
    return memory ? UNSTIR_OK : no_memory(err, n, size);
}

enum unstir_status alloc_zero(void *out, size_t n, size_t size,
                              struct unstir_error *err)
{
    void *memory = NULL;
    size_t bytes;

    if (size_mul(n, size, &bytes) && !must_fail())
        memory = calloc(bytes ? bytes : 1, 1);
    return give(out, memory, n, size, err);
}

enum unstir_status alloc_aligned(void *out, size_t n, size_t size,
                                 struct unstir_error *err)
{
    void *memory = NULL;
    size_t bytes;

    if (size_mul(n, size, &bytes) && bytes <= SIZE_MAX - 64 && !must_fail()) {
        bytes = size_align(bytes ? bytes : 1, 64);
        memory = aligned_alloc(64, bytes);
        if (memory)
            memset(memory, 0, bytes);
    }
    return give(out, memory, n, size, err);
}

/* What n bytes of pages take. */
static bool page_bytes(size_t n, size_t *bytes)
{
    if (!size_add(n, LARGE_PAGE, bytes))
        return false;
    *bytes = size_align(n ? n : 1, n < LARGE_PAGE ? SMALL_PAGE : LARGE_PAGE);
    return true;
}

/* `bytes` from a multiple of a large page on: the rest before and behind goes
 * back. */
static void *map_large(size_t bytes)
{
    char *map = mmap(NULL, bytes + LARGE_PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before;

    if (map == MAP_FAILED)
        return NULL;
    before = size_align((uintptr_t)map, LARGE_PAGE) - (uintptr_t)map;
    if (before > 0)
        (void)munmap(map, before);
    if (before < LARGE_PAGE)
        (void)munmap(map + before + bytes, LARGE_PAGE - before);
    (void)madvise(map + before, bytes, MADV_HUGEPAGE); /* advice only */
    return map + before;
}

static void *map_small(size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return map == MAP_FAILED ? NULL : map;
}

enum unstir_status alloc_pages(void *out, size_t n, struct unstir_error *err)
{
    void *memory = NULL;
    size_t bytes;

    if (page_bytes(n, &bytes) && bytes < SIZE_MAX - LARGE_PAGE && !must_fail())
        memory = n < LARGE_PAGE ? map_small(bytes) : map_large(bytes);
    return give(out, memory, n, 1, err);
}

void alloc_pages_free(void *pages, size_t n)
{
    size_t bytes;

    if (pages && page_bytes(n, &bytes))
        (void)munmap(pages, bytes);
}

enum unstir_status alloc_grow(void *array, size_t *capacity, size_t wanted,
                              size_t size, struct unstir_error *err)
{
    size_t bigger = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    size_t n = bigger > wanted ? bigger : wanted, bytes;
    void *memory, *grown;

    if (wanted <= *capacity)
        return UNSTIR_OK;
    if (n < 8)
        n = 8;
    if (!size_mul(n, size, &bytes) || must_fail())
        return no_memory(err, n, size);
    memcpy(&memory, array, sizeof memory);
    grown = realloc(memory, bytes ? bytes : 1);
    if (!grown)
        return no_memory(err, n, size);
    memset((char *)grown + *capacity * size, 0, (n - *capacity) * size);
    *capacity = n;
    return give(array, grown, n, size, err);
}

enum unstir_status alloc_strdup(char **out, const char *text,
                                struct unstir_error *err)
{
    size_t n = strlen(text) + 1;

    TRY(alloc_zero(out, n, 1, err));
    memcpy(*out, text, n);
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
