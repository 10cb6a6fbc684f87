/* t_gemm.c - product kernels of every rung against sums in double, and the
 * choice of a rung.
 *
 * Bound: a sum of k products in f32 in any order errs by at most about
 * k * 2^-24 * sum |a||b|; three more operations at the end.  The operands of a
 * bf16 table are rounded before both sides see them.
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
#include "base/cpu.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "tables.h"

#define GUARD_VALUE 777.0f

static float *noise(size_t n, uint32_t seed)
{
    float *p = aligned_alloc(64, size_align(n * sizeof *p + 1, 64));
    uint32_t s = seed * 2654435761u + 1;
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        p[i] = (float)(s >> 8) * 0x1p-23f - 1.0f;
    }
    return p;
}

/* x in the table's operand type, and rounded likewise in place. */
static void *operands(const struct gemm_kernels *g, float *x, size_t n)
{
    size_t size = dtype_size(g->operand);
    void *out = aligned_alloc(64, size_align(n * size + 1, 64));
    assert_non_null(out);
    if (g->narrow)
        g->narrow(out, x, n);
    else
        memcpy(out, x, n * size);
    dtype_load(x, out, g->operand, n);
    return out;
}

struct tile_case {
    size_t n_runs, run_len, run_stride;
    bool has_bias, has_res, is_alias;
    float scale;
};

static const struct tile_case tile_cases[] = {
    {1, 1, 1, false, false, false, 1.0f},
    {1, 7, 7, true, false, false, 1.0f},
    {3, 5, 11, true, true, false, 0.5f},
    {3, 96, 100, false, true, true, 1.0f},
    {9, 2, 3, true, true, true, -1.25f},
    {1, 512, 512, true, false, false, 1.0f},
};

/* Where a panel has the weight of k and column j. */
static size_t weight_at(const struct gemm_kernels *g, size_t k, unsigned j)
{
    return (k / g->ku * g->nr + j) * g->ku + k % g->ku;
}

/* Rows in order, in pairs swapped, or backwards: even distances and not. */
static unsigned row_of(unsigned m, unsigned n, unsigned r)
{
    switch ((m + n) % 3) {
    case 0:
        return r;
    case 1:
        return (r ^ 1) < m ? r ^ 1 : r;
    default:
        return m - 1 - r;
    }
}

static void check_tile(const struct kernel_table *k, const struct tile_case *c,
                       unsigned m, unsigned n, bool is_dots)
{
    const struct gemm_kernels *g = &k->gemm;
    size_t ku = is_dots ? 1 : g->ku, len = (c->run_len + ku - 1) / ku * ku;
    size_t stride = c->run_stride > len ? c->run_stride : len;
    size_t n_k = c->n_runs * len, ldc = n + 5, row = c->n_runs * stride;
    float *a = noise(m * row, m + 7 * n), *b = noise(n_k * g->nr, 3);
    float *bias = noise(n + 2, 4), *res = noise(m * ldc, 5);
    float *out = noise((m + 2) * ldc, 6), *c0 = out + ldc;
    for (size_t i = 0; i < n_k && !is_dots; i++)
        for (unsigned j = n; j < g->nr; j++)
            b[weight_at(g, i, j)] = 0;
    void *pa = operands(g, a, m * row), *pb = operands(g, b, n_k * g->nr);
    const void *rows[GEMM_MAX_MR];
    const float *biases[GEMM_MAX_MR];
    for (unsigned r = 0; r < m; r++) {
        rows[r] = (char *)pa + row_of(m, n, r) * row * dtype_size(g->operand);
        biases[r] = bias;
    }
    for (size_t i = 0; i < (m + 2) * ldc; i++)
        out[i] = GUARD_VALUE;
    if (c->is_alias)
        for (unsigned r = 0; r < m; r++)
            memcpy(c0 + r * ldc, res + r * ldc, n * sizeof *res);
    (is_dots ? g->dots
             : g->tile)(&(struct gemm_tile){.a = rows,
                                            .bias = c->has_bias ? biases : NULL,
                                            .bias_at = 2,
                                            .b = pb,
                                            .n_runs = c->n_runs,
                                            .run_len = len,
                                            .run_stride = stride,
                                            .res = !c->has_res   ? NULL
                                                   : c->is_alias ? c0
                                                                 : res,
                                            .c = c0,
                                            .ldc = ldc,
                                            .scale = c->scale,
                                            .m = m,
                                            .n = n});
    for (size_t i = 0; i < (m + 2) * ldc; i++) {
        size_t r = i / ldc - 1, j = i % ldc;
        if (i < ldc || r >= m || j >= n) {
            if (out[i] != GUARD_VALUE)
                fail_msg("%s %ux%u: wrote outside at row %zd, column %zu",
                         k->isa, m, n, (ptrdiff_t)r, j);
            continue;
        }
        double want = c->has_bias ? bias[2 + j] : 0, size;
        want += c->has_res ? res[r * ldc + j] : 0;
        size = 2 + fabs(want);
        for (size_t run = 0; run < c->n_runs; run++)
            for (size_t q = 0; q < len; q++) {
                size_t at = run * len + q;
                double p =
                    (double)
                        a[row_of(m, n, (unsigned)r) * row + run * stride + q] *
                    b[is_dots ? j * n_k + at : weight_at(g, at, (unsigned)j)];
                want += p;
                size += fabs(p);
            }
        want *= c->scale;
        size *= fabs(c->scale);
        if (!(fabs(out[i] - want) <= ((double)n_k + 3) * 0x1p-24 * size))
            fail_msg("%s %ux%u, k %zu, row %zu, column %zu: want %.9g, got "
                     "%.9g",
                     k->isa, m, n, n_k, r, j, want, out[i]);
    }
    free(a), free(b), free(bias), free(res), free(out), free(pa), free(pb);
}

