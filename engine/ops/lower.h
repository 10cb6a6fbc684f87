/* lower.h - from a graph to a plan for inference.
 *
 * Externals of the plan, in order: the graph's inputs, then its outputs.
 *
 * LOWER_REFERENCE translates operation by operation.  LOWER_FUSED folds norm,
 * activation, upsampling and concatenation into the packing of the next
 * convolution, and bias, time embedding, residual and scale into the end of
 * the one before; joins q, k, v.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_LOWER_H
#define OPS_LOWER_H

#include "base/error.h"
#include "ops/graph.h"

struct kernel_table;
struct packs;
struct plan;

enum lower_mode { LOWER_REFERENCE, LOWER_FUSED };

/* Packed weights of one network on one rung, shared by all plans of it.
 * params[p] is f32 data of parameter p (graph_param_at order), borrowed.
 * packs_new() packs everything at once; afterwards it is read-only. */
enum unstir_status packs_new(struct packs **out, const struct graph *g,
                             const struct kernel_table *table,
                             const float *const *params,
                             struct unstir_error *err);
void packs_free(struct packs *packs);
size_t packs_bytes(const struct packs *packs);

enum unstir_status lower_inference(struct plan **out, const struct graph *g,
                                   const struct packs *packs,
                                   enum lower_mode mode, unsigned n_threads,
                                   struct unstir_error *err);

#endif
