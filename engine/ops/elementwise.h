/* elementwise.h - sums, scalings, copies, vectors a picture; their adjoints.
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

#endif