static void tiles_of_every_rung(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (size_t c = 0; c < ARRAY_LEN(tile_cases); c++)
            for (unsigned m = 1; m <= tables[t].gemm.mr; m++)
                for (unsigned n = 1; n <= tables[t].gemm.nr; n++)
                    check_tile(&tables[t], &tile_cases[c], m, n, false);
}

static void dots_of_every_rung(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (size_t c = 0; c < ARRAY_LEN(tile_cases); c++)
            for (unsigned m = 1; m <= GEMM_MAX_MR && tables[t].gemm.dots; m++)
                for (unsigned n = 1; n <= GEMM_MAX_DOTS; n++)
                    check_tile(&tables[t], &tile_cases[c], m, n, true);
}

/* An element has the same bits whatever else is in its tile. */
static void tiles_agree_bit_for_bit(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++) {
        const struct gemm_kernels *g = &tables[t].gemm;
        size_t n_k = 130;
        float *a = noise(g->mr * n_k, 1), *b = noise(g->nr * n_k, 2);
        void *pa = operands(g, a, g->mr * n_k);
        void *pb = operands(g, b, g->nr * n_k);
        const void *rows[GEMM_MAX_MR];
        float full[GEMM_MAX_MR * GEMM_MAX_NR], one[GEMM_MAX_NR];
        for (unsigned r = 0; r < g->mr; r++)
            rows[r] = (char *)pa + r * n_k * dtype_size(g->operand);
        struct gemm_tile tile = {rows, NULL, 0,     pb, 1,     n_k,  n_k,
                                 NULL, full, g->nr, 1,  g->mr, g->nr};
        g->tile(&tile);
        for (unsigned r = 0; r < g->mr; r++) {
            tile.a = rows + r;
            tile.c = one;
            tile.m = 1;
            g->tile(&tile);
            assert_memory_equal(one, full + r * g->nr, g->nr * sizeof *one);
        }
        free(a), free(b), free(pa), free(pb);
    }
}

/* Many rows have the bits of their tiles, and nothing else is written. */
enum rows_parts { WITH_BIAS = 1, WITH_RES = 2, IN_PLACE = 4, ALL_PARTS = 8 };

