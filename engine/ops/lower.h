/* lower.h - from a graph to a plan for inference.
 *
 * Externals of the plan, in order: the graph's inputs, then its outputs.
 *
 * LOWER_REFERENCE translates operation by operation: the oracle.
 * LOWER_FUSED
 *   - folds norm (its applying half), scale-shift, activation, upsampling and
 *     concatenation into the packing of the convolution that reads them, if
 *     it alone reads them;
 *   - folds the time embedding, the residual and a scale into the end of the
 *     convolution before them;
 *   - joins linear layers that read one value into one product: q, k, v of an
 *     attention, and the time projections of all residual blocks.
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

/* Packed weights of one network on one rung, shared by all plans of it; a
 * network's graphs of all sizes have the same operations in the same order.
 * params[p] is f32 data of parameter p (graph_param_at order), borrowed;
 * what packs_needs() denies may be dropped after packs_new() returns.
 * Everything is packed at once; afterwards it is read-only.  *table is
 * borrowed. */
enum unstir_status packs_new(struct packs **out, const struct graph *g,
                             const struct kernel_table *table,
                             enum lower_mode mode, const float *const *params,
                             struct unstir_error *err);
void packs_free(struct packs *packs);
size_t packs_bytes(const struct packs *packs);

/* Whether plans still read params[p] after packing. */
bool packs_needs(const struct packs *packs, param_id p);

/* The mode is that of the packs. */
enum unstir_status lower_inference(struct plan **out, const struct graph *g,
                                   const struct packs *packs,
                                   unsigned n_threads,
                                   struct unstir_error *err);

#endif
