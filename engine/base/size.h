/* size.h - arithmetic on sizes that come from outside: never wraps silently.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b or a + b; false (and *out = SIZE_MAX) if that does not fit. */
static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    if (a != 0 && b > SIZE_MAX / a) {
        *out = SIZE_MAX;
        return false;
    }
    *out = a * b;
    return true;
}

static inline bool size_add(size_t a, size_t b, size_t *out)
{
    if (b > SIZE_MAX - a) {
        *out = SIZE_MAX;
        return false;
    }
    *out = a + b;
    return true;
}

/* `n` rounded up to a multiple of `unit`, a power of two. */
static inline size_t size_align(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

#endif
