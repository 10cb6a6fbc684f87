/* t_vector.c - the streaming kernels of every rung against double.
 *
 * Bounds.  EPS = 2^-23; one rounding errs by EPS / 2 relative.  A sum of n
 * terms in f32 in any order errs by at most n EPS / 2 times the sum of the
 * magnitudes (Higham, section 4.2).  exp errs by 1.1 ulp (exp_avx2.h) or less
 * (libm); what is made of it is stated at each test.
 *
 * Each output lies between sentinels, at an odd address, and each length of
 * tail is run.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include <float.h>

#include "base/compiler.h"

static const size_t widths[] = {1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 70};
static const size_t heights[] = {1, 2, 5, 17};

#define EACH_RUNG(k)                        \
    struct kernel_table tables_[MAX_RUNGS]; \
    size_t n_tables_ = rungs(tables_);      \
    for (const struct kernel_table *k = tables_; k < tables_ + n_tables_; k++)

static const char *act_name(enum act act)
{
    static const char *const names[] = {"none",       "silu", "mish",
                                        "gelu",       "relu", "gelu_tanh",
                                        "quick_gelu", "tanh"};
    _Static_assert(ARRAY_LEN(names) == ACT_COUNT, "a name for each");

    return names[act];
}

/* The relative error, in EPS, that the rounding of an exponent becomes: gelu's
 * is x x / 2, quick_gelu's 1.702 x, and gelu_tanh's 1.6 (x + 0.0447 x^3) goes
 * through five roundings. */
static double exponent_error(enum act act, double x)
{
    switch (act) {
    case ACT_GELU:
        return x * x;
    case ACT_QUICK_GELU:
        return fabs(x);
    case ACT_GELU_TANH:
        return 4 * fabs(x + 0.0447 * x * x * x);
    default:
        return 0;
    }
}

/* u = scale x + shift errs by EPS (|scale x| + |shift|), and slopes are at
 * most 1.13.  The function itself: exp 1.1 EPS, two or three roundings more:
 * 5 EPS relative, and what its exponent adds. */
static double act_bound(enum act act, double scaled, double shift, double y)
{
    double of_act =
        act == ACT_NONE ? 1 : 5 + exponent_error(act, scaled + shift);

    return EPS * (1.13 * (fabs(scaled) + fabs(shift)) + of_act * fabs(y)) +
           FLT_MIN;
}

static void check_affine_act(const struct kernel_table *k, enum act act,
                             size_t rows, size_t c, bool has_affine)
{
    size_t ldx = c + 3, ldy = c;
    float *x = numbers_random(rows * ldx, 1 + c, 3);
    float *scale = numbers_random(c, 2, 1), *shift = numbers_random(c, 3, 1);
    float *y = numbers_new(rows * ldy);

    k->vec.affine_act(act, rows, c, x, ldx, has_affine ? scale : NULL,
                      has_affine ? shift : NULL, y, ldy);
    for (size_t i = 0; i < rows * c; i++) {
        double v = x[i / c * ldx + i % c];
        double s = has_affine ? (double)scale[i % c] * v : v;
        double t = has_affine ? shift[i % c] : 0;
        double wanted = ref_act(act, s + t);

        assert_near(act_name(act), k->isa, i, y[i / c * ldy + i % c], wanted,
                    act_bound(act, s, t, wanted));
    }
    assert_guards("affine_act", y, rows * ldy);
    numbers_free(x);
    numbers_free(scale);
    numbers_free(shift);
    numbers_free(y);
}

static void test_affine_act(void **state)
{
    EACH_RUNG(k)
    for (int act = 0; act < ACT_COUNT; act++)
        for (size_t w = 0; w < ARRAY_LEN(widths); w++)
            for (size_t h = 0; h < ARRAY_LEN(heights); h++) {
                check_affine_act(k, act, heights[h], widths[w], true);
                check_affine_act(k, act, heights[h], widths[w], false);
            }
}

