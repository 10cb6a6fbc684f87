/* t_winograd.c - the Winograd convolutions against a direct one in double.
 *
 * Tolerance.  With |.| taken of every matrix and operand, the sum
 *     S = |AT| ( (|G| |w| |GT|) . (|BT| |x| |B|) summed over cin ) |A|
 * bounds every partial sum of the computation, so that the error of an output
 * is at most (length of its longest chain of roundings) * eps * S to first
 * order.  A chain has 6 + 6 operations for a transform of x, 4 + 4 roundings
 * for one of a filter, its constants' included (one in all in F(2x2)), cin
 * products and sums, 6 + 6 for the output and 3 for what is added: cin + 35.  S is computed in double here.  Operands of bf16
 * err by 2^-8 of themselves each: (1 + 2^-8)^2 - 1 < 2.01 * 2^-8 more.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/rng.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/conv2d.h"
#include "ops/choose.h"
#include "ops/winograd.h"
#include "tables.h"

struct shape_case {
    uint32_t n, h, w, c0, c1, cout, up, pad, oh, ow;
    bool has_norm, has_vec, has_res;
};

static const struct shape_case cases_f4[] = {
    {1, 5, 5, 16, 0, 16, 1, 1, 5, 5, false, false, false},
    {2, 7, 7, 64, 0, 64, 1, 1, 7, 7, true, true, true},
    {1, 8, 12, 16, 8, 24, 1, 1, 8, 12, true, false, true},
    {3, 28, 28, 32, 0, 32, 1, 1, 28, 28, true, true, false},
    {1, 14, 9, 24, 40, 48, 1, 1, 14, 9, true, true, true},
    {2, 6, 5, 16, 0, 40, 2, 1, 12, 10, false, true, false},
    {1, 11, 13, 16, 0, 16, 1, 0, 9, 11, false, false, false},
    {20, 7, 7, 16, 16, 16, 1, 1, 7, 7, true, false, true},
    {2, 27, 66, 96, 40, 16, 1, 1, 27, 66, true, true, true}, /* strips */
    {1, 13, 35, 16, 0, 24, 2, 1, 26, 70, true, false, false},
};

static const struct shape_case cases_f2[] = {
    {1, 16, 16, 64, 0, 32, 1, 1, 16, 16, false, false, false},
    {2, 17, 19, 64, 0, 48, 1, 1, 17, 19, true, true, true},
    {1, 8, 10, 80, 0, 32, 2, 1, 16, 20, true, true, false},
    {1, 19, 18, 64, 0, 32, 1, 0, 17, 16, false, false, false},
    {8, 16, 16, 48, 32, 32, 1, 1, 16, 16, true, false, true},
    {5, 18, 18, 64, 0, 32, 1, 1, 18, 18, false, false, false},
    {2, 34, 41, 48, 112, 32, 1, 1, 34, 41, true, true, true}, /* strips */
    {1, 8, 25, 80, 0, 48, 2, 1, 16, 50, true, false, false},
    {1, 28, 36, 96, 0, 32, 1, 1, 28, 36, false, false, true},
};

/* Absolute values of the matrices of F(e x e, 3x3), p = e + 2 points a side. */
struct flavour {
    const struct shape_case *cases;
    size_t n_cases, e, p;
    double bt[6][6], at[4][6], g[6][3];
};

static const struct flavour f4 = {
    cases_f4,
    sizeof cases_f4 / sizeof *cases_f4,
    4,
    6,
    {{4, 0, 5, 0, 1, 0},
     {0, 4, 4, 1, 1, 0},
     {0, 4, 4, 1, 1, 0},
     {0, 2, 1, 2, 1, 0},
     {0, 2, 1, 2, 1, 0},
     {0, 4, 0, 5, 0, 1}},
    {{1, 1, 1, 1, 1, 0},
     {0, 1, 1, 2, 2, 0},
     {0, 1, 1, 4, 4, 0},
     {0, 1, 1, 8, 8, 1}},
    {{1.0 / 4, 0, 0},
     {1.0 / 6, 1.0 / 6, 1.0 / 6},
     {1.0 / 6, 1.0 / 6, 1.0 / 6},
     {1.0 / 24, 1.0 / 12, 1.0 / 6},
     {1.0 / 24, 1.0 / 12, 1.0 / 6},
     {0, 0, 1}},
};

