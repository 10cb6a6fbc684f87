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

static bool is_avx512bf16(const struct cpu *cpu)
{
    return cpu->has_avx2_fma && cpu->has_avx512_bf16;
}
#endif

const struct kernel_rung kernels_ladder[] = {
    {"scalar", is_any, kernels_fill_scalar},
    {"portable", is_any, kernels_fill_portable},
#if defined(__x86_64__)
    {"avx2", is_avx2, kernels_fill_avx2},
    {"avx512bf16", is_avx512bf16, kernels_fill_avx512bf16},
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
    struct gemm_kernels *g = &table->gemm;
    if (g->is_bf16)
        return;
    g->is_bf16 = true;
    g->narrow = g->round;
    table->wino = table->wino_f2; /* F(4x4) is too coarse for bf16 */
    table->wino.is_used = !g->is_blas;
}

/* All supported rungs up to number `last`, one over the other. */
static void fill_up_to(struct kernel_table *table,
                       const struct kernel_rung *ladder, size_t last,
                       const struct cpu *cpu)
{
    memset(table, 0, sizeof *table);
    for (size_t i = 0; i <= last; i++)
        if (ladder[i].is_supported(cpu)) {
            ladder[i].fill(table);
            table->isa = ladder[i].isa;
        }
}

bool kernels_choose(struct kernel_table *table, const struct kernel_wish *wish,
                    const char **refused)
{
    const struct kernel_rung *ladder =
        wish->ladder ? wish->ladder : kernels_ladder;
    size_t n = wish->ladder ? wish->n_rungs : kernels_ladder_len;
    struct cpu cpu = cpu_detect();
    *refused = NULL;
    if (!kernels_select_from(table, wish->isa, ladder, n, &cpu))
        return false;
    const char *top = table->isa;
    bool is_below = false;
    for (size_t i = n; i-- > 0;) {
        is_below |= strcmp(ladder[i].isa, top) == 0;
        if (!is_below || !ladder[i].is_supported(&cpu))
            continue;
        fill_up_to(table, ladder, i, &cpu);
        if (wish->operands == KERNEL_OPERANDS_F32 && table->gemm.is_bf16)
            continue;
        if (wish->operands == KERNEL_OPERANDS_BF16)
            kernels_use_bf16_operands(table);
        if (kernels_verify(table))
            return true;
        if (!*refused)
            *refused = ladder[i].isa;
        if (wish->isa)
            return false;
    }
    return false;
}
