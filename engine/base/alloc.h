/* alloc.h - the engine's only door to the heap.
 *
 * alloc.c is the only file of the engine that names malloc and free, so a
 * test can fail the n-th allocation (alloc_test_fail_after) and count them
 * (alloc_test_count).  Memory is zeroed.  Any thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* `out` is the address of a pointer of any type.  It becomes n * size zeroed
 * bytes (at least 1); alloc_free() ends them.  On failure it is NULL and err
 * says how many bytes were wanted. */
enum unstir_status alloc_zero(void *out, size_t n, size_t size,
                              struct unstir_error *err);

/* The same, aligned to 64 bytes and padded to a multiple of 64: for tensors
 * and arenas. */
enum unstir_status alloc_aligned(void *out, size_t n, size_t size,
                                 struct unstir_error *err);

/* n zeroed bytes, at least 1, of whole pages, which are there once they are
 * touched: for what many threads fill.  Of large pages where the system has
 * them; alloc_pages_free() ends them. */
enum unstir_status alloc_pages(void *out, size_t n, struct unstir_error *err);
void alloc_pages_free(void *pages, size_t n);

/* Grow the array of `size`-byte items whose pointer is at `array` so that it
 * holds at least `wanted` (amortised doubling), keeping contents; *capacity is
 * updated.  New bytes are zero.  Failure leaves all as it is. */
enum unstir_status alloc_grow(void *array, size_t *capacity, size_t wanted,
                              size_t size, struct unstir_error *err);

/* A copy of `text`; on failure *out is NULL. */
enum unstir_status alloc_strdup(char **out, const char *text,
                                struct unstir_error *err);

/* End memory of any other function above; NULL allowed. */
void alloc_free(void *pointer);

/* For tests: the k-th allocation from now on fails (0: none fails any more);
 * number of allocations since the process started. */
void alloc_test_fail_after(long k);
uint64_t alloc_test_count(void);

#endif
