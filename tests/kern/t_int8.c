/* t_int8.c - products of 8-bit whole numbers: rows, tiles and layers of every
 * rung, bit for bit; the gate.
 *
 * Bound of a layer against double: with scales s and t of a row x and a column
 * w each number is off by s / 2 and t / 2 at most, so a sum of k products by
 * sum(|w| s / 2 + |x| t / 2 + s t / 4); then eight roundings of f32 of what
 * the sum, bias, vector and residual are.  Norm and activation err by some ulp
 * of f32, which a thousandth of s covers.
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
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/graph.h"
#include "ops/linear_int8.h"
#include "ops/packs_ops.h"
#include "tables.h"

#define GUARD 777.0F

static float *noise(size_t n, uint64_t seed)
{
    float *p = malloc((n + 1) * sizeof *p);
    struct rng rng;

    assert_non_null(p);
    rng_seed(&rng, seed);
    rng_normal_f32(&rng, p, n);
    return p;
}

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(64, size_align(bytes + 1, 64));

    assert_non_null(p);
    return memset(p, 0, size_align(bytes + 1, 64));
}

/* -- rows ------------------------------------------------------------------ */

/* The definition in int8_kernels.h, said once more. */
static float wanted_row(int *q, const float *x, size_t n)
{
    float d = 0;

    for (size_t i = 0; i < n; i++) {
        q[i] = 0;
        d = isnan(x[i]) || fabsf(x[i]) > d ? fabsf(x[i]) : d;
    }
    if (d < 0x1p-100F)
        return 0;
    for (size_t i = 0; i < n && isfinite(d); i++)
        q[i] = (int)lrintf(x[i] * (127.0F / d));
    return d / 127.0F;
}

/* Operand i of a row as quantise() writes it. */
static int operand_at(const struct int8_kernels *k, const void *row, size_t i)
{
    bool is_shifted = k->a_bytes == 1 && k->ku == 4;

    if (k->a_bytes == 2)
        return ((const int16_t *)row)[i];
    return is_shifted ? ((const uint8_t *)row)[i] - 128
                      : ((const int8_t *)row)[i];
}

static void check_row(const struct kernel_table *t, const float *x, size_t n)
{
    const struct int8_kernels *k = &t->i8;
    size_t padded = (n + k->ku - 1) / k->ku * k->ku;
    unsigned char *row = malloc(padded * k->a_bytes + 1);
    int *want = malloc((n + 1) * sizeof *want);
    float scale, wanted = wanted_row(want, x, n);

    assert_true(row && want);
    row[padded * k->a_bytes] = 0x5a;
    scale = k->quantise(row, x, n);
    if (scale != wanted && !(isnan(scale) && isnan(wanted)))
        fail_msg("%s, %zu floats: scale %.9g, wanted %.9g", t->isa, n,
                 (double)scale, (double)wanted);
    for (size_t i = 0; i < padded; i++)
        if (operand_at(k, row, i) != (i < n ? want[i] : 0))
            fail_msg("%s, %zu of %zu floats: %d, wanted %d", t->isa, i, n,
                     operand_at(k, row, i), i < n ? want[i] : 0);
    assert_int_equal(row[padded * k->a_bytes], 0x5a);
    free(row), free(want);
}

static void rows_become_numbers(void **state)
{
    static const float odd[][3] = {{127, 0.5F, -1.5F},
                                   {127, 2.5F, -126.5F},
                                   {0, -0.0F, 0},
                                   {0x1p-101F, 0x1p-120F, 0},
                                   {0x1p-99F, 0x1p-105F, 0},
                                   {3e38F, -3.4e38F, 1},
                                   {INFINITY, 1, -1},
                                   {1, NAN, INFINITY}};
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);

    (void)state;
    for (size_t t = 0; t < n_tables; t++) {
        for (size_t n = 1; n < 100; n++) {
            float *x = noise(n, n);
            check_row(&tables[t], x, n);
            x[n / 2] *= 0x1p40F;
            check_row(&tables[t], x, n);
            free(x);
        }
        for (size_t i = 0; i < ARRAY_LEN(odd); i++)
            check_row(&tables[t], odd[i], 3);
    }
}

/* -- tiles ----------------------------------------------------------------- */

struct tile_case {
    size_t k;
    bool has_bias, has_res, is_alias, is_largest;
    float out;
};

static const struct tile_case tile_cases[] = {
    {4, false, false, false, false, 1},
    {4, true, true, false, true, 0.5F},
    {132, true, true, true, false, -1.25F},
    {INT8_MAX_K, false, false, false, true, 1}, /* the largest sums          */
};

/* Number i of the rows, of the panel: the largest of both signs, or any. */
static int number(const struct tile_case *c, size_t i)
{
    return c->is_largest ? 127 : (int)(i * 2654435761U >> 7 & 0xff) % 128 - 64;
}

