/* t_ops_resample.c - upsampling, cell means, FIR filters, and adjoints.
 *
 * All are linear, so an adjoint is exact when <A x, u> = <x, A^T u> for every
 * pair of unit vectors; here for every x and u of small shapes by comparing
 * with the matrix that the naive double forward yields column by column.
 * Bounds: at most 64 terms, so 66 EPS / 2 of the magnitudes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include "base/compiler.h"
#include "ops/resample.h"

enum resample { UPSAMPLE, POOL, FIR };

struct resample_case {
    enum resample kind;
    uint32_t n, h, w, c, oh, ow;
    uint32_t up, down, n_taps;
    int32_t pad0, pad1;
};

static const float taps[8] = {0.1f, 0.35f, 0.4f, 0.15f, -0.2f, 0.3f, 0.05f, 1};

static const struct resample_case cases[] = {
    {UPSAMPLE, 2, 3, 4, 5, 6, 8, 0, 0, 0, 0, 0},
    {UPSAMPLE, 1, 3, 4, 9, 7, 5, 0, 0, 0, 0, 0},
    {UPSAMPLE, 1, 2, 2, 1, 2, 2, 0, 0, 0, 0, 0},
    {UPSAMPLE, 1, 4, 5, 8, 3, 3, 0, 0, 0, 0, 0},
    {POOL, 2, 4, 6, 8, 2, 3, 0, 0, 0, 0, 0},
    {POOL, 1, 5, 7, 3, 2, 3, 0, 0, 0, 0, 0},
    {POOL, 3, 2, 2, 17, 1, 1, 0, 0, 0, 0, 0},
    {FIR, 1, 4, 5, 3, 8, 10, 2, 1, 4, 2, 1},
    {FIR, 2, 6, 4, 9, 3, 2, 1, 2, 4, 1, 1},
    {FIR, 1, 5, 5, 2, 6, 6, 1, 1, 4, 2, 2},
    {FIR, 1, 4, 4, 8, 3, 3, 1, 1, 1, 0, -1},
    {FIR, 1, 3, 3, 4, 9, 9, 3, 1, 8, 4, 3},
    {FIR, 1, 5, 4, 1, 4, 3, 2, 3, 3, 2, 3},
};

static size_t in_size(const struct resample_case *t)
{
    return (size_t)t->n * t->h * t->w * t->c;
}

static size_t out_size(const struct resample_case *t)
{
    return (size_t)t->n * t->oh * t->ow * t->c;
}

static struct fir_args fir_of(const struct resample_case *t)
{
    struct fir_args a = {
        .n = t->n,
        .h = t->h,
        .w = t->w,
        .c = t->c,
        .oh = t->oh,
        .ow = t->ow,
        .up = t->up,
        .down = t->down,
        .n_taps = t->n_taps,
        .pad0 = t->pad0,
        .pad1 = t->pad1,
    };

    memcpy(a.taps, taps, t->n_taps * sizeof *taps);
    return a;
}

static void run_forward(const struct kernel_table *k, unsigned threads,
                        const struct resample_case *t, const float *x, float *y)
{
    struct bench b;

    bench_open(&b, k, threads, 0);
    if (t->kind == UPSAMPLE) {
        struct upsample_nearest_args a = {t->n,  t->h,  t->w, t->c,
                                          t->oh, t->ow, x,    y};
        upsample_nearest(&b.ctx, &a);
    } else if (t->kind == POOL) {
        struct avg_pool2_args a = {t->n, t->h, t->w, t->c, x, y};
        avg_pool2(&b.ctx, &a);
    } else {
        struct fir_args a = fir_of(t);
        a.x = x;
        a.y = y;
        fir_run(&b.ctx, &a);
    }
    bench_close(&b);
}

static void run_backward(const struct kernel_table *k, unsigned threads,
                         const struct resample_case *t, bool acc,
                         const float *dy, float *dx)
{
    struct bench b;

    bench_open(&b, k, threads, 0);
    if (t->kind == UPSAMPLE) {
        struct upsample_nearest_bwd_args a = {t->n,  t->h, t->w, t->c, t->oh,
                                              t->ow, acc,  dy,   dx};
        upsample_nearest_bwd(&b.ctx, &a);
    } else if (t->kind == POOL) {
        struct avg_pool2_bwd_args a = {t->n, t->h, t->w, t->c, acc, dy, dx};
        avg_pool2_bwd(&b.ctx, &a);
    } else {
        struct fir_bwd_args a = {fir_of(t), acc, dy, dx};
        fir_bwd(&b.ctx, &a);
    }
    bench_close(&b);
}

/* The weight of input row (or column) i in output row o: along one axis, all
 * three are products of these. */
