/* dit.c - the graph of DiTTransformer2DModel.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/dit.h"

#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "model/fields.h"
#include "nn/dit_block.h"
#include "ops/graph.h"

#define MAX_HEADS            1024
#define MAX_HEAD_DIM         1024
#define MAX_LAYERS           256
#define MAX_PICTURE_CHANNELS 1024
#define MAX_CLASSES          10000000
#define MAX_PATCH            64
#define MAX_SAMPLE           16384
#define TIME_WIDTH           256
#define LAST_EPS             1e-6F

struct dit_config {
    uint32_t heads, head_dim, n_layers;
    uint32_t in_channels, out_channels;
    uint32_t sample, patch;
    uint32_t n_classes;
    bool has_attention_bias, has_affine;
    double eps;
    enum dit_activation activation;
};

static enum unstir_status get_shape(struct dit_config *c,
                                    const struct json *config,
                                    struct unstir_error *err)
{
    TRY(field_u32(config, "num_attention_heads", 16, 1, MAX_HEADS, &c->heads,
                  err));
    TRY(field_u32(config, "attention_head_dim", 72, 1, MAX_HEAD_DIM,
                  &c->head_dim, err));
    TRY(field_u32(config, "num_layers", 28, 1, MAX_LAYERS, &c->n_layers, err));
    TRY(field_u32(config, "in_channels", 4, 1, MAX_PICTURE_CHANNELS,
                  &c->in_channels, err));
    TRY(field_u32(config, "out_channels", c->in_channels, 1,
                  MAX_PICTURE_CHANNELS, &c->out_channels, err));
    TRY(field_u32(config, "sample_size", 32, 1, MAX_SAMPLE, &c->sample, err));
    TRY(field_u32(config, "patch_size", 2, 1, MAX_PATCH, &c->patch, err));
    if (c->heads * c->head_dim % 4 != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "num_attention_heads times "
                         "attention_head_dim is %u; it must be a multiple of 4",
                         c->heads * c->head_dim);
    if (c->sample < c->patch)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "sample_size is %u, patch_size %u: no "
                         "patch fits",
                         c->sample, c->patch);
    return UNSTIR_OK;
}

static enum unstir_status parse(struct dit_config *c, const struct json *config,
                                struct unstir_error *err)
{
    static const char *const norms[] = {"ada_norm_zero"};
    static const char *const activations[] = {"gelu-approximate", "gelu",
                                              "geglu"};
    int word;

    memset(c, 0, sizeof *c);
    TRY(get_shape(c, config, err));
    TRY(field_word(config, "norm_type", norms, 1, &word, err));
    TRY(field_word(config, "activation_fn", activations, ARRAY_LEN(activations),
                   &word, err));
    c->activation = (enum dit_activation)word;
    TRY(field_u32(config, "num_embeds_ada_norm", 1000, 1, MAX_CLASSES,
                  &c->n_classes, err));
    c->n_classes++; /* the null class */
    TRY(json_get_bool(config, "attention_bias", true, &c->has_attention_bias,
                      err));
    TRY(json_get_bool(config, "norm_elementwise_affine", false, &c->has_affine,
                      err));
    TRY(field_positive(config, "norm_eps", 1e-5, &c->eps, err));
    return UNSTIR_OK;
}

/* Patches as tokens that know their places. */
static value_id embed(struct graph *g, const struct dit_config *c, value_id x)
{
    struct conv2d_spec spec = {.cout = c->heads * c->head_dim,
                               .k = c->patch,
                               .stride = c->patch,
                               .has_bias = true};
    struct shape s;

    x = graph_conv2d(g, "pos_embed.proj", x, &spec);
    s = graph_shape(g, x);
    x = graph_add_rows(g, x,
                       graph_grid_embed(g, s.h, s.w, spec.cout,
                                        (float)(c->sample / c->patch)));
    return graph_reshape(g, x, 1, s.h * s.w);
}

static value_id head(struct graph *g, const struct dit_config *c, value_id x,
                     const struct dit_spec *spec, const struct model_size *size)
{
    value_id v =
        graph_act(g, dit_condition(g, "transformer_blocks.0", spec), ACT_SILU);

    v = graph_linear(g, "proj_out_1", v, 2 * graph_shape(g, x).c, true);
    x = dit_modulate(g, graph_layer_norm(g, NULL, x, LAST_EPS), v, 0, 1);
    x = graph_linear(g, "proj_out_2", x, c->patch * c->patch * c->out_channels,
                     true);
    x = graph_reshape(g, x, size->h / c->patch, size->w / c->patch);
    return graph_unpatch(g, x, c->patch);
}

static enum unstir_status build(struct graph *g, const struct dit_config *c,
                                const struct model_size *size,
                                struct unstir_error *err)
{
    struct shape one = {size->n, 1, 1, 1};
    struct dit_spec spec = {
        .heads = c->heads,
        .head_dim = c->head_dim,
        .n_classes = c->n_classes,
        .activation = c->activation,
        .has_attention_bias = c->has_attention_bias,
        .has_affine = c->has_affine,
        .eps = (float)c->eps,
    };
    value_id x;
    char name[40];

    x = graph_input(g, "sample",
                    (struct shape){size->n, size->h, size->w, c->in_channels});
    spec.time = graph_input(g, "timestep", one);
    spec.label = graph_input(g, "label", one);
    spec.time = graph_time_embed(g, spec.time, TIME_WIDTH, true, 1);
    x = embed(g, c, x);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        snprintf(name, sizeof name, "transformer_blocks.%u", i);
        x = dit_block(g, name, x, &spec);
    }
    graph_output(g, "out", head(g, c, x, &spec, size));
    return graph_status(g, err);
}

enum unstir_status dit_facts(struct model_facts *facts,
                             const struct json *config,
                             struct unstir_error *err)
{
    struct dit_config c;

    TRY(parse(&c, config, err));
    *facts = (struct model_facts){
        .in_channels = c.in_channels,
        .out_channels = c.out_channels,
        .sample_h = c.sample,
        .sample_w = c.sample,
        .size_multiple = c.patch,
        .has_timestep = true,
        .has_label = true,
        .label_rows = c.n_classes,
        .label_width = 1,
    };
    return UNSTIR_OK;
}

enum unstir_status dit_build(struct graph *g, const struct json *config,
                             const struct model_size *size,
                             struct unstir_error *err)
{
    struct dit_config c;

    TRY(parse(&c, config, err));
    return build(g, &c, size, err);
}