static size_t weight_at(const struct int8_kernels *k, size_t i, size_t j)
{
    return (i / k->ku * k->nr + j) * k->ku + i % k->ku;
}

static void check_tile(const struct kernel_table *table,
                       const struct tile_case *c, unsigned m, unsigned n)
{
    const struct int8_kernels *k = &table->i8;
    size_t ldc = n + 3, row = c->k * k->a_bytes;
    float *a_scale = noise(m, 1), *b_scale = noise(k->nr, 2);
    float *bias = noise(n + 2, 3), *res = noise(m * ldc, 4), *floats;
    float *out = noise((m + 2) * ldc, 5), *y = out + ldc;
    const float *biases[INT8_MAX_MR];
    char *a = aligned(m * row);
    int8_t *b = aligned(c->k * k->nr);
    int32_t sums[INT8_MAX_NR] = {0};

    floats = noise(c->k, 6);
    for (unsigned r = 0; r < m; r++) { /* of scale 1, so of these numbers    */
        for (size_t i = 0; i < c->k; i++)
            floats[i] = (float)number(c, r * c->k + i) * (r % 2 ? -1 : 1);
        floats[0] = 127;
        assert_true(k->quantise(a + r * row, floats, c->k) == 1);
        biases[r] = bias;
    }
    for (size_t i = 0; i < c->k; i++)
        for (unsigned j = 0; j < n; j++) {
            b[weight_at(k, i, j)] = (int8_t)number(c, 31 * i + j);
            sums[j] += b[weight_at(k, i, j)];
        }
    for (size_t i = 0; i < (m + 2) * ldc; i++)
        out[i] = GUARD;
    if (c->is_alias)
        memcpy(y, res, m * ldc * sizeof *res);
    k->tile(&(struct int8_tile){.a = a,
                                .a_row = row,
                                .a_scale = a_scale,
                                .b = b,
                                .b_scale = b_scale,
                                .b_sum = sums,
                                .k = c->k,
                                .bias = c->has_bias ? biases : NULL,
                                .bias_at = 2,
                                .res = !c->has_res   ? NULL
                                       : c->is_alias ? y
                                                     : res,
                                .c = y,
                                .ldc = ldc,
                                .out = c->out,
                                .m = m,
                                .n = n});
    for (size_t i = 0; i < (m + 2) * ldc; i++) {
        size_t r = i / ldc - 1, j = i % ldc;
        int64_t sum = 0;
        float want;

        if (i < ldc || r >= m || j >= n) {
            bool is_res = c->is_alias && i >= ldc && r < m;
            assert_true(out[i] == (is_res ? res[i - ldc] : GUARD));
            continue;
        }
        for (size_t p = 0; p < c->k; p++)
            sum += operand_at(k, a + r * row, p) * b[weight_at(k, p, j)];
        want = (float)sum * (a_scale[r] * b_scale[j]);
        want += c->has_bias ? bias[2 + j] : 0;
        want += c->has_res ? res[r * ldc + j] : 0;
        want *= c->out;
        if (out[i] != want)
            fail_msg("%s %ux%u, k %zu, row %zu, column %zu: %.9g, wanted %.9g",
                     table->isa, m, n, c->k, r, j, (double)out[i],
                     (double)want);
    }
    free(a_scale), free(b_scale), free(bias), free(res), free(out);
    free(a), free(b), free(floats);
}

static void tiles_are_exact(void **state)
{
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);

    (void)state;
    for (size_t t = 0; t < n_tables; t++)
        for (size_t c = 0; c < ARRAY_LEN(tile_cases); c++)
            for (unsigned m = 1; m <= tables[t].i8.mr; m++) {
                bool is_long = tile_cases[c].k == INT8_MAX_K;
                for (unsigned n = 1; n <= tables[t].i8.nr; n += is_long ? 9 : 1)
                    if (!is_long || m % 5 == 1)
                        check_tile(&tables[t], &tile_cases[c], m, n);
            }
}

/* -- layers ---------------------------------------------------------------- */

struct layer {
    uint32_t n, pixels, c0, c1, cout;
    bool has_norm, has_bias, has_vec, has_res;
    float scale;
};

static const struct layer layers[] = {
    {1, 1, 32, 0, 32, false, false, false, false, 1},
    {1, 200, 64, 0, 96, false, true, false, true, 0.5F},
    {3, 49, 33, 0, 47, false, true, true, true, 1},
    {2, 150, 40, 24, 130, true, true, false, false, 1},
    {2, 10, 320, 0, 33, true, false, true, true, 2},
};

