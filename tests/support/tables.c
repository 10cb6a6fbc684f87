/* tables.c - every table of kernels that a test can run here.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tables.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"

#define MAX_RUNGS 8

#ifdef HAVE_EMULATED_AVX512
void kernels_fill_emulated(struct kernel_table *table);
void kernels_fill_emulated_vnni(struct kernel_table *table);

/* SIMDe makes its vectors of AVX2's. */
static bool is_emulated(const struct cpu *cpu)
{
    return cpu->has_avx2_fma;
}
#endif

struct name {
    const char *isa, *bf16;
    bool is_exact; /* as in the ladder                                       */
};

static const struct name names[] = {
    {"scalar", "scalar bf16", false}, {"portable", "portable bf16", false},
    {"avx2", "avx2 bf16", false},     {"avx512vnni", NULL, true},
    {"avx512bf16", NULL, false},      {"emulated vnni", NULL, true},
    {"emulated", NULL, false},
};

const struct kernel_rung *tables_ladder(size_t *n_rungs)
{
    static struct kernel_rung ladder[MAX_RUNGS];
    size_t n = kernels_ladder_len;

    memcpy(ladder, kernels_ladder, n * sizeof *ladder);
#ifdef HAVE_EMULATED_AVX512
    ladder[n++] = (struct kernel_rung){"emulated vnni", is_emulated,
                                       kernels_fill_emulated_vnni, true};
    ladder[n++] = (struct kernel_rung){"emulated", is_emulated,
                                       kernels_fill_emulated, false};
#endif
    *n_rungs = n;
    return ladder;
}

bool tables_select(struct kernel_table *table, const char *name)
{
    size_t n_rungs;
    const struct kernel_rung *ladder = tables_ladder(&n_rungs);
    struct cpu cpu = cpu_detect();

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct name *n = &names[i];
        bool is_bf16 = n->bf16 && strcmp(n->bf16, name) == 0;

        if (!is_bf16 && strcmp(n->isa, name) != 0)
            continue;
        if (!kernels_select_from(table, n->isa, ladder, n_rungs, &cpu))
            return false;
        if (is_bf16) {
            kernels_use_bf16_operands(table);
            table->isa = n->bf16;
        }
        if (n->is_exact)
            table->isa = n->isa;
        return true;
    }
    return false;
}

bool tables_has_emulated(void)
{
    struct kernel_table table;

    if (tables_select(&table, "emulated"))
        return true;
    printf("SKIP the emulated rung: this build has no SIMDe (libsimde-dev) or "
           "this CPU no avx2\n");
    return false;
}

size_t tables_all(struct kernel_table *tables)
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (tables_select(&tables[n], names[i].isa))
            n++;
        if (names[i].bf16 && tables_select(&tables[n], names[i].bf16))
            n++;
    }
    return n;
}
