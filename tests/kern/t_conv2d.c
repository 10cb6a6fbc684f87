/* t_conv2d.c - convolution, forward and adjoint, of every rung against a
 * plain loop in double.
 *
 * Bound.  A sum of k products in f32, in any order, errs by at most about
 * k * 2^-24 * sum |a||b| (Higham, Accuracy and Stability, section 3.1); the
 * apply half of a norm, an activation and the epilogue add a few roundings of
 * the same magnitudes, so k + 16 stands for k.  bf16 operands have 8
 * significant bits and err by 2^-8 of themselves each: (1 + 2^-8)^2 - 1 <
 * 2.01 * 2^-8 more.
 *
 * Every buffer that is written has guards on both sides.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "ops/conv2d.h"
#include "ops/choose.h"
#include "ops/winograd.h"
#include "tables.h"

#define GUARD       64 /* floats on either side                              */
#define GUARD_VALUE 12345.0f

enum { NORM = 1, VEC = 2, RES = 4, BIAS = 8, ALIAS = 16, SCALE = 32 };

struct case_row {
    struct conv2d_shape s;
    enum act act;
    unsigned parts;
};

/* n h w c0 c1 up_h up_w cout kh kw stride pad_t pad_l oh ow */
static const struct case_row cases[] = {
    /* plain 3x3, tails in every dimension */
    {{1, 5, 5, 4, 0, 5, 5, 16, 3, 3, 1, 1, 1, 5, 5}, ACT_NONE, 0},
    {{1, 7, 9, 5, 0, 7, 9, 33, 3, 3, 1, 1, 1, 7, 9}, ACT_NONE, BIAS},
    {{2, 6, 5, 3, 0, 6, 5, 17, 3, 3, 1, 1, 1, 6, 5}, ACT_NONE, BIAS | VEC},
    {{1, 13, 11, 8, 0, 13, 11, 1, 3, 3, 1, 1, 1, 13, 11}, ACT_NONE, BIAS},
    {{3, 4, 4, 1, 0, 4, 4, 32, 3, 3, 1, 1, 1, 4, 4}, ACT_NONE, BIAS},
    {{1, 4, 4, 32, 0, 4, 4, 3, 3, 3, 1, 1, 1, 4, 4}, ACT_SILU, BIAS},
    {{9, 5, 6, 16, 0, 5, 6, 1, 3, 3, 1, 1, 1, 5, 6}, ACT_NONE, BIAS | RES},
    {{2, 5, 5, 16, 0, 5, 5, 2, 1, 1, 1, 0, 0, 5, 5}, ACT_NONE, BIAS},
    {{2, 5, 5, 9, 0, 5, 5, 4, 3, 3, 2, 1, 1, 3, 3}, ACT_NONE, BIAS},
    {{2, 5, 4, 2, 0, 5, 4, 20, 3, 3, 2, 1, 1, 3, 2}, ACT_NONE, BIAS},
    /* more rows than a block, more panels than one */
    {{1, 20, 19, 16, 0, 20, 19, 48, 3, 3, 1, 1, 1, 20, 19}, ACT_NONE, 0},
    /* many row blocks: several panels a chunk, the last ones fewer */
    {{1, 1, 1300, 8, 0, 1, 1300, 330, 1, 1, 1, 0, 0, 1, 1300}, ACT_NONE, BIAS},
    /* many images: groups */
    {{9, 7, 7, 6, 0, 7, 7, 20, 3, 3, 1, 1, 1, 7, 7}, ACT_SILU, NORM | BIAS},
    {{50, 3, 3, 4, 0, 3, 3, 8, 3, 3, 1, 1, 1, 3, 3}, ACT_NONE, BIAS | VEC},
    /* edges of one */
    {{1, 1, 1, 7, 0, 1, 1, 9, 3, 3, 1, 1, 1, 1, 1}, ACT_NONE, BIAS},
    {{2, 1, 8, 3, 0, 1, 8, 5, 3, 3, 1, 1, 1, 1, 8}, ACT_NONE, 0},
    {{2, 8, 1, 3, 0, 8, 1, 5, 3, 3, 1, 1, 1, 8, 1}, ACT_NONE, 0},
    /* 1x1 and linear: read in place */
    {{2, 5, 5, 24, 0, 5, 5, 16, 1, 1, 1, 0, 0, 5, 5}, ACT_NONE, BIAS | RES},
    {{1, 1, 130, 12, 0, 1, 130, 40, 1, 1, 1, 0, 0, 1, 130}, ACT_NONE, BIAS},
    {{3, 1, 1, 50, 0, 1, 1, 31, 1, 1, 1, 0, 0, 1, 1}, ACT_SILU, BIAS},
    {{12, 1, 17, 8, 0, 1, 17, 24, 1, 1, 1, 0, 0, 1, 17}, ACT_NONE, BIAS | RES},
    {{1, 6, 6, 8, 0, 6, 6, 8, 1, 1, 2, 0, 0, 3, 3}, ACT_NONE, BIAS},
    /* lines of which operands are made piece by piece */
    {{2, 1, 700, 9, 5, 1, 700, 19, 1, 1, 1, 0, 0, 1, 700},
     ACT_SILU,
     NORM | BIAS | VEC | RES | SCALE},
    {{1, 1, 9000, 1, 0, 1, 9000, 17, 1, 1, 1, 0, 0, 1, 9000}, ACT_NONE, 0},
    {{2, 6, 6, 8, 0, 6, 6, 8, 3, 3, 1, 0, 0, 4, 4}, ACT_NONE, BIAS},
    /* strides and lopsided borders */
    {{1, 8, 8, 6, 0, 8, 8, 18, 3, 3, 2, 1, 1, 4, 4}, ACT_NONE, BIAS},
    {{2, 8, 8, 6, 0, 8, 8, 18, 3, 3, 2, 0, 0, 4, 4}, ACT_NONE, BIAS},
    {{1, 7, 9, 5, 0, 7, 9, 4, 3, 3, 2, 1, 1, 4, 5}, ACT_NONE, 0},
    {{1, 5, 6, 3, 0, 5, 6, 4, 3, 3, 1, 2, 0, 5, 6}, ACT_NONE, BIAS},
    {{1, 6, 6, 2, 0, 6, 6, 5, 5, 5, 1, 2, 2, 6, 6}, ACT_NONE, BIAS},
    /* two sources */
    {{1, 6, 6, 8, 4, 6, 6, 16, 3, 3, 1, 1, 1, 6, 6}, ACT_SILU, NORM | BIAS},
    {{2, 5, 5, 3, 7, 5, 5, 6, 1, 1, 1, 0, 0, 5, 5}, ACT_NONE, BIAS},
    /* upsampling, twice and to odd sizes */
    {{1, 4, 4, 8, 0, 8, 8, 16, 3, 3, 1, 1, 1, 8, 8}, ACT_NONE, BIAS},
    {{2, 3, 5, 4, 3, 7, 11, 6, 3, 3, 1, 1, 1, 7, 11}, ACT_MISH, NORM},
    /* everything at once */
    {{2, 6, 7, 9, 5, 6, 7, 19, 3, 3, 1, 1, 1, 6, 7},
     ACT_SILU,
     NORM | BIAS | VEC | RES | SCALE},
    {{2, 6, 7, 9, 0, 6, 7, 19, 3, 3, 1, 1, 1, 6, 7},
     ACT_GELU,
     NORM | BIAS | VEC | RES | ALIAS | SCALE},
    {{10, 6, 7, 9, 0, 6, 7, 19, 3, 3, 1, 1, 1, 6, 7},
     ACT_RELU,
     BIAS | VEC | RES | ALIAS},
};