struct fixture {
    struct conv2d_args a;
    float *x0, *x1, *scale, *shift, *w, *bias, *vec, *res;
    size_t c, n_y;
};

static void fixture_init(struct fixture *f, const struct layer *l)
{
    size_t rows = (size_t)l->n * l->pixels;

    f->c = l->c0 + l->c1;
    f->n_y = rows * l->cout;
    f->x0 = noise(rows * l->c0, 1);
    f->x1 = noise(rows * l->c1, 2);
    f->scale = noise(l->n * f->c, 3);
    f->shift = noise(l->n * f->c, 4);
    f->w = noise(f->c * l->cout, 5);
    f->bias = noise(l->cout, 6);
    f->vec = noise((size_t)l->n * (l->cout + 3), 7);
    f->res = noise(f->n_y, 8);
    f->a = (struct conv2d_args){
        .s = {l->n, 1, l->pixels, l->c0, l->c1, 1, l->pixels, l->cout, 1, 1, 1,
              0, 0, 1, l->pixels},
        .act = l->has_norm ? ACT_SILU : ACT_NONE,
        .out_scale = l->scale,
        .vec_stride = l->cout + 3,
        .x0 = f->x0,
        .x1 = l->c1 ? f->x1 : NULL,
        .scale = l->has_norm ? f->scale : NULL,
        .shift = l->has_norm ? f->shift : NULL,
        .bias = l->has_bias ? f->bias : NULL,
        .vec = l->has_vec ? f->vec : NULL,
        .res = l->has_res ? f->res : NULL,
    };
}

static void fixture_fini(struct fixture *f)
{
    free(f->x0), free(f->x1), free(f->scale), free(f->shift);
    free(f->w), free(f->bias), free(f->vec), free(f->res);
}

static float *run_layer(const struct fixture *f, const struct kernel_table *k,
                        unsigned n_threads)
{
    const struct conv2d_shape *s = &f->a.s;
    uint32_t cin = s->c0 + s->c1;
    size_t n_packed = linear_int8_packed_bytes(k, cin, s->cout);
    size_t n_scratch = linear_int8_scratch(k, n_threads, s);
    void *packed = aligned(n_packed), *scratch = aligned(n_scratch);
    float *y = aligned(f->n_y * sizeof *y);
    struct conv2d_args a = f->a;
    struct pool *pool = NULL;

    if (n_threads > 1)
        assert_int_equal(pool_new(&pool, n_threads, 0, NULL), UNSTIR_OK);
    assert_true(linear_int8_is_accurate(f->w, cin, s->cout));
    linear_int8_pack(k, packed, f->w, cin, s->cout);
    a.w = packed;
    a.y = y;
    linear_int8_run(&(struct op_ctx){k, pool, scratch, n_scratch}, &a);
    pool_free(pool);
    free(packed), free(scratch);
    return y;
}

/* Input c of a row as the layer reads it. */
static double input_at(const struct fixture *f, size_t row, size_t c)
{
    const struct conv2d_args *a = &f->a;
    size_t c0 = a->s.c0, at = row / a->s.ow * f->c + c;
    double x = c < c0 ? a->x0[row * c0 + c] : a->x1[row * (f->c - c0) + c - c0];

    if (!a->scale)
        return x;
    x = (double)a->scale[at] * x + (double)a->shift[at];
    return x / (1 + exp(-x));
}

static void check_output(const struct fixture *f, const char *isa, size_t i,
                         double got)
{
    const struct conv2d_args *a = &f->a;
    size_t row = i / a->s.cout, o = i % a->s.cout, image = row / a->s.ow;
    const float *w = f->w + o * f->c;
    double want = 0, bound = 0, size = 0, s = 0, t = 0;

    for (size_t c = 0; c < f->c; c++) {
        s = fmax(s, fabs(input_at(f, row, c)) / 127 * 1.001);
        t = fmax(t, fabs((double)w[c]) / 127);
    }
    for (size_t c = 0; c < f->c; c++) {
        double x = input_at(f, row, c);
        want += x * (double)w[c];
        bound += (fabs((double)w[c]) * s + fabs(x) * t) / 2 + s * t / 4;
    }
    size = fabs(want);
    if (a->bias)
        want += (double)a->bias[o], size += fabs((double)a->bias[o]);
    if (a->vec)
        want += (double)a->vec[image * a->vec_stride + o], size += 4;
    if (a->res)
        want += (double)a->res[i], size += fabs((double)a->res[i]);
    bound = 1.001 * bound + 8 * 0x1p-24 * (size + bound);
    if (!(fabs(got - want * (double)a->out_scale) <=
          bound * fabs((double)a->out_scale)))
        fail_msg("%s, row %zu, column %zu: %.9g, wanted %.9g within %.3g", isa,
                 row, o, got, want * (double)a->out_scale, bound);
}

