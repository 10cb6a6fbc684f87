/* packs.h - the weights of a network, made ready for the products of a rung.
 *
 * Threads: packs are made by one thread, which starts a pool of its own for
 * it; afterwards they are read-only, for any number of threads.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_PACKS_H
#define OPS_PACKS_H

#include "base/error.h"
#include "ops/graph.h"
#include "tensor/dtype.h"

struct kernel_table;
struct mapfile;
struct packs;

/* Of the plans, see ops/lower.h; for fused ones layers are joined. */
enum lower_mode { LOWER_REFERENCE, LOWER_FUSED };

/* The weights of products are packed in every way that some size wants; in the
 * way of the usual size alone, while other ways make panels of what is stored
 * when a product waits (ops/weight_rows.h); or they stay where they are stored
 * for all of them.  The bits are the same.  By its size is the rule
 * (ops/choose.h); frugal: the same, but what is not packed in every way is not
 * packed at all; the rest is for tests. */
enum packs_keeping {
    PACKS_BY_SIZE,
    PACKS_FRUGAL,
    PACKS_PACKED,
    PACKS_USUAL,
    PACKS_IN_PLACE
};

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
    const struct graph *usual; /* of the usual size, or NULL: nobody knows   */
    /* Let the system have the pages that `stored` lies in until they are read
     * again; by any thread, beside readers.  NULL: it does not matter. */
    void (*forget)(const void *arg);
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
/* The comparison alone. */
enum unstir_status packs_compare(const struct packs *packs,
                                 const struct graph *g,
                                 const struct mapfile *map, size_t offset,
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
 * for that, before what packs_needs() denies is dropped.  Of `params` what is
 * stored, the keeping and the usual size count; of the data only whether it is
 * NULL. */
enum unstir_status packs_measure(size_t *bytes, size_t *peak_bytes,
                                 const struct graph *g,
                                 const struct kernel_table *table,
                                 enum lower_mode mode, const bool *touched,
                                 const struct packs_params *params,
                                 struct unstir_error *err);

/* Whether every evaluation reads weights where they are stored. */
bool packs_is_in_place(const struct packs *packs);

/* The rung; the floats of a parameter that plans read, or NULL. */
const struct kernel_table *packs_table(const struct packs *packs);
const float *packs_param(const struct packs *packs, param_id p);

/* Whether plans still read params[p] after packing, or what was said to be
 * stored of it, at some size; where that lies if they read it at the usual size,
 * else NULL. */
bool packs_needs(const struct packs *packs, param_id p);
const struct packs_stored *packs_stored(const struct packs *packs, param_id p);

#endif
