/* kernels.c - the ladder of instruction sets and the choice of a rung.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/kernels.h"

#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"

static bool is_any(const struct cpu *cpu)
{
    return true;
}

#if defined(__x86_64__)
static bool is_avx2(const struct cpu *cpu)
{
    return cpu->has_avx2_fma;
}
#endif

const struct kernel_rung kernels_ladder[] = {
    {"scalar", is_any, kernels_fill_scalar},
    {"portable", is_any, kernels_fill_portable},
#if defined(__x86_64__)
    {"avx2", is_avx2, kernels_fill_avx2},
#endif
};
const size_t kernels_ladder_len = ARRAY_LEN(kernels_ladder);

bool kernels_select_from(struct kernel_table *table, const char *isa,
                         const struct kernel_rung *ladder, size_t n_rungs,
                         const struct cpu *cpu)
{
    bool is_found = false;
    memset(table, 0, sizeof *table);
    for (size_t i = 0; i < n_rungs && !(is_found && isa); i++) {
        bool is_wanted = !isa || strcmp(isa, ladder[i].isa) == 0;
        if (!ladder[i].is_supported(cpu))
            continue;
        ladder[i].fill(table);
        table->isa = ladder[i].isa;
        is_found = is_wanted;
    }
    return is_found;
}

bool kernels_select(struct kernel_table *table, const char *isa)
{
    struct cpu cpu = cpu_detect();
    return kernels_select_from(table, isa, kernels_ladder, kernels_ladder_len,
                               &cpu);
}

void kernels_use_bf16_operands(struct kernel_table *table)
{
    if (table->gemm.operand != DTYPE_BF16)
        gemm_kernels_bf16_scalar(&table->gemm);
    table->wino.is_used = false; /* its operands are f32 */
}

/* -- verification ---------------------------------------------------------- */

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
        rows[r] = (char *)a + r * ROW * size;
        biases[r] = bias;
        for (unsigned i = 0; i < VERIFY_RUNS * len; i++)
            put_operand(g, a, r * ROW + i, verify_value(r * 100 + i));
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

bool kernels_verify(const struct kernel_table *table)
{
    const struct gemm_kernels *g = &table->gemm;
    if (!g->tile || !g->outer || !g->add_rows || g->mr > GEMM_MAX_MR ||
        g->nr > GEMM_MAX_NR || g->outer_mr > GEMM_MAX_MR ||
        g->outer_nr > GEMM_MAX_NR || (g->operand != DTYPE_F32 && !g->narrow))
        return false;
    for (unsigned m = 1; m <= g->mr; m++)
        for (unsigned n = 1; n <= g->nr; n++)
            if (!verify_tile(g, m, n, false) ||
                (g->dots && n <= GEMM_MAX_DOTS && !verify_tile(g, m, n, true)))
                return false;
    return verify_outer(g);
}
