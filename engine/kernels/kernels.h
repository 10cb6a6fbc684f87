/* kernels.h - the table of kernels that a rung of the instruction-set ladder
 * fills, and the contract of every kernel.
 *
 * The scalar table is the specification: it is complete and plain.  Every
 * other rung is an overlay: kernels_select() starts from the scalar table and
 * copies over it what each supported rung defines, up to the wanted one.
 * tests/kern walks all tables and compares each entry with its scalar twin.
 *
 * Kernels know no shapes of images, no threads and no allocation; ops/ does.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include "kernels/gemm_kernels.h"
#include "kernels/vector_kernels.h"
#include "kernels/winograd_kernels.h"

struct cpu;

struct kernel_table {
    const char *isa; /* "scalar", "portable", "avx2"                         */
    struct gemm_kernels gemm;
    struct vector_kernels vec;
    struct winograd_kernels wino;
};

/* One rung: what it adds and which CPU can run it. */
struct kernel_rung {
    const char *isa;
    bool (*is_supported)(const struct cpu *cpu);
    void (*fill)(struct kernel_table *table); /* overlay                     */
};

/* The ladder, lowest rung first.  A test may select from a longer one. */
extern const struct kernel_rung kernels_ladder[];
extern const size_t kernels_ladder_len;

/* Fill *table for the rung named isa (NULL: the best supported).  false if
 * the name is unknown or the CPU cannot run it. */
bool kernels_select(struct kernel_table *table, const char *isa);
bool kernels_select_from(struct kernel_table *table, const char *isa,
                         const struct kernel_rung *ladder, size_t n_rungs,
                         const struct cpu *cpu);

/* Compare the table's tiles with the scalar ones on small fixed data: done
 * once at model load, so that a miscompiled rung is refused, not believed. */
bool kernels_verify(const struct kernel_table *table);

/* Swap the products of `table` for bf16 operands with f32 sums where its rung
 * has f32 ones: precision bf16 on any rung. */
void kernels_use_bf16_operands(struct kernel_table *table);

/* The rungs' own parts, for the ladder. */
void kernels_fill_scalar(struct kernel_table *table);
void kernels_fill_portable(struct kernel_table *table);
void kernels_fill_avx2(struct kernel_table *table);

#endif