/* -- memory with guards ---------------------------------------------------- */

static float *guarded(size_t n)
{
    float *p = aligned_alloc(64, ((n + 2 * GUARD) * 4 + 63) / 64 * 64);
    assert_non_null(p);
    for (size_t i = 0; i < n + 2 * GUARD; i++)
        p[i] = GUARD_VALUE;
    return p + GUARD;
}

static void guarded_end(const float *p, size_t n, const char *what)
{
    for (size_t i = 0; i < GUARD; i++)
        if (p[(ptrdiff_t)i - GUARD] != GUARD_VALUE || p[n + i] != GUARD_VALUE)
            fail_msg("%s: written outside, %zu from an end", what, i);
    free((void *)(p - GUARD));
}

static float *noise(size_t n, uint32_t seed)
{
    float *p = guarded(n);
    uint32_t s = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        p[i] = (float)(s >> 8) * 0x1p-23f - 1.0f;
    }
    return p;
}

/* -- tables ---------------------------------------------------------------- */

static const char *const rungs[] = {
    "scalar",        "portable",  "avx2",     "scalar bf16",
    "portable bf16", "avx2 bf16", "emulated",
};

static bool rung_table(struct kernel_table *k, const char *const *r)
{
    if (!tables_select(k, *r)) {
        print_message("SKIP %s: it cannot run here\n", *r);
        return false;
    }
    k->wino.is_used = false; /* has a bound and a test of its own */
    return true;
}

