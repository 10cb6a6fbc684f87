/* resample.h - nearest upsampling, average pooling, FIR resampling; adjoints.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_RESAMPLE_H
#define OPS_RESAMPLE_H

#include <stdbool.h>

#include "ops/op.h"

/* y[i][oy][ox] = x[i][oy*h/oh][ox*w/ow] (floor). */
struct upsample_nearest_args {
    uint32_t n, h, w, c, oh, ow;
    const float *x;
    float *y;
};
void upsample_nearest(const struct op_ctx *ctx, const void *args);

/* Adjoint: dx [n][h][w][c] = or += sums of dy [n][oh][ow][c]. */
struct upsample_nearest_bwd_args {
    uint32_t n, h, w, c, oh, ow;
    bool is_accumulating;
    const float *dy;
    float *dx;
};
void upsample_nearest_bwd(const struct op_ctx *ctx, const void *args);

/* Mean of 2x2 cells, stride 2; an odd last row or column is dropped. */
struct avg_pool2_args {
    uint32_t n, h, w, c;
    const float *x;
    float *y; /* [n][h/2][w/2][c] */
};
void avg_pool2(const struct op_ctx *ctx, const void *args);

struct avg_pool2_bwd_args {
    uint32_t n, h, w, c;
    bool is_accumulating;
    const float *dy;
    float *dx;
};
void avg_pool2_bwd(const struct op_ctx *ctx, const void *args);

/* Insert up-1 zeros after each sample, pad by pad0 before and pad1 after,
 * correlate each channel with the flipped separable kernel taps x taps, keep
 * every down-th sample.  n_taps 1..8.  The padded size is h*up + pad0 + pad1.
 * oh = (h*up + pad0 + pad1 - n_taps) / down + 1.  Negative padding crops. */
struct fir_args {
    uint32_t n, h, w, c, oh, ow;
    uint32_t up, down, n_taps;
    int32_t pad0, pad1;
    float taps[8]; /* along one axis, gain included                          */
    const float *x;
    float *y;
};
void fir_run(const struct op_ctx *ctx, const void *args);

struct fir_bwd_args {
    struct fir_args fwd; /* x, y unused                                      */
    bool is_accumulating;
    const float *dy;
    float *dx;
};
void fir_bwd(const struct op_ctx *ctx, const void *args);

#endif
