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

/* *out = n * size zeroed bytes (at least 1); free_mem() ends them.  On
 * failure *out is NULL and err says how many bytes were wanted. */
enum unstir_status alloc_zero(void **out, size_t n, size_t size,
                              struct unstir_error *err);

/* The same, aligned to 64 bytes and padded to a multiple of 64: for tensors
 * and arenas.  Zeroed. */
enum unstir_status alloc_aligned(void **out, size_t n, size_t size,
                                 struct unstir_error *err);

/* Grow *array of `size`-byte items so that it holds at least `wanted`
 * (amortised doubling), keeping contents; *capacity is updated. */
enum unstir_status alloc_grow(void **array, size_t *capacity, size_t wanted,
                              size_t size, struct unstir_error *err);

enum unstir_status alloc_strdup(char **out, const char *text,
                                struct unstir_error *err);

/* End memory of any function above; NULL allowed. */
void alloc_free(void *pointer);

/* For tests: the k-th allocation from now on fails (0: none fails any more);
 * number of allocations since the process started. */
void alloc_test_fail_after(long k);
uint64_t alloc_test_count(void);

#endif
