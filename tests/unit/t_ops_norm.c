/* t_ops_norm.c - GroupNorm, activations and their adjoints against double.
 *
 * Bounds.  Statistics: blocks of at most 128 rows are summed in f32, about
 * 70 EPS of the magnitudes; a normalised value then errs by some 100 EPS of
 * |scale x| + |shift| + 1 at worst.  Adjoints are compared with central
 * differences of a naive double forward (h = 1e-4, error about 1e-7 of the
 * sums involved) at 2e-5 of the largest adjoint: 128-row f32 sums of terms of
 * either sign.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include "base/compiler.h"
#include "ops/norm.h"

struct shape_row {
    uint32_t n, hw, c0, c1, groups;
    bool has_e;
    enum act act;
};

static const struct shape_row shapes[] = {
    {1, 1, 4, 0, 2, false, ACT_NONE},    {2, 49, 8, 0, 4, false, ACT_SILU},
    {3, 30, 6, 4, 5, true, ACT_SILU},    {2, 300, 32, 0, 32, true, ACT_MISH},
    {1, 260, 24, 8, 8, false, ACT_GELU}, {9, 16, 20, 0, 4, true, ACT_NONE},
};

/* The tensors of one case. */
struct norm_case {
    struct shape_row s;
    size_t c, n_x;
    float *x, *x0, *x1, *gamma, *beta, *e;
};

static void case_open(struct norm_case *t, const struct shape_row *s)
{
    t->s = *s;
    t->c = s->c0 + s->c1;
    t->n_x = (size_t)s->n * s->hw * t->c;
    t->x = numbers_random(t->n_x, 1, 2);
    t->x0 = numbers_new((size_t)s->n * s->hw * s->c0);
    t->x1 = numbers_new((size_t)s->n * s->hw * s->c1);
    t->gamma = numbers_random(t->c, 2, 1);
    t->beta = numbers_random(t->c, 3, 1);
    t->e = numbers_random(s->n * 2 * t->c, 4, 0.5f);
    for (size_t i = 0; i < t->n_x; i++) {
        size_t row = i / t->c, j = i % t->c;

        t->x[i] += 10;
        if (j < s->c0)
            t->x0[row * s->c0 + j] = t->x[i];
        else
            t->x1[row * s->c1 + j - s->c0] = t->x[i];
    }
}

static void case_close(struct norm_case *t)
{
    numbers_free(t->x);
    numbers_free(t->x0);
    numbers_free(t->x1);
    numbers_free(t->gamma);
    numbers_free(t->beta);
    numbers_free(t->e);
}

/* Parameters in double, so that differences can be taken. */
struct naive {
    const struct norm_case *t;
    double *x, *gamma, *beta, *e;
};

