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
