/* verify.c - is a table's arithmetic right on this very machine?
 *
 * Data are small whole numbers, so that every right kernel gives the very same
 * bits in whatever order it adds (f32 holds all sums exactly).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#define VERIFY_K    17 /* odd: every unrolled loop has a tail               */
#define VERIFY_RUNS 2

/* Small values that f32 and bf16 hold exactly, so that sums are whole numbers
 * and every right kernel gives the very same result. */
static float verify_value(unsigned i)
{
    return (float)((int)(i * 2654435761u >> 13 & 15u) - 8);
}

static void put_operand(const struct gemm_kernels *g, void *dst, size_t at,
                        float x)
{
    if (g->operand == DTYPE_F32)
        ((float *)dst)[at] = x;
    else
        g->narrow((uint16_t *)dst + at, &x, 1);
}

/* Rows of A lie in order or, for half of the widths, in swapped pairs. */
static unsigned verify_row(unsigned m, unsigned n, unsigned r)
{
    return n % 2 == 0 && (r ^ 1u) < m ? r ^ 1u : r;
}

/* With is_dots the columns' weights lie as rows. */
static bool verify_tile(const struct gemm_kernels *g, unsigned m, unsigned n,
                        bool is_dots)
{
    enum { ROW = VERIFY_RUNS * (VERIFY_K + 1), LDC = GEMM_MAX_NR + 3 };
    _Alignas(64) float a[GEMM_MAX_MR * ROW];
    _Alignas(64) float b[ROW * GEMM_MAX_NR];
    float c[GEMM_MAX_MR * LDC], res[GEMM_MAX_MR * LDC], bias[GEMM_MAX_NR];
    const void *rows[GEMM_MAX_MR];
    const float *biases[GEMM_MAX_MR];
    size_t len = (VERIFY_K + g->ku - 1) / g->ku * g->ku;
    size_t size = dtype_size(g->operand);
    for (unsigned r = 0; r < m; r++) {
        unsigned at = verify_row(m, n, r) * ROW;
        rows[r] = (char *)a + at * size;
        biases[r] = bias;
        for (unsigned i = 0; i < VERIFY_RUNS * len; i++)
            put_operand(g, a, at + i, verify_value(r * 100 + i));
    }
    for (unsigned k = 0; k < VERIFY_RUNS * len; k++)
        for (unsigned j = 0; j < (is_dots ? n : g->nr); j++)
            put_operand(g, b,
                        is_dots ? j * VERIFY_RUNS * len + k
                                : (k / g->ku * g->nr + j) * g->ku + k % g->ku,
                        j < n ? verify_value(7 * k + 31 * j) : 0.0f);
    for (unsigned j = 0; j < n; j++)
        bias[j] = verify_value(j + 900);
    for (unsigned i = 0; i < GEMM_MAX_MR * LDC; i++) {
        res[i] = verify_value(i + 500);
        c[i] = -1.0f;
    }
    (is_dots ? g->dots : g->tile)(&(struct gemm_tile){
        rows, biases, 0, b, VERIFY_RUNS, len, len, res, c, LDC, 0.5f, m, n});
    for (unsigned r = 0; r < GEMM_MAX_MR; r++) {
        for (unsigned j = 0; j < LDC; j++) {
            float want = -1.0f; /* outside of the tile: untouched */
            if (r < m && j < n) {
                want = bias[j] + res[r * LDC + j];
                for (unsigned k = 0; k < VERIFY_RUNS * len; k++)
                    want += verify_value(r * 100 + k) *
                            verify_value(7 * k + 31 * j);
                want *= 0.5f;
            }
            if (c[r * LDC + j] != want)
                return false;
        }
    }
    return true;
}

