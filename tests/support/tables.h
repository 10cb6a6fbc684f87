/* tables.h - every table of kernels that a test can run here.
 *
 * The rungs of this CPU; each of them with bf16 operands; and the rungs that
 * it lacks but that a build with emulated instructions has
 * (emulate_avx512.h), by the names "emulated vnni" and "emulated".
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_SUPPORT_TABLES_H
#define TESTS_SUPPORT_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"

#define TABLES_MAX 16

/* The built-in ladder and what is emulated, for kernels_select_from() and
 * network_options.ladder. */
const struct kernel_rung *tables_ladder(size_t *n_rungs);

/* Whether the emulated rung is there; if not, says SKIP and why. */
bool tables_has_emulated(void);

/* Fills tables[TABLES_MAX]; returns how many.  isa is the rung's name, with
 * " bf16" where its f32 operands are rounded. */
size_t tables_all(struct kernel_table *tables);

/* One by name, as tables_all() calls it; false if it cannot run here. */
bool tables_select(struct kernel_table *table, const char *name);

#endif
