/* attention_panels.h - attention by the rung's own kernels for it: for
 * ops/attention_bf16.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_ATTENTION_PANELS_H
#define OPS_ATTENTION_PANELS_H

#include "ops/attention.h"

/* Whether the rung has such kernels and its operands are theirs. */
bool attention_panels_fit(const struct kernel_table *k);

size_t attention_panels_scratch(const struct kernel_table *k,
                                unsigned n_threads,
                                const struct attention_args *shape);

/* args->lse must be NULL. */
void attention_panels_run(const struct op_ctx *ctx,
                          const struct attention_args *args);

#endif