/* As many rows as two tiles and a part of one, by tiles one by one. */
static bool verify_rows(const struct gemm_kernels *g)
{
    enum { K = 40, M = 2 * GEMM_MAX_MR + 3 };
    _Alignas(64) float a[M * K], b[K * GEMM_MAX_NR];
    float c[M * GEMM_MAX_NR], bias[GEMM_MAX_NR], want[GEMM_MAX_NR];
    const float *biases = bias;
    for (unsigned i = 0; i < M * K; i++)
        put_operand(g, a, i, verify_value(i));
    for (unsigned i = 0; i < K * g->nr; i++)
        put_operand(g, b, i, verify_value(3 * i + 1));
    for (unsigned i = 0; i < g->nr; i++)
        bias[i] = verify_value(7 * i);
    for (unsigned i = 0; i < M * g->nr; i++)
        c[i] = verify_value(5 * i);
    g->rows(&(struct gemm_rows){a, b, b, bias, c, c, M, K, g->nr});
    for (unsigned r = 0; r < M; r++) {
        const void *row = (char *)a + r * K * dtype_size(g->operand);
        for (unsigned i = 0; i < g->nr; i++)
            want[i] = verify_value(5 * (r * g->nr + i));
        g->tile(&(struct gemm_tile){&row, &biases, 0, b, 1, K, K, want, want,
                                    g->nr, 1.0f, 1, g->nr});
        if (memcmp(c + r * g->nr, want, g->nr * sizeof *want) != 0)
            return false;
    }
    return true;
}

static bool verify_outer(const struct gemm_kernels *g)
{
    enum { COLS = 5, ROWS = 3, STEP = GEMM_MAX_NR + 1, ROW = COLS * STEP };
    float a[ROWS * ROW], b[ROWS * ROW];
    _Alignas(64) float c[GEMM_MAX_MR * GEMM_MAX_NR];
    const float *rows[GEMM_MAX_MR];
    unsigned mr = g->outer_mr, nr = g->outer_nr;
    for (unsigned i = 0; i < ROWS * ROW; i++) {
        a[i] = verify_value(i);
        b[i] = verify_value(i + 777);
    }
    for (unsigned r = 0; r < mr; r++)
        rows[r] = a + r;
    for (unsigned i = 0; i < mr * nr; i++)
        c[i] = verify_value(i + 333);
    g->outer(
        &(struct gemm_outer){rows, STEP, ROW, b, STEP, ROW, COLS, ROWS, c});
    for (unsigned i = 0; i < mr * nr; i++) {
        float want = verify_value(i + 333);
        for (unsigned p = 0; p < ROWS * COLS; p++)
            want += a[p * STEP + i / nr] * b[p * STEP + i % nr];
        if (c[i] != want)
            return false;
    }
    return true;
}

/* -- operands of bf16 ------------------------------------------------------ */

#define VERIFY_WIDE 75 /* whole vectors of 32 and 16, and a part             */

/* Powers of two apart, with ties and digits beyond them, of both signs. */
static float verify_real(unsigned i)
{
    return (float)((int)(i * 2654435761u >> 9 & 0xfffu) - 2048) *
           (i % 3 == 0 ? 0.0078125f : 1.0f + 0x1p-12f);
}

/* Element i of operands as a float. */
static float operand_at(const struct gemm_kernels *g, const void *p, size_t i)
{
    float x;
    dtype_load(&x, (const char *)p + i * dtype_size(g->operand), g->operand, 1);
    return x;
}

static bool verify_narrow(const struct gemm_kernels *g)
{
    float x[VERIFY_WIDE], out[VERIFY_WIDE + 1];
    for (unsigned i = 0; i < VERIFY_WIDE; i++)
        x[i] = verify_real(i);
    for (unsigned n = 1; n <= VERIFY_WIDE; n++) {
        memset(out, 0, sizeof out);
        g->narrow(out, x, n);
        for (unsigned i = 0; i <= n; i++) {
            float want = i < n ? dtype_from_bf16(dtype_to_bf16(x[i])) : 0;
            if (i < VERIFY_WIDE && operand_at(g, out, i) != want)
                return false;
        }
    }
    return true;
}

/* Half a step of bf16 and some ulp of f32 for the activations. */
static bool verify_narrow_act(const struct gemm_kernels *g)
{
    float x[VERIFY_WIDE], scale[VERIFY_WIDE], shift[VERIFY_WIDE];
    float want[VERIFY_WIDE], out[VERIFY_WIDE + 1];
    struct vector_kernels twin;
    vector_kernels_scalar(&twin);
    for (unsigned i = 0; i < VERIFY_WIDE; i++) {
        x[i] = verify_real(i) * 0x1p-8f;
        scale[i] = 0.5f + (float)(i % 4);
        shift[i] = verify_value(i + 60) * 0.125f;
    }
    for (int act = 0; act < ACT_COUNT; act++)
        for (unsigned n = 1; n <= VERIFY_WIDE; n += 11) {
            const float *s = n % 2 ? scale : NULL, *t = n % 2 ? shift : NULL;
            memset(out, 0, sizeof out);
            twin.affine_act((enum act)act, 1, n, x, n, s, t, want, n);
            g->narrow_act(out, (enum act)act, n, x, s, t);
            for (unsigned i = 0; i < n; i++)
                if (!(fabsf(operand_at(g, out, i) - want[i]) <=
                      0x1.01p-8f * fabsf(want[i]) + 1e-6f))
                    return false;
        }
    return true;
}

