/* vector_scalar.c - the streaming kernels of the scalar rung: the
 * specification that every other rung is compared with.
 *
 * Activations are the textbook formulas on the C library's functions, written
 * so that no tail cancels: mish by e = exp(x) alone, gelu by erfc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/vector_kernels.h"

#include <math.h>

#include "kernels/vector_loops.h"

#define SQRT_HALF       0.70710678118654752440f
#define INV_SQRT_TWO_PI 0.39894228040143267794f
#define GELU_TANH_SLOPE 1.59576912160573071176f /* 2 sqrt(2 / pi)           */
#define GELU_TANH_CUBIC 0.044715f
#define QUICK_SLOPE     1.702f
#define MISH_LIMIT      20.0f /* beyond it tanh(softplus(x)) rounds to 1     */

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* tanh(ln(1 + e)) = n / (n + 2) with n = e (e + 2), e = exp(x). */
static float mish_gate(float x, float *slope)
{
    float e = expf(fminf(x, MISH_LIMIT));
    float n = e * (e + 2.0f);

    *slope = 4.0f * e * (e + 1.0f) / ((n + 2.0f) * (n + 2.0f));
    return n / (n + 2.0f);
}

/* The argument of gelu-tanh's sigmoid.  The tanh form is written through it
 * because 1 + tanh(u) cancels where x is far below 0. */
static float gelu_tanh_arg(float x)
{
    return GELU_TANH_SLOPE * (x + GELU_TANH_CUBIC * x * x * x);
}

/* Where |x| > 12 the slope's second term is 0 and x^3 must not make it NaN. */
static float gelu_tanh_slope(float x)
{
    float s = sigmoid(gelu_tanh_arg(x)), v = fminf(fmaxf(x, -12.0f), 12.0f);

    return s + v * s * (1.0f - s) * GELU_TANH_SLOPE *
                   (1.0f + 3.0f * GELU_TANH_CUBIC * v * v);
}

static float act_value(enum act act, float x)
{
    float slope;

    switch (act) {
    case ACT_SILU:
        return x / (1.0f + expf(-x));
    case ACT_MISH:
        return x * mish_gate(x, &slope);
    case ACT_GELU:
        return 0.5f * x * erfcf(-x * SQRT_HALF);
    case ACT_RELU:
        return x < 0 ? 0 : x;
    case ACT_GELU_TANH:
        return x / (1.0f + expf(-gelu_tanh_arg(x)));
    case ACT_QUICK_GELU:
        return x / (1.0f + expf(-QUICK_SLOPE * x));
    case ACT_TANH:
        return tanhf(x);
    default:
        return x;
    }
}

static float act_slope(enum act act, float x)
{
    float s, slope;

    switch (act) {
    case ACT_SILU:
        s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    case ACT_MISH:
        s = mish_gate(x, &slope);
        return s + x * slope;
    case ACT_GELU:
        return 0.5f * erfcf(-x * SQRT_HALF) +
               x * INV_SQRT_TWO_PI * expf(-0.5f * x * x);
    case ACT_RELU:
        return x > 0 ? 1 : 0;
    case ACT_GELU_TANH:
        return gelu_tanh_slope(x);
    case ACT_QUICK_GELU:
        s = sigmoid(QUICK_SLOPE * x);
        return s * (1.0f + QUICK_SLOPE * x * (1.0f - s));
    case ACT_TANH:
        s = tanhf(x);
        return (1.0f - s) * (1.0f + s);
    default:
        return 1;
    }
}

static void affine_act_rows(enum act act, size_t rows, size_t c, const float *x,
                            size_t ldx, const float *scale, const float *shift,
                            float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < c; j++) {
            float u = x[r * ldx + j];

            if (scale)
                u = scale[j] * u + shift[j];
            y[r * ldy + j] = act_value(act, u);
        }
}

static void act_bwd_flat(enum act act, size_t n, const float *x,
                         const float *dy, float *dx, bool acc)
{
    for (size_t i = 0; i < n; i++) {
        float d = dy[i] * act_slope(act, x[i]);

        dx[i] = acc ? dx[i] + d : d;
    }
}