static const struct flavour f2 = {
    cases_f2,
    sizeof cases_f2 / sizeof *cases_f2,
    2,
    4,
    {{1, 0, 1, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 1, 0, 1}},
    {{1, 1, 1, 0}, {0, 1, 1, 1}},
    {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, {0, 0, 1}},
};

/* What a test runs on. */
struct rung {
    const char *name;
    const struct flavour *flavour;
};

static const struct rung rungs[] = {
    {"avx2", &f4},     {"scalar bf16", &f2}, {"avx2 bf16", &f2},
    {"emulated", &f2}, {"avx512bf16", &f2},
};

struct fixture {
    const struct flavour *flavour;
    struct conv2d_args a;
    struct kernel_table k;
    float *x0, *x1, *scale, *shift, *w, *bias, *vec, *res, *y, *packed;
    unsigned char *scratch;
    double *x; /* what the taps see: [n][up_h][up_w][c] */
    size_t n_y;
};

static float *random_floats(struct rng *rng, size_t n)
{
    float *p = malloc((n + 16) * sizeof *p);

    assert_non_null(p);
    rng_normal_f32(rng, p, n + 16);
    return p;
}

static void make_input(struct fixture *f)
{
    const struct conv2d_shape *s = &f->a.s;
    uint32_t c = s->c0 + s->c1;

    f->x = malloc((size_t)s->n * s->up_h * s->up_w * c * sizeof *f->x);
    for (size_t i = 0, at = 0; i < s->n; i++)
        for (size_t y = 0; y < s->up_h; y++)
            for (size_t x = 0; x < s->up_w; x++)
                for (size_t j = 0; j < c; j++, at++) {
                    size_t from = (i * s->h + y * s->h / s->up_h) * s->w +
                                  x * s->w / s->up_w;
                    double v = j < s->c0 ? f->x0[from * s->c0 + j]
                                         : f->x1[from * s->c1 + j - s->c0];
                    if (f->a.scale) {
                        v = (double)f->scale[i * c + j] * v +
                            (double)f->shift[i * c + j];
                        v = v / (1 + exp(-v));
                    }
                    f->x[at] = v;
                }
}

static void fixture_init(struct fixture *f, const struct rung *on,
                         const struct shape_case *t)
{
    struct rng rng;
    uint32_t c = t->c0 + t->c1;
    struct conv2d_shape s = {
        t->n, t->h, t->w, t->c0,  t->c1,  t->h * t->up, t->w * t->up, t->cout,
        3,    3,    1,    t->pad, t->pad, t->oh,        t->ow};

    memset(f, 0, sizeof *f);
    f->flavour = on->flavour;
    assert_true(tables_select(&f->k, on->name));
    rng_seed(&rng, 11);
    f->n_y = (size_t)t->n * t->oh * t->ow * t->cout;
    f->x0 = random_floats(&rng, (size_t)t->n * t->h * t->w * t->c0);
    f->x1 = random_floats(&rng, (size_t)t->n * t->h * t->w * t->c1);
    f->scale = random_floats(&rng, (size_t)t->n * c);
    f->shift = random_floats(&rng, (size_t)t->n * c);
    f->w = random_floats(&rng, (size_t)t->cout * c * 9);
    f->bias = random_floats(&rng, t->cout);
    f->vec = random_floats(&rng, (size_t)t->n * t->cout);
    f->res = random_floats(&rng, f->n_y);
    f->y = random_floats(&rng, f->n_y);
    f->packed = aligned_alloc(
        64, size_align(winograd_packed_bytes(&f->k, c, t->cout), 64));
    f->a = (struct conv2d_args){.s = s,
                                .act = t->has_norm ? ACT_SILU : ACT_NONE,
                                .out_scale = 0.75f,
                                .vec_stride = t->cout,
                                .x0 = f->x0,
                                .x1 = f->x1,
                                .scale = t->has_norm ? f->scale : NULL,
                                .shift = t->has_norm ? f->shift : NULL,
                                .w = f->packed,
                                .bias = f->bias,
                                .vec = t->has_vec ? f->vec : NULL,
                                .res = t->has_res ? f->res : NULL,
                                .y = f->y};
    assert_int_equal(choose_conv(&f->k, &s, false), CONV_WINOGRAD);
    winograd_pack(&f->k, f->packed, f->w, c, t->cout, false);
    f->scratch = aligned_alloc(
        64, size_align(winograd_scratch(&f->k, 4, &s, false), 64));
    make_input(f);
}