static bool verify_panel(const struct gemm_kernels *g, size_t k, unsigned n)
{
    enum { ROWS = 5, LD = GEMM_MAX_NR + 1 };
    float x[ROWS * LD];
    _Alignas(64) float out[(ROWS + 1) * GEMM_MAX_NR];
    for (unsigned i = 0; i < ROWS * LD; i++)
        x[i] = verify_value(i);
    g->panel(out, x, LD, k, n);
    for (size_t i = 0; i < (k + g->ku - 1) / g->ku * g->ku; i++)
        for (unsigned j = 0; j < g->nr; j++) {
            float want = i < k && j < n ? x[i * LD + j] : 0;
            size_t at = (i / g->ku * g->nr + j) * g->ku + i % g->ku;
            if (operand_at(g, out, at) != want)
                return false;
        }
    return true;
}

/* Two blocks of a running softmax: some ulp of f32 for the exponentials. */
static bool verify_softmax(const struct vector_kernels *v, size_t cols)
{
    enum { ROWS = 7, LD = 41 };
    float s[2][ROWS * LD], max[2][LD], sum[2][LD], factor[2][LD];
    struct vector_kernels twin;
    vector_kernels_scalar(&twin);
    for (unsigned j = 0; j < LD; j++) {
        max[0][j] = max[1][j] = -3e38f;
        sum[0][j] = sum[1][j] = factor[0][j] = factor[1][j] = 0;
    }
    for (unsigned block = 0; block < 2; block++) {
        for (unsigned i = 0; i < ROWS * LD; i++)
            s[0][i] = s[1][i] = verify_value(i + 5 * block);
        v->softmax_columns(ROWS, cols, s[0], LD, max[0], sum[0], factor[0]);
        twin.softmax_columns(ROWS, cols, s[1], LD, max[1], sum[1], factor[1]);
        for (unsigned j = 0; j < LD; j++)
            if (max[0][j] != max[1][j] ||
                !(fabsf(sum[0][j] - sum[1][j]) <= 1e-5f * sum[1][j]) ||
                !(fabsf(factor[0][j] - factor[1][j]) <= 1e-5f))
                return false;
        for (unsigned i = 0; i < ROWS * LD; i++)
            if (!(fabsf(s[0][i] - s[1][i]) <= 1e-5f * fabsf(s[1][i])))
                return false;
    }
    return true;
}

static bool verify_operands(const struct gemm_kernels *g)
{
    if (g->narrow && !verify_narrow(g))
        return false;
    if (g->narrow_act && !verify_narrow_act(g))
        return false;
    if (g->ku != 1 && !g->panel)
        return false;
    for (unsigned n = 1; g->panel && n <= g->nr; n++)
        if (!verify_panel(g, n % 5 + 1, n))
            return false;
    return true;
}

/* -- attention, against the scalar twin ------------------------------------ */

enum { ATTENTION_K = 24, ATTENTION_PITCH = 34 };

/* Operands and results of one set of kernels. */
struct verify_attention {
    _Alignas(64) uint16_t queries[ATTENTION_K * ATTENTION_COLS];
    _Alignas(64) uint16_t powers[ATTENTION_K * ATTENTION_COLS];
    _Alignas(64) float s[ATTENTION_K * ATTENTION_COLS];
    _Alignas(64) float o[ATTENTION_K * ATTENTION_COLS];
    uint16_t block[ATTENTION_K * ATTENTION_PITCH];
    float out[ATTENTION_COLS * ATTENTION_K];
    struct attention_sums sums;
    bool is_near;
};

