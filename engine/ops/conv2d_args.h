/* conv2d_args.h - a convolution or linear layer as a value: its shape, and what
 * it works on (ops/conv2d.h has the formula).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_CONV2D_ARGS_H
#define OPS_CONV2D_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/act.h"

struct weight_rows;

struct conv2d_shape {
    uint32_t n;
    uint32_t h, w;       /* of the sources                                   */
    uint32_t c0, c1;     /* channels of x0 and x1 (0: none)                  */
    uint32_t up_h, up_w; /* after nearest upsampling; equal to h, w if none  */
    uint32_t cout;
    uint32_t kh, kw, stride;
    uint32_t pad_t, pad_l; /* zeros above and left; below and right whatever
                              oh, ow need                                    */
    uint32_t oh, ow;
};

struct conv2d_args {
    struct conv2d_shape s;
    enum act act;
    float out_scale;     /* 1: none */
    uint32_t vec_stride; /* floats between images of vec                    */
    const float *x0, *x1;
    bool has_operands; /* of a 1x1 convolution alone: x0 is not floats but the
                        * rung's operands, an even number a pixel; no x1, scale
                        * or act                                             */
    const float *scale, *shift; /* [n][c0 + c1], both or neither             */
    const void *w; /* from conv2d_pack(); NULL where rows are read    */
    const struct weight_rows *rows; /* as a file has them, or NULL        */
    const void *filters; /* from winograd_pack() alone, or NULL: in w or rows */
    bool is_direct;      /* w or rows, not by Winograd whatever the shape   */
    const float *bias;   /* [cout] or NULL                                  */
    const float *vec;    /* [n][cout] or NULL                               */
    const float *res;    /* as y, or NULL; may be y itself                  */
    float *y;            /* [n][oh][ow][cout]                               */
};

/* Of the adjoint with respect to weights and bias. */
struct conv2d_bwd_weights_args {
    struct conv2d_shape s;
    const float *x, *dy;
    float *dw, *dbias;
};

#endif