/* The whole range, tails included: x from -100 to 100. */
static void test_act_over_the_range(void **state)
{
    enum { N = 20001 };
    static float x[N], y[N];

    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) * 0.01f;
    EACH_RUNG(k)
    for (int act = 0; act < ACT_COUNT; act++) {
        k->vec.affine_act(act, 1, N, x, N, NULL, NULL, y, N);
        for (size_t i = 0; i < N; i++) {
            double wanted = ref_act(act, x[i]);

            /* exp saturates at 2^-126 and 2^127.5: what is lost is below
             * 100 * 2^-126. */
            assert_near(act_name(act), k->isa, i, y[i], wanted,
                        act_bound(act, act == ACT_NONE ? x[i] : 0, 0, wanted) +
                            EPS * 2 * fabs(wanted) +
                            exponent_error(act, x[i]) * EPS * fabs(wanted) +
                            100 * 0x1p-126);
        }
    }
}

static void test_act_of_special_values(void **state)
{
    float x[9] = {NAN, INFINITY, 0, -0.0f, 1e30f, -1e30f, 3e38f, -3e38f, 1};
    float y[9];

    EACH_RUNG(k)
    for (int act = 0; act < ACT_COUNT; act++) {
        k->vec.affine_act(act, 1, 9, x, 9, NULL, NULL, y, 9);
        assert_true(isnan(y[0]));
        if (act == ACT_TANH) {
            assert_true(y[1] == 1 && y[4] == 1 && y[5] == -1 && y[2] == 0);
            continue;
        }
        assert_true(isinf(y[1]) && y[1] > 0);
        assert_true(y[2] == 0 && y[3] == 0);
        assert_true(y[4] == 1e30f && y[6] == 3e38f);
        if (act != ACT_NONE)
            assert_true(y[5] == 0 && y[7] == 0);
    }
}

/* Central differences of the double formula: error h^2 / 6 |f'''| < 1e-9. */
static double ref_slope(enum act act, double x)
{
    double h = 1e-4;

    if (act == ACT_RELU)
        return x > 0;
    return (ref_act(act, x + h) - ref_act(act, x - h)) / (2 * h);
}

/* Slopes are at most 1.13 and made of a few terms no larger than 1 + |x|. */
static double slope_bound(double x)
{
    return 6 * EPS * (1 + fabs(x)) + 2e-8;
}

static void test_act_bwd(void **state)
{
    EACH_RUNG(k)
    for (int act = 0; act < ACT_COUNT; act++)
        for (size_t w = 0; w < ARRAY_LEN(widths); w++) {
            size_t n = widths[w];
            float *x = numbers_random(n, 5 + n, 3),
                  *dy = numbers_random(n, 6, 1);
            float *dx = numbers_random(n, 7, 1), *old = numbers_copy(dx, n);

            for (int acc = 1; acc >= 0; acc--) {
                k->vec.act_bwd(act, n, x, dy, dx, acc);
                for (size_t i = 0; i < n; i++) {
                    double d = dy[i] * ref_slope(act, x[i]);

                    assert_near(act_name(act), k->isa, i, dx[i],
                                d + (acc ? old[i] : 0),
                                fabs((double)dy[i]) * slope_bound(x[i]) +
                                    EPS * fabs((double)old[i]));
                }
            }
            assert_guards("act_bwd", dx, n);
            numbers_free(x);
            numbers_free(dy);
            numbers_free(dx);
            numbers_free(old);
        }
}

/* A mean far from 0 must cost nothing: x = 1000 + noise.  The mean errs by
 * rows EPS / 2 |x| at most; deviations from it add rows (error of mean)^2, and
 * each x - mean is rounded by EPS / 2 |x - mean|. */
