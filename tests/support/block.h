/* block.h - a graph with the weights of a golden, on every rung and by both
 * lowerings.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_BLOCK_H
#define SUPPORT_BLOCK_H

#include <stddef.h>

#include "ops/graph.h"

struct weights;

#define BLOCK_MAX_INPUTS 4

/* inputs[i] is the data of the graph's i-th input; `want` its one output.
 * Parameters are the golden's tensors of the same name.  `tolerance` is for
 * operands of f32. */
void block_check(const char *name, const struct graph *g,
                 const struct weights *golden, float *const *inputs,
                 const float *want, size_t n_want, double tolerance);

#endif