/* -- the reference --------------------------------------------------------- */

static double act_double(enum act act, double x)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_MISH:
        return x * tanh(log1p(exp(x)));
    case ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    default:
        return x;
    }
}

struct value {
    double v, magnitude;
};

static struct value source(const struct conv2d_args *a, uint32_t i, int y,
                           int x, uint32_t c)
{
    const struct conv2d_shape *s = &a->s;
    if (y < 0 || x < 0 || y >= (int)s->up_h || x >= (int)s->up_w)
        return (struct value){0, 0};
    size_t sy = (size_t)y * s->h / s->up_h, sx = (size_t)x * s->w / s->up_w;
    size_t pixel = ((size_t)i * s->h + sy) * s->w + sx, n_c = s->c0 + s->c1;
    double v =
        c < s->c0 ? a->x0[pixel * s->c0 + c] : a->x1[pixel * s->c1 + c - s->c0];
    double m = fabs(v);
    if (a->scale) {
        double scale = a->scale[i * n_c + c], shift = a->shift[i * n_c + c];
        m = fabs(scale * v) + fabs(shift);
        v = scale * v + shift;
    }
    return (struct value){act_double(a->act, v), 1.1 * m};
}

static struct value forward(const struct conv2d_args *a, const float *w,
                            uint32_t i, uint32_t oy, uint32_t ox, uint32_t o)
{
    const struct conv2d_shape *s = &a->s;
    uint32_t n_c = s->c0 + s->c1;
    struct value sum = {0, 0};
    for (uint32_t c = 0; c < n_c; c++) {
        for (uint32_t t = 0; t < s->kh * s->kw; t++) {
            struct value x =
                source(a, i, (int)(oy * s->stride + t / s->kw) - (int)s->pad_t,
                       (int)(ox * s->stride + t % s->kw) - (int)s->pad_l, c);
            double weight = w[((size_t)o * n_c + c) * s->kh * s->kw + t];
            sum.v += x.v * weight;
            sum.magnitude += x.magnitude * fabs(weight);
        }
    }
    return sum;
}

static double tolerance(const struct kernel_table *k, double n_k, bool is_f32)
{
    double t = (n_k + 16) * 0x1p-24;
    return k->gemm.is_bf16 && !is_f32 ? t + 2.01 * 0x1p-8 : t;
}

static void check_near(const char *what, const char *isa, size_t row, size_t at,
                       double want, double got, double bound)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%s on %s, case %zu, element %zu: want %.9g, got %.9g, "
                 "bound %.3g",
                 what, isa, row, at, want, got, bound);
}

/* -- forward --------------------------------------------------------------- */

struct forward_data {
    struct conv2d_args a;
    float *x0, *x1, *scale, *shift, *w, *bias, *vec, *res;
    size_t n_y;
    bool is_alias; /* y takes the place of res                               */
};

static struct forward_data forward_make(const struct case_row *row)
{
    const struct conv2d_shape *s = &row->s;
    struct forward_data d = {0};
    size_t n_c = s->c0 + s->c1, pixels = (size_t)s->n * s->h * s->w;
    d.n_y = (size_t)s->n * s->oh * s->ow * s->cout;
    d.is_alias = row->parts & ALIAS;
    d.x0 = noise(pixels * s->c0, 1);
    d.x1 = noise(pixels * s->c1, 2);
    d.scale = noise(s->n * n_c, 3);
    d.shift = noise(s->n * n_c, 4);
    d.w = noise(s->cout * n_c * s->kh * s->kw, 5);
    d.bias = noise(s->cout, 6);
    d.vec = noise(s->n * (s->cout + 3), 7);
    d.res = noise(d.n_y, 8);
    d.a = (struct conv2d_args){
        .s = *s,
        .act = row->act,
        .out_scale = row->parts & SCALE ? 0.70710678f : 1.0f,
        .vec_stride = s->cout + 3,
        .x0 = d.x0,
        .x1 = s->c1 ? d.x1 : NULL,
        .scale = row->parts & NORM ? d.scale : NULL,
        .shift = row->parts & NORM ? d.shift : NULL,
        .bias = row->parts & BIAS ? d.bias : NULL,
        .vec = row->parts & VEC ? d.vec : NULL,
        .res = row->parts & RES ? d.res : NULL,
    };
    return d;
}