static void test_moments(void **state)
{
    EACH_RUNG(k)
    for (size_t w = 0; w < ARRAY_LEN(widths); w++)
        for (size_t h = 0; h < ARRAY_LEN(heights); h++) {
            size_t c = widths[w], rows = heights[h], ld = c + 1;
            float *x = numbers_random(rows * ld, 8, 1);
            float *mean = numbers_new(c), *m2 = numbers_new(c);

            for (size_t i = 0; i < rows * ld; i++)
                x[i] += 1000;
            k->vec.moments(rows, c, x, ld, mean, m2);
            for (size_t j = 0; j < c; j++) {
                double sum = 0, squares = 0;
                double off = (double)rows * EPS / 2 * 1010;

                for (size_t r = 0; r < rows; r++)
                    sum += x[r * ld + j];
                sum /= (double)rows;
                for (size_t r = 0; r < rows; r++)
                    squares += (x[r * ld + j] - sum) * (x[r * ld + j] - sum);
                assert_near("mean", k->isa, j, mean[j], sum, off);
                assert_near("m2", k->isa, j, m2[j], squares,
                            (double)rows * off * off +
                                (double)(rows + 3) * EPS * squares + 1e-30);
            }
            assert_guards("mean", mean, c);
            assert_guards("m2", m2, c);
            numbers_free(x);
            numbers_free(mean);
            numbers_free(m2);
        }
}

static void check_norm_bwd(const struct kernel_table *k, enum act act,
                           size_t rows, size_t c)
{
    float *x = numbers_random(rows * c, 9, 2);
    float *dy = numbers_random(rows * c, 10, 1);
    float *v = numbers_random(6 * c, 11, 1);
    float *s1 = numbers_new(c), *s2 = numbers_new(c);
    float *dx = numbers_random(rows * c, 12, 1);
    float *old = numbers_copy(dx, rows * c);
    float *dy_slope = numbers_new(rows * c);
    struct norm_bwd_rows r = {rows, c, act, x, dy, v, v + c, v + 2 * c};

    k->vec.norm_bwd_sums(&r, s1, s2, NULL);
    k->vec.norm_bwd_sums(&r, s1, s2, dy_slope);
    for (size_t j = 0; j < c; j++) {
        double sum = 0, dot = 0, size1 = 0, size2 = 0;

        for (size_t i = 0; i < rows; i++) {
            double xi = x[i * c + j], u = (double)v[j] * xi + v[c + j];
            double du = dy[i * c + j] * ref_slope(act, u);
            double centred = xi - v[2 * c + j];
            double size = fabs((double)dy[i * c + j]) *
                          (3 + fabs((double)v[j] * xi) + fabs(u));

            sum += du;
            dot += du * centred;
            size1 += size;
            size2 += size * fabs(centred);
        }
        assert_near("s1", k->isa, j, s1[j], sum,
                    (6 + (double)rows) * EPS * size1 + 1e-7);
        assert_near("s2", k->isa, j, s2[j], dot,
                    (7 + (double)rows) * EPS * size2 + 1e-7);
    }
    for (size_t i = 0; i < rows * c; i++) {
        double u = (double)v[i % c] * x[i], t = v[c + i % c];

        assert_near(
            "du", k->isa, i, dy_slope[i], dy[i] * ref_slope(act, u + t),
            6 * EPS * fabs((double)dy[i]) * (1 + fabs(u) + fabs(u + t)) + 1e-7);
    }
    assert_guards("du", dy_slope, rows * c);
    numbers_free(dy_slope);
    for (int acc = 1; acc >= 0; acc--) {
        k->vec.norm_bwd_apply(&r, v + 3 * c, v + 4 * c, v + 5 * c, dx, acc);
        for (size_t i = 0; i < rows * c; i++) {
            size_t j = i % c;
            double u = (double)v[j] * x[i] + v[c + j];
            double du = dy[i] * ref_slope(act, u);
            double a = v[3 * c + j], b = v[4 * c + j], d = v[5 * c + j];
            double centred = (double)x[i] - v[2 * c + j];
            double size =
                fabs(a * dy[i]) * (3 + fabs((double)v[j] * x[i]) + fabs(u)) +
                fabs(b) * (fabs(centred) + fabs((double)x[i])) + fabs(d) +
                fabs((double)old[i]);

            assert_near("norm_bwd_apply", k->isa, i, dx[i],
                        a * du + b * centred + d + (acc ? old[i] : 0),
                        8 * EPS * size + 1e-7);
        }
    }
    assert_guards("s1", s1, c);
    assert_guards("s2", s2, c);
    assert_guards("dx", dx, rows * c);
    numbers_free(x);
    numbers_free(dy);
    numbers_free(v);
    numbers_free(s1);
    numbers_free(s2);
    numbers_free(dx);
    numbers_free(old);
}

