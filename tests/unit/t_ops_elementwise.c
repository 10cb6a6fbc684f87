/* t_ops_elementwise.c - streams, embeddings, losses and the optimiser.
 *
 * Sizes cross the pieces of 16384 floats that streams are cut into.  A formula
 * of k f32 operations errs by k EPS / 2 of its terms' magnitudes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include "base/compiler.h"
#include "ops/elementwise.h"
#include "ops/embed.h"
#include "ops/optim.h"

#define EACH_RUNG(k)                        \
    struct kernel_table tables_[MAX_RUNGS]; \
    size_t n_tables_ = rungs(tables_);      \
    for (const struct kernel_table *k = tables_; k < tables_ + n_tables_; k++)

typedef void (*op_fn)(const struct op_ctx *ctx, const void *args);

static void run(const struct kernel_table *k, unsigned threads, op_fn fn,
                const void *args, size_t scratch)
{
    struct bench b;

    bench_open(&b, k, threads, scratch);
    fn(&b.ctx, args);
    bench_close(&b);
}

static void test_axpby(void **state)
{
    enum { N = 33001 };
    float *x = numbers_random(N, 1, 1), *y = numbers_random(N, 2, 1);
    float *z = numbers_new(N);

    EACH_RUNG(k)
    for (unsigned threads = 1; threads <= 4; threads *= 2)
        for (int has_x1 = 0; has_x1 < 2; has_x1++) {
            struct axpby_args a = {N, 2.5f, -0.3f, 1, x, has_x1 ? y : NULL, z};

            run(k, threads, axpby, &a, 0);
            for (size_t i = 0; i < N; i++) {
                double second = has_x1 ? -0.3f * (double)y[i] : 0;

                assert_near("axpby", k->isa, i, z[i], 2.5 * x[i] + second + 1,
                            2 * EPS * (fabs(2.5 * x[i]) + fabs(second) + 1));
            }
            assert_guards("axpby", z, N);
        }
    numbers_free(x);
    numbers_free(y);
    numbers_free(z);
}

/* The output is both inputs. */
static void test_axpby_in_place(void **state)
{
    EACH_RUNG(k)
    {
        float x[40];
        struct axpby_args a = {40, 1, 1, 0, x, x, x};

        for (int i = 0; i < 40; i++)
            x[i] = (float)i;
        run(k, 1, axpby, &a, 0);
        for (int i = 0; i < 40; i++)
            assert_true(x[i] == 2 * (float)i);
    }
}

struct vec_case {
    uint32_t n, hw, c;
};

static const struct vec_case vec_cases[] = {
    {1, 1, 1}, {3, 5, 7}, {2, 49, 96}, {2, 600, 64}, {1, 2, 17000}};

static void check_add_vec(const struct kernel_table *k,
                          const struct vec_case *t, unsigned threads)
{
    size_t n = (size_t)t->n * t->hw * t->c, nv = t->n * (t->c + 3);
    float *x = numbers_random(n, 3, 1), *v = numbers_random(nv, 4, 1);
    float *y = numbers_new(n), *dv = numbers_random(nv, 5, 1);
    float *start = numbers_copy(dv, nv);
    struct add_vec_args f = {t->n, t->hw, t->c, t->c + 3, x, v, y};

    run(k, threads, add_vec, &f, 0);
    for (size_t i = 0; i < n; i++)
        assert_true(y[i] == x[i] + v[i / t->hw / t->c * (t->c + 3) + i % t->c]);
    assert_guards("add_vec", y, n);
    for (int acc = 1; acc >= 0; acc--) {
        struct add_vec_bwd_args g = {t->n, t->hw, t->c, t->c + 3, acc, x, dv};

        run(k, threads, add_vec_bwd, &g, 0);
        for (size_t i = 0; i < nv; i++) {
            size_t image = i / (t->c + 3), j = i % (t->c + 3);
            double sum = acc ? start[i] : 0, size = fabs(sum);

            if (j >= t->c) {
                assert_true(dv[i] == start[i]);
                continue;
            }
            for (size_t p = 0; p < t->hw; p++) {
                double d = x[(image * t->hw + p) * t->c + j];

                sum += d;
                size += fabs(d);
            }
            /* f32 sums of at most 128 rows, joined in double. */
            assert_near("add_vec_bwd", k->isa, i, dv[i], sum, 66 * EPS * size);
        }
    }
    numbers_free(x);
    numbers_free(v);
    numbers_free(y);
    numbers_free(dv);
    numbers_free(start);
}

