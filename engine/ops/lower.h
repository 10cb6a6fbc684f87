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
#include "tensor/dtype.h"

struct kernel_table;
struct mapfile;
struct packs;
struct plan;

enum lower_mode { LOWER_REFERENCE, LOWER_FUSED };

/* The weights of products are packed, or a big network's stay where they are
 * stored and become panels while a product waits (ops/weight_rows.h).  The bits
 * are the same; by its size is the rule (ops/choose.h), and the rest for
 * tests. */
enum packs_keeping { PACKS_BY_SIZE, PACKS_PACKED, PACKS_IN_PLACE };

/* Parameters as packing reads them: f32 data in the order of graph_param_at(),
 * borrowed.  values[p] may be NULL where packs_reads_once() says so: load() is
 * called when their turn comes, by any thread, and ends no memory; *own is
 * ended by alloc_free(), or NULL where *values lies elsewhere. */
struct packs_params {
    const float *const *values;
    enum unstir_status (*load)(const void *arg, param_id p,
                               const float **values, float **own);
    const void *arg;
    const struct packs_stored *stored; /* [p], or NULL: nobody knows         */
    enum packs_keeping keeping;
};

/* Where the same values lie for as long as the packs do, in a type that
 * dtype_load() reads; data NULL: nowhere. */
struct packs_stored {
    const void *data;
    enum dtype type;
};

/* Whether a parameter is the weight of products alone, so that nothing but
 * packing reads it. */
bool packs_reads_once(const struct graph *g, param_id p);

/* Packed weights of one network on one rung, shared by all plans of it; a
 * network's graphs of all sizes have the same operations in the same order.
 * What packs_needs() denies may be dropped after packs_new() returns.
 * Everything is packed at once; afterwards it is read-only.  *table is
 * borrowed. */
enum unstir_status packs_new(struct packs **out, const struct graph *g,
                             const struct kernel_table *table,
                             enum lower_mode mode,
                             const struct packs_params *params,
                             struct unstir_error *err);
void packs_free(struct packs *packs);
size_t packs_bytes(const struct packs *packs);

/* packs_new() in two parts, for a cache between.  Of empty packs only bytes
 * and layout can be asked, and params must live until they are filled: by
 * packing, or by the image of earlier packs of the same parameters, `offset`
 * bytes into a file that was checked.  A sample of the image is compared
 * (UNSTIR_ERR_FORMAT); if all is well, *map is the packs'. */
enum unstir_status packs_new_empty(struct packs **out, const struct graph *g,
                                   const struct kernel_table *table,
                                   enum lower_mode mode,
                                   const struct packs_params *params,
                                   struct unstir_error *err);
enum unstir_status packs_fill(struct packs *packs, const struct graph *g,
                              struct unstir_error *err);
enum unstir_status packs_adopt(struct packs *packs, const struct graph *g,
                               struct mapfile *map, size_t offset,
                               struct unstir_error *err);

/* packs_bytes() bytes; a number that follows from what lies where in them. */
const void *packs_image(const struct packs *packs);
uint64_t packs_layout(const struct packs *packs);

/* Packs of a network that differs from that of `base` in the parameters
 * touched[p] alone: products of untouched ones are the base's, which must
 * outlive *out and is not changed; the others keep their weights as the base
 * does.  packs_derive_wants() says which parameters must be given for that; the
 * others may be what packs_param() of the base gives, or NULL. */
void packs_derive_wants(bool *wanted, const struct packs *base,
                        const struct graph *g, const bool *touched);
enum unstir_status packs_derive(struct packs **out, const struct packs *base,
                                const struct graph *g, const bool *touched,
                                const float *const *values,
                                const struct packs_stored *stored,
                                const struct kernel_table *table,
                                struct unstir_error *err);

/* Bytes that packs_new() and the parameters beside it will take, weights that
 * are read in place included, without reading any; with `touched` those of
 * packs_derive().  *peak_bytes (or NULL) with all the parameters that are given
 * for that, before what packs_needs() denies is dropped.  stored: [p] or NULL,
 * as in packs_params; of data only whether it is NULL counts. */
enum unstir_status packs_measure(size_t *bytes, size_t *peak_bytes,
                                 const struct graph *g,
                                 const struct kernel_table *table,
                                 enum lower_mode mode, const bool *touched,
                                 const struct packs_stored *stored,
                                 struct unstir_error *err);

/* Whether plans still read params[p] after packing, or what was said to be
 * stored of it; where that lies if they read that, else NULL. */
bool packs_needs(const struct packs *packs, param_id p);
const struct packs_stored *packs_stored(const struct packs *packs, param_id p);

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