static double *widen(const float *x, size_t n)
{
    double *y = test_malloc((n + 1) * sizeof *y);

    for (size_t i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

static void naive_open(struct naive *d, const struct norm_case *t)
{
    d->t = t;
    d->x = widen(t->x, t->n_x);
    d->gamma = widen(t->gamma, t->c);
    d->beta = widen(t->beta, t->c);
    d->e = widen(t->e, t->s.n * 2 * t->c);
}

static void naive_close(struct naive *d)
{
    test_free(d->x);
    test_free(d->gamma);
    test_free(d->beta);
    test_free(d->e);
}

static void naive_group(const struct naive *d, size_t image, size_t group,
                        double *mean, double *rstd)
{
    const struct norm_case *t = d->t;
    size_t len = t->c / t->s.groups;
    double sum = 0, squares = 0, count = (double)t->s.hw * (double)len;
    const double *x = d->x + image * t->s.hw * t->c + group * len;

    for (size_t p = 0; p < t->s.hw; p++)
        for (size_t j = 0; j < len; j++)
            sum += x[p * t->c + j];
    *mean = sum / count;
    for (size_t p = 0; p < t->s.hw; p++)
        for (size_t j = 0; j < len; j++) {
            double diff = x[p * t->c + j] - *mean;

            squares += diff * diff;
        }
    *rstd = 1 / sqrt(squares / count + 1e-5);
}

static double naive_y(const struct naive *d, size_t i, double mean, double rstd)
{
    const struct norm_case *t = d->t;
    size_t image = i / (t->s.hw * t->c), j = i % t->c;
    const double *e = d->e + image * 2 * t->c;
    double u = (d->x[i] - mean) * rstd * d->gamma[j] + d->beta[j];

    if (t->s.has_e)
        u = u * (1 + e[j]) + e[t->c + j];
    return ref_act(t->s.act, u);
}

/* sum of w y over one image, or over all (image >= n). */
static double naive_loss(const struct naive *d, const float *w, size_t image)
{
    const struct norm_case *t = d->t;
    size_t len = t->c / t->s.groups, per_image = t->s.hw * t->c;
    double loss = 0;

    for (size_t n = 0; n < t->s.n; n++)
        for (size_t g = 0; g < t->s.groups && (n == image || image >= t->s.n);
             g++) {
            double mean, rstd;

            naive_group(d, n, g, &mean, &rstd);
            for (size_t p = 0; p < t->s.hw; p++)
                for (size_t j = g * len; j < (g + 1) * len; j++) {
                    size_t i = n * per_image + p * t->c + j;

                    loss += w[i] * naive_y(d, i, mean, rstd);
                }
        }
    return loss;
}

static double naive_slope(const struct naive *d, const float *w, size_t image,
                          double *at)
{
    double h = 1e-4, old = *at, up, down;

    *at = old + h;
    up = naive_loss(d, w, image);
    *at = old - h;
    down = naive_loss(d, w, image);
    *at = old;
    return (up - down) / (2 * h);
}

static struct group_norm_stats_args stats_args(const struct norm_case *t,
                                               float *scale, float *shift,
                                               float *mean, float *rstd)
{
    return (struct group_norm_stats_args){
        .n = t->s.n,
        .hw = t->s.hw,
        .c0 = t->s.c0,
        .c1 = t->s.c1,
        .groups = t->s.groups,
        .e_stride = (uint32_t)(2 * t->c),
        .eps = 1e-5f,
        .x0 = t->x0,
        .x1 = t->s.c1 ? t->x1 : NULL,
        .gamma = t->gamma,
        .beta = t->beta,
        .e = t->s.has_e ? t->e : NULL,
        .scale = scale,
        .shift = shift,
        .mean = mean,
        .rstd = rstd,
    };
}

/* Forward: statistics, then affine_act; y [n][hw][c]. */
static void forward(const struct kernel_table *k, unsigned threads,
                    const struct norm_case *t, float *y, float *mean,
                    float *rstd)
{
    float *scale = numbers_new(t->s.n * t->c);
    float *shift = numbers_new(t->s.n * t->c);
    struct group_norm_stats_args a = stats_args(t, scale, shift, mean, rstd);
    struct affine_act_args apply = {t->s.n, t->s.hw, (uint32_t)t->c, t->s.act,
                                    t->x,   scale,   shift,          y};
    struct bench b;

    bench_open(
        &b, k, threads,
        group_norm_stats_scratch(k, threads, t->s.n, t->s.hw, (uint32_t)t->c));
    group_norm_stats(&b.ctx, &a);
    affine_act(&b.ctx, &apply);
    bench_close(&b);
    assert_guards("scale", scale, t->s.n * t->c);
    assert_guards("shift", shift, t->s.n * t->c);
    numbers_free(scale);
    numbers_free(shift);
}

static void check_forward(const struct kernel_table *k,
                          const struct norm_case *t)
{
    size_t n_groups = t->s.n * t->s.groups, len = t->c / t->s.groups;
    float *y = numbers_new(t->n_x), *again = numbers_new(t->n_x);
    float *mean = numbers_new(n_groups), *rstd = numbers_new(n_groups);
    struct naive d;

    naive_open(&d, t);
    forward(k, 1, t, y, mean, rstd);
    for (size_t i = 0; i < t->n_x; i++) {
        size_t image = i / (t->s.hw * t->c), j = i % t->c;
        double m, r;

        naive_group(&d, image, j / len, &m, &r);
        assert_near("mean", k->isa, i, mean[image * t->s.groups + j / len], m,
                    70 * EPS * 20);
        assert_near("rstd", k->isa, i, rstd[image * t->s.groups + j / len], r,
                    70 * EPS * r);

        double size = 20 * r * fabs(d.gamma[j]) + fabs(d.beta[j]) + 1;

        if (t->s.has_e)
            size *= 3;
        assert_near("y", k->isa, i, y[i], naive_y(&d, i, m, r),
                    100 * EPS * size);
    }
    for (unsigned threads = 2; threads <= 4; threads += 2) {
        forward(k, threads, t, again, NULL, NULL);
        assert_memory_equal(y, again, t->n_x * sizeof *y);
    }
    naive_close(&d);
    numbers_free(y);
    numbers_free(again);
    numbers_free(mean);
    numbers_free(rstd);
}

static void test_forward(void **state)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct norm_case t;

        case_open(&t, &shapes[i]);
        for (size_t r = 0; r < n; r++)
            check_forward(&tables[r], &t);
        case_close(&t);
    }
}