/* The odd number of rows of scores becomes a panel by both ways. */
static void run_attention(const struct attention_kernels *k,
                          struct verify_attention *t, size_t n)
{
    enum { LD = ATTENTION_K + 1 };
    float x[ATTENTION_COLS * LD];
    struct attention_product p = {ATTENTION_K - 1, ATTENTION_K, ATTENTION_PITCH,
                                  t->block, t->queries};
    for (unsigned i = 0; i < ATTENTION_COLS * LD; i++)
        x[i] = verify_value(i);
    memset(t, 0, sizeof *t);
    k->values(t->block, ATTENTION_PITCH, ATTENTION_COLS, ATTENTION_K, x, LD);
    k->queries(t->queries, n, ATTENTION_K - 1, x, LD, 1);
    k->scores(&p, t->sums.max, t->s);
    for (size_t i = 0; i < p.m * ATTENTION_COLS; i++)
        t->sums.top[i % ATTENTION_COLS] =
            fmaxf(t->sums.top[i % ATTENTION_COLS], t->s[i]);
    (void)k->softmax(p.m, n, t->s, &t->sums, t->powers);
    t->is_near = k->powers(&p, n, &t->sums, t->powers);
    p.panel = t->powers;
    k->weigh(&p, NULL, t->o);
    k->weigh(&p, t->sums.factor, t->o);
    k->outputs(ATTENTION_K, n, t->o, t->sums.sum, t->out, ATTENTION_K);
}

/* Scores are whole numbers; powers may be a unit of bf16 apart where an ulp of
 * f32 decides the rounding, and so are means of values up to 8. */
static bool verify_attention(const struct attention_kernels *k, size_t n)
{
    struct verify_attention got, want;
    struct attention_kernels twin;
    attention_kernels_scalar(&twin);
    run_attention(k, &got, n);
    run_attention(&twin, &want, n);
    if (memcmp(got.block, want.block, sizeof got.block) != 0 || !got.is_near)
        return false;
    for (size_t i = 0; i < (ATTENTION_K - 1) * ATTENTION_COLS; i++)
        if (i % ATTENTION_COLS < n && got.s[i] != want.s[i])
            return false;
    for (size_t j = 0; j < n; j++)
        if (got.sums.max[j] != want.sums.max[j] ||
            got.sums.factor[j] != want.sums.factor[j] ||
            !(fabsf(got.sums.sum[j] - want.sums.sum[j]) <=
              3e-4f * want.sums.sum[j]))
            return false;
    for (size_t i = 0; i < n * ATTENTION_K; i++)
        if (!(fabsf(got.out[i] - want.out[i]) <= 0.07f))
            return false;
    return true;
}

/* -- Winograd, against the scalar twin ------------------------------------- */

#define VERIFY_C 24 /* channels: three vectors of 8                           */

static void fill_values(float *x, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = verify_value((unsigned)i + seed);
}

static bool verify_transforms(const struct winograd_kernels *w,
                              const struct winograd_kernels *twin)
{
    enum { PLANE = VERIFY_C + 8 };
    float x[36 * VERIFY_C], got[36 * PLANE], want[36 * PLANE];
    fill_values(x, 36 * VERIFY_C, 1);
    fill_values(got, 36 * PLANE, 2);
    memcpy(want, got, sizeof want);
    w->input(got, PLANE, x, 6 * VERIFY_C, VERIFY_C, VERIFY_C);
    twin->input(want, PLANE, x, 6 * VERIFY_C, VERIFY_C, VERIFY_C);
    if (memcmp(got, want, sizeof got) != 0)
        return false;
    w->grad(got, PLANE, x, 6 * VERIFY_C, VERIFY_C, VERIFY_C);
    twin->grad(want, PLANE, x, 6 * VERIFY_C, VERIFY_C, VERIFY_C);
    return memcmp(got, want, sizeof got) == 0;
}

static bool verify_output(const struct winograd_kernels *w,
                          const struct winograd_kernels *twin, uint32_t rows,
                          uint32_t cols, uint32_t c)
{
    float m[36 * VERIFY_C], add[VERIFY_C], res[16 * VERIFY_C];
    float got[16 * VERIFY_C], want[16 * VERIFY_C];
    struct winograd_out o = {.res = res,
                             .add = add,
                             .row_stride = (size_t)w->edge * VERIFY_C,
                             .col_stride = VERIFY_C,
                             .rows = rows,
                             .cols = cols,
                             .c = c,
                             .scale = 0.5f,
                             .m = m,
                             .plane = VERIFY_C};
    fill_values(m, 36 * VERIFY_C, 3);
    fill_values(add, VERIFY_C, 4);
    fill_values(res, 16 * VERIFY_C, 5);
    fill_values(got, 16 * VERIFY_C, 6);
    memcpy(want, got, sizeof want);
    o.y = got;
    w->output(&o);
    o.y = want;
    twin->output(&o);
    return memcmp(got, want, sizeof got) == 0;
}