static void forward_end(struct forward_data *d)
{
    const struct conv2d_shape *s = &d->a.s;
    size_t n_c = s->c0 + s->c1, pixels = (size_t)s->n * s->h * s->w;
    guarded_end(d->x0, pixels * s->c0, "x0");
    guarded_end(d->x1, pixels * s->c1, "x1");
    guarded_end(d->scale, s->n * n_c, "scale");
    guarded_end(d->shift, s->n * n_c, "shift");
    guarded_end(d->w, s->cout * n_c * s->kh * s->kw, "w");
    guarded_end(d->bias, s->cout, "bias");
    guarded_end(d->vec, s->n * (s->cout + 3), "vec");
    guarded_end(d->res, d->n_y, "res");
}

/* y of the case on this table with this many threads; guarded. */
static float *forward_run(const struct kernel_table *k,
                          const struct forward_data *d, unsigned n_threads)
{
    const struct conv2d_shape *s = &d->a.s;
    uint32_t n_c = s->c0 + s->c1;
    struct pool *pool;
    assert_int_equal(pool_new(&pool, n_threads, 0, NULL), UNSTIR_OK);
    size_t n_scratch = conv2d_scratch(k, n_threads, s) / 4;
    size_t n_packed = conv2d_packed_bytes(k, n_c, s->cout, s->kh, s->kw) / 4;
    float *scratch = guarded(n_scratch), *packed = guarded(n_packed);
    float *y = guarded(d->n_y);
    struct conv2d_args a = d->a;
    conv2d_pack(k, packed, d->w, n_c, s->cout, s->kh, s->kw);
    a.w = packed;
    a.y = y;
    if (d->is_alias) {
        memcpy(y, d->res, d->n_y * sizeof *y);
        a.res = y;
    }
    struct op_ctx ctx = {k, pool, (unsigned char *)scratch, n_scratch * 4};
    conv2d_run(&ctx, &a);
    guarded_end(scratch, n_scratch, "scratch");
    guarded_end(packed, n_packed, "packed");
    pool_free(pool);
    return y;
}

static void forward_check(const struct kernel_table *k, struct forward_data *d,
                          const float *y, size_t row)
{
    const struct conv2d_args *a = &d->a;
    const struct conv2d_shape *s = &a->s;
    double n_k = (double)(s->c0 + s->c1) * s->kh * s->kw;
    size_t at = 0;
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t p = 0; p < s->oh * s->ow; p++)
            for (uint32_t o = 0; o < s->cout; o++, at++) {
                struct value want =
                    forward(a, d->w, i, p / s->ow, p % s->ow, o);
                double bound = want.magnitude * tolerance(k, n_k, false);
                double rest = a->bias ? a->bias[o] : 0, size = fabs(rest);
                if (a->vec) {
                    rest += a->vec[i * a->vec_stride + o];
                    size += fabs(a->vec[i * a->vec_stride + o]);
                }
                if (a->res) {
                    rest += a->res[at];
                    size += fabs(a->res[at]);
                }
                bound += (size + want.magnitude) * 6 * 0x1p-24 + 1e-30;
                check_near("conv2d", k->isa, row, at,
                           (want.v + rest) * (double)a->out_scale, y[at],
                           bound);
            }
}

/* `check` of every case on every rung that this CPU has. */
static void each_case(void (*check)(const struct kernel_table *k, size_t row))
{
    for (size_t r = 0; r < ARRAY_LEN(rungs); r++) {
        struct kernel_table k;
        if (!rung_table(&k, &rungs[r]))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
            check(&k, i);
    }
}

/* `check` with the data of a forward case and its y on one thread. */
static void with_forward(const struct kernel_table *k, size_t row,
                         void (*check)(const struct kernel_table *k,
                                       struct forward_data *d, const float *y,
                                       size_t row))
{
    struct forward_data d = forward_make(&cases[row]);
    float *y = forward_run(k, &d, 1);
    check(k, &d, y, row);
    guarded_end(y, d.n_y, "y");
    forward_end(&d);
}

static void check_forward(const struct kernel_table *k, size_t row)
{
    with_forward(k, row, forward_check);
}

static void forward_of_every_rung(void **state)
{
    (void)state;
    each_case(check_forward);
}

static void threads_check(const struct kernel_table *k, struct forward_data *d,
                          const float *y1, size_t row)
{
    for (unsigned t = 2; t <= 4; t += 2) {
        float *y = forward_run(k, d, t);
        if (memcmp(y, y1, d->n_y * sizeof *y) != 0)
            fail_msg("%s, case %zu: %u threads give other bytes", k->isa, row,
                     t);
        guarded_end(y, d->n_y, "y");
    }
}