/* Without norm and activation the bits are those of the scalar rung. */
static void layers_of_every_rung(void **state)
{
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        struct fixture f;
        float *scalar = NULL;

        fixture_init(&f, &layers[i]);
        for (size_t t = 0; t < n_tables; t++) {
            float *y = run_layer(&f, &tables[t], 1);
            for (size_t j = 0; j < f.n_y; j += 7)
                check_output(&f, tables[t].isa, j, (double)y[j]);
            if (!scalar)
                scalar = y;
            else if (!layers[i].has_norm &&
                     memcmp(y, scalar, f.n_y * sizeof *y) != 0)
                fail_msg("%s: layer %zu has other bits than the scalar rung",
                         tables[t].isa, i);
            if (y != scalar)
                free(y);
        }
        free(scalar);
        fixture_fini(&f);
    }
}

static void threads_and_company_change_no_bit(void **state)
{
    struct kernel_table k;

    (void)state;
    assert_true(kernels_select(&k, NULL));
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        const struct layer *l = &layers[i];
        size_t one = (size_t)l->pixels * l->cout;
        struct fixture f;
        float *y, *again;

        fixture_init(&f, l);
        y = run_layer(&f, &k, 1);
        for (unsigned n_threads = 2; n_threads < 5; n_threads++) {
            again = run_layer(&f, &k, n_threads);
            assert_memory_equal(y, again, f.n_y * sizeof *y);
            free(again);
        }
        f.a.s.n = 1; /* the first picture alone */
        again = run_layer(&f, &k, 2);
        assert_memory_equal(y, again, one * sizeof *y);
        free(again), free(y);
        fixture_fini(&f);
    }
}

/* -- the gate -------------------------------------------------------------- */

/* One weight of 200 among ones: a step is 1.57, so that ones are off by 0.57,
 * sqrt(4095) of them by 36 where the output is some 210. */
static void coarse_weights_are_refused(void **state)
{
    enum { CIN = 4096, COUT = 32 };
    float *w = noise((size_t)CIN * COUT, 1);

    (void)state;
    assert_true(linear_int8_is_accurate(w, CIN, COUT));
    for (size_t i = 0; i < (size_t)CIN * COUT; i++)
        w[i] = i % CIN == 5 ? 200 : copysignf(1, w[i]);
    assert_false(linear_int8_is_accurate(w, CIN, COUT));
    w[0] = NAN; /* and so are those that are no numbers */
    assert_false(linear_int8_is_accurate(w, CIN, COUT));
    free(w);
}

/* Layers a, b, c in a row, of 64, 1024, 64 and 64 channels. */
static enum choose_operands operands_of_b(const float *const values[3])
{
    static const char *const names[3] = {"a", "b", "c"};
    struct conv2d_spec spec = {.k = 1, .stride = 1};
    struct packs_params params = {.values = values};
    enum choose_operands found;
    struct kernel_table k;
    struct packs *packs;
    struct graph *g;
    value_id x;

    assert_true(kernels_select(&k, "scalar"));
    kernels_use_int8(&k);
    assert_int_equal(graph_new(&g, NULL), UNSTIR_OK);
    x = graph_input(g, "sample", (struct shape){1, 2, 2, 64});
    for (size_t i = 0; i < 3; i++) {
        spec.cout = i == 0 ? 1024 : 64;
        x = graph_conv2d(g, names[i], x, &spec);
    }
    graph_output(g, "out", x);
    assert_int_equal(packs_new(&packs, g, &k, LOWER_FUSED, &params, NULL),
                     UNSTIR_OK);
    found = packs_op(packs, 2)->operands; /* behind the input and a          */
    packs_free(packs);
    graph_free(g);
    return found;
}

static void refused_layers_keep_the_rungs_operands(void **state)
{
    float *w[3] = {noise((size_t)64 * 1024, 1), noise((size_t)64 * 1024, 2),
                   noise((size_t)64 * 64, 3)};
    const float *const params[3] = {w[0], w[1], w[2]};

    (void)state;
    assert_int_equal(operands_of_b(params), OPERANDS_INT8);
    for (size_t i = 0; i < (size_t)64 * 1024; i++)
        w[1][i] = i % 1024 == 5 ? 200 : copysignf(1, w[1][i]);
    assert_int_equal(operands_of_b(params), OPERANDS_RUNG);
    free(w[0]), free(w[1]), free(w[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_numbers),
        cmocka_unit_test(tiles_are_exact),
        cmocka_unit_test(layers_of_every_rung),
        cmocka_unit_test(threads_and_company_change_no_bit),
        cmocka_unit_test(coarse_weights_are_refused),
        cmocka_unit_test(refused_layers_keep_the_rungs_operands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
