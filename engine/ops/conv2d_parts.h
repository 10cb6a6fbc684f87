/* conv2d_parts.h - what the convolution's files share.
 *
 * A convolution is done in two passes over a chunk.  First the sources become
 * an operand image: concatenated, normalised, activated, upsampled, with its
 * border of zeros, in the operand type: [ph][pw][cp].  Then tiles of products
 * walk its rows by pointers (kernels/gemm_kernels.h).  Where the source
 * already is such an image it is read in place.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_CONV2D_PARTS_H
#define OPS_CONV2D_PARTS_H

#include <stdbool.h>

#include "ops/conv2d_args.h"
#include "ops/op.h"
#include "tensor/dtype.h"

/* From sources to an operand image. */
struct conv_image {
    const float *x0, *x1;
    const float *scale, *shift; /* [n][c0 + c1], or NULL                     */
    enum act act;
    enum dtype type; /* of the operands                                   */
    bool is_narrow;  /* they are rounded: by gemm_kernels.narrow          */
    uint32_t n, h, w, c0, c1;
    uint32_t up_h, up_w;
    uint32_t dilation;    /* zeros between pixels (adjoint of a stride): +1  */
    int32_t pad_t, pad_l; /* negative: rows or columns left out              */
    uint32_t ph, pw, cp;
};

/* Elements of one operand image. */
size_t conv_image_size(const struct conv_image *im);

/* Can the tiles read x0 itself? */
bool conv_image_is_direct(const struct conv_image *im);

/* The f32 image of the input of a convolution of one source, not upsampled,
 * as the adjoints of its weights read it; x0 is the caller's to set. */
struct conv_image conv_image_of(const struct conv2d_shape *s);

/* Row py of image i: pw * cp elements of im->type. */
void conv_image_row(const struct kernel_table *k, const struct conv_image *im,
                    uint32_t i, uint32_t py, void *dst);

/* A product of operand images with packed weights. */
struct weight_rows;

struct conv_core {
    struct conv_image im;
    uint32_t oh, ow, cout, kh, kw, stride;
    const void *w;                  /* packed                                */
    const struct weight_rows *rows; /* or where they lie                     */
    const float *bias, *vec, *res;
    uint32_t vec_stride;
    float out_scale;
    float *y;
};
/* Of the core's pointers only im.scale and rows are asked whether they are. */
size_t conv_core_scratch(const struct kernel_table *k, unsigned n_threads,
                         const struct conv_core *core);
void conv_core_run(const struct op_ctx *ctx, const struct conv_core *core);

/* The same product where im.dilation > 1, without products with the zeros
 * between pixels: conv2d_strided.c.  out_scale 1, no bias; res is y or NULL. */
size_t conv_phases_scratch(const struct kernel_table *k, unsigned n_threads,
                           const struct conv_core *core);
void conv_phases_run(const struct op_ctx *ctx, const struct conv_core *core);

/* dw += on operands of bf16, in pairs of pixels: conv2d_bwd_pairs.c. */
struct conv2d_shape;
struct conv2d_bwd_weights_args;
size_t conv_bwd_pairs_scratch(const struct kernel_table *k, unsigned n_threads,
                              const struct conv2d_shape *s);
void conv_bwd_pairs(const struct op_ctx *ctx,
                    const struct conv2d_bwd_weights_args *args);

/* Columns of a panel; BLAS and thin products take one as wide as the output. */
uint32_t conv_panel_width(const struct kernel_table *k, uint32_t cin,
                          uint32_t cout);

/* Bias and vector of each of n images, added up once: rows of *stride floats
 * an image, in `room` ([n][cout]) only where both are there; NULL: neither. */
const float *conv_bias_rows(float *room, uint32_t n, uint32_t cout,
                            const float *bias, const float *vec,
                            size_t vec_stride, size_t *stride);

/* Gather `m` rows of n_runs runs each into a dense matrix (BLAS only). */
void conv_gather_rows(float *dst, const void *const *a, size_t m, size_t n_runs,
                      size_t run_len, size_t run_stride);

/* The two products of the portable rung: ops/gemm_blas.c. */
void gemm_blas(float *c, const float *a, const float *b, size_t m, size_t n,
               size_t k); /* c[m][n] = a[m][k] b[k][n]                       */
void gemm_blas_outer(float *c, const float *a, const float *b, size_t m,
                     size_t n, size_t k); /* c[m][n] += a[k][m]^T b[k][n]    */

#endif
