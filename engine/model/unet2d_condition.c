/* unet2d_condition.c - the graph of UNet2DConditionModel.
 *
 * The pitfalls stand in unet2d_condition.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/unet2d_condition.h"

#include "nn/conv.h"
#include "nn/downsample.h"
#include "nn/name.h"
#include "nn/resblock.h"
#include "nn/timestep.h"
#include "nn/transformer.h"
#include "nn/upsample.h"
#include "ops/graph.h"

#define MAX_SKIPS (1 + UNETC_MAX_LEVELS * (UNETC_MAX_LAYERS + 1))

struct builder {
    struct graph *g;
    const struct unetc_config *c;
    value_id temb; /* activated                                              */
    value_id context;
    value_id skips[MAX_SKIPS];
    size_t n_skips;
};

static void push_skip(struct builder *b, value_id x)
{
    b->skips[b->n_skips++] = x;
}

static value_id residual(struct builder *b, const char *prefix, value_id x,
                         uint32_t cout, double divisor)
{
    const struct unetc_config *c = b->c;
    struct resblock_spec spec = {
        .cout = cout,
        .groups_in = c->groups,
        .groups_out = c->groups,
        .eps = (float)c->eps,
        .act = c->act,
        .is_scale_shift = c->is_scale_shift,
        .out_divisor = divisor,
    };

    return resblock(b->g, prefix, x, b->temb, &spec);
}

static value_id transformer(struct builder *b, const char *prefix, value_id x,
                            uint32_t level, uint32_t n_blocks, bool is_mid)
{
    const struct unetc_config *c = b->c;
    struct transformer_spec spec = {
        .heads = c->heads[level],
        .head_dim = c->channels[level] / c->heads[level],
        .n_blocks = n_blocks,
        .groups = c->groups,
        .has_linear_proj = c->has_linear_proj,
        .is_only_cross = !is_mid && c->is_only_cross[level],
        .context = b->context,
    };

    return transformer2d(b->g, prefix, x, &spec);
}

static value_id down_block(struct builder *b, uint32_t level, value_id x)
{
    const struct unetc_config *c = b->c;
    struct name block = name_of("down_blocks.%u", level);

    for (uint32_t j = 0; j < c->n_layers[level]; j++) {
        x = residual(b, name_of("%s.resnets.%u", block.text, j).text, x,
                     c->channels[level], 1);
        if (c->is_cross_down[level])
            x = transformer(b, name_of("%s.attentions.%u", block.text, j).text,
                            x, level, c->n_down_blocks[level][j], false);
        push_skip(b, x);
    }
    if (level + 1 < c->n_levels) {
        x = downsample_conv(b->g, name_of("%s.downsamplers.0", block.text).text,
                            x, c->down_padding);
        push_skip(b, x);
    }
    return x;
}

static value_id mid_block(struct builder *b, value_id x)
{
    const struct unetc_config *c = b->c;
    uint32_t level = c->n_levels - 1, channels = c->channels[level];

    if (c->mid == UNETC_MID_NONE)
        return x;
    x = residual(b, "mid_block.resnets.0", x, channels, c->mid_divisor);
    if (c->mid == UNETC_MID_PLAIN)
        return x;
    x = transformer(b, "mid_block.attentions.0", x, level, c->n_mid_blocks,
                    true);
    return residual(b, "mid_block.resnets.1", x, channels, c->mid_divisor);
}

/* Block i from the lowest level upwards. */
static value_id up_block(struct builder *b, uint32_t i, value_id x)
{
    const struct unetc_config *c = b->c;
    uint32_t level = c->n_levels - 1 - i;
    struct name block = name_of("up_blocks.%u", i);

    for (uint32_t j = 0; j <= c->n_layers[level]; j++) {
        if (level == 0 && j + 1 == c->n_layers[0])
            graph_set_deep(b->g, x); /* what the last two layers begin with */
        x = graph_concat(b->g, x, b->skips[--b->n_skips]);
        x = residual(b, name_of("%s.resnets.%u", block.text, j).text, x,
                     c->channels[level], 1);
        if (c->is_cross_up[level])
            x = transformer(b, name_of("%s.attentions.%u", block.text, j).text,
                            x, level, c->n_up_blocks[level][j], false);
    }
    if (level > 0) {
        struct shape to = graph_shape(b->g, b->skips[b->n_skips - 1]);

        x = upsample_conv_to(b->g, name_of("%s.upsamplers.0", block.text).text,
                             x, to.h, to.w);
    }
    return x;
}

/* -- conditioning ------------------------------------------------------ */

static value_id sinusoids(struct builder *b, value_id t, uint32_t dim)
{
    return graph_time_embed(b->g, t, dim, b->c->is_cos_first,
                            (float)b->c->freq_shift);
}

static value_id class_embedding(struct builder *b, value_id label)
{
    const struct unetc_config *c = b->c;

    switch (c->class_embed) {
    case UNETC_NO_CLASS:
    case UNETC_CLASS_IDENTITY:
        break;
    case UNETC_CLASS_TABLE:
        return graph_lookup(b->g, "class_embedding.weight", label,
                            c->class_rows, c->time_dim);
    case UNETC_CLASS_TIMESTEP:
        return timestep_embedding_act(b->g, "class_embedding",
                                      sinusoids(b, label, c->channels[0]),
                                      c->time_dim, c->act);
    case UNETC_CLASS_PROJECTION:
        return timestep_embedding(b->g, "class_embedding", label, c->time_dim);
    case UNETC_CLASS_LINEAR:
        return graph_linear(b->g, "class_embedding", label, c->time_dim, true);
    }
    return label;
}