static void check_rows(const struct gemm_kernels *g, size_t m, size_t k,
                       unsigned parts)
{
    enum { LDC = GEMM_MAX_NR + 16 };
    float *bias = noise(g->nr, 4), *other = noise(m * LDC, 5);
    const float *biases = bias;
    float *a = noise(m * k, 1), *b = noise(g->nr * k, 2);
    void *pa = operands(g, a, m * k), *pb = operands(g, b, g->nr * k);
    float *c = noise((m + 2) * LDC, 3), *want = noise((m + 2) * LDC, 3);

    const float *res = parts & WITH_RES ? other : NULL;

    g->rows(&(struct gemm_rows){.a = pa,
                                .b = pb,
                                .next = pb,
                                .bias = parts & WITH_BIAS ? bias : NULL,
                                .res = parts & IN_PLACE ? c + LDC : res,
                                .c = c + LDC,
                                .m = m,
                                .k = k,
                                .ldc = LDC});
    for (size_t r = 0; r < m; r++) {
        const void *row = (char *)pa + r * k * dtype_size(g->operand);
        float *to = want + (r + 1) * LDC;
        g->tile(&(struct gemm_tile){.a = &row,
                                    .bias = parts & WITH_BIAS ? &biases : NULL,
                                    .b = pb,
                                    .n_runs = 1,
                                    .run_len = k,
                                    .run_stride = k,
                                    .res = parts & IN_PLACE ? to
                                           : res            ? res + r * LDC
                                                            : NULL,
                                    .c = to,
                                    .ldc = LDC,
                                    .scale = 1,
                                    .m = 1,
                                    .n = g->nr});
    }
    assert_memory_equal(c, want, (m + 2) * LDC * sizeof *c);
    free(a), free(b), free(pa), free(pb), free(c), free(want);
    free(bias), free(other);
}

static void rows_agree_with_tiles(void **state)
{
    (void)state;
    static const size_t depths[] = {2, 16, 64, 80, 130};
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (size_t m = 1; m <= 43 && tables[t].gemm.rows; m++)
            for (size_t d = 0; d < ARRAY_LEN(depths); d++)
                for (unsigned parts = 0; parts < ALL_PARTS; parts++)
                    check_rows(&tables[t].gemm, m, depths[d], parts);
}

static void check_outer(const struct kernel_table *k, size_t rows, size_t cols,
                        size_t a_step, bool is_dense)
{
    const struct gemm_kernels *g = &k->gemm;
    unsigned mr = g->outer_mr, nr = g->outer_nr;
    size_t b_step = nr + 3, n = rows * cols;
    float *a = noise(n * a_step + 200, 1), *b = noise(n * b_step + nr, 2);
    float *c = noise(mr * nr + 16, 3), *old = noise(mr * nr + 16, 3);
    const float *at[GEMM_MAX_MR];
    for (unsigned r = 0; r < mr; r++)
        at[r] = a + (is_dense ? r : r * 7 % 11);
    g->outer(&(struct gemm_outer){at, a_step, cols * a_step, b, b_step,
                                  cols * b_step, cols, rows, c});
    for (unsigned i = 0; i < mr * nr + 16; i++) {
        double want = old[i], size = fabs(want);
        for (size_t p = 0; p < n && i < mr * nr; p++) {
            double v = (double)at[i / nr][p * a_step] * b[p * b_step + i % nr];
            want += v;
            size += fabs(v);
        }
        if (!(fabs(c[i] - want) <= ((double)n + 1) * 0x1p-24 * size) ||
            (i >= mr * nr && c[i] != old[i]))
            fail_msg("%s outer %zux%zu, element %u: want %.9g, got %.9g",
                     k->isa, rows, cols, i, want, c[i]);
    }
    free(a), free(b), free(c), free(old);
}

static void outer_products_of_every_rung(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {
        {1, 1, 1}, {3, 7, 5}, {2, 28, 32}, {7, 1, 96}};
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
            for (int is_dense = 0; is_dense < 2; is_dense++)
                check_outer(&tables[t], sizes[s][0], sizes[s][1], sizes[s][2],
                            is_dense);
}

static void rows_are_added(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (size_t n = 1; n < 40; n++) {
            float *x = noise(9 * n, 1), *sums = noise(n + 8, 2);
            float *old = noise(n + 8, 2);
            tables[t].gemm.add_rows(sums, x, 9, n);
            for (size_t j = 0; j < n + 8; j++) {
                double want = old[j];
                for (size_t r = 0; r < 9 && j < n; r++)
                    want += x[r * n + j];
                if (fabs(sums[j] - want) > (j < n ? 9 * 0x1p-24 * 10 : 0))
                    fail_msg("%s add_rows %zu, column %zu", tables[t].isa, n,
                             j);
            }
            free(x), free(sums), free(old);
        }
}

static void bursts_count_their_work(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++) {
        float sink = 0.5f;
        uint64_t one = tables[t].gemm.burst(1, &sink);
        assert_true(one > 0);
        sink = 0.5f;
        assert_true(tables[t].gemm.burst(1000, &sink) == 1000 * one);
        assert_true(isfinite(sink));
    }
}