static void moments(size_t rows, size_t c, const float *x, size_t ldx,
                    float *mean, float *m2)
{
    for (size_t j = 0; j < c; j++) {
        float sum = 0, squares = 0;

        for (size_t r = 0; r < rows; r++)
            sum += x[r * ldx + j];
        mean[j] = sum / (float)rows;
        for (size_t r = 0; r < rows; r++) {
            float d = x[r * ldx + j] - mean[j];

            squares += d * d;
        }
        m2[j] = squares;
    }
}

/* du at row r, column j. */
static float du_at(const struct norm_bwd_rows *r, size_t row, size_t j)
{
    float u = r->x[row * r->c + j];

    if (r->scale)
        u = r->scale[j] * u + r->shift[j];
    return r->dy[row * r->c + j] * act_slope(r->act, u);
}

static float centred_at(const struct norm_bwd_rows *r, size_t row, size_t j)
{
    return r->x[row * r->c + j] - (r->mean ? r->mean[j] : 0);
}

static void norm_bwd_sums(const struct norm_bwd_rows *r, float *s1, float *s2,
                          float *du)
{
    for (size_t j = 0; j < r->c; j++) {
        s1[j] = 0;
        s2[j] = 0;
        for (size_t row = 0; row < r->rows; row++) {
            float d = du_at(r, row, j);

            s1[j] += d;
            s2[j] += d * centred_at(r, row, j);
            if (du)
                du[row * r->c + j] = d;
        }
    }
}

static void norm_bwd_apply(const struct norm_bwd_rows *r, const float *a,
                           const float *b, const float *d, float *dx, bool acc)
{
    for (size_t row = 0; row < r->rows; row++)
        for (size_t j = 0; j < r->c; j++) {
            float *out = &dx[row * r->c + j];
            float v =
                a[j] * du_at(r, row, j) + b[j] * centred_at(r, row, j) + d[j];

            *out = acc ? *out + v : v;
        }
}

static void layer_norm(size_t rows, size_t c, const float *x, size_t ldx,
                       const float *gamma, const float *beta, float eps,
                       float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        double sum = 0, squares = 0, mean, rstd;

        for (size_t j = 0; j < c; j++)
            sum += (double)x[j];
        mean = sum / (double)c;
        for (size_t j = 0; j < c; j++)
            squares += ((double)x[j] - mean) * ((double)x[j] - mean);
        rstd = 1 / sqrt(squares / (double)c + (double)eps);
        for (size_t j = 0; j < c; j++) {
            float v = (float)(((double)x[j] - mean) * rstd);

            y[j] = gamma ? gamma[j] * v + beta[j] : v;
        }
    }
}

static void glu(enum act act, size_t rows, size_t c, const float *x, size_t ldx,
                float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < c; j++)
            y[r * ldy + j] =
                x[r * ldx + j] * act_value(act, x[r * ldx + c + j]);
}

static void column_sums(size_t rows, size_t c, const float *x, size_t ldx,
                        float *sums)
{
    for (size_t j = 0; j < c; j++) {
        sums[j] = 0;
        for (size_t r = 0; r < rows; r++)
            sums[j] += x[r * ldx + j];
    }
}

static void column_dots(size_t rows, size_t c, const float *x, const float *y,
                        size_t ld, float *sums)
{
    for (size_t j = 0; j < c; j++) {
        sums[j] = 0;
        for (size_t r = 0; r < rows; r++)
            sums[j] += x[r * ld + j] * y[r * ld + j];
    }
}

static void matmul(size_t m, size_t n, size_t k, const float *a, size_t a_row,
                   size_t a_col, const float *b, size_t ldb, float *c,
                   size_t ldc, bool acc)
{
    for (size_t i = 0; i < m; i++) {
        float *row = c + i * ldc;

        if (!acc)
            memset(row, 0, n * sizeof *row);
        for (size_t p = 0; p < k; p++) {
            float f = a[i * a_row + p * a_col];

            for (size_t j = 0; j < n; j++)
                row[j] += f * b[p * ldb + j];
        }
    }
}

