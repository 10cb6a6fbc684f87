/* t_conv2d_phases.c - upsampling and convolution by phases, on every rung,
 * against the nine taps on the large picture in double; the rules.
 *
 * Bound.  A phase sums k = 4 cin products of an input and a sum of one, two or
 * four taps: k roundings of sums and products, one of the sum of taps, a few
 * of norm, activation, bias, vector, residual and scale (16), each at most
 * 2^-24 of the sum of all magnitudes |w| |x|, which bounds that of the phase's
 * products (Higham, Accuracy and Stability, section 3.1).  Operands in bf16
 * err by 2^-8 of themselves each: 2.01 * 2^-8 more.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "ops/choose.h"
#include "ops/conv2d_phases.h"

struct case_row {
    uint32_t n, h, w, c0, c1, cout;
    bool has_norm, has_vec, has_res;
    float scale;
};

static const struct case_row cases[] = {
    {1, 1, 1, 16, 0, 16, false, false, false, 1},
    {1, 4, 4, 16, 0, 16, false, false, false, 1},
    {2, 3, 5, 7, 0, 9, true, true, true, 0.5F},
    {1, 7, 7, 24, 8, 40, true, false, true, 1},
    {9, 2, 3, 8, 0, 4, false, true, false, 1},
    {3, 14, 14, 8, 0, 16, false, false, true, 1},
    {1, 9, 1, 5, 0, 33, false, false, false, 2},
};

static const struct {
    const char *isa;
    bool is_bf16;
} rungs[] = {{"scalar", false},
             {"portable", false},
             {"avx2", false},
             {"scalar", true},
             {"avx2", true}};

struct fixture {
    struct conv2d_args a;
    struct kernel_table k;
    float *x0, *x1, *scale, *shift, *w, *bias, *vec, *res;
    size_t n_y;
};

static float *noise(struct rng *rng, size_t n)
{
    float *p = malloc((n + 1) * sizeof *p);

    assert_non_null(p);
    rng_normal_f32(rng, p, n);
    return p;
}

static float *aligned(size_t bytes)
{
    float *p = aligned_alloc(64, (bytes + 64) / 64 * 64);

    assert_non_null(p);
    memset(p, 0, bytes);
    return p;
}

static struct conv2d_shape shape_of(const struct case_row *t)
{
    return (struct conv2d_shape){
        t->n, t->h, t->w, t->c0, t->c1, 2 * t->h, 2 * t->w, t->cout,
        3,    3,    1,    1,     1,     2 * t->h, 2 * t->w};
}

static void fixture_init(struct fixture *f, const struct case_row *t)
{
    size_t c = t->c0 + t->c1, pixels = (size_t)t->n * t->h * t->w;
    struct rng rng;

    rng_seed(&rng, 5);
    f->n_y = 4 * pixels * t->cout;
    f->x0 = noise(&rng, pixels * t->c0);
    f->x1 = noise(&rng, pixels * t->c1);
    f->scale = noise(&rng, t->n * c);
    f->shift = noise(&rng, t->n * c);
    f->w = noise(&rng, t->cout * c * 9);
    f->bias = noise(&rng, t->cout);
    f->vec = noise(&rng, t->n * (size_t)(t->cout + 3));
    f->res = noise(&rng, f->n_y);
    f->a = (struct conv2d_args){
        .s = shape_of(t),
        .act = t->has_norm ? ACT_SILU : ACT_NONE,
        .out_scale = t->scale,
        .vec_stride = t->cout + 3,
        .x0 = f->x0,
        .x1 = t->c1 ? f->x1 : NULL,
        .scale = t->has_norm ? f->scale : NULL,
        .shift = t->has_norm ? f->shift : NULL,
        .bias = f->bias,
        .vec = t->has_vec ? f->vec : NULL,
        .res = t->has_res ? f->res : NULL,
    };
}

static void fixture_fini(struct fixture *f)
{
    free(f->x0);
    free(f->x1);
    free(f->scale);
    free(f->shift);
    free(f->w);
    free(f->bias);
    free(f->vec);
    free(f->res);
}

/* What a tap sees at channel c, and a bound of its magnitude. */
static double source(const struct fixture *f, size_t i, int64_t y, int64_t x,
                     size_t c, double *size)
{
    const struct conv2d_shape *s = &f->a.s;
    size_t n_c = s->c0 + s->c1, pixel;
    double v;

    *size = 0;
    if (y < 0 || x < 0 || y >= (int64_t)s->up_h || x >= (int64_t)s->up_w)
        return 0;
    pixel = (i * s->h + (size_t)y / 2) * s->w + (size_t)x / 2;
    v = c < s->c0 ? (double)f->x0[pixel * s->c0 + c]
                  : (double)f->x1[pixel * s->c1 + c - s->c0];
    *size = fabs(v);
    if (!f->a.scale)
        return v;
    *size = fabs((double)f->scale[i * n_c + c] * v) +
            fabs((double)f->shift[i * n_c + c]);
    *size *= 1.1; /* the slope of SiLU */
    v = (double)f->scale[i * n_c + c] * v + (double)f->shift[i * n_c + c];
    return v / (1 + exp(-v));
}