static void fixture_fini(struct fixture *f)
{
    free(f->x0), free(f->x1), free(f->scale), free(f->shift), free(f->w);
    free(f->bias), free(f->vec), free(f->res), free(f->y), free(f->packed);
    free(f->scratch), free(f->x);
}

static void run(struct fixture *f, unsigned threads)
{
    struct pool *pool;
    struct op_ctx ctx = {.k = &f->k, .scratch = f->scratch};

    assert_int_equal(pool_new(&pool, threads, 0, NULL), UNSTIR_OK);
    ctx.pool = pool;
    ctx.scratch_bytes = winograd_scratch(&f->k, 4, &f->a.s, false);
    winograd_run(&ctx, &f->a);
    pool_free(pool);
}

static double input_at(const struct fixture *f, size_t i, int64_t y, int64_t x,
                       size_t c)
{
    const struct conv2d_shape *s = &f->a.s;

    if (y < 0 || x < 0 || y >= (int64_t)s->up_h || x >= (int64_t)s->up_w)
        return 0;
    return f->x[(((i * s->up_h + (size_t)y) * s->up_w) + (size_t)x) *
                    (s->c0 + s->c1) +
                c];
}

/* S of the head comment for one channel of one output. */
static double bound_of(const struct fixture *f, size_t i, size_t oy, size_t ox,
                       const float *w, size_t c)
{
    const struct conv2d_shape *s = &f->a.s;
    const struct flavour *l = f->flavour;
    size_t e = l->e, p = l->p, ty = oy / e * e, tx = ox / e * e;
    double v[6][6] = {{0}}, u[6][6] = {{0}}, sum = 0;

    for (size_t a = 0; a < p * p; a++) {
        double x = fabs(input_at(f, i, (int64_t)(ty + a / p) - s->pad_t,
                                 (int64_t)(tx + a % p) - s->pad_l, c));
        for (size_t q = 0; x > 0 && q < p * p; q++)
            v[q / p][q % p] += l->bt[q / p][a / p] * l->bt[q % p][a % p] * x;
    }
    for (size_t a = 0; a < 9; a++)
        for (size_t q = 0; q < p * p; q++)
            u[q / p][q % p] +=
                l->g[q / p][a / 3] * l->g[q % p][a % 3] * fabs((double)w[a]);
    for (size_t q = 0; q < p * p; q++)
        sum += l->at[oy % e][q / p] * l->at[ox % e][q % p] * u[q / p][q % p] *
               v[q / p][q % p];
    return sum;
}

/* One output in double, and its S. */
static double output_at(const struct fixture *f, size_t i, size_t oy, size_t ox,
                        size_t o, double *bound)
{
    const struct conv2d_shape *s = &f->a.s;
    size_t c = s->c0 + s->c1;
    double sum = 0;

    *bound = 0;
    for (size_t j = 0; j < c; j++) {
        const float *w = f->w + (o * c + j) * 9;
        for (size_t k = 0; k < 9; k++)
            sum +=
                (double)w[k] * input_at(f, i, (int64_t)(oy + k / 3) - s->pad_t,
                                        (int64_t)(ox + k % 3) - s->pad_l, j);
        *bound += bound_of(f, i, oy, ox, w, j);
    }
    return sum;
}