/* -- operands -------------------------------------------------------------- */

static float rounded(float x)
{
    return dtype_from_bf16(dtype_to_bf16(x));
}

static const float edges[] = {
    0.0f,        -0.0f,        1.0f,    1.00390625f, 1.01171875f,     -1.0f,
    -1.0039063f, 3.389531e38f, 3.4e38f, -3.4e38f,    1.17549435e-38f, INFINITY,
    -INFINITY,   1.0039062f,   0.1f,
};

static void operands_are_rounded_to_nearest(void **state)
{
    (void)state;
    enum { N = 300 };
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++) {
        const struct gemm_kernels *g = &tables[t].gemm;
        float *x = noise(N, 5), back[N + 1];
        if (!g->narrow) {
            free(x);
            continue;
        }
        memcpy(x, edges, sizeof edges);
        for (size_t n = 1; n <= N; n += n < 70 ? 1 : 23) {
            uint32_t out[N + 1];
            memset(out, 0x5a, sizeof out);
            g->narrow(out, x, n);
            dtype_load(back, out, g->operand, n);
            for (size_t i = 0; i < n; i++)
                if (back[i] != rounded(x[i]))
                    fail_msg("%s: %.9g of %zu rounds to %.9g, not %.9g",
                             tables[t].isa, x[i], n, rounded(x[i]), back[i]);
            const unsigned char *end =
                (unsigned char *)out + n * dtype_size(g->operand);
            assert_int_equal(*end, 0x5a);
        }
        x[0] = NAN;
        uint32_t out[16];
        g->narrow(out, x, 16);
        dtype_load(back, out, g->operand, 16);
        assert_true(isnan(back[0]));
        free(x);
    }
}

/* In one pass what affine_act() and narrow() do in two.  The activations are
 * the same polynomials in another order, some ulp of f32 apart; rounding to
 * 8 significant bits errs by 2^-8 at most. */
static void norm_and_activation_while_narrowing(void **state)
{
    (void)state;
    enum { N = 77 };
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++) {
        const struct gemm_kernels *g = &tables[t].gemm;
        if (!g->narrow_act)
            continue;
        float *x = noise(N, 6), *scale = noise(N, 7), *shift = noise(N, 8);
        float want[N], got[N + 1];
        for (size_t i = 0; i < N; i++) {
            x[i] *= 6;
            scale[i] += 2;
        }
        for (int act = 0; act < ACT_COUNT; act++)
            for (size_t n = 1; n <= N; n++)
                for (int is_affine = 0; is_affine < 2; is_affine++) {
                    uint16_t out[N + 1];
                    memset(out, 0x5a, sizeof out);
                    tables[t].vec.affine_act((enum act)act, 1, n, x, n,
                                             is_affine ? scale : NULL,
                                             is_affine ? shift : NULL, want, n);
                    g->narrow_act(out, (enum act)act, n, x,
                                  is_affine ? scale : NULL,
                                  is_affine ? shift : NULL);
                    assert_int_equal(out[n], 0x5a5a);
                    dtype_load(got, out, DTYPE_BF16, n);
                    for (size_t i = 0; i < n; i++)
                        if (!(fabsf(got[i] - want[i]) <=
                              0x1p-8f * 1.001f * fabsf(want[i]) + 1e-6f))
                            fail_msg("%s, activation %d, %zu of %zu: %.9g "
                                     "narrows to %.9g",
                                     tables[t].isa, act, i, n, want[i], got[i]);
                }
        free(x), free(scale), free(shift);
    }
}

static void panels_from_rows(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++) {
        const struct gemm_kernels *g = &tables[t].gemm;
        if (!g->panel)
            continue;
        for (size_t k = 1; k <= 5; k++)
            for (unsigned n = 1; n <= g->nr; n++) {
                size_t units = (k + g->ku - 1) / g->ku;
                size_t size = units * g->nr * g->ku;
                float *x = noise(k * (n + 1), 9), *got = noise(size, 1);
                uint16_t *out = aligned_alloc(64, size_align(size * 2, 64));
                g->panel(out, x, n + 1, k, n);
                dtype_load(got, out, g->operand, size);
                for (size_t i = 0; i < units * g->ku; i++)
                    for (unsigned j = 0; j < g->nr; j++) {
                        float want =
                            i < k && j < n ? rounded(x[i * (n + 1) + j]) : 0;
                        if (got[weight_at(g, i, j)] != want)
                            fail_msg("%s panel %zux%u, row %zu, column %u",
                                     tables[t].isa, k, n, i, j);
                    }
                free(x), free(got), free(out);
            }
    }
}

