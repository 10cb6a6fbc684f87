/* bf16_loops.h - rounding to bf16 in plain C, compiled once a rung with that
 * rung's flags.
 *
 * Included by the rungs' .c files only; everything is static.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_BF16_LOOPS_H
#define KERNELS_BF16_LOOPS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The bits of x rounded to nearest even, the lower 16 cleared; NaN stays NaN.
 * Without branches, so that loops over it become vector code. */
static inline uint32_t bf16_round_bits(uint32_t x)
{
    uint32_t rounded = x + 0x7fffu + (x >> 16 & 1u);
    uint32_t quiet = x | 0x400000u;
    return ((x & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) & 0xffff0000u;
}

/* gemm_kernels.round */
static inline void loops_round_bf16(void *dst, const float *src, size_t n)
{
    float *d = dst;
    for (size_t i = 0; i < n; i++) {
        uint32_t x;
        memcpy(&x, &src[i], sizeof x);
        x = bf16_round_bits(x);
        memcpy(&d[i], &x, sizeof x);
    }
}

#endif