static void check_outputs(const struct fixture *f, const struct shape_case *t)
{
    const struct conv2d_shape *s = &f->a.s;
    size_t step = f->n_y > 3000 ? f->n_y / 3000 | 1 : 1;
    double roundings = (s->c0 + s->c1 + 35) * (double)FLT_EPSILON;
    double error = 0, size = 0;

    if (f->k.gemm.is_bf16)
        roundings += 2.01 * 0x1p-8;

    for (size_t at = 0; at < f->n_y; at += step) {
        size_t o = at % s->cout, ox = at / s->cout % s->ow;
        size_t oy = at / s->cout / s->ow % s->oh;
        size_t i = at / s->cout / s->ow / s->oh;
        double bound, wanted = output_at(f, i, oy, ox, o, &bound), tolerance;
        wanted += (double)f->bias[o];
        bound += fabs((double)f->bias[o]);
        if (t->has_vec)
            wanted += (double)f->vec[i * s->cout + o];
        if (t->has_res)
            wanted += (double)f->res[at];
        wanted *= 0.75;
        tolerance = roundings * bound;
        error += pow((double)f->y[at] - wanted, 2);
        size += wanted * wanted;
        if (!(fabs((double)f->y[at] - wanted) <= tolerance))
            fail_msg("%s at %zu (%zu,%zu,%zu,%zu): wanted %.9g, got %.9g, "
                     "tolerance %g",
                     f->k.isa, at, i, oy, ox, o, wanted, (double)f->y[at],
                     tolerance);
    }
    /* The bound is of the worst case; in the mean square roundings cancel. */
    print_message("%s, %ux%u %u -> %u: error %.2g of the outputs\n", f->k.isa,
                  s->oh, s->ow, s->c0 + s->c1, s->cout, sqrt(error / size));
}

static void forward_of(const struct rung *on, const struct shape_case *t)
{
    struct fixture f;
    float guard;

    fixture_init(&f, on, t);
    guard = f.y[f.n_y];
    run(&f, 1);
    assert_memory_equal(&guard, &f.y[f.n_y], sizeof guard);
    check_outputs(&f, t);
    fixture_fini(&f);
}

static void threads_of(const struct rung *on, const struct shape_case *t)
{
    struct fixture f;
    float *first;

    fixture_init(&f, on, t);
    first = malloc(f.n_y * sizeof *first);
    run(&f, 1);
    memcpy(first, f.y, f.n_y * sizeof *first);
    for (unsigned threads = 2; threads <= 4; threads += 2) {
        memset(f.y, 0xff, f.n_y * sizeof *f.y);
        run(&f, threads);
        assert_memory_equal(first, f.y, f.n_y * sizeof *first);
    }
    free(first);
    fixture_fini(&f);
}

/* Each picture of a batch has the bytes it has alone. */
static void batch_of(const struct rung *on, const struct shape_case *t)
{
    struct fixture f;
    float *batch;
    size_t per;

    if (t->n < 8)
        return;
    fixture_init(&f, on, t);
    per = f.n_y / t->n;
    batch = malloc(f.n_y * sizeof *batch);
    run(&f, 2);
    memcpy(batch, f.y, f.n_y * sizeof *batch);
    f.a.s.n = 1;
    for (size_t i = 0; i < t->n; i++) {
        run(&f, 1);
        assert_memory_equal(batch + i * per, f.y, per * sizeof *batch);
        f.a.x0 += (size_t)t->h * t->w * t->c0;
        f.a.x1 += (size_t)t->h * t->w * t->c1;
        f.a.scale += t->c0 + t->c1;
        f.a.shift += t->c0 + t->c1;
        f.a.res += per;
    }
    free(batch);
    fixture_fini(&f);
}

/* Every rung, every shape of its flavour. */
static void everywhere(void (*test)(const struct rung *,
                                    const struct shape_case *))
{
    struct kernel_table k;

    for (size_t r = 0; r < sizeof rungs / sizeof *rungs; r++) {
        if (!tables_select(&k, rungs[r].name)) {
            print_message("SKIP %s: it cannot run here\n", rungs[r].name);
            continue;
        }
        for (size_t i = 0; i < rungs[r].flavour->n_cases; i++)
            test(&rungs[r], &rungs[r].flavour->cases[i]);
    }
}

static void test_forward(void **state)
{
    everywhere(forward_of);
}

static void test_threads_same_bytes(void **state)
{
    everywhere(threads_of);
}

static void test_batch_same_bytes(void **state)
{
    everywhere(batch_of);
}

/* -- the gate ------------------------------------------------------------- */

static void (*right_input)(void *v, size_t plane, const float *x,
                           size_t row_stride, size_t col_stride, size_t c);

/* Operands of three bits: an error of some 5e-2. */
static void coarse_input(void *v, size_t plane, const float *x,
                         size_t row_stride, size_t col_stride, size_t c)
{
    uint32_t u;

    right_input(v, plane, x, row_stride, col_stride, c);
    for (size_t q = 0; q < 16; q++)
        for (size_t i = 0; i < c; i++) {
            float *at = (float *)v + q * plane + i;
            memcpy(&u, at, sizeof u);
            u &= 0xffe00000u;
            memcpy(at, &u, sizeof u);
        }
}