/* -- the ladder ------------------------------------------------------------ */

static bool is_always(const struct cpu *cpu)
{
    (void)cpu;
    return true;
}
static bool is_never(const struct cpu *cpu)
{
    (void)cpu;
    return false;
}

/* A made-up rung: narrower tiles, computed by the scalar kernel; nothing is
 * left of rungs whose operands are others. */
static void fill_narrow(struct kernel_table *table)
{
    kernels_fill_scalar(table);
    table->gemm.is_blas = false;
    table->gemm.mr = 3;
}

static void wrong_narrow(void *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) { /* cuts off where it should round */
        uint32_t u;
        memcpy(&u, &src[i], sizeof u);
        u &= 0xffff0000u;
        memcpy((float *)dst + i, &u, sizeof u);
    }
}
static void fill_wrong_narrow(struct kernel_table *table)
{
    fill_narrow(table);
    table->gemm.round = wrong_narrow;
    kernels_use_bf16_operands(table);
}
static void wrong_input_f2(void *v, size_t plane, const float *x,
                           size_t row_stride, size_t col_stride, size_t c)
{
    struct kernel_table scalar;
    assert_true(kernels_select(&scalar, "scalar"));
    scalar.wino_f2.input(v, plane, x, row_stride, col_stride, c);
    ((float *)v)[15 * plane + c - 1] += 1;
}
static void fill_wrong_f2(struct kernel_table *table)
{
    fill_narrow(table);
    kernels_use_bf16_operands(table);
    table->wino.input = wrong_input_f2;
    table->wino.is_used = true;
}

static void wrong_softmax(size_t rows, size_t cols, float *s, size_t ld,
                          float *max, float *sum, float *factor)
{
    struct kernel_table scalar;
    assert_true(kernels_select(&scalar, "scalar"));
    scalar.vec.softmax_columns(rows, cols, s, ld, max, sum, factor);
    sum[cols - 1] *= 1.001f;
}
static void fill_wrong_softmax(struct kernel_table *table)
{
    fill_narrow(table);
    table->vec.softmax_columns = wrong_softmax;
}

static void wrong_scores(const struct attention_product *p, const float *max,
                         float *s)
{
    struct kernel_table scalar;
    assert_true(kernels_select(&scalar, "scalar"));
    scalar.attn.scores(p, max, s);
    s[p->m * ATTENTION_COLS - 1] += 1;
}
static void fill_wrong_attention(struct kernel_table *table)
{
    fill_narrow(table);
    table->attn.scores = wrong_scores;
}

static void (*right_tile)(const struct gemm_tile *t);
static void wrong_tile(const struct gemm_tile *t)
{
    right_tile(t);
    if (t->m == 2 && t->n == 3) /* one size is enough to be refused */
        t->c[1] += 1;
}
static void stray_tile(const struct gemm_tile *t)
{
    right_tile(t);
    t->c[t->n] = 0;
}
static void no_outer(const struct gemm_outer *o)
{
    (void)o;
}

static void wrong_output(const struct winograd_out *o)
{
    struct kernel_table scalar;
    assert_true(kernels_select(&scalar, "scalar"));
    scalar.wino.output(o);
    o->y[0] += o->rows == 3 && o->cols == 1;
}

static void fill_wrong_winograd(struct kernel_table *table)
{
    fill_narrow(table);
    winograd_kernels_scalar(&table->wino);
    table->wino.is_used = true;
    table->wino.output = wrong_output;
}

static void fill_wrong(struct kernel_table *table)
{
    fill_narrow(table);
    right_tile = table->gemm.tile;
    table->gemm.tile = wrong_tile;
}
static void fill_stray(struct kernel_table *table)
{
    fill_narrow(table);
    right_tile = table->gemm.tile;
    table->gemm.tile = stray_tile;
}
static void fill_no_outer(struct kernel_table *table)
{
    fill_narrow(table);
    table->gemm.outer = no_outer;
}

