/* t_attention.c - the steps of attention of every table against sums in
 * double.
 *
 * Operands are rounded to bf16 before both sides see them: EPS16 / 2 of what
 * they are.  A sum of k products in f32 errs by k EPS of their magnitudes.  A
 * power of two that is rounded to bf16 may err by 1.1e-4 before, a factor by
 * 3e-6.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include <float.h>

#include "base/compiler.h"
#include "base/size.h"
#include "tensor/dtype.h"
#include "tables.h"

#define COLS   ATTENTION_COLS
#define EPS16  (1.0 / 128) /* the spacing of bf16 at 1 */
#define POWER  1.1e-4
#define FACTOR 3e-6

#define EACH_TABLE(k)                        \
    struct kernel_table tables_[TABLES_MAX]; \
    size_t n_tables_ = tables_all(tables_);  \
    for (const struct kernel_table *k = tables_; k < tables_ + n_tables_; k++)

static const size_t sizes[] = {1,  2,  3,  7,  13, 14, 15, 16, 17,
                               31, 32, 33, 40, 57, 64, 84, 85, 129};

static float operand_at(const uint16_t *x, size_t i)
{
    float y;

    dtype_load(&y, x + i, DTYPE_BF16, 1);
    return y;
}

static size_t place_of(size_t i, size_t j)
{
    return (i / 2 * COLS + j) * 2 + i % 2;
}

/* Aligned memory of n operands or floats, with sentinels behind. */
static void *fresh(size_t bytes)
{
    char *p;

    assert_int_equal(posix_memalign((void **)&p, 64, bytes + 64), 0);
    memset(p, 0x5a, bytes + 64);
    return p;
}

static void assert_tail(const char *what, const void *p, size_t bytes)
{
    for (size_t i = bytes; i < bytes + 64; i++)
        if (((const char *)p)[i] != 0x5a)
            fail_msg("%s: wrote behind %zu bytes", what, bytes);
}

/* Operands that are bf16 of normal numbers times `scale`. */
static uint16_t *random_operands(size_t n, uint64_t seed, float scale)
{
    float *x = numbers_random(n, seed, scale);
    uint16_t *y = fresh(n * sizeof *y);

    for (size_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        y[i] = (uint16_t)(bits >> 16);
    }
    numbers_free(x);
    return y;
}

static void check_queries(const struct kernel_table *k, size_t n, size_t d)
{
    size_t ld = d + 3, rows = size_align(d, 2);
    float *q = numbers_random(n * ld, 1, 1);
    uint16_t *panel = fresh(rows * COLS * sizeof *panel);

    k->attn.queries(panel, n, d, q, ld, 0.75f);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) {
            double want = i < d ? 0.75 * q[j * ld + i] : 0;

            assert_near("queries", k->isa, i, operand_at(panel, place_of(i, j)),
                        want, EPS16 / 2 * fabs(want) + EPS);
        }
    assert_tail("queries", panel, rows * COLS * sizeof *panel);
    numbers_free(q);
    free(panel);
}

static void test_queries(void **state)
{
    EACH_TABLE(k)
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t n = 1; n <= COLS; n += n < 3 ? 1 : 5)
            check_queries(k, n, sizes[i]);
}

static void check_values(const struct kernel_table *k, size_t n, size_t pitch,
                         size_t d)
{
    size_t ld = d + 3;
    float *v = numbers_random(n * ld, 2, 1);
    uint16_t *block = fresh(d * pitch * sizeof *block);

    k->attn.values(block, pitch, n, d, v, ld);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < pitch; j++) {
            double want = j < n ? v[j * ld + i] : 0;

            assert_near("values", k->isa, j, operand_at(block, i * pitch + j),
                        want, EPS16 / 2 * fabs(want) + EPS);
        }
    assert_tail("values", block, d * pitch * sizeof *block);
    numbers_free(v);
    free(block);
}

static void test_values(void **state)
{
    EACH_TABLE(k)
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        check_values(k, 1, 84, sizes[i]);
        check_values(k, 84, 84, sizes[i]);
        check_values(k, sizes[i], size_align(sizes[i], 2) + 4, 21);
    }
}

/* The sum of row i times column j, and of its magnitudes. */
static double product_of(const struct attention_product *p, size_t i, size_t j,
                         double *size)
{
    double sum = 0;

    *size = 0;
    for (size_t k = 0; k < p->k; k++) {
        double x = (double)operand_at(p->rows, i * p->pitch + k) *
                   operand_at(p->panel, place_of(k, j));

        sum += x;
        *size += fabs(x);
    }
    return sum;
}

static void check_scores(const struct kernel_table *k,
                         const struct attention_product *p)
{
    float *s = fresh(p->m * COLS * sizeof *s), max[COLS];

    for (size_t j = 0; j < COLS; j++)
        max[j] = (float)j - 4;
    k->attn.scores(p, max, s);
    for (size_t i = 0; i < p->m * COLS; i++) {
        double size, want = product_of(p, i / COLS, i % COLS, &size);

        assert_near("scores", k->isa, i, s[i], want - max[i % COLS],
                    (double)p->k * EPS * (size + 32));
    }
    assert_tail("scores", s, p->m * COLS * sizeof *s);
    free(s);
}

