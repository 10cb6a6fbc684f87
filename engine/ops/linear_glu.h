/* linear_glu.h - a linear layer whose outputs are gated before they leave the
 * caches:
 *
 *     y[r][j] = v[r][j] act(v[r][c + j]),  v = x W + b,  j < c
 *
 * A feed-forward layer of Stable Diffusion widens 4096 tokens of 320 numbers to
 * 2560, which are 42 MB, only to halve them again.  So a part of the product is
 * written to scratch and gated from there: of a block of rows and a panel of
 * columns, or of a stripe of rows.  Elements do not meet, so the bits are those
 * of one operation after the other.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_LINEAR_GLU_H
#define OPS_LINEAR_GLU_H

#include "ops/conv2d_args.h"
#include "ops/op.h"

struct linear_glu_args {
    struct conv2d_args linear; /* of one row of pixels, plain, with a bias at
                                * most; its y is not read                    */
    void (*run)(const struct op_ctx *ctx, const void *conv2d_args);
    enum act act;
    void *y;        /* [rows][cout / 2] floats, or operands (ops/tokens.h)   */
    bool is_narrow; /* as operands                                           */
};

/* Whether a linear layer of that shape has rows for several stripes. */
bool linear_glu_fits(const struct conv2d_shape *s);

/* The shape of a stripe. */
struct conv2d_shape linear_glu_stripe(const struct conv2d_shape *s);

/* Scratch; `product` is that of the linear layer over a stripe. */
size_t linear_glu_scratch(const struct conv2d_shape *s, size_t product,
                          unsigned n_threads);

void linear_glu(const struct op_ctx *ctx, const void *linear_glu_args);

#endif