static void check_threads(const struct kernel_table *k, size_t row)
{
    with_forward(k, row, threads_check);
}

static void same_bytes_for_any_threads(void **state)
{
    (void)state;
    each_case(check_threads);
}

/* The first image of a batch has the bytes that it has alone. */
static void batch_check(const struct kernel_table *k, struct forward_data *d,
                        const float *all, size_t row)
{
    uint32_t n = d->a.s.n;
    size_t n_all = d->n_y, n_one = n_all / n;
    d->a.s.n = 1;
    d->n_y = n_one;
    float *one = forward_run(k, d, 1);
    d->a.s.n = n;
    d->n_y = n_all;
    if (memcmp(one, all, n_one * sizeof *one) != 0)
        fail_msg("%s, case %zu: batch of %u changes bytes", k->isa, row, n);
    guarded_end(one, n_one, "y");
}

static void check_batch(const struct kernel_table *k, size_t row)
{
    with_forward(k, row, batch_check);
}

static void same_bytes_in_any_batch(void **state)
{
    (void)state;
    each_case(check_batch);
}

/* -- adjoints -------------------------------------------------------------- */

static bool is_plain(const struct case_row *row)
{
    return row->s.c1 == 0 && row->s.up_h == row->s.h && row->s.up_w == row->s.w;
}

/* dx of one element by the plain sum. */
static struct value adjoint_x(const struct conv2d_shape *s, const float *w,
                              const float *dy, uint32_t i, uint32_t y,
                              uint32_t x, uint32_t c)
{
    struct value sum = {0, 0};
    for (uint32_t oy = 0; oy < s->oh; oy++) {
        int64_t ky = (int64_t)y + s->pad_t - (int64_t)oy * s->stride;
        if (ky < 0 || ky >= s->kh)
            continue;
        for (uint32_t ox = 0; ox < s->ow; ox++) {
            int64_t kx = (int64_t)x + s->pad_l - (int64_t)ox * s->stride;
            if (kx < 0 || kx >= s->kw)
                continue;
            for (uint32_t o = 0; o < s->cout; o++) {
                double p =
                    (double)
                        dy[(((size_t)i * s->oh + oy) * s->ow + ox) * s->cout +
                           o] *
                    w[(((size_t)o * s->c0 + c) * s->kh + (size_t)ky) * s->kw +
                      (size_t)kx];
                sum.v += p;
                sum.magnitude += fabs(p);
            }
        }
    }
    return sum;
}

static float *bwd_data_run(const struct kernel_table *k,
                           const struct conv2d_shape *s, const float *w,
                           const float *dy, const float *before,
                           unsigned n_threads)
{
    struct pool *pool;
    size_t n_x = (size_t)s->n * s->h * s->w * s->c0;
    assert_int_equal(pool_new(&pool, n_threads, 0, NULL), UNSTIR_OK);
    size_t n_scratch = conv2d_bwd_data_scratch(k, n_threads, s) / 4;
    size_t n_packed = conv2d_packed_bytes(k, s->cout, s->c0, s->kh, s->kw) / 4;
    float *scratch = guarded(n_scratch), *packed = guarded(n_packed);
    float *dx = guarded(n_x);
    conv2d_pack_adjoint(k, packed, w, s->c0, s->cout, s->kh, s->kw);
    if (before)
        memcpy(dx, before, n_x * sizeof *dx);
    struct op_ctx ctx = {k, pool, (unsigned char *)scratch, n_scratch * 4};
    conv2d_bwd_data(&ctx, &(struct conv2d_bwd_data_args){*s, before != NULL,
                                                         packed, dy, dx});
    guarded_end(scratch, n_scratch, "scratch");
    guarded_end(packed, n_packed, "packed");
    pool_free(pool);
    return dx;
}