static void test_norm_bwd(void **state)
{
    EACH_RUNG(k)
    for (int act = 0; act < ACT_COUNT; act++)
        for (size_t w = 0; w < ARRAY_LEN(widths); w++)
            for (size_t h = 0; h < ARRAY_LEN(heights); h++)
                if (act != ACT_RELU) /* its slope jumps where u rounds */
                    check_norm_bwd(k, act, heights[h], widths[w]);
}

/* (k + 1) EPS / 2 times the product of the magnitudes. */
static void check_matmul(const struct kernel_table *k, size_t m, size_t n,
                         size_t depth, bool is_transposed, bool acc)
{
    size_t ldb = n + 2, ldc = n + 1;
    size_t a_row = is_transposed ? 1 : depth + 1, a_col = is_transposed ? m : 1;
    float *a = numbers_random((m + 1) * (depth + 1), 13, 1);
    float *b = numbers_random(depth * ldb, 14, 1);
    float *c = numbers_random(m * ldc, 15, 1), *old = numbers_copy(c, m * ldc);

    k->vec.matmul(m, n, depth, a, a_row, a_col, b, ldb, c, ldc, acc);
    for (size_t i = 0; i < m * ldc; i++) {
        double sum = 0, size = 0;

        if (i % ldc == n) {
            assert_true(c[i] == old[i]);
            continue;
        }
        for (size_t p = 0; p < depth; p++) {
            double term =
                (double)a[i / ldc * a_row + p * a_col] * b[p * ldb + i % ldc];

            sum += term;
            size += fabs(term);
        }
        if (acc) {
            sum += old[i];
            size += fabs((double)old[i]);
        }
        assert_near("matmul", k->isa, i, c[i], sum,
                    (double)(depth + 2) * EPS / 2 * size);
    }
    assert_guards("matmul", c, m * ldc);
    numbers_free(a);
    numbers_free(b);
    numbers_free(c);
    numbers_free(old);
}

static void test_matmul(void **state)
{
    static const size_t ms[] = {1, 2, 3, 4, 5, 6, 7, 13};
    static const size_t ns[] = {1, 7, 8, 9, 15, 16, 17, 40};

    EACH_RUNG(k)
    for (size_t i = 0; i < ARRAY_LEN(ms); i++)
        for (size_t j = 0; j < ARRAY_LEN(ns); j++)
            for (int way = 0; way < 4; way++)
                check_matmul(k, ms[i], ns[j], 1 + 11 * (i % 3), way & 1,
                             way & 2);
}

static void test_transpose(void **state)
{
    EACH_RUNG(k)
    for (size_t h = 0; h < ARRAY_LEN(widths); h++)
        for (size_t w = 0; w < ARRAY_LEN(widths); w++) {
            size_t rows = widths[h], cols = widths[w];
            float *x = numbers_random(rows * (cols + 1), 16, 1);
            float *y = numbers_new(cols * rows);

            k->vec.transpose(rows, cols, x, cols + 1, 0.5f, y, rows);
            for (size_t i = 0; i < rows * cols; i++)
                assert_near("transpose", k->isa, i, y[i],
                            0.5 * x[i % rows * (cols + 1) + i / rows], 0);
            assert_guards("transpose", y, cols * rows);
            numbers_free(x);
            numbers_free(y);
        }
}

