/* network_parts.h - the inside of a network, for its executor.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_NETWORK_PARTS_H
#define MODEL_NETWORK_PARTS_H

#include "kernels/kernels.h"
#include "model/model.h"
#include "model/network.h"

#define MAX_NOTES 24

struct network {
    struct network_info info;
    struct model_facts facts;
    const struct family *family;
    struct json *config; /* own copy                                         */
    struct kernel_table table;
    struct packs *packs;
    /* Parameters that plans read after packing and that are not used in
     * place, by param_id; NULL elsewhere. */
    float **own_params;
    size_t n_params;
    char *notes[MAX_NOTES];
    char fingerprint[96];
    /* With the address it tells networks apart in caches of plans, even when
     * one is freed and the next one gets its place. */
    uint64_t opened_ns;
    size_t row_floats; /* between head and body (ops/lower.h); 0: one plan   */
};

/* A plan for a size; the caller's.  A head does not depend on h and w. */
enum unstir_status network_plan(struct plan **out, const struct network *net,
                                enum lower_part part, uint32_t n, uint32_t h,
                                uint32_t w, unsigned n_threads,
                                struct unstir_error *err);

#endif
