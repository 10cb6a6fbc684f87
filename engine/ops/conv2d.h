/* conv2d.h - convolution and linear layers, forward and adjoint.
 *
 * One operation serves 3x3, 1x1, strided and padded convolutions, and linear
 * layers (kh = kw = 1 over [n][1][rows][c]).  Fused around the product, each
 * optional:
 *
 *   before: two concatenated sources x0 | x1 (never copied together);
 *           per-image per-channel affine (the apply half of GroupNorm) and an
 *           activation; nearest upsampling to up_h x up_w;
 *   after:  + bias, + vec[n] (time embedding), + residual, * out_scale.
 *
 *     y[i][oy][ox][o] = out_scale * (res + bias[o] + vec[i][o] +
 *         sum over ky,kx,c of  W[o][c][ky][kx] * X[i][oy*stride+ky-pad_t]
 *                                              [ox*stride+kx-pad_l][c])
 *     X = upsample(act(scale * concat(x0, x1) + shift)), zero outside.
 *
 * Order of operations: norm, activation, then upsampling (which commute).
 *
 * Operands of the product are in the rung's operand type; sums are f32.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_CONV2D_H
#define OPS_CONV2D_H

#include <stdbool.h>

#include "ops/conv2d_args.h"
#include "ops/op.h"

/* Weights come in two ways, with the same bits.  `rows` are read where they
 * are, if conv2d_reads_rows() agrees: panels of them are made as they are
 * needed (ops/weight_rows.h).  Or they were packed:
 *
 * weights as the files hold them, [cout][cin][kh][kw] (linear: [cout][cin]),
 * to the rung's panels.  The size and layout depend on cin, cout, kh, kw and
 * the table only. */
size_t conv2d_packed_bytes(const struct kernel_table *k, uint32_t cin,
                           uint32_t cout, uint32_t kh, uint32_t kw);
void conv2d_pack(const struct kernel_table *k, void *dst, const float *w,
                 uint32_t cin, uint32_t cout, uint32_t kh, uint32_t kw);

/* Of that the panels of the direct way, which stand in front. */
size_t conv2d_panels_bytes(const struct kernel_table *k, uint32_t cin,
                           uint32_t cout, uint32_t kh, uint32_t kw);

/* Whether products of this kind can read rows: all but thin ones and those of
 * BLAS, which want matrices of their own. */
bool conv2d_reads_rows(const struct kernel_table *k, uint32_t cin,
                       uint32_t cout);

/* Whether packed weights were found too coarse for Winograd's way on bf16
 * operands, so that their convolution goes the direct one at every size. */
bool conv2d_is_demoted(const struct kernel_table *k, const void *packed,
                       uint32_t cin, uint32_t cout, uint32_t kh, uint32_t kw);

/* The packing for the adjoint of the input: taps flipped, channels swapped. */
void conv2d_pack_adjoint(const struct kernel_table *k, void *dst,
                         const float *w, uint32_t cin, uint32_t cout,
                         uint32_t kh, uint32_t kw);

/* Pack many weights on the pool (training repacks after each step), without
 * the gate: it would cost as much as a step, and its verdict could change from
 * one to the next. */
struct conv2d_pack_job {
    void *dst;
    const float *w;
    uint32_t cin, cout, kh, kw;
    bool is_adjoint;
};
void conv2d_pack_many(const struct op_ctx *ctx,
                      const struct conv2d_pack_job *jobs, size_t n);

/* The core of the library that computes this table's products, "" if they are
 * our own: other cores round in other ways. */
const char *conv2d_library(const struct kernel_table *k);

/* Scratch of args of that shape that are plain (they have neither norm nor
 * activation) or not, and have `rows` and operands or not; that of none of them
 * is a ceiling. */
struct conv2d_kind {
    bool is_plain, has_rows, has_operands;
};
size_t conv2d_scratch_of(const struct kernel_table *k, unsigned n_threads,
                         const struct conv2d_shape *s,
                         const struct conv2d_kind *kind);
/* Of packed weights, whatever is done to the sources. */
size_t conv2d_scratch(const struct kernel_table *k, unsigned n_threads,
                      const struct conv2d_shape *s);
void conv2d_run(const struct op_ctx *ctx, const void *conv2d_args);

/* The same with f32 operands on a table that rounds them: weights, scratch and
 * choice are those of the table that kernels_use_exact_operands() makes. */
void conv2d_exact_run(const struct op_ctx *ctx, const void *conv2d_args);

/* Adjoint with respect to the input of a plain convolution (no fused parts;
 * c1 = 0; up = h, w): dx[n][h][w][c0] = or += from dy[n][oh][ow][cout].
 * `w` from conv2d_pack_adjoint with the forward's cin, cout. */
struct conv2d_bwd_data_args {
    struct conv2d_shape s; /* of the forward                                 */
    bool is_accumulating;
    const void *w;
    const float *dy;
    float *dx;
};
size_t conv2d_bwd_data_scratch(const struct kernel_table *k, unsigned n_threads,
                               const struct conv2d_shape *s);
void conv2d_bwd_data(const struct op_ctx *ctx, const void *bwd_data_args);

/* Adjoint with respect to weights and bias: dw [cout][cin][kh][kw] (the file's
 * layout) += ; dbias [cout] += (NULL: none).  Sums over fixed chunks of
 * images in fixed order.  x is the plain input [n][h][w][c0]. */
size_t conv2d_bwd_weights_scratch(const struct kernel_table *k,
                                  unsigned n_threads,
                                  const struct conv2d_shape *s);
void conv2d_bwd_weights(const struct op_ctx *ctx, const void *bwd_weights_args);

#endif
