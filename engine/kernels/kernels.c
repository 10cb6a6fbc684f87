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

static bool is_avx512vnni(const struct cpu *cpu)
{
    return cpu->has_avx2_fma && cpu->has_avx512_vnni;
}

static bool is_avx512bf16(const struct cpu *cpu)
{
    return cpu->has_avx2_fma && cpu->has_avx512_bf16;
}
#endif

const struct kernel_rung kernels_ladder[] = {
    {"scalar", is_any, kernels_fill_scalar, false},
    {"portable", is_any, kernels_fill_portable, false},
#if defined(__x86_64__)
    {"avx2", is_avx2, kernels_fill_avx2, false},
    {"avx512vnni", is_avx512vnni, kernels_fill_avx512vnni, true},
    {"avx512bf16", is_avx512bf16, kernels_fill_avx512bf16, false},
#endif
};
const size_t kernels_ladder_len = ARRAY_LEN(kernels_ladder);

/* All supported rungs up to number `last`, one over the other. */
static void fill_up_to(struct kernel_table *table,
                       const struct kernel_rung *ladder, size_t last,
                       const struct cpu *cpu)
{
    memset(table, 0, sizeof *table);
    for (size_t i = 0; i <= last; i++) {
        if (!ladder[i].is_supported(cpu))
            continue;
        ladder[i].fill(table);
        if (!ladder[i].is_exact)
            table->isa = ladder[i].isa;
    }
}

/* The number of the rung of that name, or of the best one; n_rungs if there is
 * none or the CPU cannot run it. */
static size_t find_rung(const char *isa, const struct kernel_rung *ladder,
                        size_t n_rungs, const struct cpu *cpu)
{
    for (size_t i = n_rungs; i-- > 0;)
        if (ladder[i].is_supported(cpu) &&
            (!isa || strcmp(isa, ladder[i].isa) == 0))
            return i;
    return n_rungs;
}

bool kernels_select_from(struct kernel_table *table, const char *isa,
                         const struct kernel_rung *ladder, size_t n_rungs,
                         const struct cpu *cpu)
{
    size_t i = find_rung(isa, ladder, n_rungs, cpu);

    memset(table, 0, sizeof *table);
    if (i == n_rungs)
        return false;
    fill_up_to(table, ladder, i, cpu);
    return true;
}

bool kernels_select(struct kernel_table *table, const char *isa)
{
    struct cpu cpu = cpu_detect();
    return kernels_select_from(table, isa, kernels_ladder, kernels_ladder_len,
                               &cpu);
}

void kernels_use_bf16_operands(struct kernel_table *table)
{
    struct gemm_kernels *g = &table->gemm;
    if (g->is_bf16)
        return;
    table->gemm_f32 = *g;
    g->is_bf16 = true;
    g->narrow = g->round;
    table->wino = table->wino_f2; /* F(4x4) is too coarse for bf16 */
    table->wino.is_used = !g->is_blas;
}

void kernels_use_exact_operands(struct kernel_table *exact,
                                const struct kernel_table *table)
{
    *exact = *table;
    if (!table->gemm.is_bf16)
        return;
    exact->gemm = table->gemm_f32;
    exact->wino.is_used = false;
}

void kernels_use_int8(struct kernel_table *table)
{
    table->i8.is_used = true;
}

/* Every rung stands on all lower ones, so the best one names the list;
 * tests/unit/t_generation.c holds the table to the ladder. */
const char *kernels_rungs(void)
{
    static const struct {
        const char *best, *list;
    } rungs[] = {
        {"avx512bf16", "avx512bf16,avx512vnni,avx2,portable,scalar"},
        {"avx512vnni", "avx512vnni,avx2,portable,scalar"},
        {"avx2", "avx2,portable,scalar"},
        {"portable", "portable,scalar"},
    };
    struct kernel_table table;

    for (size_t i = 0; i < ARRAY_LEN(rungs); i++)
        if (kernels_select(&table, rungs[i].best))
            return rungs[i].list;
    return "scalar";
}

/* False: the rung cannot have operands of that precision. */
static bool use_precision(struct kernel_table *table,
                          enum unstir_precision precision)
{
    if (precision == UNSTIR_PRECISION_BF16)
        kernels_use_bf16_operands(table);
    if (precision == UNSTIR_PRECISION_INT8)
        kernels_use_int8(table);
    return precision != UNSTIR_PRECISION_F32 || !table->gemm.is_bf16;
}

enum unstir_status kernels_choose(struct kernel_table *table,
                                  const struct kernel_wish *wish,
                                  const char **refused,
                                  struct unstir_error *err)
{
    const struct kernel_rung *ladder =
        wish->ladder ? wish->ladder : kernels_ladder;
    size_t n = wish->ladder ? wish->n_rungs : kernels_ladder_len;
    struct cpu cpu = cpu_detect();
    size_t top = find_rung(wish->isa, ladder, n, &cpu);

    *refused = NULL;
    if (top == n)
        return error_field(err, "isa",
                           "\"%.40s\" is unknown or not in this CPU, which "
                           "runs %s",
                           wish->isa ? wish->isa : "best", kernels_rungs());
    for (size_t i = top + 1; i-- > 0;) {
        if (!ladder[i].is_supported(&cpu))
            continue;
        fill_up_to(table, ladder, i, &cpu);
        if (!use_precision(table, wish->precision))
            continue;
        if (kernels_verify(table))
            return UNSTIR_OK;
        if (!*refused)
            *refused = ladder[i].isa;
        if (wish->isa)
            break;
    }
    return error_set(err, UNSTIR_ERR_INTERNAL,
                     "the %.40s kernels disagree with the plain ones on this "
                     "machine",
                     *refused ? *refused : ladder[top].isa);
}