static void transpose(size_t rows, size_t cols, const float *src, size_t ld_src,
                      float alpha, float *dst, size_t ld_dst)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            dst[j * ld_dst + i] = alpha * src[i * ld_src + j];
}

static void softmax_columns(size_t rows, size_t cols, float *s, size_t ld,
                            float *max, float *sum, float *factor)
{
    for (size_t j = 0; j < cols; j++) {
        float top = max[j], total = 0;

        for (size_t i = 0; i < rows; i++)
            top = fmaxf(top, s[i * ld + j]);
        for (size_t i = 0; i < rows; i++) {
            s[i * ld + j] = expf(s[i * ld + j] - top);
            total += s[i * ld + j];
        }
        factor[j] = expf(max[j] - top);
        sum[j] = sum[j] * factor[j] + total;
        max[j] = top;
    }
}

static void softmax_columns_bwd(size_t rows, size_t cols, float *s, float *ds,
                                size_t ld, const float *lse, const float *dot,
                                float alpha)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            float p = expf(s[i * ld + j] - lse[j]);

            s[i * ld + j] = p;
            ds[i * ld + j] = p * (ds[i * ld + j] - dot[j]) * alpha;
        }
}

static void row_dots(size_t rows, size_t c, const float *a, size_t lda,
                     const float *b, size_t ldb, float *out)
{
    for (size_t i = 0; i < rows; i++) {
        float sum = 0;

        for (size_t j = 0; j < c; j++)
            sum += a[i * lda + j] * b[i * ldb + j];
        out[i] = sum;
    }
}

static void weighted_sum(size_t n_terms, const float *const *x, const float *w,
                         size_t c, float *y)
{
    for (size_t j = 0; j < c; j++) {
        float sum = 0;

        for (size_t i = 0; i < n_terms; i++)
            sum += w[i] * x[i][j];
        y[j] = sum;
    }
}

static double sum_squares(size_t n, const float *x)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static double squared_error(size_t n, const float *y, const float *target,
                            float a, float *dy)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        float d = y[i] - target[i];

        sum += (double)d * d;
        if (dy)
            dy[i] = a * d;
    }
    return sum;
}

/* Gradient scaling, decay, moments, step, running mean: one pass. */
static void adamw(size_t n, const struct adamw_step *s, float *p, float *g,
                  float *m, float *v, float *ema)
{
    const struct adamw_step k = *s;

    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * k.grad_scale;
        float m_new = m[i] + k.m_weight * (grad - m[i]);
        float v_new = v[i] * k.beta2 + k.v_weight * grad * grad;
        float denominator = sqrtf(v_new) / k.c2_sqrt + k.eps;

        p[i] = p[i] * k.decay - k.step_size * (m_new / denominator);
        m[i] = m_new;
        v[i] = v_new;
        g[i] = 0;
    }
    if (ema)
        for (size_t i = 0; i < n; i++)
            ema[i] += k.ema_weight * (p[i] - ema[i]);
}

void vector_kernels_scalar(struct vector_kernels *v)
{
    *v = (struct vector_kernels){
        .affine_act = affine_act_rows,
        .act_bwd = act_bwd_flat,
        .moments = moments,
        .norm_bwd_sums = norm_bwd_sums,
        .norm_bwd_apply = norm_bwd_apply,
        .layer_norm = layer_norm,
        .glu = glu,
        .column_sums = column_sums,
        .column_dots = column_dots,
        .matmul = matmul,
        .transpose = transpose,
        .softmax_columns = softmax_columns,
        .softmax_columns_bwd = softmax_columns_bwd,
        .row_dots = row_dots,
        .scale_columns = loops_scale_columns,
        .axpby = loops_axpby,
        .div_scalar = loops_div_scalar,
        .scale_shift = loops_scale_shift,
        .weighted_sum = weighted_sum,
        .mean_cells2 = loops_mean_cells2,
        .sum_squares = sum_squares,
        .squared_error = squared_error,
        .adamw = adamw,
    };
}