/* A power's exponent is off by that of its score and by its own rounding. */
static void check_powers(const struct kernel_table *k,
                         const struct attention_product *p, size_t n)
{
    size_t rows = size_align(p->m, 2), bytes = rows * COLS * 2;
    uint16_t *panel = fresh(bytes);
    struct attention_sums sums = {0};

    for (size_t j = 0; j < COLS; j++) {
        sums.max[j] = (float)j - 4;
        sums.sum[j] = 3;
    }
    assert_true(k->attn.powers(p, n, &sums, panel));
    for (size_t j = 0; j < n; j++) {
        double total = 0;

        for (size_t i = 0; i < rows; i++) {
            double size = 0, want = 0, error;

            if (i < p->m)
                want = exp2(product_of(p, i, j, &size) - sums.max[j]);
            error = POWER + (double)p->k * (size + 64) * EPS;
            total += want;
            assert_near("powers", k->isa, i, operand_at(panel, place_of(i, j)),
                        want, (EPS16 / 2 + error) * want + FLT_MIN);
        }
        assert_near("total", k->isa, j, sums.total[j], total,
                    (2 * POWER + 1e-4) * total);
        assert_near("sum", k->isa, j, sums.sum[j], 3 + (double)sums.total[j],
                    EPS * (3 + total));
        assert_near("max", k->isa, j, sums.max[j], (double)j - 4, 0);
    }
    assert_tail("powers", panel, bytes);
    free(panel);
}

static void check_weigh(const struct kernel_table *k,
                        const struct attention_product *p, bool has_factor)
{
    size_t n = p->m * COLS;
    float *o = fresh(n * sizeof *o), *old = numbers_random(n, 5, 1);
    float factor[COLS];

    memcpy(o, old, n * sizeof *o);
    for (size_t j = 0; j < COLS; j++)
        factor[j] = (float)j / 16;
    k->attn.weigh(p, has_factor ? factor : NULL, o);
    for (size_t i = 0; i < n; i++) {
        double size, sum = product_of(p, i / COLS, i % COLS, &size);
        double first = old[i] * (has_factor ? factor[i % COLS] : 1.0);

        assert_near("weigh", k->isa, i, o[i], first + sum,
                    (double)(p->k + 2) * EPS * (fabs(first) + size));
    }
    assert_tail("weigh", o, n * sizeof *o);
    numbers_free(old);
    free(o);
}

static void test_products(void **state)
{
    EACH_TABLE(k)
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t n = 2; n <= 86; n += 42) {
            struct attention_product p = {
                .m = sizes[i], .k = n, .pitch = n + 6};
            uint16_t *rows = random_operands(p.m * p.pitch, 3, 1);
            uint16_t *panel = random_operands(n * COLS, 4, 1);

            p.rows = rows;
            p.panel = panel;
            check_scores(k, &p);
            check_powers(k, &p, 1 + i);
            check_powers(k, &p, COLS);
            check_weigh(k, &p, false);
            check_weigh(k, &p, true);
            free(rows);
            free(panel);
        }
}

/* Scores of two blocks, the second with larger ones in half of the columns and
 * with some that are masked; the panel lies over the scores or not. */
struct softmax_case {
    float *s; /* [rows][COLS] */
    struct attention_sums sums;
    double sum[COLS], max[COLS];
};

static void check_block(const struct kernel_table *k, struct softmax_case *t,
                        size_t rows, size_t n, bool is_first, bool is_over)
{
    size_t bytes = rows * COLS * sizeof *t->s;
    float *s = fresh(bytes);
    uint16_t *panel =
        is_over ? (void *)s : fresh(size_align(rows, 2) * COLS * 2);
    bool has_moved, is_one = true;

    memcpy(s, t->s, bytes);
    for (size_t i = 0; i < rows * COLS; i++) {
        float *top = &t->sums.top[i % COLS];

        *top = i < COLS && is_first ? s[i] : fmaxf(i < COLS ? 0 : *top, s[i]);
    }
    has_moved = k->attn.softmax(rows, n, s, &t->sums, panel);
    for (size_t j = 0; j < n; j++)
        is_one &= t->sums.factor[j] == 1;
    assert_int_equal(has_moved, !is_one);
    for (size_t j = 0; j < n; j++) {
        double top = t->sums.top[j], factor = top > 0 ? exp2(-top) : 1;

        t->sum[j] *= factor;
        t->max[j] += top;
        for (size_t i = 0; i < size_align(rows, 2); i++) {
            double p = i < rows ? exp2(t->s[i * COLS + j] - top) : 0;

            t->sum[j] += p;
            assert_near("p", k->isa, i, operand_at(panel, place_of(i, j)), p,
                        (EPS16 / 2 + 2 * POWER) * p + FLT_MIN);
        }
        assert_near("factor", k->isa, j, t->sums.factor[j], factor,
                    (FACTOR + 20 * EPS) * factor);
        assert_near("max", k->isa, j, t->sums.max[j], t->max[j],
                    EPS * fabs(t->max[j]));
        assert_near("sum", k->isa, j, t->sums.sum[j], t->sum[j],
                    (2 * POWER + (double)(rows + 4) * EPS) * t->sum[j]);
    }
    if (!is_over) {
        assert_tail("panel", panel, size_align(rows, 2) * COLS * 2);
        assert_memory_equal(s, t->s, bytes);
        free(panel);
    }
    assert_tail("s", s, bytes);
    free(s);
}