static void bwd_data_check(const struct kernel_table *k, size_t row,
                           bool is_accumulating)
{
    const struct conv2d_shape *s = &cases[row].s;
    size_t n_x = (size_t)s->n * s->h * s->w * s->c0;
    size_t n_y = (size_t)s->n * s->oh * s->ow * s->cout;
    size_t n_w = (size_t)s->cout * s->c0 * s->kh * s->kw;
    float *w = noise(n_w, 11), *dy = noise(n_y, 12), *before = noise(n_x, 13);
    float *old = is_accumulating ? before : NULL;
    float *dx = bwd_data_run(k, s, w, dy, old, 1);
    double n_k = (double)s->cout * s->kh * s->kw;
    for (size_t at = 0; at < n_x; at++) {
        size_t p = at / s->c0;
        struct value want = adjoint_x(
            s, w, dy, (uint32_t)(p / s->w / s->h), (uint32_t)(p / s->w % s->h),
            (uint32_t)(p % s->w), (uint32_t)(at % s->c0));
        double add = old ? old[at] : 0;
        check_near("bwd_data", k->isa, row, at, want.v + add, dx[at],
                   want.magnitude * tolerance(k, n_k, false) +
                       (fabs(add) + want.magnitude) * 2 * 0x1p-24);
    }
    float *dx2 = bwd_data_run(k, s, w, dy, old, 2);
    assert_memory_equal(dx, dx2, n_x * sizeof *dx);
    guarded_end(dx, n_x, "dx");
    guarded_end(dx2, n_x, "dx");
    guarded_end(w, n_w, "w");
    guarded_end(dy, n_y, "dy");
    guarded_end(before, n_x, "before");
}

static void check_bwd_data(const struct kernel_table *k, size_t row)
{
    if (!is_plain(&cases[row]))
        return;
    bwd_data_check(k, row, false);
    bwd_data_check(k, row, true);
}

static void bwd_data_of_every_rung(void **state)
{
    (void)state;
    each_case(check_bwd_data);
}

/* dw then dbias, guarded; both start from `before`. */
static float *bwd_weights_run(const struct kernel_table *k,
                              const struct conv2d_shape *s, const float *x,
                              const float *dy, const float *before,
                              unsigned n_threads)
{
    struct pool *pool;
    size_t n_w = (size_t)s->cout * s->c0 * s->kh * s->kw;
    assert_int_equal(pool_new(&pool, n_threads, 0, NULL), UNSTIR_OK);
    size_t n_scratch = conv2d_bwd_weights_scratch(k, n_threads, s) / 4;
    float *scratch = guarded(n_scratch), *dw = guarded(n_w + s->cout);
    memcpy(dw, before, (n_w + s->cout) * sizeof *dw);
    struct op_ctx ctx = {k, pool, (unsigned char *)scratch, n_scratch * 4};
    conv2d_bwd_weights(
        &ctx, &(struct conv2d_bwd_weights_args){*s, x, dy, dw, dw + n_w});
    guarded_end(scratch, n_scratch, "scratch");
    pool_free(pool);
    return dw;
}

static struct value adjoint_w(const struct conv2d_shape *s, const float *x,
                              const float *dy, uint32_t o, uint32_t c,
                              uint32_t ky, uint32_t kx)
{
    struct value sum = {0, 0};
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t oy = 0; oy < s->oh; oy++) {
            int64_t y = (int64_t)oy * s->stride + ky - s->pad_t;
            if (y < 0 || y >= s->h)
                continue;
            for (uint32_t ox = 0; ox < s->ow; ox++) {
                int64_t xx = (int64_t)ox * s->stride + kx - s->pad_l;
                if (xx < 0 || xx >= s->w)
                    continue;
                double p =
                    (double)
                        x[(((size_t)i * s->h + (size_t)y) * s->w + (size_t)xx) *
                              s->c0 +
                          c] *
                    dy[(((size_t)i * s->oh + oy) * s->ow + ox) * s->cout + o];
                sum.v += p;
                sum.magnitude += fabs(p);
            }
        }
    return sum;
}

static void check_bwd_weights(const struct kernel_table *k, size_t row)
{
    if (!is_plain(&cases[row]))
        return;
    const struct conv2d_shape *s = &cases[row].s;
    size_t n_x = (size_t)s->n * s->h * s->w * s->c0;
    size_t n_y = (size_t)s->n * s->oh * s->ow * s->cout;
    size_t n_w = (size_t)s->cout * s->c0 * s->kh * s->kw, at = 0;
    float *x = noise(n_x, 21), *dy = noise(n_y, 22);
    float *before = noise(n_w + s->cout, 23);
    float *dw = bwd_weights_run(k, s, x, dy, before, 1);
    double n_k = (double)s->n * s->oh * s->ow;
    for (uint32_t o = 0; o < s->cout; o++)
        for (uint32_t c = 0; c < s->c0; c++)
            for (uint32_t t = 0; t < s->kh * s->kw; t++, at++) {
                struct value want =
                    adjoint_w(s, x, dy, o, c, t / s->kw, t % s->kw);
                check_near("bwd_weights", k->isa, row, at, want.v + before[at],
                           dw[at],
                           want.magnitude * tolerance(k, n_k, true) +
                               (fabs(before[at]) + want.magnitude) * 0x1p-23);
            }
    for (uint32_t o = 0; o < s->cout; o++, at++) {
        double sum = before[at], size = fabs(sum);
        for (size_t p = 0; p < n_y / s->cout; p++) {
            sum += dy[p * s->cout + o];
            size += fabs(dy[p * s->cout + o]);
        }
        check_near("bwd_bias", k->isa, row, o, sum, dw[at],
                   size * tolerance(k, n_k, true));
    }
    for (unsigned t = 2; t <= 4; t += 2) {
        float *dw2 = bwd_weights_run(k, s, x, dy, before, t);
        assert_memory_equal(dw, dw2, (n_w + s->cout) * sizeof *dw);
        guarded_end(dw2, n_w + s->cout, "dw");
    }
    guarded_end(dw, n_w + s->cout, "dw");
    guarded_end(x, n_x, "x");
    guarded_end(dy, n_y, "dy");
    guarded_end(before, n_w + s->cout, "before");
}