/* A constant far from 0: the variance is 0, and y is beta. */
static void test_constant_input(void **state)
{
    struct shape_row s = {1, 500, 16, 0, 4, false, ACT_NONE};
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);
    struct norm_case t;

    case_open(&t, &s);
    for (size_t i = 0; i < t.n_x; i++)
        t.x[i] = t.x0[i] = 4096;
    for (size_t r = 0; r < n; r++) {
        float *y = numbers_new(t.n_x), rstd[4];

        forward(&tables[r], 1, &t, y, NULL, rstd);
        assert_near("rstd", tables[r].isa, 0, rstd[0], 1 / sqrt(1e-5),
                    EPS * 320);
        /* scale x and shift are both rounded at 4096 * 316 |gamma|. */
        for (size_t i = 0; i < t.n_x; i++)
            assert_near("y", tables[r].isa, i, y[i], t.beta[i % 16],
                        2 * EPS * 4096 * 317 * fabs((double)t.gamma[i % 16]) +
                            EPS * fabs((double)t.beta[i % 16]));
        numbers_free(y);
    }
    case_close(&t);
}

/* Everything that the adjoint writes. */
struct adjoints {
    float *dx, *dgamma, *dbeta, *de;
};

static void backward(const struct kernel_table *k, unsigned threads,
                     const struct norm_case *t, const float *dy, bool acc,
                     struct adjoints *o)
{
    size_t n_groups = t->s.n * t->s.groups;
    float *mean = numbers_new(n_groups), *rstd = numbers_new(n_groups);
    float *y = numbers_new(t->n_x);
    uint32_t c = (uint32_t)t->c;
    struct bench b;

    forward(k, 1, t, y, mean, rstd);
    struct group_norm_bwd_args a = {
        .n = t->s.n,
        .hw = t->s.hw,
        .c = c,
        .groups = t->s.groups,
        .e_stride = 2 * c,
        .de_stride = 2 * c,
        .act = t->s.act,
        .is_accumulating = acc,
        .x = t->x,
        .dy = dy,
        .mean = mean,
        .rstd = rstd,
        .gamma = t->gamma,
        .beta = t->beta,
        .e = t->s.has_e ? t->e : NULL,
        .dx = o->dx,
        .dgamma = o->dgamma,
        .dbeta = o->dbeta,
        .de = t->s.has_e ? o->de : NULL,
    };

    bench_open(&b, k, threads,
               group_norm_bwd_scratch(k, threads, t->s.n, t->s.hw, c));
    group_norm_bwd(&b.ctx, &a);
    bench_close(&b);
    assert_guards("dx", o->dx, t->n_x);
    numbers_free(mean);
    numbers_free(rstd);
    numbers_free(y);
}

/* Accumulating outputs start from these. */
static void adjoints_open(struct adjoints *o, const struct norm_case *t)
{
    o->dx = numbers_random(t->n_x, 6, 1);
    o->dgamma = numbers_random(t->c, 7, 1);
    o->dbeta = numbers_random(t->c, 8, 1);
    o->de = numbers_new(t->s.n * 2 * t->c);
}

static void adjoints_close(struct adjoints *o)
{
    numbers_free(o->dx);
    numbers_free(o->dgamma);
    numbers_free(o->dbeta);
    numbers_free(o->de);
}