static bool verify_products(const struct winograd_kernels *w,
                            const struct winograd_kernels *twin, size_t m)
{
    enum { K = 9, LD = VERIFY_C + 1 };
    float a[16 * LD], b[K * LD], got[16 * LD], want[16 * LD];
    fill_values(a, 16 * LD, 7);
    fill_values(b, K * LD, 8);
    fill_values(got, 16 * LD, 9);
    memcpy(want, got, sizeof want);
    for (int is_adding = 0; is_adding < 2; is_adding++) {
        w->gemm(got, LD, a, K, m, b, K, is_adding);
        twin->gemm(want, LD, a, K, m, b, K, is_adding);
    }
    if (memcmp(got, want, sizeof got) != 0)
        return false;
    w->gemm_tn(got, LD, a, LD, b, LD, m, VERIFY_C, K);
    twin->gemm_tn(want, LD, a, LD, b, LD, m, VERIFY_C, K);
    return memcmp(got, want, sizeof got) == 0;
}

static bool verify_winograd(const struct winograd_kernels *w)
{
    struct winograd_kernels twin;
    winograd_kernels_scalar(&twin);
    if (!verify_transforms(w, &twin))
        return false;
    for (uint32_t i = 0; i < 16; i++)
        if (!verify_output(w, &twin, i / 4 + 1, i % 4 + 1, VERIFY_C))
            return false;
    for (size_t m = 1; m <= 13; m++) /* every tail of a strip of 6 */
        if (!verify_products(w, &twin, m))
            return false;
    return true;
}

/* Values of a pair of tiles lie side by side. */
static bool is_pair(const struct gemm_kernels *g, const void *pair,
                    const float *even, const float *odd, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (operand_at(g, pair, 2 * i) != even[i] ||
            operand_at(g, pair, 2 * i + 1) != (odd ? odd[i] : 0))
            return false;
    return true;
}

static bool verify_pair_transforms(const struct gemm_kernels *g,
                                   const struct winograd_kernels *w,
                                   const struct winograd_kernels *twin,
                                   bool has_odd)
{
    enum { C = 32, N = 16 * C };
    float x[2][N], even[N], odd[N], got[N];
    const float *x1 = has_odd ? x[1] : NULL;
    fill_values(x[0], N, 1);
    fill_values(x[1], N, 2);
    w->input_pair(got, C, x[0], x1, 4 * C, C, C);
    twin->input(even, C, x[0], 4 * C, C, C);
    twin->input(odd, C, x[1], 4 * C, C, C);
    if (!is_pair(g, got, even, has_odd ? odd : NULL, N))
        return false;
    w->grad_pair(got, C, x[0], x1, 2 * C, C, C);
    twin->grad(even, C, x[0], 2 * C, C, C);
    twin->grad(odd, C, x[1], 2 * C, C, C);
    return is_pair(g, got, even, has_odd ? odd : NULL, N);
}

/* m rows and n columns of sums over K pairs. */
static bool verify_pair_products(const struct gemm_kernels *g,
                                 const struct winograd_kernels *w,
                                 const struct winograd_kernels *twin, size_t m,
                                 size_t n)
{
    enum { K = 3, M = 96, NC = 48 };
    float x[2 * K][M + NC], pairs[K * 2 * (M + NC)], sums[16 * NC];
    uint32_t a[K * 2 * (M + NC)]; /* large enough for any operands           */
    for (size_t p = 0; p < 2 * K; p++)
        fill_values(x[p], M + NC, (unsigned)(50 * p));
    for (size_t i = 0; i < 2 * K * (M + NC); i++)
        pairs[i] = x[i / (M + NC) / 2 * 2 + i % 2][i / 2 % (M + NC)];
    g->narrow(a, pairs, 2 * K * (M + NC));
    for (size_t r = 0; r < m; r += 16) { /* rows r .. r + 16 as the twin's */
        float all[M * NC];
        const char *b = (const char *)a + M * 2 * dtype_size(g->operand);
        fill_values(all, M * NC, 9);
        memcpy(sums, all + r * n, 16 * n * sizeof(float));
        twin->gemm_tn(sums, n, x[0] + r, M + NC, x[0] + M, M + NC, 16, n,
                      2 * K);
        w->gemm_pairs(all, n, a, M + NC, b, M + NC, m, n, K);
        if (memcmp(sums, all + r * n, 16 * n * sizeof(float)) != 0)
            return false;
    }
    return true;
}