static void bwd_weights_of_every_rung(void **state)
{
    (void)state;
    each_case(check_bwd_weights);
}

/* All pixels in a row, several groups of them, strides, odd rows. */
static const struct conv2d_shape in_pairs[] = {
    {3, 7, 7, 48, 0, 7, 7, 80, 1, 1, 1, 0, 0, 7, 7},
    {2, 50, 50, 16, 0, 50, 50, 32, 1, 1, 1, 0, 0, 50, 50},
    {2, 14, 13, 32, 0, 14, 13, 16, 3, 3, 2, 1, 1, 7, 7},
    {1, 8, 8, 16, 0, 8, 8, 16, 3, 3, 1, 1, 1, 8, 8},
    {1, 20, 9, 16, 0, 20, 9, 16, 3, 2, 1, 1, 0, 20, 9},
};

/* x and dy hold bf16, so products are exact and the bound is that of sums. */
static void check_pairs(const struct kernel_table *k, size_t row)
{
    const struct conv2d_shape *s = &in_pairs[row];
    size_t n_x = (size_t)s->n * s->h * s->w * s->c0;
    size_t n_y = (size_t)s->n * s->oh * s->ow * s->cout, at = 0;
    size_t n_w = (size_t)s->cout * s->c0 * s->kh * s->kw;
    float *x = noise(n_x, 21), *dy = noise(n_y, 22);
    float *before = noise(n_w + s->cout, 23);
    for (size_t i = 0; i < n_x; i++)
        x[i] = dtype_from_bf16(dtype_to_bf16(x[i]));
    for (size_t i = 0; i < n_y; i++)
        dy[i] = dtype_from_bf16(dtype_to_bf16(dy[i]));
    float *dw = bwd_weights_run(k, s, x, dy, before, 1);
    for (uint32_t o = 0; o < s->cout; o++)
        for (uint32_t c = 0; c < s->c0; c++)
            for (uint32_t t = 0; t < s->kh * s->kw; t++, at++) {
                struct value want =
                    adjoint_w(s, x, dy, o, c, t / s->kw, t % s->kw);
                check_near("pairs", k->isa, row, at, want.v + before[at],
                           dw[at],
                           (want.magnitude + fabs(before[at])) *
                               (s->n * s->oh * s->ow + 2) * 0x1p-24);
            }
    float *dw2 = bwd_weights_run(k, s, x, dy, before, 3);
    assert_memory_equal(dw, dw2, (n_w + s->cout) * sizeof *dw);
    guarded_end(dw, n_w + s->cout, "dw");
    guarded_end(dw2, n_w + s->cout, "dw");
    guarded_end(x, n_x, "x");
    guarded_end(dy, n_y, "dy");
    guarded_end(before, n_w + s->cout, "before");
}

static void bwd_weights_in_pairs(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (size_t i = 0; i < ARRAY_LEN(in_pairs); i++)
            if (tables[t].wino.gemm_pairs) {
                assert_int_equal(
                    choose_weights_adjoint(&tables[t], &in_pairs[i]),
                    ADJOINT_PAIRS);
                check_pairs(&tables[t], i);
            }
}