/* y of the plain convolution by table k, weights and sizes of the fixture. */
static bool convolve(const struct kernel_table *k, struct fixture *f)
{
    const struct conv2d_shape *s = &f->a.s;
    size_t n = conv2d_scratch(k, 1, s);
    void *packed =
        aligned_alloc(64, conv2d_packed_bytes(k, s->c0, s->cout, 3, 3));
    struct op_ctx ctx = {.k = k, .scratch_bytes = n};
    struct conv2d_args a = f->a;
    bool is_demoted;

    ctx.scratch = aligned_alloc(64, size_align(n, 64));
    conv2d_pack(k, packed, f->w, s->c0, s->cout, 3, 3);
    a.w = packed;
    conv2d_run(&ctx, &a);
    is_demoted = conv2d_is_demoted(k, packed, s->c0, s->cout, 3, 3);
    free(ctx.scratch);
    free(packed);
    return is_demoted;
}

/* A layer that fails on the gate's data goes the direct way, to the byte. */
static void test_gate(void **state)
{
    const struct rung *on = &rungs[1];
    struct kernel_table direct, coarse;
    struct fixture f;
    float *wanted;

    fixture_init(&f, on, &cases_f2[0]);
    wanted = malloc(f.n_y * sizeof *wanted);
    assert_false(convolve(&f.k, &f)); /* usual weights pass */
    direct = coarse = f.k;
    direct.wino.is_used = false;
    right_input = f.k.wino.input;
    coarse.wino.input = coarse_input;
    assert_false(convolve(&direct, &f));
    memcpy(wanted, f.y, f.n_y * sizeof *wanted);
    assert_true(convolve(&coarse, &f));
    assert_memory_equal(wanted, f.y, f.n_y * sizeof *wanted);

    f.w[100] = 3e38f; /* a sum of taps overflows: not a number is no pass */
    f.w[101] = 3e38f;
    assert_true(convolve(&f.k, &f));
    free(wanted);
    fixture_fini(&f);
}

/* The gate of the adjoint's weights, which are as good. */
static void test_gate_of_adjoint(void **state)
{
    enum { CIN = 64, COUT = 96 };
    struct kernel_table k;
    struct rng rng;

    assert_true(tables_select(&k, "scalar bf16"));
    rng_seed(&rng, 3);
    float *w = random_floats(&rng, CIN * COUT * 9);
    void *packed = aligned_alloc(64, conv2d_packed_bytes(&k, COUT, CIN, 3, 3));
    conv2d_pack_adjoint(&k, packed, w, CIN, COUT, 3, 3);
    assert_false(conv2d_is_demoted(&k, packed, COUT, CIN, 3, 3));
    free(packed);
    free(w);
}

/* Every transform of the rung against its scalar twin: the same matrices in
 * another order.  The absolute weights of a patch sum to at most 100 (input)
 * and 225 (adjoint); values are below 5; chains have 12 and 8 roundings. */
static void test_kernels_agree(void **state)
{
    enum { C = 24, PATCH = 6 * 6 * C };
    struct kernel_table scalar, wide;
    struct rng rng;
    float x[PATCH], v0[36 * C], v1[36 * C];

    if (!kernels_select(&scalar, "scalar") || !kernels_select(&wide, "avx2"))
        skip();
    rng_seed(&rng, 5);
    rng_normal_f32(&rng, x, PATCH);
    scalar.wino.input(v0, C, x, 6 * C, C, C);
    wide.wino.input(v1, C, x, 6 * C, C, C);
    for (size_t i = 0; i < 36 * C; i++)
        assert_true(fabsf(v0[i] - v1[i]) <= 12 * FLT_EPSILON * 100 * 5);
    scalar.wino.grad(v0, C, x, 6 * C, C, C);
    wide.wino.grad(v1, C, x, 6 * C, C, C);
    for (size_t i = 0; i < 36 * C; i++)
        assert_true(fabsf(v0[i] - v1[i]) <= 8 * FLT_EPSILON * 225 * 5);
}

