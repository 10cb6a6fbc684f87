/* network_parts.h - the inside of a network, for its executor.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_NETWORK_PARTS_H
#define MODEL_NETWORK_PARTS_H

#include "base/notes.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/network.h"

struct network {
    struct network_info info;
    struct model_facts facts;
    const struct family *family;
    struct json *config; /* own copy                                         */
    struct kernel_table table;
    struct packs *packs;
    struct pack_writer *pack_writer; /* of packs, or NULL                     */
    /* Parameters that plans read after packing and that are not used in
     * place, by param_id; NULL elsewhere. */
    float **own_params;
    size_t n_params;
    struct notes notes;
    char fingerprint[96];
    /* With the address it tells networks apart in caches of plans, even when
     * one is freed and the next one gets its place. */
    uint64_t opened_ns;
    struct lower_rows rows; /* between the parts of plans; all 0: one plan    */
};

/* Of a picture that every network of these facts has a graph for. */
uint32_t network_smallest_edge(const struct model_facts *facts);

/* UNSTIR_ERR_ARG if it has no weights. */
enum unstir_status network_check_loaded(const struct network *net,
                                        struct unstir_error *err);

/* A plan for a size; the caller's.  A head depends on n alone, a text on n and
 * context_len. */
enum unstir_status network_plan(struct plan **out, const struct network *net,
                                enum lower_part part,
                                const struct model_size *size,
                                unsigned n_threads, struct unstir_error *err);

/* Run a plan of this executor's number of threads in its arena; the error text
 * calls it `what`. */
enum unstir_status executor_run_plan(struct executor *x,
                                     const struct plan *plan, const char *what,
                                     void *const *externals,
                                     const struct cancel *cancel,
                                     struct unstir_error *err);

#endif