static double output(const struct fixture *f, size_t i, size_t oy, size_t ox,
                     size_t o, double *size)
{
    const struct conv2d_shape *s = &f->a.s;
    size_t n_c = s->c0 + s->c1;
    size_t at = ((i * s->oh + oy) * s->ow + ox) * s->cout + o;
    double sum = (double)f->bias[o], one;

    *size = fabs(sum);
    for (size_t c = 0; c < n_c; c++)
        for (size_t t = 0; t < 9; t++) {
            double w = (double)f->w[(o * n_c + c) * 9 + t];
            sum += w * source(f, i, (int64_t)(oy + t / 3) - 1,
                              (int64_t)(ox + t % 3) - 1, c, &one);
            *size += fabs(w) * one;
        }
    if (f->a.vec) {
        sum += (double)f->vec[i * f->a.vec_stride + o];
        *size += fabs((double)f->vec[i * f->a.vec_stride + o]);
    }
    if (f->a.res) {
        sum += (double)f->res[at];
        *size += fabs((double)f->res[at]);
    }
    *size *= fabs((double)f->a.out_scale);
    return sum * (double)f->a.out_scale;
}

/* y of the fixture by phases with this many threads. */
static float *run(const struct fixture *f, unsigned n_threads)
{
    const struct conv2d_shape *s = &f->a.s;
    uint32_t cin = s->c0 + s->c1;
    size_t n_scratch = conv2d_phases_scratch(
        &f->k, n_threads, s, &(struct conv2d_kind){.is_plain = false});
    float *packed = aligned(conv2d_phases_packed_bytes(&f->k, cin, s->cout));
    float *room = aligned((size_t)cin * s->cout * 16);
    float *scratch = aligned(n_scratch), *y = aligned(f->n_y * sizeof(float));
    struct conv2d_args a = f->a;
    struct pool *pool;

    assert_int_equal(pool_new(&pool, n_threads, 0, NULL), UNSTIR_OK);
    conv2d_phases_pack(&f->k, packed, f->w, cin, s->cout, room);
    a.w = packed;
    a.y = y;
    conv2d_phases_run(
        &(struct op_ctx){&f->k, pool, (unsigned char *)scratch, n_scratch}, &a);
    pool_free(pool);
    free(packed);
    free(room);
    free(scratch);
    return y;
}

static void check(const struct fixture *f, const float *y, size_t row,
                  bool is_bf16)
{
    const struct conv2d_shape *s = &f->a.s;
    double roundings = 4.0 * (s->c0 + s->c1) + 17;
    double eps = roundings * 0x1p-24 + (is_bf16 ? 2.01 * 0x1p-8 : 0);

    for (size_t at = 0; at < f->n_y; at++) {
        size_t o = at % s->cout, ox = at / s->cout % s->ow;
        size_t oy = at / s->cout / s->ow % s->oh;
        double size,
            want = output(f, at / s->cout / s->ow / s->oh, oy, ox, o, &size);

        if (!(fabs((double)y[at] - want) <= eps * size))
            fail_msg("%s, case %zu, row %zu, column %zu, channel %zu: got %g, "
                     "wanted %g +- %g",
                     f->k.isa, row, oy, ox, o, (double)y[at], want, eps * size);
    }
}

static void test_phases_are_the_large_picture(void **state)
{
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rungs); r++)
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            struct fixture f;
            float *one, *three;

            if (!kernels_select(&f.k, rungs[r].isa))
                continue;
            if (rungs[r].is_bf16)
                kernels_use_bf16_operands(&f.k);
            fixture_init(&f, &cases[i]);
            one = run(&f, 1);
            check(&f, one, i, rungs[r].is_bf16);
            three = run(&f, 3);
            assert_memory_equal(one, three, f.n_y * sizeof *one);
            free(one);
            free(three);
            fixture_fini(&f);
        }
}

/* A picture gives the same bytes alone and in company. */
static void test_company(void **state)
{
    struct case_row t = {6, 5, 4, 16, 0, 24, true, true, true, 1};
    struct fixture f;

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rungs); r++) {
        float *all, *alone;

        if (!kernels_select(&f.k, rungs[r].isa))
            continue;
        fixture_init(&f, &t);
        all = run(&f, 2);
        f.a.s.n = 1;
        f.n_y /= 6;
        alone = run(&f, 2);
        assert_memory_equal(all, alone, f.n_y * sizeof *all);
        free(all);
        free(alone);
        fixture_fini(&f);
    }
}

static void check_way(const struct kernel_table *k, const struct case_row *t,
                      bool has_phases, const char *want)
{
    struct conv2d_shape s = shape_of(t);

    for (s.n = 1; s.n <= 16; s.n *= 4) {
        const char *got = choose_name(k, choose_conv(k, &s, has_phases));

        if (strcmp(got, want) != 0)
            fail_msg("%s, %u pictures of %u x %u, %u channels: got %s, "
                     "wanted %s",
                     k->isa, s.n, s.w, s.h, s.c0, got, want);
    }
}

static void test_rules(void **state)
{
    struct case_row small = {1, 8, 7, 64, 0, 64, false, false, false, 1};
    struct case_row large = {1, 9, 8, 64, 0, 64, false, false, false, 1};
    struct case_row edge = {1, 8, 8, 64, 0, 64, false, false, false, 1};
    struct conv2d_shape odd = shape_of(&small);
    struct kernel_table k;

    (void)state;
    assert_true(kernels_select(&k, "scalar"));
    check_way(&k, &small, true, "phases");
    check_way(&k, &large, true, "phases");
    check_way(&k, &small, false, "tiles");
    odd.up_h = odd.oh = 15;
    assert_int_not_equal(choose_conv(&k, &odd, true), CONV_PHASES);
    if (!kernels_select(&k, "avx2"))
        return;
    check_way(&k, &small, true, "phases");
    check_way(&k, &large, true, "winograd f4");
    check_way(&k, &edge, true, "winograd f4");
    check_way(&k, &small, false, "winograd f4");
    kernels_use_bf16_operands(&k);
    check_way(&k, &edge, true, "phases");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases_are_the_large_picture),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