static void test_add_vec(void **state)
{
    EACH_RUNG(k)
    for (size_t i = 0; i < ARRAY_LEN(vec_cases); i++)
        for (unsigned threads = 1; threads <= 4; threads += 3)
            check_add_vec(k, &vec_cases[i], threads);
}

static void check_scale_shift_bwd(const struct kernel_table *k,
                                  const struct vec_case *t, unsigned threads,
                                  bool acc)
{
    size_t n = (size_t)t->n * t->hw * t->c, c = t->c;
    float *x = numbers_random(n, 6, 1), *dy = numbers_random(n, 7, 1);
    float *e = numbers_random(t->n * 2 * c, 8, 1),
          *de = numbers_new(t->n * 2 * c);
    float *dx = numbers_random(n, 9, 1), *start = numbers_copy(dx, n);
    struct scale_shift_bwd_args g = {t->n, t->hw, t->c, 2 * t->c, 2 * t->c, acc,
                                     x,    e,     dy,   dx,       de};

    run(k, threads, scale_shift_bwd, &g, 0);
    for (size_t i = 0; i < n; i++) {
        double gain = 1 + (double)e[i / t->hw / c * 2 * c + i % c];
        double old = acc ? start[i] : 0;

        assert_near("dx", k->isa, i, dx[i], dy[i] * gain + old,
                    2 * EPS * (fabs(dy[i]) * (1 + fabs(gain)) + fabs(old)));
    }
    for (size_t i = 0; i < t->n * c; i++) {
        size_t image = i / c, j = i % c;
        double scale = 0, shift = 0, scale_size = 0, shift_size = 0;

        for (size_t p = 0; p < t->hw; p++) {
            double d = dy[(image * t->hw + p) * c + j];

            double product = d * x[(image * t->hw + p) * c + j];

            shift += d;
            scale += product;
            shift_size += fabs(d);
            scale_size += fabs(product);
        }
        assert_near("de", k->isa, i, de[image * 2 * c + j], scale,
                    66 * EPS * scale_size);
        assert_near("de", k->isa, i, de[image * 2 * c + c + j], shift,
                    66 * EPS * shift_size);
    }
    assert_guards("dx", dx, n);
    assert_guards("de", de, t->n * 2 * c);
    numbers_free(x);
    numbers_free(dy);
    numbers_free(e);
    numbers_free(de);
    numbers_free(dx);
    numbers_free(start);
}

static void test_scale_shift(void **state)
{
    EACH_RUNG(k)
    for (size_t i = 0; i < ARRAY_LEN(vec_cases); i++) {
        const struct vec_case *t = &vec_cases[i];
        size_t n = (size_t)t->n * t->hw * t->c, c = t->c;
        float *x = numbers_random(n, 6, 1), *y = numbers_new(n);
        float *e = numbers_random(t->n * 2 * c, 8, 1);
        struct scale_shift_args a = {t->n, t->hw, t->c, 2 * t->c, x, e, y};

        run(k, 2, scale_shift, &a, 0);
        for (size_t p = 0; p < n; p++) {
            const float *row = e + p / t->hw / c * 2 * c + p % c;

            assert_near("scale_shift", k->isa, p, y[p],
                        x[p] * (1 + (double)row[0]) + row[c],
                        2 * EPS *
                            (fabs((double)x[p]) * (1 + fabs((double)row[0])) +
                             fabs((double)row[c])));
        }
        assert_guards("scale_shift", y, n);
        for (unsigned threads = 1; threads <= 4; threads += 3)
            for (int acc = 0; acc < 2; acc++)
                check_scale_shift_bwd(k, t, threads, acc);
        numbers_free(x);
        numbers_free(y);
        numbers_free(e);
    }
}