static double axis_weight(const struct resample_case *t, size_t i, size_t o,
                          size_t in, size_t out)
{
    double weight = 0;

    if (t->kind == UPSAMPLE)
        return i == (size_t)floor((double)o * (double)in / (double)out);
    if (t->kind == POOL)
        return i / 2 == o ? 0.5 : 0;
    /* As the header words it: zeros between, padding, flipped kernel. */
    for (size_t z = 0; z < t->n_taps; z++) {
        long at = (long)(o * t->down + z) - t->pad0;

        if (at >= 0 && at == (long)(i * t->up))
            weight += taps[t->n_taps - 1 - z];
    }
    return weight;
}

static double weight_of(const struct resample_case *t, size_t in, size_t out)
{
    size_t c = t->c, iw = t->w, ow = t->ow;

    if (in % c != out % c || in / (c * iw * t->h) != out / (c * ow * t->oh))
        return 0;
    return axis_weight(t, in / (c * iw) % t->h, out / (c * ow) % t->oh, t->h,
                       t->oh) *
           axis_weight(t, in / c % iw, out / c % ow, iw, ow);
}

static void check_forward(const struct kernel_table *k,
                          const struct resample_case *t)
{
    size_t n = in_size(t), m = out_size(t);
    float *x = numbers_random(n, 1, 1), *y = numbers_new(m);
    float *again = numbers_new(m);

    run_forward(k, 1, t, x, y);
    for (size_t o = 0; o < m; o++) {
        double sum = 0, size = 0;

        for (size_t i = 0; i < n; i++) {
            sum += weight_of(t, i, o) * x[i];
            size += fabs(weight_of(t, i, o) * x[i]);
        }
        assert_near("forward", k->isa, o, y[o], sum, 33 * EPS * size);
    }
    assert_guards("y", y, m);
    for (unsigned threads = 2; threads <= 4; threads += 2) {
        run_forward(k, threads, t, x, again);
        assert_memory_equal(y, again, m * sizeof *y);
    }
    numbers_free(x);
    numbers_free(y);
    numbers_free(again);
}

static void check_backward(const struct kernel_table *k,
                           const struct resample_case *t, bool acc)
{
    size_t n = in_size(t), m = out_size(t);
    float *dy = numbers_random(m, 2, 1), *dx = numbers_random(n, 3, 1);
    float *start = numbers_copy(dx, n), *again = numbers_copy(dx, n);

    run_backward(k, 1, t, acc, dy, dx);
    run_backward(k, 4, t, acc, dy, again);
    assert_memory_equal(dx, again, n * sizeof *dx);
    for (size_t i = 0; i < n; i++) {
        double sum = acc ? start[i] : 0, size = fabs(sum);

        for (size_t o = 0; o < m; o++) {
            sum += weight_of(t, i, o) * dy[o];
            size += fabs(weight_of(t, i, o) * dy[o]);
        }
        assert_near("adjoint", k->isa, i, dx[i], sum, 33 * EPS * size);
    }
    assert_guards("dx", dx, n);
    numbers_free(dy);
    numbers_free(dx);
    numbers_free(start);
    numbers_free(again);
}

static void check_kind(enum resample kind)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t r = 0; r < n && cases[i].kind == kind; r++) {
            check_forward(&tables[r], &cases[i]);
            check_backward(&tables[r], &cases[i], false);
            check_backward(&tables[r], &cases[i], true);
        }
}

static void test_upsample_nearest(void **state)
{
    check_kind(UPSAMPLE);
}
static void test_avg_pool2(void **state)
{
    check_kind(POOL);
}
static void test_fir(void **state)
{
    check_kind(FIR);
}

/* The resampler of NCSN++ keeps a constant away from the border: (1,3,3,1). */
static void test_fir_keeps_a_constant(void **state)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t r = 0; r < n; r++) {
        struct fir_args a = {1,    8,   8, 3, 16, 16,
                             2,    1,   4, 2, 1,  {0.25f, 0.75f, 0.75f, 0.25f},
                             NULL, NULL};
        float x[192], y[768];
        struct bench b;

        for (size_t i = 0; i < 192; i++)
            x[i] = 3;
        a.x = x;
        a.y = y;
        bench_open(&b, &tables[r], 1, 0);
        fir_run(&b.ctx, &a);
        bench_close(&b);
        assert_near("middle", tables[r].isa, 0, y[(7 * 16 + 8) * 3 + 1], 3, 0);
        assert_near("corner", tables[r].isa, 0, y[0], 3 * 0.75 * 0.75, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upsample_nearest),
        cmocka_unit_test(test_avg_pool2),
        cmocka_unit_test(test_fir),
        cmocka_unit_test(test_fir_keeps_a_constant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