/* Two blocks, so that the maximum moves.  Each exponential's argument is
 * rounded by EPS / 2 |argument|; then exp 1.1 EPS and the sum's roundings. */
static void test_softmax_columns(void **state)
{
    EACH_RUNG(k)
    for (size_t w = 0; w < ARRAY_LEN(widths); w++) {
        enum { ROWS = 11 };
        size_t c = widths[w];
        float *s = numbers_random(2 * ROWS * c, 17, 4);
        float *in = numbers_copy(s, 2 * ROWS * c);
        float *max = numbers_new(c), *sum = numbers_new(c), *f = numbers_new(c);

        for (size_t j = 0; j < c; j++) {
            max[j] = -FLT_MAX;
            sum[j] = 0;
        }
        k->vec.softmax_columns(ROWS, c, s, c, max, sum, f);
        for (size_t j = 0; j < c; j++)
            assert_true(f[j] == 0);
        k->vec.softmax_columns(ROWS, c, s + ROWS * c, c, max, sum, f);
        for (size_t j = 0; j < c; j++) {
            double top = -1e30, first = -1e30, total = 0;

            for (size_t i = 0; i < 2 * ROWS; i++) {
                top = fmax(top, in[i * c + j]);
                if (i < ROWS)
                    first = fmax(first, in[i * c + j]);
            }
            for (size_t i = 0; i < 2 * ROWS; i++)
                total += exp(in[i * c + j] - top);
            assert_near("max", k->isa, j, max[j], top, 0);
            assert_near("sum", k->isa, j, sum[j], total, 60 * EPS * total);
            assert_near("factor", k->isa, j, f[j], exp(first - top),
                        20 * EPS * exp(first - top));
            for (size_t i = ROWS; i < 2 * ROWS; i++) {
                double p = exp(in[i * c + j] - top);

                assert_near("p", k->isa, i, s[i * c + j], p,
                            (2 + (top - in[i * c + j])) * EPS * p + FLT_MIN);
            }
        }
        assert_guards("max", max, c);
        assert_guards("sum", sum, c);
        assert_guards("factor", f, c);
        assert_guards("s", s, 2 * ROWS * c);
        numbers_free(s);
        numbers_free(in);
        numbers_free(max);
        numbers_free(sum);
        numbers_free(f);
    }
}

/* The bare exponential, on the whole range: 1.1 ulp, so 1.2 EPS relative. */
static void test_exp_error(void **state)
{
    enum { N = 17500 };
    static float s[N], ds[N], zero[N];
    static float x[N];

    EACH_RUNG(k)
    {
        for (int i = 0; i < N; i++)
            x[i] = s[i] = -87.3f + (float)i * 0.01f;
        k->vec.softmax_columns_bwd(1, N, s, ds, N, zero, zero, 1);
        for (size_t i = 0; i < N; i++)
            assert_near("exp", k->isa, i, s[i], exp((double)x[i]),
                        1.2 * EPS * exp((double)x[i]));
    }
}

static void test_softmax_columns_bwd(void **state)
{
    EACH_RUNG(k)
    for (size_t w = 0; w < ARRAY_LEN(widths); w++) {
        size_t c = widths[w], n = 3 * c;
        float *s = numbers_random(n, 18, 2), *in = numbers_copy(s, n);
        float *ds = numbers_random(n, 19, 1), *dp = numbers_copy(ds, n);
        float *lse = numbers_random(c, 20, 1), *dot = numbers_random(c, 21, 1);

        k->vec.softmax_columns_bwd(3, c, s, ds, c, lse, dot, 0.25f);
        for (size_t i = 0; i < n; i++) {
            double arg = (double)in[i] - lse[i % c], p = exp(arg);
            double diff = (double)dp[i] - dot[i % c];

            assert_near("p", k->isa, i, s[i], p, (2 + fabs(arg)) * EPS * p);
            assert_near("ds", k->isa, i, ds[i], p * diff * 0.25,
                        (5 + fabs(arg)) * EPS * fabs(p * diff));
        }
        assert_guards("s", s, n);
        assert_guards("ds", ds, n);
        numbers_free(s);
        numbers_free(in);
        numbers_free(ds);
        numbers_free(dp);
        numbers_free(lse);
        numbers_free(dot);
    }
}