static void run_bwd(struct fixture *f, const float *dy, float *dw,
                    unsigned threads)
{
    struct conv2d_bwd_weights_args a = {
        .s = f->a.s, .x = f->x0, .dy = dy, .dw = dw};
    struct op_ctx ctx = {.k = &f->k};
    struct pool *pool;

    assert_int_equal(pool_new(&pool, threads, 0, NULL), UNSTIR_OK);
    ctx.pool = pool;
    ctx.scratch = aligned_alloc(
        64,
        size_align(winograd_bwd_weights_scratch(&f->k, threads, &f->a.s), 64));
    winograd_bwd_weights(&ctx, &a);
    free(ctx.scratch);
    pool_free(pool);
}

static double weight_gradient(const struct fixture *f, size_t o, size_t c,
                              size_t k)
{
    const struct conv2d_shape *s = &f->a.s;
    double sum = 0;

    for (size_t at = 0; at < (size_t)s->n * s->oh * s->ow; at++) {
        size_t x = at % s->ow, y = at / s->ow % s->oh, i = at / s->ow / s->oh;
        int64_t iy = (int64_t)(y + k / 3) - s->pad_t;
        int64_t ix = (int64_t)(x + k % 3) - s->pad_l;
        if (iy < 0 || ix < 0 || iy >= s->h || ix >= s->w)
            continue;
        sum += (double)
                   f->x0[((i * s->h + (size_t)iy) * s->w + (size_t)ix) * s->c0 +
                         c] *
               (double)f->res[at * s->cout + o];
    }
    return sum;
}

/* Adjoint for weights, relative to the largest gradient: the transforms of x
 * and dy amplify roundings by up to 100 and 225 in absolute terms but by
 * about 10 in the root mean square, so 100 eps of the largest.
 *
 * Operands of bf16 err by 0.75 * 2^-8 / sqrt 3 of themselves in the mean square,
 * so a product by 2.4e-3.  Along one axis the products of F(2x2)'s four points
 * have 2, 4, 4, 2 times the mean square of x dy, a tap at the end takes points
 * 0 or 3 and a quarter of 1 and 2, which is twice the two products that it is
 * made of: along both, sqrt(2 * 2) * 2.4e-3 = 4.8e-3 of the gradients.  The
 * worst of some thousands is at 4.5 of that, the largest gradient at three. */
static void bwd_weights_of(const struct rung *on, const struct shape_case *t)
{
    struct fixture f;
    struct conv2d_shape *s = &f.a.s;
    double worst = 0, largest = 0, tolerance;

    fixture_init(&f, on, t);
    tolerance = f.k.gemm.is_bf16 ? 7.2e-3 : 100 * (double)FLT_EPSILON;
    size_t n_w = (size_t)s->cout * s->c0 * 9;
    float *dw = calloc(n_w, sizeof *dw), *again = calloc(n_w, sizeof *again);
    dw[0] = 1;
    run_bwd(&f, f.res, dw, 1);
    run_bwd(&f, f.res, again, 3);
    assert_memory_equal(dw + 1, again + 1, (n_w - 1) * sizeof *dw);
    for (size_t at = 0; at < n_w; at += 7) {
        double wanted = (at == 0) + weight_gradient(&f, at / 9 / s->c0,
                                                    at / 9 % s->c0, at % 9);
        worst = fmax(worst, fabs((double)dw[at] - wanted));
        largest = fmax(largest, fabs(wanted));
    }
    if (worst > tolerance * largest)
        fail_msg("%s, %ux%u, %u -> %u: worst error %g of %g", f.k.isa, s->oh,
                 s->ow, s->c0, s->cout, worst, largest);
    print_message("%s, %ux%u %u -> %u: worst %.2g of the largest\n", f.k.isa,
                  s->oh, s->ow, s->c0, s->cout, worst / largest);
    free(dw), free(again);
    fixture_fini(&f);
}

static void test_bwd_weights(void **state)
{
    const size_t which[2][4] = {{1, 3, 0, 0}, {1, 3, 0, 5}};
    struct kernel_table k;

    for (size_t r = 0; r < sizeof rungs / sizeof *rungs; r++)
        for (size_t i = 0; i < 4 && tables_select(&k, rungs[r].name); i++)
            bwd_weights_of(&rungs[r],
                           &rungs[r].flavour->cases[which[r > 0][i]]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_agree),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_threads_same_bytes),
        cmocka_unit_test(test_batch_same_bytes),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_gate_of_adjoint),
        cmocka_unit_test(test_bwd_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
