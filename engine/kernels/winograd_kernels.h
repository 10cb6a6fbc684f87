/* winograd_kernels.h - the transforms of Winograd's 3x3 convolutions.
 *
 * e x e outputs of a 3x3 convolution come from a patch of (e + 2) x (e + 2)
 * of the input by (e + 2)^2 products instead of 9 e^2 [1]:
 *
 *     y = AT ( (G w GT) . (BT x B) ) A        . is element by element
 *     dw = GT ( (BT x B) . (A dy AT) ) G      the adjoint for the weights
 *
 * Over channels the element-by-element products become (e + 2)^2 matrix
 * products of (patches x cin) by (cin x cout).  Two flavours:
 *
 *     F(4x4, 3x3)  points 0, 1, -1, 2, -2, infinity; a quarter of the products.
 *                  For f32 operands: relative error on random data some 1e-6.
 *     F(2x2, 3x3)  points 0, 1, -1, infinity; 4/9 of the products.  Its
 *                  matrices hold 0, 1, -1 and 1/2 only, so that it stands
 *                  operands of 8 bits: 3.5e-3 where direct products of bf16
 *                  have 2.3e-3 (F(4x4) would have 2.4e-2).
 *
 * (Amplification of the transforms: tests/kern/t_winograd.c derives it.)
 *
 * A transformed patch is (e + 2)^2 rows of c values, `plane` values apart:
 * element (r, s) of the grid is row (e + 2) r + s.  c is a multiple of 8 for
 * F(4x4), of 16 for F(2x2).
 *
 * Sources.
 *   [1] Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
 *       arXiv:1509.09308, section 4.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_WINOGRAD_KERNELS_H
#define KERNELS_WINOGRAD_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an e x e tile of outputs goes and what is added on the way:
 * y = scale * (sum + add[c] + res). */
struct winograd_out {
    float *y;
    const float *res; /* strides as y, or NULL                          */
    const float *add; /* [c] */
    size_t row_stride, col_stride;
    uint32_t rows, cols; /* of the tile inside the picture, 1..e           */
    uint32_t c;
    float scale;
    const float *m; /* transformed sums                               */
    size_t plane;
};

/* Columns of gemm(), which F(4x4) packs side by side. */
#define WINOGRAD_PANEL 16u

struct winograd_kernels {
    bool is_used;  /* false: the rung has only the plain twin                 */
    unsigned edge; /* e */

    /* v = BT x B of the patch at x (channels contiguous), in operands of the
     * rung: f32 for F(4x4), whatever gemm_kernels.operand is for F(2x2). */
    void (*input)(void *v, size_t plane, const float *x, size_t row_stride,
                  size_t col_stride, size_t c);
    void (*output)(const struct winograd_out *out);

    /* Of F(4x4) alone; NULL in F(2x2), whose products are those of
     * gemm_kernels.tile.
     *
     * cc[i][0..15] = sum over p < k of a[i * lda + p] * b[16 p + j], i < m;
     * is_adding: sums go on from what cc holds, with the bits of one long sum.
     */
    void (*gemm)(float *cc, size_t ldc, const float *a, size_t lda, size_t m,
                 const float *b, size_t k, bool is_adding);

    /* The adjoint for the weights, in operands that are floats.
     *
     * v = A dy AT of the e x e tile at dy, rounded as input() rounds. */
    void (*grad)(float *v, size_t plane, const float *dy, size_t row_stride,
                 size_t col_stride, size_t c);
    /* cc[i][j] += sum over p < k of a[p * lda + i] * b[p * ldb + j], i < m,
     * j < n; n is a multiple of 8. */
    void (*gemm_tn)(float *cc, size_t ldc, const float *a, size_t lda,
                    const float *b, size_t ldb, size_t m, size_t n, size_t k);

    /* The same in operands of bf16, which are multiplied in pairs: of two tiles,
     * whose values of a channel lie side by side.  So element i of pair p of a
     * point is at 2 * (p * ld + i), and `plane` counts pairs of values.  x1, dy1
     * NULL: zeros.  gemm_pairs() sums k pairs; m, n are multiples of 16.  NULL
     * where grad() and gemm_tn() are there. */
    void (*input_pair)(void *v, size_t plane, const float *x0, const float *x1,
                       size_t row_stride, size_t col_stride, size_t c);
    void (*grad_pair)(void *v, size_t plane, const float *dy0, const float *dy1,
                      size_t row_stride, size_t col_stride, size_t c);
    void (*gemm_pairs)(float *cc, size_t ldc, const void *a, size_t lda,
                       const void *b, size_t ldb, size_t m, size_t n, size_t k);
};

/* Each rung's part of the table; called by the rungs' table files.  The f2
 * ones are F(2x2): with floats rounded to bf16, and with bf16. */
void winograd_kernels_scalar(struct winograd_kernels *k);
void winograd_kernels_avx2(struct winograd_kernels *k);
void winograd_kernels_f2_scalar(struct winograd_kernels *k);
void winograd_kernels_f2_avx2(struct winograd_kernels *k);
void winograd_kernels_f2_avx512bf16(struct winograd_kernels *k);

#endif