/* Rows with a mean of 1000 times their spread.  x - mean is exact to EPS of
 * 1000 in the mean's own rounding (a shift of all by EPS * 1000 / 2), the
 * variance errs by c EPS, and three more roundings follow. */
static void test_layer_norm(void **state)
{
    EACH_RUNG(k)
    for (size_t w = 0; w < ARRAY_LEN(widths); w++)
        for (int way = 0; way < 4; way++) {
            enum { ROWS = 3 };
            size_t c = widths[w], ld = c + 2;
            float offset = way & 2 ? 1000 : 0;
            float *x = numbers_random(ROWS * ld, 30, 1);
            float *gamma = numbers_random(c, 31, 1);
            float *beta = numbers_random(c, 32, 1);
            float *y = numbers_new(ROWS * c);

            for (size_t i = 0; i < ROWS * ld; i++)
                x[i] += offset;
            k->vec.layer_norm(ROWS, c, x, ld, way & 1 ? gamma : NULL,
                              way & 1 ? beta : NULL, 1e-5f, y, c);
            for (size_t i = 0; i < ROWS * c; i++) {
                const float *row = x + i / c * ld;
                double mean = 0, var = 0, rstd, v, g, b;

                for (size_t j = 0; j < c; j++)
                    mean += row[j] / (double)c;
                for (size_t j = 0; j < c; j++)
                    var += (row[j] - mean) * (row[j] - mean) / (double)c;
                rstd = 1 / sqrt(var + (double)1e-5f);
                v = (row[i % c] - mean) * rstd;
                g = way & 1 ? (double)gamma[i % c] : 1;
                b = way & 1 ? (double)beta[i % c] : 0;
                assert_near("layer_norm", k->isa, i, y[i], g * v + b,
                            fabs(g) * EPS *
                                    (((double)c / 2 + 4) * fabs(v) +
                                     2 * (fabs(mean) + 1) * rstd) +
                                EPS * fabs(b));
            }
            assert_guards("layer_norm", y, ROWS * c);
            numbers_free(x);
            numbers_free(gamma);
            numbers_free(beta);
            numbers_free(y);
        }
}

static void test_glu(void **state)
{
    EACH_RUNG(k)
    for (int act = 0; act < ACT_COUNT; act++)
        for (size_t w = 0; w < ARRAY_LEN(widths); w++) {
            enum { ROWS = 3 };
            size_t c = widths[w], ld = 2 * c + 1;
            float *x = numbers_random(ROWS * ld, 33, 2);
            float *y = numbers_new(ROWS * c);

            k->vec.glu(act, ROWS, c, x, ld, y, c);
            for (size_t i = 0; i < ROWS * c; i++) {
                const float *at = x + i / c * ld + i % c;
                double gate = ref_act(act, at[c]);

                assert_near(act_name(act), k->isa, i, y[i], at[0] * gate,
                            fabs((double)at[0]) *
                                    act_bound(act, at[c], 0, gate) +
                                EPS * fabs(at[0] * gate) + FLT_MIN);
            }
            assert_guards("glu", y, ROWS * c);
            numbers_free(x);
            numbers_free(y);
        }
}