/* Every length of a strip of rows, and one vector of columns and two. */
static bool verify_pairs(const struct gemm_kernels *g,
                         const struct winograd_kernels *w)
{
    struct winograd_kernels twin;
    winograd_kernels_f2_scalar(&twin);
    if (!verify_pair_transforms(g, w, &twin, true) ||
        !verify_pair_transforms(g, w, &twin, false))
        return false;
    for (size_t m = 16; m <= 96; m += 16)
        if (!verify_pair_products(g, w, &twin, m, 16) ||
            !verify_pair_products(g, w, &twin, m, 48))
            return false;
    return true;
}

/* F(2x2) that has no adjoint by pairs has one by single tiles. */
static bool verify_adjoint_f2(const struct gemm_kernels *g,
                              const struct winograd_kernels *w)
{
    enum { C = 16, N = 16 * C };
    float x[N], got[N], want[N];
    struct winograd_kernels twin;
    if (w->gemm_pairs)
        return w->input_pair && w->grad_pair && verify_pairs(g, w);
    winograd_kernels_f2_scalar(&twin);
    if (!w->grad || !w->gemm_tn)
        return false;
    fill_values(x, N, 3);
    w->grad(got, C, x, 2 * C, C, C);
    twin.grad(want, C, x, 2 * C, C, C);
    return memcmp(got, want, sizeof got) == 0;
}

/* F(2x2): sums of four whole numbers up to 8 are exact in bf16. */
static bool verify_winograd_f2(const struct gemm_kernels *g,
                               const struct winograd_kernels *w)
{
    enum { C = 16, PLANE = C + 3, N = 16 * PLANE };
    float x[16 * C], got[N], want[N];
    struct winograd_kernels twin;
    winograd_kernels_f2_scalar(&twin);
    fill_values(x, 16 * C, 1);
    memset(got, 0, sizeof got);
    memset(want, 0, sizeof want);
    w->input(got, PLANE, x, 4 * C, C, C);
    twin.input(want, PLANE, x, 4 * C, C, C);
    for (size_t i = 0; i < N; i++)
        if (operand_at(g, got, i) != want[i])
            return false;
    for (uint32_t i = 0; i < 4; i++)
        if (!verify_output(w, &twin, i / 2 + 1, i % 2 + 1, C))
            return false;
    return verify_adjoint_f2(g, w);
}

static bool verify_either_winograd(const struct kernel_table *table)
{
    const struct winograd_kernels *w = &table->wino;
    if (!w->is_used)
        return true;
    return w->edge == 2 ? verify_winograd_f2(&table->gemm, w)
                        : verify_winograd(w);
}

/* -- whole numbers of 8 bits: every bit, against the scalar twin ----------- */

static bool verify_quantise(const struct int8_kernels *k)
{
    float x[VERIFY_WIDE];
    int8_t want[VERIFY_WIDE + INT8_MAX_KU] = {0};
    int16_t got[VERIFY_WIDE + INT8_MAX_KU];
    struct int8_kernels twin;
    int8_kernels_scalar(&twin);
    for (size_t n = 1; n <= VERIFY_WIDE; n++) {
        for (unsigned i = 0; i < n; i++)
            x[i] = verify_real(i + (unsigned)n);
        memset(want, 0, sizeof want);
        if (k->quantise(got, x, n) != twin.quantise(want, x, n))
            return false;
        for (size_t i = 0; i < (n + k->ku - 1) / k->ku * k->ku; i++) {
            int q = k->a_bytes == 2 ? got[i] : ((int8_t *)got)[i];
            /* A shift by 128 flips the highest bit. */
            if (q != want[i] && (k->a_bytes == 2 || (q ^ -128) != want[i]))
                return false;
        }
    }
    return true;
}

