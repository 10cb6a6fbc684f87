/* model.h - the families of networks that the engine knows.
 *
 * A family is a row of functions that turn a component's config.json into
 * facts and into a graph.  A new one is a file beside unet2d.c and a row in
 * model.c; what loads, packs, plans and runs networks (network.c) stays as it
 * is.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct graph;
struct json;

/* Pictures n, their edges, and tokens a picture of the context (networks with
 * one). */
struct model_size {
    uint32_t n, h, w, context_len;
};

/* What a configuration says about the network as seen from outside. */
struct model_facts {
    uint32_t in_channels, out_channels;
    uint32_t sample_h, sample_w; /* 0: not said                              */
    uint32_t size_multiple;
    uint32_t min_edge; /* of a graph; 0: size_multiple                       */
    bool has_timestep;
    bool has_label;
    uint32_t label_rows;  /* of the class table; 0: labels are free          */
    uint32_t label_width; /* floats a picture; 1 but for class_embed identity */
    uint32_t timestep_rows; /* of a learned time table; 0: free              */
    uint32_t context_width; /* of a token; 0: no context                     */
    uint32_t pooled_width;  /* of text_embeds; 0: neither these nor time_ids */
    uint32_t n_time_ids;
    uint32_t guidance_width; /* of timestep_cond; 0: none                    */
    /* The output's edges are up / down times the input's; 0 means 1. */
    uint32_t up, down;
};

struct family {
    const char *name; /* "_class_name" of the configuration                  */
    const char *part; /* of classes that are several networks: "decode"      */
    enum unstir_status (*facts)(struct model_facts *facts,
                                const struct json *config,
                                struct unstir_error *err);
    /* Inputs in this order, as far as the facts name them:
     *   "sample"        [n][h][w][in_channels]
     *   "timestep"      [n][1][1][1]
     *   "label"         [n][1][1][label_width]
     *   "context"       [n][1][context_len][context_width]
     *   "text_embeds"   [n][1][1][pooled_width]
     *   "time_ids"      [n][1][1][n_time_ids]
     *   "timestep_cond" [n][1][1][guidance_width]
     * output "out" [n][h up / down][w up / down][out_channels]. */
    enum unstir_status (*build)(struct graph *g, const struct json *config,
                                const struct model_size *size,
                                struct unstir_error *err);
};

/* The family of a configuration; UNSTIR_ERR_UNSUPPORTED names the known.
 * part NULL: the class's first. */
enum unstir_status model_family(const struct family **out,
                                const struct json *config, const char *part,
                                struct unstir_error *err);

#endif