static void test_row_and_column_sums(void **state)
{
    EACH_RUNG(k)
    for (size_t w = 0; w < ARRAY_LEN(widths); w++)
        for (size_t h = 0; h < ARRAY_LEN(heights); h++) {
            size_t c = widths[w], rows = heights[h], ld = c + 2;
            float *a = numbers_random(rows * ld, 22, 1);
            float *b = numbers_random(rows * ld, 23, 1);
            float *dots = numbers_new(rows), *sums = numbers_new(c);
            float *products = numbers_new(c);

            k->vec.row_dots(rows, c, a, ld, b, ld, dots);
            k->vec.column_sums(rows, c, a, ld, sums);
            k->vec.column_dots(rows, c, a, b, ld, products);
            for (size_t i = 0; i < rows; i++) {
                double dot = 0, size = 0;

                for (size_t j = 0; j < c; j++) {
                    dot += (double)a[i * ld + j] * b[i * ld + j];
                    size += fabs((double)a[i * ld + j] * b[i * ld + j]);
                }
                assert_near("row_dots", k->isa, i, dots[i], dot,
                            (double)(c + 1) * EPS / 2 * size);
            }
            for (size_t j = 0; j < c; j++) {
                double sum = 0, size = 0, dot = 0, dot_size = 0;

                for (size_t i = 0; i < rows; i++) {
                    double product = (double)a[i * ld + j] * b[i * ld + j];

                    sum += a[i * ld + j];
                    size += fabs((double)a[i * ld + j]);
                    dot += product;
                    dot_size += fabs(product);
                }
                assert_near("column_dots", k->isa, j, products[j], dot,
                            (double)(rows + 1) * EPS / 2 * dot_size);
                assert_near("column_sums", k->isa, j, sums[j], sum,
                            (double)rows * EPS / 2 * size);
            }
            assert_guards("row_dots", dots, rows);
            assert_guards("column_sums", sums, c);
            assert_guards("column_dots", products, c);
            numbers_free(products);
            numbers_free(a);
            numbers_free(b);
            numbers_free(dots);
            numbers_free(sums);
        }
}

static void test_weighted_sum(void **state)
{
    EACH_RUNG(k)
    for (size_t w = 0; w < ARRAY_LEN(widths); w++)
        for (size_t terms = 0; terms <= 5; terms++) {
            size_t c = widths[w];
            float *x = numbers_random(5 * c + 1, 24, 1), *y = numbers_new(c);
            const float *rows[5] = {x, x + c, x + 2 * c, x + 3 * c, x + 4 * c};
            static const float weight[5] = {0.5f, -1, 0.3f, 2, 0.7f};

            k->vec.weighted_sum(terms, rows, weight, c, y);
            for (size_t j = 0; j < c; j++) {
                double sum = 0, size = 0;

                for (size_t i = 0; i < terms; i++) {
                    sum += (double)weight[i] * rows[i][j];
                    size += fabs((double)weight[i] * rows[i][j]);
                }
                assert_near("weighted_sum", k->isa, j, y[j], sum,
                            3 * EPS * size);
            }
            assert_guards("weighted_sum", y, c);
            numbers_free(x);
            numbers_free(y);
        }
}