/* The real ladder with one rung more on top. */
static bool select_with(struct kernel_table *k, const char *isa,
                        bool (*is_supported)(const struct cpu *cpu),
                        void (*fill)(struct kernel_table *table))
{
    struct kernel_rung ladder[8];
    struct cpu cpu = cpu_detect();
    assert_true(kernels_ladder_len < ARRAY_LEN(ladder));
    memcpy(ladder, kernels_ladder, kernels_ladder_len * sizeof *ladder);
    ladder[kernels_ladder_len] =
        (struct kernel_rung){"madeup", is_supported, fill, false};
    return kernels_select_from(k, isa, ladder, kernels_ladder_len + 1, &cpu);
}

static void the_best_supported_rung_is_picked(void **state)
{
    (void)state;
    struct kernel_table k;
    assert_true(select_with(&k, NULL, is_always, fill_narrow));
    assert_string_equal(k.isa, "madeup");
    assert_int_equal(k.gemm.mr, 3);
    assert_true(kernels_verify(&k));
    assert_true(select_with(&k, "madeup", is_always, fill_narrow));
    assert_string_equal(k.isa, "madeup");

    assert_true(select_with(&k, NULL, is_never, fill_narrow));
    assert_string_not_equal(k.isa, "madeup");
    assert_false(select_with(&k, "madeup", is_never, fill_narrow));
    assert_false(select_with(&k, "unheard-of", is_always, fill_narrow));
    assert_true(select_with(&k, "scalar", is_always, fill_narrow));
    assert_string_equal(k.isa, "scalar");
}

static void a_poor_cpu_gets_a_low_rung(void **state)
{
    (void)state;
    struct kernel_table k;
    struct cpu none = {0};
    assert_true(kernels_select_from(&k, NULL, kernels_ladder,
                                    kernels_ladder_len, &none));
    assert_string_equal(k.isa, "portable");
    assert_false(kernels_select_from(&k, "avx2", kernels_ladder,
                                     kernels_ladder_len, &none));
}

static void every_rung_verifies(void **state)
{
    (void)state;
    struct kernel_table tables[TABLES_MAX];
    size_t n_tables = tables_all(tables);
    for (size_t t = 0; t < n_tables; t++)
        if (!kernels_verify(&tables[t]))
            fail_msg("%s does not verify", tables[t].isa);
}

static void miscomputing_rungs_are_refused(void **state)
{
    (void)state;
    static void (*const fills[])(struct kernel_table *) = {
        fill_wrong,          fill_stray,          fill_no_outer,
        fill_wrong_winograd, fill_wrong_narrow,   fill_wrong_f2,
        fill_wrong_softmax,  fill_wrong_attention};
    for (size_t i = 0; i < ARRAY_LEN(fills); i++) {
        struct kernel_table k;
        assert_true(select_with(&k, NULL, is_always, fills[i]));
        assert_string_equal(k.isa, "madeup");
        if (kernels_verify(&k))
            fail_msg("broken rung %zu is believed", i);
    }
}

static void bf16_operands_on_any_rung(void **state)
{
    (void)state;
    for (size_t i = 0; i < kernels_ladder_len; i++) {
        struct kernel_table k;
        if (kernels_ladder[i].is_exact ||
            !kernels_select(&k, kernels_ladder[i].isa))
            continue;
        kernels_use_bf16_operands(&k);
        assert_true(k.gemm.is_bf16);
        assert_int_equal(k.wino.edge, 2);
        assert_true(k.wino.is_used == !k.gemm.is_blas);
        assert_string_equal(k.isa, kernels_ladder[i].isa);
        assert_true(kernels_verify(&k));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_of_every_rung),
        cmocka_unit_test(dots_of_every_rung),
        cmocka_unit_test(tiles_agree_bit_for_bit),
        cmocka_unit_test(rows_agree_with_tiles),
        cmocka_unit_test(outer_products_of_every_rung),
        cmocka_unit_test(rows_are_added),
        cmocka_unit_test(bursts_count_their_work),
        cmocka_unit_test(operands_are_rounded_to_nearest),
        cmocka_unit_test(norm_and_activation_while_narrowing),
        cmocka_unit_test(panels_from_rows),
        cmocka_unit_test(the_best_supported_rung_is_picked),
        cmocka_unit_test(a_poor_cpu_gets_a_low_rung),
        cmocka_unit_test(every_rung_verifies),
        cmocka_unit_test(miscomputing_rungs_are_refused),
        cmocka_unit_test(bf16_operands_on_any_rung),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
