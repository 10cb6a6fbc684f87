/* attention_bf16.h - attention with operands of bf16: for ops/attention.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_ATTENTION_BF16_H
#define OPS_ATTENTION_BF16_H

#include "ops/attention.h"

/* Whether the rung's products are of bf16 operands. */
bool attention_bf16_fits(const struct kernel_table *k);

size_t attention_bf16_scratch(const struct kernel_table *k, unsigned n_threads,
                              const struct attention_args *shape);

/* args->lse must be NULL: training keeps attention in f32. */
void attention_bf16_run(const struct op_ctx *ctx,
                        const struct attention_args *args);

#endif