static bool verify_int8_tile(const struct int8_kernels *k, unsigned m,
                             unsigned n)
{
    enum { K = 20, LDC = INT8_MAX_NR + 3 };
    float x[INT8_MAX_MR][K], a_scale[INT8_MAX_MR], b_scale[INT8_MAX_NR];
    int8_t q[INT8_MAX_MR][K];
    _Alignas(64) int8_t b[K * INT8_MAX_NR];
    int16_t a[INT8_MAX_MR][K];
    int32_t b_sum[INT8_MAX_NR] = {0};
    float c[INT8_MAX_MR * LDC], res[INT8_MAX_MR * LDC], bias[INT8_MAX_NR];
    const float *biases[INT8_MAX_MR];
    struct int8_kernels twin;
    int8_kernels_scalar(&twin);
    for (unsigned r = 0; r < m; r++) {
        for (unsigned i = 0; i < K; i++)
            x[r][i] = verify_real(100 * r + i);
        a_scale[r] = twin.quantise(q[r], x[r], K);
        (void)k->quantise(a[r], x[r], K);
        biases[r] = bias;
    }
    for (unsigned j = 0; j < k->nr; j++) {
        b_scale[j] = 0.25f + (float)j;
        bias[j] = verify_value(j + 900);
        for (unsigned i = 0; i < K; i++) {
            int8_t w = (int8_t)(j < n ? 16 * verify_value(7 * i + 31 * j) : 0);
            b[(i / k->ku * k->nr + j) * k->ku + i % k->ku] = w;
            b_sum[j] += w;
        }
    }
    for (unsigned i = 0; i < INT8_MAX_MR * LDC; i++) {
        res[i] = verify_value(i + 500);
        c[i] = -1.0f;
    }
    k->tile(&(struct int8_tile){.a = a,
                                .a_row = sizeof a[0],
                                .a_scale = a_scale,
                                .b = b,
                                .b_scale = b_scale,
                                .b_sum = b_sum,
                                .k = K,
                                .bias = biases,
                                .res = res,
                                .c = c,
                                .ldc = LDC,
                                .out = 0.5f,
                                .m = m,
                                .n = n});
    for (unsigned i = 0; i < INT8_MAX_MR * LDC; i++) {
        unsigned r = i / LDC, j = i % LDC;
        float want = -1.0f;
        if (r < m && j < n) {
            int32_t sum = 0;
            for (unsigned p = 0; p < K; p++)
                sum += q[r][p] * b[(p / k->ku * k->nr + j) * k->ku + p % k->ku];
            want = (float)sum * (a_scale[r] * b_scale[j]) + bias[j];
            want = (want + res[i]) * 0.5f;
        }
        if (c[i] != want)
            return false;
    }
    return true;
}

static bool verify_int8(const struct int8_kernels *k)
{
    if (!k->tile || !k->quantise || k->mr > INT8_MAX_MR ||
        k->nr > INT8_MAX_NR || k->ku > INT8_MAX_KU || !verify_quantise(k))
        return false;
    for (unsigned m = 1; m <= k->mr; m++)
        for (unsigned n = 1; n <= k->nr; n++)
            if (!verify_int8_tile(k, m, n))
                return false;
    return true;
}

bool kernels_verify(const struct kernel_table *table)
{
    const struct gemm_kernels *g = &table->gemm;
    if (!g->tile || !g->outer || !g->add_rows || g->mr > GEMM_MAX_MR ||
        g->nr > GEMM_MAX_NR || g->outer_mr > GEMM_MAX_MR ||
        g->outer_nr > GEMM_MAX_NR || g->is_bf16 != (g->narrow != NULL) ||
        (g->operand != DTYPE_F32 && !g->is_bf16))
        return false;
    for (unsigned m = 1; m <= g->mr; m++)
        for (unsigned n = 1; n <= g->nr; n++)
            if (!verify_tile(g, m, n, false) ||
                (g->dots && n <= GEMM_MAX_DOTS && !verify_tile(g, m, n, true)))
                return false;
    for (size_t cols = 1; cols <= 40; cols += 3)
        if (!verify_softmax(&table->vec, cols))
            return false;
    for (size_t n = 1; n <= ATTENTION_COLS; n++)
        if (!verify_attention(&table->attn, n))
            return false;
    return (!g->rows || verify_rows(g)) && verify_outer(g) &&
           verify_operands(g) && verify_either_winograd(table) &&
           (!table->i8.is_used || verify_int8(&table->i8));
}