static void test_softmax(void **state)
{
    EACH_TABLE(k)
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t n = 1; n <= COLS; n += n == 1 ? 14 : 1) {
            size_t rows = sizes[i];
            struct softmax_case t = {.s = numbers_random(rows * COLS, 6, 6)};

            check_block(k, &t, rows, n, true, n % 2 == 0);
            for (size_t at = 0; at < rows * COLS; at++) {
                t.s[at] += at % 2 ? 9 : -3;
                if (at % 5 == 0)
                    t.s[at] = -1e30f;
            }
            check_block(k, &t, rows, n, false, n % 2 == 1);
            numbers_free(t.s);
        }
}

/* Columns whose scores are all the same and more or less far from max. */
static void test_far_powers(void **state)
{
    static const struct {
        float score, max, sum;
        bool is_near;
    } rows[] = {
        {0, 0, 0, true},     {58, 0, 0, true},     {62, 0, 0, false},
        {-60, 0, 0, true},   {-64, 0, 0, false},   {-64, 0, 1, true},
        {500, 480, 0, true}, {500, 400, 1, false}, {-1000, 0, 1, true},
        {NAN, 0, 1, false},  {400, 0, 1, false},   {-1000, -990, 0, true},
        {3000, 0, 0, false}, {-3000, 0, 0, false},
    };

    EACH_TABLE(k)
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t n = 1; n <= COLS; n += 5) {
            _Alignas(64) uint16_t q[2 * COLS] = {0}, panel[4 * COLS];
            uint16_t key[8];
            float one[2] = {1, 0}, x[COLS];
            struct attention_product p = {3, 2, 2, key, q};
            struct attention_sums sums = {0};

            for (size_t j = 0; j < COLS; j++)
                x[j] = j == n - 1 || j >= n ? rows[i].score : rows[i].max;
            k->attn.queries(q, COLS, 1, x, 1, 1);
            for (size_t r = 0; r < 4; r++)
                k->attn.values(key + 2 * r, 2, 1, 1, one, 1);
            for (size_t j = 0; j < COLS; j++) {
                sums.max[j] = rows[i].max;
                sums.sum[j] = rows[i].sum;
            }
            assert_int_equal(k->attn.powers(&p, n, &sums, panel),
                             rows[i].is_near);
            for (size_t j = 0; j < n; j++)
                assert_int_equal(attention_is_near(&sums, j),
                                 rows[i].is_near || j < n - 1);
            if (!rows[i].is_near)
                assert_true(sums.sum[n - 1] == rows[i].sum);
        }
}

/* All of the range, one score a column and its distance from the maximum. */
static void test_power_error(void **state)
{
    enum { ROWS = 4096 };
    static float s[ROWS * COLS];
    _Alignas(64) uint16_t panel[2 * COLS];

    EACH_TABLE(k)
    {
        struct attention_sums sums = {0};

        for (size_t i = 0; i < ROWS; i++)
            for (size_t j = 0; j < COLS; j++)
                s[i * COLS + j] = -(float)(i * COLS + j) / (ROWS * COLS) * 126;
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t j = 0; j < COLS; j++)
                sums.top[j] = -s[i * COLS + j];
            (void)k->attn.softmax(1, COLS, s + i * COLS, &sums, panel);
            for (size_t j = 0; j < COLS; j++)
                assert_near("power", k->isa, i, sums.factor[j],
                            exp2(s[i * COLS + j]),
                            FACTOR * exp2(s[i * COLS + j]));
        }
    }
}

static void test_outputs(void **state)
{
    EACH_TABLE(k)
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t n = 1; n <= COLS; n += n < 3 ? 1 : 5) {
            size_t d = sizes[i], ld = d + 5, len = (n - 1) * ld + d;
            float *from = numbers_random(d * COLS, 7, 1),
                  *to = numbers_new(len);
            float *o = fresh(d * COLS * sizeof *o), sum[COLS];

            memcpy(o, from, d * COLS * sizeof *o);
            for (size_t j = 0; j < COLS; j++)
                sum[j] = 1 + (float)j;
            k->attn.outputs(d, n, o, sum, to, ld);
            for (size_t at = 0; at < len; at++) {
                size_t j = at / ld, c = at % ld;
                double want = c < d ? o[c * COLS + j] / sum[j] : SENTINEL;

                assert_near("outputs", k->isa, at, to[at], want,
                            c < d ? 2 * EPS * fabs(want) : 0);
            }
            assert_guards("outputs", to, len);
            numbers_free(from);
            numbers_free(to);
            free(o);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queries),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_products),    cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_power_error), cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_far_powers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
