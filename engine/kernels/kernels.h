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

#include "base/error.h"
#include "kernels/attention_kernels.h"
#include "kernels/gemm_kernels.h"
#include "kernels/int8_kernels.h"
#include "kernels/vector_kernels.h"
#include "kernels/weight_kernels.h"
#include "kernels/winograd_kernels.h"

struct cpu;

struct kernel_table {
    const char *isa; /* "scalar", "portable", "avx2", "avx512bf16"           */
    struct gemm_kernels gemm;
    struct gemm_kernels gemm_f32; /* where gemm is bf16: what it stands on   */
    struct vector_kernels vec;
    struct attention_kernels attn; /* where operands have 16 bits            */
    struct winograd_kernels wino;  /* what convolutions use                */
    struct winograd_kernels wino_f2; /* for kernels_use_bf16_operands()      */
    struct int8_kernels i8;          /* for kernels_use_int8()               */
    struct weight_kernels weights;
};

/* One rung: what it adds and which CPU can run it. */
struct kernel_rung {
    const char *isa;
    bool (*is_supported)(const struct cpu *cpu);
    void (*fill)(struct kernel_table *table); /* overlay                     */
    /* It changes no bit of the rungs below: the table keeps their name, and
     * with it the fingerprints of results. */
    bool is_exact;
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

/* Round the operands of `table` to bf16 where they are f32: precision bf16 on
 * any rung, at the speed of its f32 products.  Then convolutions go by the
 * rules of the rungs with bf16 units, and numbers agree with theirs. */
void kernels_use_bf16_operands(struct kernel_table *table);

/* The same table with operands of f32 and direct products. */
void kernels_use_exact_operands(struct kernel_table *exact,
                                const struct kernel_table *table);

/* Let the layers that the rules name multiply whole numbers of 8 bits: the
 * rest of precision int8 is the rung's own. */
void kernels_use_int8(struct kernel_table *table);

/* What somebody wants of a table; zeros are the best rung as it is.  F32 passes
 * over rungs that have no such operands; INT8 is for some layers, the others'
 * operands are the rung's own. */
struct kernel_wish {
    const char *isa; /* NULL: the best                                       */
    enum unstir_precision precision;
    const struct kernel_rung *ladder; /* NULL: the built-in one              */
    size_t n_rungs;
};

/* A table that verifies.  Of the best rung that does not *refused is the name
 * (else NULL), and the next lower one is tried; but where the wish names a
 * rung, no other will do, save a lower one for operands of f32.
 *
 *   UNSTIR_ERR_ARG       the rung is unknown or not in this CPU; the text names
 *                        those that are
 *   UNSTIR_ERR_INTERNAL  no rung verifies                                    */
enum unstir_status kernels_choose(struct kernel_table *table,
                                  const struct kernel_wish *wish,
                                  const char **refused,
                                  struct unstir_error *err);

/* As unstir_cpu_rungs(): the names of the rungs that this CPU runs. */
const char *kernels_rungs(void);

/* The rungs' own parts, for the ladder. */
void kernels_fill_scalar(struct kernel_table *table);
void kernels_fill_portable(struct kernel_table *table);
void kernels_fill_avx2(struct kernel_table *table);
void kernels_fill_avx512vnni(struct kernel_table *table);
void kernels_fill_avx512bf16(struct kernel_table *table);

#endif