/* Concatenate 5 + 9 columns, cut 9 of them out again, add them up. */
static void test_copy_columns(void **state)
{
    enum { ROWS = 3001 };
    float *a = numbers_random(ROWS * 5, 10, 1);
    float *b = numbers_random(ROWS * 9, 11, 1);
    float *both = numbers_new(ROWS * 14), *back = numbers_new(ROWS * 9);

    EACH_RUNG(k)
    {
        struct copy_columns_args put_a = {ROWS, 5, 5, 0, 14, 0, false, a, both};
        struct copy_columns_args put_b = {ROWS, 9, 9, 0, 14, 5, false, b, both};
        struct copy_columns_args cut = {ROWS, 9,     14,   5,   9,
                                        0,    false, both, back};
        struct copy_columns_args add = {ROWS, 9, 14, 5, 9, 0, true, both, back};

        run(k, 2, copy_columns, &put_a, 0);
        run(k, 2, copy_columns, &put_b, 0);
        for (size_t i = 0; i < ROWS * 14; i++)
            assert_true(both[i] == (i % 14 < 5 ? a[i / 14 * 5 + i % 14]
                                               : b[i / 14 * 9 + i % 14 - 5]));
        run(k, 4, copy_columns, &cut, 0);
        assert_memory_equal(back, b, ROWS * 9 * sizeof *b);
        run(k, 4, copy_columns, &add, 0);
        for (size_t i = 0; i < ROWS * 9; i++)
            assert_true(back[i] == 2 * b[i]);
        assert_guards("concat", both, ROWS * 14);
        assert_guards("split", back, ROWS * 9);
    }
    numbers_free(a);
    numbers_free(b);
    numbers_free(both);
    numbers_free(back);
}

static void test_div_vec(void **state)
{
    enum { N = 3, M = 17000 };
    float *x = numbers_random(N * M, 12, 1), *y = numbers_new(N * M);
    static const float v[N] = {0.3f, 7, -2};

    EACH_RUNG(k)
    {
        struct div_vec_args a = {N, M, x, v, y};

        run(k, 2, div_vec, &a, 0);
        for (size_t i = 0; i < N * M; i++)
            assert_true(y[i] == x[i] / v[i / M]);
        assert_guards("div_vec", y, N * M);
    }
    numbers_free(x);
    numbers_free(y);
}

/* Values printed by the reference (get_timestep_embedding).  Sine and cosine
 * are rounded once on both sides: half a spacing each, EPS in all. */
static void test_time_embed(void **state)
{
    static const struct {
        uint32_t dim;
        bool is_cos_first;
        float shift, t;
        struct {
            uint32_t i;
            float y;
        } at[6];
    } rows[] = {
        {128,
         false,
         1,
         999,
         {{0, -0x1.b1887p-6f},
          {1, 0x1.74141cp-1f},
          {32, 0x1.1bb3aep-3f},
          {64, 0x1.ffd21ap-1f},
          {126, 0x1.fc94cap-1f},
          {127, 0x1.fd727ep-1f}}},
        {33,
         true,
         0,
         250,
         {{0, 0x1.ed8b46p-3f},
          {1, -0x1.69b25cp-1f},
          {8, -0x1.9a2f7ep-1f},
          {16, -0x1.f0e90cp-1f},
          {31, 0x1.6c1258p-5f},
          {32, 0}}},
        {32,
         true,
         0,
         999,
         {{0, 0x1.ffd21ap-1f},
          {1, -0x1.b02120p-1f},
          {8, -0x1.b05e58p-1f},
          {16, -0x1.b1887p-6f},
          {30, 0x1.3e23b4p-2f},
          {31, 0x1.69eabp-3f}}},
    };

    EACH_RUNG(k)
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        float t[2] = {0, rows[r].t}, *y = numbers_new(2 * rows[r].dim);
        struct time_embed_args a = {
            2, rows[r].dim, rows[r].is_cos_first, rows[r].shift, 1, 10000, t,
            y};

        run(k, 1, time_embed, &a, 0);
        for (size_t i = 0; i < 6; i++)
            assert_near("time_embed", k->isa, rows[r].at[i].i,
                        y[rows[r].dim + rows[r].at[i].i], rows[r].at[i].y, EPS);
        for (size_t i = 0; i < rows[r].dim / 2 * 2; i++)
            assert_true(y[i] ==
                        ((i < rows[r].dim / 2) == rows[r].is_cos_first));
        assert_guards("time_embed", y, 2 * rows[r].dim);
        numbers_free(y);
    }
}

/* The angle is rounded four times: 2 EPS |angle|, then the sine once. */
static void test_fourier_embed(void **state)
{
    static const float sigma[2] = {0.02f, 348}, freq[3] = {1.5f, -16, 0.1f};

    EACH_RUNG(k)
    for (int way = 0; way < 4; way++) {
        float *y = numbers_new(12);
        bool is_cos_first = way & 1, is_log = way & 2;
        struct fourier_embed_args a = {2,    3, is_cos_first, is_log, sigma,
                                       freq, y};

        run(k, 1, fourier_embed, &a, 0);
        for (size_t i = 0; i < 12; i++) {
            double x = is_log ? log((double)sigma[i / 6]) : sigma[i / 6];
            double angle = x * freq[i % 3] * 2 * M_PI;
            bool is_cos = (i % 6 < 3) == is_cos_first;

            assert_near("fourier_embed", k->isa, i, y[i],
                        is_cos ? cos(angle) : sin(angle),
                        EPS * (1 + 2 * fabs(angle)));
        }
        assert_guards("fourier_embed", y, 12);
        numbers_free(y);
    }
}