static uint32_t pooled_width(const struct unetc_config *c)
{
    return c->added_width - c->n_time_ids * c->added_time_dim;
}

/* [text_embeds | sinusoids of each of time_ids] through two linear layers. */
static value_id added_embedding(struct builder *b, value_id text, value_id ids)
{
    const struct unetc_config *c = b->c;
    value_id v = text;

    for (uint32_t i = 0; i < c->n_time_ids; i++)
        v = graph_concat(
            b->g, v,
            sinusoids(b, graph_slice(b->g, ids, i, 1), c->added_time_dim));
    return timestep_embedding(b->g, "add_embedding", v, c->time_dim);
}

/* Inputs in the order of model.h, and what they say as one vector. */
static void add_conditioning(struct builder *b, const struct model_size *size)
{
    const struct unetc_config *c = b->c;
    struct graph *g = b->g;
    uint32_t n = size->n;
    struct shape one = {n, 1, 1, 1};
    value_id t = graph_input(g, "timestep", one);
    value_id emb = sinusoids(b, t, c->channels[0]), label = GRAPH_NO_VALUE;
    value_id text = GRAPH_NO_VALUE, ids = GRAPH_NO_VALUE, guidance;

    if (c->class_embed != UNETC_NO_CLASS)
        label =
            graph_input(g, "label", (struct shape){n, 1, 1, c->class_width});
    b->context = GRAPH_NO_VALUE;
    if (c->context_width)
        b->context = graph_input(
            g, "context",
            (struct shape){n, 1, size->context_len, c->context_width});
    if (c->added_width) {
        text = graph_input(g, "text_embeds",
                           (struct shape){n, 1, 1, pooled_width(c)});
        ids =
            graph_input(g, "time_ids", (struct shape){n, 1, 1, c->n_time_ids});
    }
    if (c->guidance_width) {
        guidance = graph_input(g, "timestep_cond",
                               (struct shape){n, 1, 1, c->guidance_width});
        guidance = graph_linear(g, "time_embedding.cond_proj", guidance,
                                c->channels[0], false);
        emb = graph_add(g, emb, guidance);
    }
    emb = timestep_embedding_act(g, "time_embedding", emb, c->time_dim, c->act);
    if (label != GRAPH_NO_VALUE)
        emb = graph_add(g, emb, class_embedding(b, label));
    if (c->added_width)
        emb = graph_add(g, emb, added_embedding(b, text, ids));
    b->temb = graph_act(g, emb, c->act);
}

/* -- the whole --------------------------------------------------------- */

static enum unstir_status build(struct graph *g, const struct unetc_config *c,
                                const struct model_size *size,
                                struct unstir_error *err)
{
    struct builder b = {.g = g, .c = c};
    value_id x = graph_input(
        g, "sample", (struct shape){size->n, size->h, size->w, c->in_channels});

    add_conditioning(&b, size);
    if (c->is_centering)
        x = graph_affine(g, x, 2, -1);
    x = conv_same(g, "conv_in", x, c->channels[0], c->in_kernel);
    push_skip(&b, x);
    for (uint32_t i = 0; i < c->n_levels; i++)
        x = down_block(&b, i, x);
    x = mid_block(&b, x);
    for (uint32_t i = 0; i < c->n_levels; i++)
        x = up_block(&b, i, x);
    x = graph_group_norm(g, "conv_norm_out", x, c->groups, (float)c->eps);
    x = graph_act(g, x, c->act);
    x = conv_same(g, "conv_out", x, c->out_channels, c->out_kernel);
    graph_output(g, "out", x);
    return graph_status(g, err);
}

enum unstir_status unetc_facts(struct model_facts *facts,
                               const struct json *config,
                               struct unstir_error *err)
{
    struct unetc_config c;

    TRY(unetc_parse(&c, config, err));
    *facts = (struct model_facts){
        .in_channels = c.in_channels,
        .out_channels = c.out_channels,
        .sample_h = c.sample_h,
        .sample_w = c.sample_w,
        .size_multiple = 1,
        .min_edge = 1U << (c.n_levels - 1),
        .has_timestep = true,
        .has_label = c.class_embed != UNETC_NO_CLASS,
        .label_rows = c.class_embed == UNETC_CLASS_TABLE ? c.class_rows : 0,
        .label_width = c.class_width,
        .context_width = c.context_width,
        .pooled_width = c.added_width ? pooled_width(&c) : 0,
        .n_time_ids = c.n_time_ids,
        .guidance_width = c.guidance_width,
    };
    return UNSTIR_OK;
}

enum unstir_status unetc_build(struct graph *g, const struct json *config,
                               const struct model_size *size,
                               struct unstir_error *err)
{
    struct unetc_config c;

    TRY(unetc_parse(&c, config, err));
    return build(g, &c, size, err);
}
