/* elementwise.h - sums, scalings, copies, vectors a picture, embeddings;
 * losses and the optimiser's passes over parameters.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_ELEMENTWISE_H
#define OPS_ELEMENTWISE_H

#include <stdbool.h>

#include "ops/op.h"

/* y = a * x0 + b * x1 + c; x1 may be NULL (b ignored); y may be x0 or x1. */
struct axpby_args {
    size_t n;
    float a, b, c;
    const float *x0, *x1;
    float *y;
};
void axpby(const struct op_ctx *ctx, const void *args);

/* y[i][p][c] = x[i][p][c] + v[i][c]. */
struct add_vec_args {
    uint32_t n, hw, c, v_stride;
    const float *x, *v;
    float *y;
};
void add_vec(const struct op_ctx *ctx, const void *args);

/* Adjoint: dv[i][c] = or += sum over p of dy[i][p][c]. */
struct add_vec_bwd_args {
    uint32_t n, hw, c, dv_stride;
    bool is_accumulating;
    const float *dy;
    float *dv;
};
void add_vec_bwd(const struct op_ctx *ctx, const void *args);

/* y[i][p][c] = x[i][p][c] * (1 + e[i][c]) + e[i][C + c]. */
struct scale_shift_args {
    uint32_t n, hw, c, e_stride;
    const float *x, *e;
    float *y;
};
void scale_shift(const struct op_ctx *ctx, const void *args);

/* dx = or +=; de [n][2c] is written. */
struct scale_shift_bwd_args {
    uint32_t n, hw, c, e_stride, de_stride;
    bool is_accumulating;
    const float *x, *e, *dy;
    float *dx, *de;
};
void scale_shift_bwd(const struct op_ctx *ctx, const void *args);

/* Columns dst_c0 .. of a matrix of `rows` rows: dst[r][dst_c0 + j] =
 * src[r][src_c0 + j], j < c.  Serves concat, split and their adjoints. */
struct copy_columns_args {
    size_t rows;
    uint32_t c, src_c, src_c0, dst_c, dst_c0;
    bool is_accumulating;
    const float *src;
    float *dst;
};
void copy_columns(const struct op_ctx *ctx, const void *args);

/* y[i][...] = x[i][...] / v[i]; m floats an image. */
struct div_vec_args {
    uint32_t n;
    size_t m;
    const float *x, *v;
    float *y;
};
void div_vec(const struct op_ctx *ctx, const void *args);

/* Sinusoidal embedding of t[i] (REFERENCE: Timesteps): y [n][dim]. */
struct time_embed_args {
    uint32_t n, dim;
    bool is_cos_first; /* flip_sin_to_cos */
    float freq_shift, scale, max_period;
    const float *t;
    float *y;
};
void time_embed(const struct op_ctx *ctx, const void *args);

/* Gaussian Fourier features of ln(sigma[i]): y [n][2m] = [sin | cos]. */
struct fourier_embed_args {
    uint32_t n, m;
    bool is_cos_first, is_log;
    const float *sigma, *freq; /* [n], [m] */
    float *y;
};
void fourier_embed(const struct op_ctx *ctx, const void *args);

/* y[i] = table[(size_t)id[i]] for n numbers; they are floats holding whole numbers inside
 * the table (checked by the caller). */
struct lookup_args {
    uint32_t n, c;
    uint32_t rows;
    const float *id, *table;
    float *y;
};
void lookup(const struct op_ctx *ctx, const void *args);

/* dtable[id[i]] += dy[i], in order of i. */
struct lookup_bwd_args {
    uint32_t n, c, rows;
    const float *id, *dy;
    float *dtable;
};
void lookup_bwd(const struct op_ctx *ctx, const void *args);

/* Weighted squared error: loss[i] = weight[i] * mean over m of (y - target)^2;
 * dy = 2 weight[i] (y - target) / (m * n).  weight NULL: 1. */
struct squared_error_args {
    uint32_t n;
    size_t m;
    const float *y, *target, *weight;
    float *dy, *loss;
};
void squared_error(const struct op_ctx *ctx, const void *args);

/* Sum of squares of n floats, in fixed chunks; double result. */
struct sum_squares_args {
    size_t n;
    const float *x;
    double *out;
};
size_t sum_squares_scratch(size_t n);
void sum_squares(const struct op_ctx *ctx, const void *args);

/* AdamW on n parameters (decoupled decay, bias correction by the caller's
 * c1 = 1 - beta1^t, c2 = 1 - beta2^t), as torch.optim.AdamW orders it; then
 * the running mean: ema += (1 - ema_decay) * (p - ema).  Gradients are
 * multiplied by grad_scale (clipping) first and zeroed after. */
struct adamw_args {
    size_t n;
    float lr, beta1, beta2, eps, weight_decay, c1, c2, grad_scale, ema_decay;
    float *p, *g, *m, *v, *ema;
};
void adamw(const struct op_ctx *ctx, const void *args);

#endif
