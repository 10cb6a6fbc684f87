/* weight_kernels.h - the kernels of a rung that make operands of weights as
 * files hold them, while a product waits for them.
 *
 * A file has a row of numbers for each output, channel by channel, the taps of
 * a channel side by side.  A product wants lines: for one tap and channel the
 * numbers of nr outputs side by side.  Between the two stands spread(); what
 * follows works on lines, number by number, so that it needs no shapes.
 *
 * Sources may be unaligned: they are what somebody's file holds.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_WEIGHT_KERNELS_H
#define KERNELS_WEIGHT_KERNELS_H

#include <stddef.h>

#include "kernels/gemm_kernels.h"
#include "tensor/dtype.h"

/* Number c * taps + tap of rows[j], c < channels, goes to
 *
 *     dst[tap * tap_step + c * nr + j];  0 there for n <= j < nr. */
struct weight_spread {
    const void *const *rows; /* [n], of any alignment                        */
    enum dtype type;         /* F32, F16 or BF16: widened exactly            */
    unsigned n, nr;          /* n <= nr <= GEMM_MAX_NR, nr a multiple of 8   */
    size_t channels, taps;
    float *dst; /* 32-byte aligned, like tap_step floats                     */
    size_t tap_step;
};

struct weight_kernels {
    void (*spread)(const struct weight_spread *s);

    /* Filters of 3x3 taps, w[tap * tap_step + i], to points of a transform,
     * u[q * plane + i], i < n, a multiple of 8: G w GT.
     *
     * 36 points of F(4x4) in f32, G along the columns, then along the rows.  A
     * line x of three becomes
     *
     *     x0 / 4,  p - x1 / 6,  p + x1 / 6,  q + x1 / 12,  q - x1 / 12,  x2
     *     where  p = -(x0 + x2) / 6,  q = x0 / 24 + x2 / 6
     *
     * by the nearest f32 of each fraction, every last product fused with its
     * sum: at most four roundings, as many of constants included. */
    void (*filters_f4)(float *u, size_t plane, const float *w, size_t tap_step,
                       size_t n);
    /* 16 points of F(2x2) in double, rounded once. */
    void (*filters_f2)(float *u, size_t plane, const float *w, size_t tap_step,
                       size_t n);

    /* The taps of 3x3 that meet one source pixel after an upsampling by two,
     * added up in double: sums[t * sum_step + i] of tap t of 2x2 of the phase
     * 2 * (odd row) + (odd column). */
    void (*phase)(float *sums, size_t sum_step, const float *w, size_t tap_step,
                  size_t n, unsigned phase);
};

void weight_kernels_scalar(struct weight_kernels *k);
void weight_kernels_avx2(struct weight_kernels *k);

#endif
