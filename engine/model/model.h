/* model.h - the families of networks that the engine knows.
 *
 * A family is a row of functions that turn a component's config.json into
 * facts and into a graph.  A new one (UNet2DConditionModel, AutoencoderKL,
 * DiT ...) is a file beside unet2d.c and a row in model.c; what loads, packs,
 * plans and runs networks (network.c) stays as it is.
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

/* What a configuration says about the network as seen from outside. */
struct model_facts {
    uint32_t in_channels, out_channels;
    uint32_t sample_h, sample_w; /* 0: not said                              */
    uint32_t size_multiple;
    bool has_label;
    uint32_t label_rows;  /* of the class table; 0: labels are free          */
    uint32_t label_width; /* floats a picture; 1 but for class_embed identity */
    uint32_t timestep_rows; /* of a learned time table; 0: free              */
};

struct family {
    const char *name; /* "_class_name" of the configuration                  */
    enum unstir_status (*facts)(struct model_facts *facts,
                                const struct json *config,
                                struct unstir_error *err);
    /* Inputs "sample" [n][h][w][in], "timestep" [n][1][1][1] and, if
     * has_label, "label" [n][1][1][label_width]; output "out". */
    enum unstir_status (*build)(struct graph *g, const struct json *config,
                                uint32_t n, uint32_t h, uint32_t w,
                                struct unstir_error *err);
};

/* The family of a configuration; UNSTIR_ERR_UNSUPPORTED names the known. */
enum unstir_status model_family(const struct family **out,
                                const struct json *config,
                                struct unstir_error *err);

#endif
