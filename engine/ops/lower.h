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
 * A network's plan may be cut in three (ops/hoist.h): the head computes what
 * depends on timestep and label alone, one row of floats a picture; the text
 * what depends on the context alone, one row a token; the body reads such rows.
 * Together they compute the bits of the whole.
 *
 * Of a graph with a deep value (graph_set_deep) the body comes in two more
 * forms: one that leaves the deep value behind, and the shallow one, which is
 * given it and has only the operations that the output still needs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_LOWER_H
#define OPS_LOWER_H

#include "base/error.h"
#include "ops/graph.h"
#include "ops/packs.h"

struct plan;

/* Which operations a plan has.  Parts have three externals more, after inputs
 * and outputs: rows [n][step], written by the head, text rows
 * [n][context_len][text], written by the text, both read by the bodies, and the
 * deep value [n][h][w][c], written by LOWER_BODY_DEEP, read by
 * LOWER_BODY_SHALLOW.  What a part does not touch may be bound to NULL: a
 * head's outputs and its inputs other than timestep and label, a text's but for
 * the context. */
enum lower_part {
    LOWER_WHOLE,
    LOWER_HEAD,
    LOWER_TEXT,
    LOWER_BODY,
    LOWER_BODY_DEEP,
    LOWER_BODY_SHALLOW
};

/* Floats of a row of each kind; 0: there is nothing of it to hoist. */
struct lower_rows {
    size_t step, text;
};
enum unstir_status lower_row_floats(struct lower_rows *rows,
                                    const struct graph *g,
                                    struct unstir_error *err);

/* The mode is that of the packs. */
enum unstir_status
lower_inference_part(struct plan **out, const struct graph *g,
                     const struct packs *packs, enum lower_part part,
                     unsigned n_threads, struct unstir_error *err);

/* A stage: the operations that lead from given values to one value, and no
 * others.  Externals more, after inputs and outputs: each given value, the
 * output, and, if is_normed, the norms: every group norm of the graph, at
 * lower_norm_at(), has a scale [c] and a shift [c] there, of one picture, and
 * takes them instead of its operand's statistics. */
struct lower_stage {
    const value_id *given;
    size_t n_given;
    value_id out;
    bool is_normed;
};
enum unstir_status lower_inference_stage(struct plan **out,
                                         const struct graph *g,
                                         const struct packs *packs,
                                         const struct lower_stage *stage,
                                         unsigned n_threads,
                                         struct unstir_error *err);

/* Floats before the scale of the norm that is operation `op`; of an op behind
 * the last one: of all. */
size_t lower_norm_at(const struct graph *g, size_t op);

/* LOWER_WHOLE. */
enum unstir_status lower_inference(struct plan **out, const struct graph *g,
                                   const struct packs *packs,
                                   unsigned n_threads,
                                   struct unstir_error *err);

#endif
