/* network.c - building a network's graph from its configuration.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/network.h"

#include "model/model.h"
#include "ops/graph.h"

enum unstir_status network_graph(struct graph **g, const struct json *config,
                                 uint32_t n, uint32_t h, uint32_t w,
                                 struct unstir_error *err)
{
    const struct family *family;
    enum unstir_status status;

    *g = NULL;
    TRY(model_family(&family, config, err));
    TRY(graph_new(g, err));
    status = family->build(*g, config, n, h, w, err);
    if (status != UNSTIR_OK) {
        graph_free(*g);
        *g = NULL;
    }
    return status;
}
