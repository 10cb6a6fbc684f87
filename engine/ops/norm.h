/* norm.h - GroupNorm in two halves, and its adjoint.
 *
 * Statistics and application are separate: group_norm_stats() folds mean,
 * variance, gamma, beta and (optionally) a scale-shift vector into one
 * multiply-add a channel; the consumer (conv2d, or affine_act) applies it.
 * Variance is the biased one, computed about the mean, eps inside the root.
 * Sums are taken in a fixed order.
 *
 *   scale[i][c] = gamma[c] * rstd[i][g(c)] * (1 + e[i][c])
 *   shift[i][c] = (beta[c] - mean * gamma[c] * rstd) * (1 + e[i][c])
 *                 + e[i][C + c]
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_NORM_H
#define OPS_NORM_H

#include <stdbool.h>

#include "ops/op.h"

struct group_norm_stats_args {
    uint32_t n, hw, c0, c1; /* two concatenated sources, as conv2d           */
    uint32_t groups;
    uint32_t e_stride; /* floats between images of e                    */
    float eps;
    const float *x0, *x1;
    const float *gamma, *beta; /* [C]                                        */
    const float *e;            /* [n][2C] scale then shift, or NULL          */
    float *scale, *shift;      /* [n][C]                                     */
    float *mean, *rstd;        /* [n][groups] or NULL: kept for the adjoint  */
};
size_t group_norm_stats_scratch(const struct kernel_table *k,
                                unsigned n_threads, uint32_t n, uint32_t hw,
                                uint32_t c);
void group_norm_stats(const struct op_ctx *ctx, const void *args);

/* The same in two halves, of one picture whose pixels come piece by piece:
 * moments of each block of so many pixels (the last may be shorter), 2 c floats
 * a block; then scale and shift of all of them, x0 and x1 being left out. */
size_t group_norm_block(size_t c);
void group_norm_moments(const struct kernel_table *k, const float *x,
                        size_t n_pixels, size_t c, float *block);
void group_norm_join(const struct group_norm_stats_args *args,
                     const float *blocks);

/* y = act(scale * x + shift); scale, shift [n][c] or both NULL.  y may be x. */
struct affine_act_args {
    uint32_t n, hw, c;
    enum act act;
    const float *x, *scale, *shift;
    float *y;
};
void affine_act(const struct op_ctx *ctx, const void *args);

/* Adjoint of y = act(gn(x)) in one pass: recomputes xhat from x, mean, rstd.
 * dx = or +=; dgamma, dbeta [c] +=.  With e (scale-shift) de [n][2c] is
 * written (e then stands between norm and activation). */
struct group_norm_bwd_args {
    uint32_t n, hw, c, groups;
    uint32_t e_stride, de_stride;
    enum act act;
    bool is_accumulating;
    const float *x, *dy, *mean, *rstd, *gamma, *beta;
    const float *e;
    float *dx, *dgamma, *dbeta, *de;
};
size_t group_norm_bwd_scratch(const struct kernel_table *k, unsigned n_threads,
                              uint32_t n, uint32_t hw, uint32_t c);
void group_norm_bwd(const struct op_ctx *ctx, const void *args);

/* Adjoint of y = act(x): dx = or += dy * act'(x). */
struct act_bwd_args {
    size_t n;
    enum act act;
    bool is_accumulating;
    const float *x, *dy;
    float *dx;
};
void act_bwd(const struct op_ctx *ctx, const void *args);

#endif