/* Packing on the pool writes what packing one by one does. */
static void pack_many_equals_pack(void **state)
{
    (void)state;
    struct kernel_table k;
    struct pool *pool;
    assert_true(kernels_select(&k, NULL));
    assert_int_equal(pool_new(&pool, 2, 0, NULL), UNSTIR_OK);
    struct op_ctx ctx = {&k, pool, NULL, 0};
    float *w = noise(5 * 19 * 9, 31);
    size_t n = conv2d_packed_bytes(&k, 5, 19, 3, 3) / 4;
    size_t n_adjoint = conv2d_packed_bytes(&k, 19, 5, 3, 3) / 4;
    float *a = guarded(n), *b = guarded(n), *c = guarded(n_adjoint);
    float *d = guarded(n_adjoint);
    struct conv2d_pack_job jobs[] = {{a, w, 5, 19, 3, 3, false},
                                     {c, w, 5, 19, 3, 3, true}};
    conv2d_pack_many(&ctx, jobs, 2);
    conv2d_pack(&k, b, w, 5, 19, 3, 3);
    conv2d_pack_adjoint(&k, d, w, 5, 19, 3, 3);
    assert_memory_equal(a, b, n * 4);
    assert_memory_equal(c, d, n_adjoint * 4);
    guarded_end(a, n, "packed");
    guarded_end(b, n, "packed");
    guarded_end(c, n_adjoint, "packed");
    guarded_end(d, n_adjoint, "packed");
    guarded_end(w, 5 * 19 * 9, "w");
    pool_free(pool);
}

/* -- the other algorithm --------------------------------------------------- */

/* Where the rule says Winograd, all three run it, by the second half of the
 * packing: same bytes as by calling it.  (Its numbers: t_winograd.) */
static void winograd_by_rule(void **state)
{
    (void)state;
    static const struct case_row row = {
        {2, 9, 8, 24, 0, 9, 8, 16, 3, 3, 1, 1, 1, 9, 8}, ACT_SILU, NORM | BIAS};
    struct kernel_table k;
    if (!kernels_select(&k, "avx2"))
        skip();
    struct forward_data d = forward_make(&row);
    assert_int_equal(choose_conv(&k, &row.s, false), CONV_WINOGRAD);
    float *y = forward_run(&k, &d, 2), *y2 = guarded(d.n_y);
    size_t n = winograd_packed_bytes(&k, 24, 16) / 4;
    size_t n_scratch = winograd_scratch(&k, 1, &row.s, false) / 4;
    float *packed = guarded(n), *scratch = guarded(n_scratch);
    struct op_ctx ctx = {&k, NULL, (unsigned char *)scratch, n_scratch * 4};
    winograd_pack(&k, packed, d.w, 24, 16, false);
    d.a.w = packed;
    d.a.y = y2;
    winograd_run(&ctx, &d.a);
    assert_memory_equal(y, y2, d.n_y * sizeof *y);

    /* the adjoint of the input is the same operation on dy */
    struct conv2d_shape t = row.s;
    t.c0 = 16;
    t.cout = 24;
    size_t n_x = 2 * 9 * 8 * 24,
           n_adjoint = winograd_packed_bytes(&k, 16, 24) / 4;
    size_t n_scratch2 = winograd_scratch(&k, 1, &t, false) / 4;
    float *dx = bwd_data_run(&k, &row.s, d.w, y, NULL, 1), *dx2 = guarded(n_x);
    float *adjoint = guarded(n_adjoint), *scratch2 = guarded(n_scratch2);
    winograd_pack(&k, adjoint, d.w, 24, 16, true);
    ctx.scratch = (unsigned char *)scratch2;
    winograd_run(&ctx,
                 &(struct conv2d_args){
                     .s = t, .out_scale = 1, .x0 = y, .w = adjoint, .y = dx2});
    assert_memory_equal(dx, dx2, n_x * sizeof *dx);

    /* with bf16 operands another one, for larger pictures */
    kernels_use_bf16_operands(&k);
    assert_int_not_equal(choose_conv(&k, &row.s, false), CONV_WINOGRAD);
    guarded_end(y, d.n_y, "y");
    guarded_end(y2, d.n_y, "y");
    guarded_end(dx, n_x, "dx");
    guarded_end(dx2, n_x, "dx");
    guarded_end(packed, n, "packed");
    guarded_end(adjoint, n_adjoint, "packed");
    guarded_end(scratch, n_scratch, "scratch");
    guarded_end(scratch2, n_scratch2, "scratch");
    forward_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_of_every_rung),
        cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(same_bytes_in_any_batch),
        cmocka_unit_test(bwd_data_of_every_rung),
        cmocka_unit_test(bwd_weights_of_every_rung),
        cmocka_unit_test(bwd_weights_in_pairs),
        cmocka_unit_test(pack_many_equals_pack),
        cmocka_unit_test(winograd_by_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
