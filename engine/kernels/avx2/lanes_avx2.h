/* lanes_avx2.h - what the kernels for AVX2 stand on: the lanes of a vector, the
 * rows of a tile.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_AVX2_LANES_AVX2_H
#define KERNELS_AVX2_LANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((__always_inline__))

/* f(..., m) of a number of rows, 1 to 6, with m a constant in each call: the
 * loops of f unroll, and its accumulators stay in registers. */
#define BY_ROWS(rows, f, ...) \
    switch (rows) {           \
    case 1:                   \
        f(__VA_ARGS__, 1);    \
        break;                \
    case 2:                   \
        f(__VA_ARGS__, 2);    \
        break;                \
    case 3:                   \
        f(__VA_ARGS__, 3);    \
        break;                \
    case 4:                   \
        f(__VA_ARGS__, 4);    \
        break;                \
    case 5:                   \
        f(__VA_ARGS__, 5);    \
        break;                \
    default:                  \
        f(__VA_ARGS__, 6);    \
    }

INLINE __m256 set8(float x)
{
    return _mm256_set1_ps(x);
}

/* The first n of 8 lanes, or all of them. */
INLINE __m256i mask8(size_t n)
{
    static const int32_t window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_loadu_si256(
        (const __m256i *)(const void *)(window + 8 - (n < 8 ? n : 8)));
}

/* Halves, then quarters, then the two that are left. */
INLINE float sum8(__m256 v)
{
    __m128 s =
        _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
