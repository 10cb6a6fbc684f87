/* winograd_kernels.h - the transforms of Winograd's F(4x4, 3x3) convolution.
 *
 * Four by four outputs of a 3x3 convolution come from a 6x6 patch of the
 * input by 36 products instead of 144 [1]:
 *
 *     y = AT ( (G w GT) . (BT x B) ) A        . is element by element
 *     dw = GT ( (BT x B) . (A dy AT) ) G      the adjoint for the weights
 *
 * with the interpolation points 0, 1, -1, 2, -2, infinity.  Over channels the
 * element-by-element products become 36 matrix products of (patches x cin) by
 * (cin x cout).  Everything is f32; relative error on random data is some
 * 1e-6 (amplification of the transforms: tests/kern/t_winograd.c derives it).
 *
 * A transformed patch is 36 rows of c floats, `plane` floats apart: element
 * (r, s) of the 6x6 grid is row 6 r + s.  c is a multiple of 8.
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

/* Where a 4x4 tile of outputs goes and what is added on the way:
 * y = scale * (sum + add[c] + res). */
struct winograd_out {
    float *y;
    const float *res; /* strides as y, or NULL                          */
    const float *add; /* [c] */
    size_t row_stride, col_stride;
    uint32_t rows, cols; /* of the tile inside the picture, 1..4           */
    uint32_t c;
    float scale;
    const float *m; /* transformed sums                               */
    size_t plane;
};

struct winograd_kernels {
    bool is_used; /* false: the rung has only the plain twin                 */

    /* v = BT x B of the 6x6 patch at x (channels contiguous). */
    void (*input)(float *v, size_t plane, const float *x, size_t row_stride,
                  size_t col_stride, size_t c);
    void (*output)(const struct winograd_out *out);
    /* v = A dy AT of the 4x4 tile at dy. */
    void (*grad)(float *v, size_t plane, const float *dy, size_t row_stride,
                 size_t col_stride, size_t c);

    /* cc[i][0..15] = sum over p < k of a[i * lda + p] * b[16 p + j], i < m. */
    void (*gemm)(float *cc, size_t ldc, const float *a, size_t lda, size_t m,
                 const float *b, size_t k);
    /* cc[i][j] += sum over p < k of a[p * lda + i] * b[p * ldb + j], i < m,
     * j < n; n is a multiple of 8. */
    void (*gemm_tn)(float *cc, size_t ldc, const float *a, size_t lda,
                    const float *b, size_t ldb, size_t m, size_t n, size_t k);
};

/* Each rung's part of the table; called by the rungs' table files. */
void winograd_kernels_scalar(struct winograd_kernels *k);
void winograd_kernels_avx2(struct winograd_kernels *k);

#endif
