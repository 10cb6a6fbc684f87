/* winograd_scalar.c - the specification of the Winograd transforms.
 *
 * The matrices are written out, in the order the vector rungs use them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/winograd_kernels.h"

#include "kernels/bf16_loops.h"

static const float bt[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0},
                               {0, 4, -4, -1, 1, 0}, {0, -2, -1, 2, 1, 0},
                               {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};

static const float at[4][6] = {{1, 1, 1, 1, 1, 0},
                               {0, 1, -1, 2, -2, 0},
                               {0, 1, 1, 4, 4, 0},
                               {0, 1, -1, 8, -8, 1}};

static void input_scalar(void *dst, size_t plane, const float *x,
                         size_t row_stride, size_t col_stride, size_t c)
{
    float *v = dst;
    for (size_t i = 0; i < c; i++) {
        float t[6][6];
        for (int r = 0; r < 6; r++)
            for (int s = 0; s < 6; s++) {
                t[r][s] = 0;
                for (size_t k = 0; k < 6; k++)
                    t[r][s] += bt[r][k] *
                               x[k * row_stride + (size_t)s * col_stride + i];
            }
        for (size_t r = 0; r < 6; r++)
            for (size_t s = 0; s < 6; s++) {
                float sum = 0;
                for (int k = 0; k < 6; k++)
                    sum += bt[s][k] * t[r][k];
                v[(6 * r + s) * plane + i] = sum;
            }
    }
}

static void output_scalar(const struct winograd_out *o)
{
    for (size_t i = 0; i < o->c; i++) {
        float t[4][6];
        for (int r = 0; r < 4; r++)
            for (size_t s = 0; s < 6; s++) {
                t[r][s] = 0;
                for (size_t k = 0; k < 6; k++)
                    t[r][s] += at[r][k] * o->m[(6 * k + s) * o->plane + i];
            }
        for (size_t r = 0; r < o->rows; r++)
            for (size_t s = 0; s < o->cols; s++) {
                size_t at_y = r * o->row_stride + s * o->col_stride + i;
                float sum = 0;
                for (int k = 0; k < 6; k++)
                    sum += at[s][k] * t[r][k];
                sum += o->add[i];
                if (o->res)
                    sum += o->res[at_y];
                o->y[at_y] = sum * o->scale;
            }
    }
}

static void grad_scalar(float *v, size_t plane, const float *dy,
                        size_t row_stride, size_t col_stride, size_t c)
{
    for (size_t i = 0; i < c; i++) {
        float t[6][4];
        for (int r = 0; r < 6; r++)
            for (size_t s = 0; s < 4; s++) {
                t[r][s] = 0;
                for (size_t k = 0; k < 4; k++)
                    t[r][s] +=
                        at[k][r] * dy[k * row_stride + s * col_stride + i];
            }
        for (size_t r = 0; r < 6; r++)
            for (size_t s = 0; s < 6; s++) {
                float sum = 0;
                for (int k = 0; k < 4; k++)
                    sum += at[k][s] * t[r][k];
                v[(6 * r + s) * plane + i] = sum;
            }
    }
}

static void gemm_scalar(float *cc, size_t ldc, const float *a, size_t lda,
                        size_t m, const float *b, size_t k, bool is_adding)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < 16; j++) {
            float sum = is_adding ? cc[i * ldc + j] : 0;
            for (size_t p = 0; p < k; p++)
                sum += a[i * lda + p] * b[16 * p + j];
            cc[i * ldc + j] = sum;
        }
}

static void gemm_tn_scalar(float *cc, size_t ldc, const float *a, size_t lda,
                           const float *b, size_t ldb, size_t m, size_t n,
                           size_t k)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = cc[i * ldc + j];
            for (size_t p = 0; p < k; p++)
                sum += a[p * lda + i] * b[p * ldb + j];
            cc[i * ldc + j] = sum;
        }
}

/* -- F(2x2, 3x3) ----------------------------------------------------------- */

static const float bt2[4][4] = {
    {1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};

static const float at2[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};

static void input_f2_scalar(void *dst, size_t plane, const float *x,
                            size_t row_stride, size_t col_stride, size_t c)
{
    float *v = dst;
    for (size_t i = 0; i < c; i++) {
        float t[4][4];
        for (int r = 0; r < 4; r++)
            for (int s = 0; s < 4; s++) {
                t[r][s] = 0;
                for (size_t k = 0; k < 4; k++)
                    t[r][s] += bt2[r][k] *
                               x[k * row_stride + (size_t)s * col_stride + i];
            }
        for (size_t r = 0; r < 4; r++)
            for (size_t s = 0; s < 4; s++) {
                float sum = 0;
                for (int k = 0; k < 4; k++)
                    sum += bt2[s][k] * t[r][k];
                loops_round_bf16(&v[(4 * r + s) * plane + i], &sum, 1);
            }
    }
}

static void output_f2_scalar(const struct winograd_out *o)
{
    for (size_t i = 0; i < o->c; i++) {
        float t[2][4];
        for (int r = 0; r < 2; r++)
            for (size_t s = 0; s < 4; s++) {
                t[r][s] = 0;
                for (size_t k = 0; k < 4; k++)
                    t[r][s] += at2[r][k] * o->m[(4 * k + s) * o->plane + i];
            }
        for (size_t r = 0; r < o->rows; r++)
            for (size_t s = 0; s < o->cols; s++) {
                size_t at_y = r * o->row_stride + s * o->col_stride + i;
                float sum = 0;
                for (int k = 0; k < 4; k++)
                    sum += at2[s][k] * t[r][k];
                sum += o->add[i];
                if (o->res)
                    sum += o->res[at_y];
                o->y[at_y] = sum * o->scale;
            }
    }
}

static void grad_f2_scalar(float *v, size_t plane, const float *dy,
                           size_t row_stride, size_t col_stride, size_t c)
{
    for (size_t i = 0; i < c; i++) {
        float t[4][2];
        for (int r = 0; r < 4; r++)
            for (size_t s = 0; s < 2; s++) {
                t[r][s] = 0;
                for (size_t k = 0; k < 2; k++)
                    t[r][s] +=
                        at2[k][r] * dy[k * row_stride + s * col_stride + i];
            }
        for (size_t r = 0; r < 4; r++)
            for (size_t s = 0; s < 4; s++) {
                float sum = 0;
                for (int k = 0; k < 2; k++)
                    sum += at2[k][s] * t[r][k];
                loops_round_bf16(&v[(4 * r + s) * plane + i], &sum, 1);
            }
    }
}

void winograd_kernels_f2_scalar(struct winograd_kernels *k)
{
    *k = (struct winograd_kernels){
        .is_used = true,
        .edge = 2,
        .input = input_f2_scalar,
        .output = output_f2_scalar,
        .grad = grad_f2_scalar,
        .gemm_tn = gemm_tn_scalar,
    };
}

void winograd_kernels_scalar(struct winograd_kernels *k)
{
    k->is_used = false;
    k->edge = 4;
    k->input = input_scalar;
    k->output = output_scalar;
    k->grad = grad_scalar;
    k->gemm = gemm_scalar;
    k->gemm_tn = gemm_tn_scalar;
}