static void test_lookup(void **state)
{
    static const float id[4] = {2, 0, 2, 1};
    float *table = numbers_random(3 * 11, 13, 1);

    EACH_RUNG(k)
    {
        float *y = numbers_new(44), *d = numbers_new(33);
        struct lookup_args a = {4, 11, 3, id, table, y};
        struct lookup_bwd_args g = {4, 11, 3, id, y, d};

        for (size_t i = 0; i < 33; i++)
            d[i] = 0.5f;
        run(k, 1, lookup, &a, 0);
        for (size_t i = 0; i < 44; i++)
            assert_true(y[i] == table[(size_t)id[i / 11] * 11 + i % 11]);
        run(k, 1, lookup_bwd, &g, 0);
        for (size_t i = 0; i < 33; i++)
            assert_true(d[i] == 0.5f + table[i] + (i / 11 == 2 ? table[i] : 0));
        assert_guards("lookup", y, 44);
        assert_guards("lookup_bwd", d, 33);
        numbers_free(y);
        numbers_free(d);
    }
    numbers_free(table);
}

/* loss in double but for y - target; dy three roundings. */
static void test_squared_error(void **state)
{
    enum { N = 3, M = 17001 };
    float *y = numbers_random(N * M, 14, 1), *t = numbers_random(N * M, 15, 1);
    static const float weight[N] = {1, 0.5f, 3};

    EACH_RUNG(k)
    for (int has_weight = 0; has_weight < 2; has_weight++) {
        float *dy = numbers_new(N * M), *again = numbers_new(N * M), loss[N];
        struct squared_error_args a = {
            N, M, y, t, has_weight ? weight : NULL, dy, loss};

        run(k, 1, squared_error, &a, 0);
        for (size_t n = 0; n < N; n++) {
            double w = has_weight ? weight[n] : 1, sum = 0;

            for (size_t i = n * M; i < (n + 1) * M; i++) {
                double d = (double)y[i] - t[i];

                sum += d * d;
                assert_near("dy", k->isa, i, dy[i], 2 * w * d / (N * (double)M),
                            2 * EPS * fabs(2 * w * d / (N * (double)M)));
            }
            assert_near("loss", k->isa, n, loss[n], w * sum / M,
                        2 * EPS * w * sum / M);
        }
        a.dy = again;
        run(k, 4, squared_error, &a, 0);
        assert_memory_equal(dy, again, N * M * sizeof *dy);
        assert_guards("dy", dy, N * M);
        numbers_free(dy);
        numbers_free(again);
    }
    numbers_free(y);
    numbers_free(t);
}

static void test_sum_squares(void **state)
{
    enum { N = 50007 };
    float *x = numbers_random(N, 16, 1);
    double wanted = 0;

    for (size_t i = 0; i < N; i++)
        wanted += (double)x[i] * x[i];
    EACH_RUNG(k)
    {
        double first = 0;

        for (unsigned threads = 1; threads <= 4; threads *= 2) {
            double sum = 0;
            struct sum_squares_args a = {N, x, &sum};

            run(k, threads, sum_squares, &a, sum_squares_scratch(N));
            if (threads == 1)
                first = sum;
            assert_true(sum == first);
            /* N 2^-53 is 6e-12. */
            assert_near("sum_squares", k->isa, 0, sum, wanted, 6e-12 * wanted);
        }
    }
    numbers_free(x);
}

/* Three steps of torch.optim.AdamW (2.15.0), printed by it: lr 1.5e-3, betas
 * 0.9 and 0.999, eps 1e-8, decay 0.01, gradients g, 2 g, 3 g.  A step is
 * 1.5e-3, wrong by a few EPS of itself; a parameter is rounded twice a step:
 * 3 EPS of its magnitude.  Moments: three roundings a step. */