/* Kernels without fused steps: the scalar bits on every rung. */
static void check_same_bits(const struct kernel_table *k,
                            const struct kernel_table *scalar, size_t n)
{
    float *x = numbers_random(4 * n, 25, 1), *y = numbers_random(4 * n, 26, 1);
    float *p = numbers_random(5 * n, 27, 1), *q = numbers_copy(p, 5 * n);
    float *r = numbers_new(4 * n), *s = numbers_new(4 * n);
    const struct adamw_step step = {0.999f, 0.1f,  0.999f, 0.001f, 0.2f,
                                    1e-8f,  1e-3f, 0.5f,   0.01f};

    for (size_t i = 3 * n; i < 4 * n; i++)
        p[i] = q[i] = fabsf(p[i]);
    k->vec.adamw(n, &step, p, p + n, p + 2 * n, p + 3 * n, p + 4 * n);
    scalar->vec.adamw(n, &step, q, q + n, q + 2 * n, q + 3 * n, q + 4 * n);
    assert_memory_equal(p, q, 5 * n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        assert_true(p[n + i] == 0);
    k->vec.axpby(n, 0.3f, x, -2, y, 0.1f, r);
    scalar->vec.axpby(n, 0.3f, x, -2, y, 0.1f, s);
    assert_memory_equal(r, s, n * sizeof *r);
    k->vec.div_scalar(n, x, 0.7f, r);
    scalar->vec.div_scalar(n, x, 0.7f, s);
    assert_memory_equal(r, s, n * sizeof *r);
    for (int way = 0; way < 8; way++) {
        memcpy(r, y, 4 * n * sizeof *r);
        memcpy(s, y, 4 * n * sizeof *s);
        k->vec.scale_shift(4, n, x, way & 1 ? y : NULL, way & 2 ? x : NULL, r,
                           way & 4);
        scalar->vec.scale_shift(4, n, x, way & 1 ? y : NULL, way & 2 ? x : NULL,
                                s, way & 4);
        assert_memory_equal(r, s, 4 * n * sizeof *r);
    }
    k->vec.mean_cells2(2, n, x, y, r);
    scalar->vec.mean_cells2(2, n, x, y, s);
    assert_memory_equal(r, s, 2 * n * sizeof *r);
    k->vec.scale_columns(4, n, y, x, n, r, n);
    scalar->vec.scale_columns(4, n, y, x, n, s, n);
    assert_memory_equal(r, s, 4 * n * sizeof *r);
    assert_guards("streams", r, 4 * n);
    assert_guards("adamw", p, 5 * n);
    numbers_free(x);
    numbers_free(y);
    numbers_free(p);
    numbers_free(q);
    numbers_free(r);
    numbers_free(s);
}

static void test_same_bits_as_scalar(void **state)
{
    struct kernel_table scalar;

    assert_true(kernels_select(&scalar, "scalar"));
    EACH_RUNG(k)
    for (size_t w = 0; w < ARRAY_LEN(widths); w++)
        check_same_bits(k, &scalar, widths[w]);
}

/* Sums in double of exact squares: n 2^-53 relative, and less than 1e-14. */
static void test_sums_of_squares(void **state)
{
    EACH_RUNG(k)
    for (size_t n = 0; n < 70; n++) {
        float *x = numbers_random(n + 1, 28, 1),
              *y = numbers_random(n + 1, 29, 1);
        float *dy = numbers_new(n);
        double squares = 0, error = 0;

        for (size_t i = 0; i < n; i++) {
            float d = x[i] - y[i];

            squares += (double)x[i] * x[i];
            error += (double)d * d;
        }
        assert_near("sum_squares", k->isa, n, k->vec.sum_squares(n, x), squares,
                    1e-14 * squares);
        assert_near("squared_error", k->isa, n,
                    k->vec.squared_error(n, x, y, 0.5f, dy), error,
                    1e-14 * error);
        for (size_t i = 0; i < n; i++)
            assert_true(dy[i] == 0.5f * (x[i] - y[i]));
        assert_guards("squared_error", dy, n);
        numbers_free(x);
        numbers_free(y);
        numbers_free(dy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_affine_act),
        cmocka_unit_test(test_act_over_the_range),
        cmocka_unit_test(test_act_of_special_values),
        cmocka_unit_test(test_act_bwd),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_norm_bwd),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_softmax_columns),
        cmocka_unit_test(test_exp_error),
        cmocka_unit_test(test_softmax_columns_bwd),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_glu),
        cmocka_unit_test(test_row_and_column_sums),
        cmocka_unit_test(test_weighted_sum),
        cmocka_unit_test(test_same_bits_as_scalar),
        cmocka_unit_test(test_sums_of_squares),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
