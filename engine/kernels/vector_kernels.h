/* vector_kernels.h - the streaming kernels of a rung: activations, norms,
 * softmax, small products, sums, the optimiser.
 *
 * Everything is f32 in and out.  Rows are c floats, ld floats apart; rows and
 * vectors need no alignment and no padding: kernels never read or write past
 * the last float.  "acc" means += instead of =.  Unless said otherwise an
 * output may be the very input of the same shape, but must not overlap it in
 * part.  Sums run in an order that depends on the sizes only.
 *
 * Any thread; no state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_VECTOR_KERNELS_H
#define KERNELS_VECTOR_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/act.h"

/* Contiguous rows of y = act(u), u = scale x + shift, and dy behind it. */
struct norm_bwd_rows {
    size_t rows, c;
    enum act act;
    const float *x, *dy;        /* [rows][c]                                 */
    const float *scale, *shift; /* [c]; both NULL: u = x                     */
    const float *mean;          /* [c] subtracted from x; NULL: 0            */
};

struct adamw_step {
    float decay;           /* p *= decay, 1 - lr * weight_decay               */
    float m_weight;        /* m += m_weight (g - m), 1 - beta1                */
    float beta2, v_weight; /* v = beta2 v + v_weight g g, 1 - beta2          */
    float c2_sqrt;         /* sqrt(1 - beta2^t)                               */
    float eps;
    float step_size;  /* p -= step_size m / (sqrt(v) / c2_sqrt + eps)    */
    float grad_scale; /* g *= grad_scale before anything                 */
    float ema_weight; /* ema += ema_weight (p - ema)                     */
};

struct vector_kernels {
    /* -- activations and norms ------------------------------------------ */

    /* y = act(scale[j] x + shift[j]); scale, shift both NULL: act(x). */
    void (*affine_act)(enum act act, size_t rows, size_t c, const float *x,
                       size_t ldx, const float *scale, const float *shift,
                       float *y, size_t ldy);
    /* dx = or += dy act'(x) on n floats. */
    void (*act_bwd)(enum act act, size_t n, const float *x, const float *dy,
                    float *dx, bool acc);
    /* mean[j] of a column; m2[j] = sum (x - mean[j])^2.  rows >= 1. */
    void (*moments)(size_t rows, size_t c, const float *x, size_t ldx,
                    float *mean, float *m2);
    /* du = dy act'(u):  s1[j] = sum du,  s2[j] = sum du (x - mean[j]); du is
     * kept unless NULL (it may be dy). */
    void (*norm_bwd_sums)(const struct norm_bwd_rows *r, float *s1, float *s2,
                          float *du);
    /* dx = or += a[j] du + b[j] (x - mean[j]) + d[j].  dx may be dy or x. */
    void (*norm_bwd_apply)(const struct norm_bwd_rows *r, const float *a,
                           const float *b, const float *d, float *dx, bool acc);
    /* y = gamma[j] (x - mean) / sqrt(variance + eps) + beta[j] of each row by
     * itself; gamma, beta may both be NULL.  The biased variance about the
     * mean. */
    void (*layer_norm)(size_t rows, size_t c, const float *x, size_t ldx,
                       const float *gamma, const float *beta, float eps,
                       float *y, size_t ldy);
    /* y[i][j] = x[i][j] act(x[i][c + j]); y is not x. */
    void (*glu)(enum act act, size_t rows, size_t c, const float *x, size_t ldx,
                float *y, size_t ldy);
    /* sums[j] = sum of column j. */
    void (*column_sums)(size_t rows, size_t c, const float *x, size_t ldx,
                        float *sums);

    /* sums[j] = sum of x y down column j; both ld apart. */
    void (*column_dots)(size_t rows, size_t c, const float *x, const float *y,
                        size_t ld, float *sums);

    /* -- small products and attention ----------------------------------- */

    /* C[m][n] = or += A[m][k] B[k][n]; A(i,p) = a[i a_row + p a_col].
     * C overlaps neither A nor B. */
    void (*matmul)(size_t m, size_t n, size_t k, const float *a, size_t a_row,
                   size_t a_col, const float *b, size_t ldb, float *c,
                   size_t ldc, bool acc);
    /* dst[j][i] = alpha src[i][j]; no overlap. */
    void (*transpose)(size_t rows, size_t cols, const float *src, size_t ld_src,
                      float alpha, float *dst, size_t ld_dst);
    /* One block of a running softmax down the columns of s[rows][cols]:
     *   m' = max(max[j], column maximum);  factor[j] = exp(max[j] - m');
     *   s = exp(s - m');  sum[j] = sum[j] factor[j] + column sum;  max = m'.
     * max starts at -FLT_MAX with sum 0. */
    void (*softmax_columns)(size_t rows, size_t cols, float *s, size_t ld,
                            float *max, float *sum, float *factor);
    /* s = exp(s - lse[j]);  ds = s (ds - dot[j]) alpha. */
    void (*softmax_columns_bwd)(size_t rows, size_t cols, float *s, float *ds,
                                size_t ld, const float *lse, const float *dot,
                                float alpha);
    /* out[i] = sum over j of a[i][j] b[i][j]. */
    void (*row_dots)(size_t rows, size_t c, const float *a, size_t lda,
                     const float *b, size_t ldb, float *out);
    /* y[i][j] = f[j] x[i][j]. */
    void (*scale_columns)(size_t rows, size_t c, const float *f, const float *x,
                          size_t ldx, float *y, size_t ldy);

    /* -- plain streams --------------------------------------------------- */

    /* y = a x0 + b x1 + c; x1 may be NULL. */
    void (*axpby)(size_t n, float a, const float *x0, float b, const float *x1,
                  float c, float *y);
    /* y = x / v. */
    void (*div_scalar)(size_t n, const float *x, float v, float *y);
    /* y = or += x (1 + s[j]) + t[j] on contiguous rows; s or t may be NULL. */
    void (*scale_shift)(size_t rows, size_t c, const float *x, const float *s,
                        const float *t, float *y, bool acc);
    /* y = sum over the terms of w[i] x[i][j], c floats; y may be an x[i]. */
    void (*weighted_sum)(size_t n_terms, const float *const *x, const float *w,
                         size_t c, float *y);
    /* Means of 2x2 cells of two rows of pixels: y[ow][c], x[2 ow][c] each. */
    void (*mean_cells2)(size_t ow, size_t c, const float *x0, const float *x1,
                        float *y);
    double (*sum_squares)(size_t n, const float *x);
    /* dy = a (y - target) (dy NULL: none); returns sum (y - target)^2. */
    double (*squared_error)(size_t n, const float *y, const float *target,
                            float a, float *dy);
    /* Gradients are zeroed.  ema may be NULL. */
    void (*adamw)(size_t n, const struct adamw_step *s, float *p, float *g,
                  float *m, float *v, float *ema);
};

/* The rungs' tables of this file's kernels. */
void vector_kernels_scalar(struct vector_kernels *v);
void vector_kernels_avx2(struct vector_kernels *v);
void vector_kernels_avx512bf16(struct vector_kernels *v); /* over avx2's      */

#endif