static void test_adamw_of_the_reference(void **state)
{
    static const float grad[5] = {0.1f, -0.3f, 2, 1e-4f, -5};
    static const float p_end[5] = {0x1.fdbb60p-1f, -0x1.fedabcp+0f,
                                   0x1.fb7caap-2f, -0x1.1f5606p-8f,
                                   0x1.a08adep+1f};
    static const float m_end[5] = {0x1.cb923ap-5f, -0x1.58adacp-3f,
                                   0x1.1f3b64p+0f, 0x1.d699d4p-15f,
                                   -0x1.670a3ep+1f};
    static const float v_end[5] = {0x1.2579bap-13f, 0x1.4a28f2p-10f,
                                   0x1.ca8e30p-5f, 0x1.33bb38p-33f,
                                   0x1.663f18p-2f};

    EACH_RUNG(k)
    {
        float p[5] = {1, -2, 0.5f, 0, 3.25f}, m[5] = {0}, v[5] = {0}, g[5];

        for (int step = 1; step <= 3; step++) {
            struct adamw_args a = {
                .n = 5,
                .lr = 1.5e-3f,
                .beta1 = 0.9f,
                .beta2 = 0.999f,
                .eps = 1e-8f,
                .weight_decay = 0.01f,
                .c1 = (float)(1 - pow(0.9, step)),
                .c2 = (float)(1 - pow(0.999, step)),
                .grad_scale = 1,
                .p = p,
                .g = g,
                .m = m,
                .v = v,
            };

            for (int i = 0; i < 5; i++)
                g[i] = grad[i] * (float)step;
            run(k, 1, adamw, &a, 0);
        }
        for (size_t i = 0; i < 5; i++) {
            assert_near("p", k->isa, i, p[i], p_end[i],
                        EPS * (3 * fabs((double)p_end[i]) + 3 * 1.5e-3 * 6));
            assert_near("m", k->isa, i, m[i], m_end[i],
                        5 * EPS * fabs((double)m_end[i]));
            assert_near("v", k->isa, i, v[i], v_end[i],
                        5 * EPS * fabs((double)v_end[i]));
            assert_true(g[i] == 0);
        }
    }
}

/* Clipping and the running mean, over several pieces, for any threads. */
static void test_adamw_mean_and_clipping(void **state)
{
    enum { N = 20003 };
    float *start = numbers_random(5 * N, 17, 1);

    for (size_t i = 3 * N; i < 4 * N; i++)
        start[i] = fabsf(start[i]);
    EACH_RUNG(k)
    {
        float *first = NULL;

        for (unsigned threads = 1; threads <= 4; threads *= 2) {
            float *x = numbers_copy(start, 5 * N);
            struct adamw_args a = {
                N,     1e-2f, 0.9f, 0.99f, 1e-8f,     0.1f,      0.5f,     0.3f,
                0.25f, 0.9f,  x,    x + N, x + 2 * N, x + 3 * N, x + 4 * N};

            run(k, threads, adamw, &a, 0);
            for (size_t i = 0; i < N && threads == 1; i++) {
                double g = 0.25 * start[N + i];
                double m = 0.9 * start[2 * N + i] + 0.1 * g;
                double v = 0.99 * start[3 * N + i] + 0.01 * g * g;
                double step = 1e-2 / 0.5 * m / (sqrt(v) / sqrt(0.3) + 1e-8);
                double p = start[i] * (1 - 1e-3) - step;
                double ema = start[4 * N + i];

                assert_near(
                    "p", k->isa, i, x[i], p,
                    3 * EPS * (fabs((double)start[i]) + 6 * fabs(step) + 0.2));
                assert_near("ema", k->isa, i, x[4 * N + i],
                            ema + 0.1 * (p - ema),
                            3 * EPS * (fabs(ema) + fabs(p) + 1));
            }
            if (first)
                assert_memory_equal(first, x, 5 * N * sizeof *x);
            assert_guards("adamw", x, 5 * N);
            if (first)
                numbers_free(x);
            else
                first = x;
        }
        numbers_free(first);
    }
    numbers_free(start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axpby),
        cmocka_unit_test(test_axpby_in_place),
        cmocka_unit_test(test_add_vec),
        cmocka_unit_test(test_scale_shift),
        cmocka_unit_test(test_copy_columns),
        cmocka_unit_test(test_div_vec),
        cmocka_unit_test(test_time_embed),
        cmocka_unit_test(test_fourier_embed),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_squared_error),
        cmocka_unit_test(test_sum_squares),
        cmocka_unit_test(test_adamw_of_the_reference),
        cmocka_unit_test(test_adamw_mean_and_clipping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