/* Up to 25 places of each tensor. */
static void check_slopes(const struct kernel_table *k, const char *what,
                         const struct naive *d, const float *dy, double *at,
                         const float *got, const float *start, size_t n,
                         bool is_by_image)
{
    size_t step = n / 25 + 1, per_image = n / d->t->s.n;

    for (size_t i = 0; i < n; i += step) {
        size_t image = is_by_image ? i / per_image : d->t->s.n;
        double wanted = naive_slope(d, dy, image, at + i);
        double bound =
            2e-5 * (sqrt((double)d->t->s.hw * d->t->s.n) + fabs(wanted));

        assert_near(what, k->isa, i, got[i], wanted + (start ? start[i] : 0),
                    bound);
    }
}

static void check_backward(const struct kernel_table *k,
                           const struct norm_case *t, bool acc)
{
    float *dy = numbers_random(t->n_x, 5, 1);
    struct adjoints got, start, again;
    struct naive d;

    naive_open(&d, t);
    adjoints_open(&got, t);
    adjoints_open(&start, t);
    backward(k, 1, t, dy, acc, &got);
    check_slopes(k, "dx", &d, dy, d.x, got.dx, acc ? start.dx : NULL, t->n_x,
                 true);
    check_slopes(k, "dgamma", &d, dy, d.gamma, got.dgamma, start.dgamma, t->c,
                 false);
    check_slopes(k, "dbeta", &d, dy, d.beta, got.dbeta, start.dbeta, t->c,
                 false);
    if (t->s.has_e)
        check_slopes(k, "de", &d, dy, d.e, got.de, NULL, t->s.n * 2 * t->c,
                     true);
    for (unsigned threads = 2; threads <= 4; threads += 2) {
        adjoints_open(&again, t);
        backward(k, threads, t, dy, acc, &again);
        assert_memory_equal(got.dx, again.dx, t->n_x * sizeof *dy);
        assert_memory_equal(got.dgamma, again.dgamma, t->c * sizeof *dy);
        assert_memory_equal(got.dbeta, again.dbeta, t->c * sizeof *dy);
        assert_memory_equal(got.de, again.de, t->s.n * 2 * t->c * sizeof *dy);
        adjoints_close(&again);
    }
    naive_close(&d);
    adjoints_close(&got);
    adjoints_close(&start);
    numbers_free(dy);
}

static void test_backward(void **state)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct norm_case t;

        case_open(&t, &shapes[i]);
        for (size_t r = 0; r < n; r++) {
            check_backward(&tables[r], &t, false);
            check_backward(&tables[r], &t, true);
        }
        case_close(&t);
    }
}

/* Flat activation over several pieces of work, forward and adjoint; the slope
 * bound is that of tests/kern/t_vector.c. */
static void test_flat_activation(void **state)
{
    enum { N = 40001 };
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);
    float *x = numbers_random(N, 9, 2), *dy = numbers_random(N, 10, 1);
    float *y = numbers_new(N), *dx = numbers_new(N), *again = numbers_new(N);

    for (size_t r = 0; r < n; r++) {
        struct affine_act_args f = {1, N, 1, ACT_SILU, x, NULL, NULL, y};
        struct act_bwd_args g = {N, ACT_SILU, false, x, dy, dx};
        struct bench b;

        for (unsigned threads = 1; threads <= 4; threads *= 2) {
            bench_open(&b, &tables[r], threads, 0);
            affine_act(&b.ctx, &f);
            g.dx = threads == 1 ? dx : again;
            act_bwd(&b.ctx, &g);
            bench_close(&b);
            if (threads > 1)
                assert_memory_equal(dx, again, N * sizeof *dx);
        }
        for (size_t i = 0; i < N; i += 7) {
            double s = 1 / (1 + exp(-(double)x[i]));
            double slope = s * (1 + x[i] * (1 - s));

            assert_near("silu", tables[r].isa, i, y[i], s * x[i],
                        5 * EPS * fabs((double)x[i]));
            assert_near("silu'", tables[r].isa, i, dx[i], dy[i] * slope,
                        6 * EPS * (1 + fabs((double)x[i])) *
                            fabs((double)dy[i]));
        }
        assert_guards("y", y, N);
        assert_guards("dx", dx, N);
    }
    numbers_free(x);
    numbers_free(dy);
    numbers_free(y);
    numbers_free(dx);
    numbers_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_constant_input),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_flat_activation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
