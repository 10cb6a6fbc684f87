/* unet2d_condition.c - the graph of UNet2DConditionModel.
 *
 * The pitfalls stand in unet2d_condition.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/unet2d_condition.h"

#include "nn/attention_block.h"
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
    value_id temb;       /* activated                                        */
    value_id plain_temb; /* before that                                      */
    value_id context;
    value_id skips[MAX_SKIPS];
    size_t n_skips;
};

static void push_skip(struct builder *b, value_id x)
{
    b->skips[b->n_skips++] = x;
}

static struct resblock_spec resblock_spec(const struct unetc_config *c,
                                          uint32_t level, double divisor)
{
    return (struct resblock_spec){
        .cout = c->channels[level],
        .groups_in = c->groups,
        .groups_out = c->groups,
        .eps = (float)c->eps,
        .act = c->act,
        .is_scale_shift = c->is_scale_shift,
        .out_divisor = divisor,
    };
}

/* Of a level of that kind. */
static value_id residual(struct builder *b, const char *prefix, value_id x,
                         uint32_t level, enum unetc_block kind,
                         enum resblock_resample how)
{
    const struct unetc_config *c = b->c;
    bool is_resnet = kind == UNETC_RESNET;
    struct resblock_spec spec =
        resblock_spec(c, level, is_resnet ? c->resnet_divisor : 1);

    spec.resample = how;
    return resblock(b->g, prefix, x,
                    is_resnet && c->is_temb_plain ? b->plain_temb : b->temb,
                    &spec);
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

static value_id pixel_attention(struct builder *b, const char *prefix,
                                value_id x, uint32_t head_dim)
{
    struct attention_spec spec = {.head_dim = head_dim,
                                  .groups = b->c->groups,
                                  .eps = (float)b->c->eps,
                                  .out_divisor = 1};

    return attention_block(b->g, prefix, x, &spec);
}

/* A residual block and what attends behind it; `i`: the block's place in the
 * list of its kind's widths of heads. */
static value_id layer(struct builder *b, const char *block, uint32_t j,
                      value_id x, uint32_t level, enum unetc_block kind,
                      uint32_t n_blocks, uint32_t i)
{
    struct name attention = name_of("%s.attentions.%u", block, j);

    x = residual(b, name_of("%s.resnets.%u", block, j).text, x, level, kind,
                 RESBLOCK_SAME);
    if (kind == UNETC_CROSS)
        return transformer(b, attention.text, x, level, n_blocks, false);
    if (kind == UNETC_ATTN)
        return pixel_attention(b, attention.text, x, b->c->heads[i]);
    return x;
}

static value_id down_block(struct builder *b, uint32_t level, value_id x)
{
    const struct unetc_config *c = b->c;
    struct name block = name_of("down_blocks.%u", level);

    for (uint32_t j = 0; j < c->n_layers[level]; j++) {
        x = layer(b, block.text, j, x, level, c->down[level],
                  c->n_down_blocks[level][j], level);
        push_skip(b, x);
    }
    if (level + 1 < c->n_levels) {
        struct name sampler = name_of("%s.downsamplers.0", block.text);

        x = c->down[level] == UNETC_RESNET
                ? residual(b, sampler.text, x, level, UNETC_RESNET,
                           RESBLOCK_DOWN)
                : downsample_conv(b->g, sampler.text, x, c->down_padding);
        push_skip(b, x);
    }
    return x;
}

static value_id mid_block(struct builder *b, value_id x)
{
    const struct unetc_config *c = b->c;
    uint32_t level = c->n_levels - 1;
    struct resblock_spec spec = resblock_spec(c, level, c->mid_divisor);

    if (c->mid == UNETC_MID_NONE)
        return x;
    x = resblock(b->g, "mid_block.resnets.0", x, b->temb, &spec);
    if (c->mid == UNETC_MID_PLAIN)
        return x;
    x = transformer(b, "mid_block.attentions.0", x, level, c->n_mid_blocks,
                    true);
    return resblock(b->g, "mid_block.resnets.1", x, b->temb, &spec);
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
        x = layer(b, block.text, j, x, level, c->up[level],
                  c->n_up_blocks[level][j], i);
    }
    if (level > 0) {
        struct name sampler = name_of("%s.upsamplers.0", block.text);
        struct shape to = graph_shape(b->g, b->skips[b->n_skips - 1]);

        x = c->up[level] == UNETC_RESNET
                ? residual(b, sampler.text, x, level, UNETC_RESNET, RESBLOCK_UP)
                : upsample_conv_to(b->g, sampler.text, x, to.h, to.w);
    }
    return x;
}

/* -- conditioning ------------------------------------------------------ */

static value_id sinusoids(struct builder *b, value_id t, uint32_t dim)
{
    return graph_time_embed(b->g, t, dim, b->c->is_cos_first,
                            (float)b->c->freq_shift);
}

/* What the two layers of the time embedding read of a number. */
static value_id features(struct builder *b, value_id t)
{
    const struct unetc_config *c = b->c;

    if (c->is_fourier)
        return graph_fourier_embed(b->g, "time_proj.weight", t,
                                   c->time_features / 2, c->is_cos_first,
                                   false);
    return sinusoids(b, t, c->time_features);
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
                                      features(b, label), c->time_dim, c->act);
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

static value_id maybe_act(struct graph *g, value_id x, enum act act)
{
    return act == ACT_NONE ? x : graph_act(g, x, act);
}

/* Inputs in the order of model.h, and what they say as one vector. */
static void add_conditioning(struct builder *b, const struct model_size *size)
{
    const struct unetc_config *c = b->c;
    struct graph *g = b->g;
    uint32_t n = size->n;
    struct shape one = {n, 1, 1, 1};
    value_id t = graph_input(g, "timestep", one);
    value_id emb = features(b, t), label = GRAPH_NO_VALUE;
    value_id text = GRAPH_NO_VALUE, ids = GRAPH_NO_VALUE, guidance;

    if (c->class_embed != UNETC_NO_CLASS)
        label =
            graph_input(g, "label", (struct shape){n, 1, 1, c->class_width});
    b->context = GRAPH_NO_VALUE;
    if (c->context_width)
        b->context = graph_input(
            g, "context",
            (struct shape){n, 1, size->context_len, c->context_width});
    if (c->has_context_proj)
        b->context = graph_linear(g, "encoder_hid_proj", b->context,
                                  c->cross_width, true);
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
                                c->time_features, false);
        emb = graph_add(g, emb, guidance);
    }
    emb = timestep_embedding_act(g, "time_embedding", emb, c->time_dim, c->act);
    emb = maybe_act(g, emb, c->time_post_act);
    if (label != GRAPH_NO_VALUE) {
        label = class_embedding(b, label);
        emb = c->is_class_beside ? graph_concat(g, emb, label)
                                 : graph_add(g, emb, label);
    }
    if (c->added_width)
        emb = graph_add(g, emb, added_embedding(b, text, ids));
    emb = maybe_act(g, emb, c->emb_act);
    b->plain_temb = emb;
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

/* Blocks that double their picture whatever the skip's size. */
static bool is_doubling(const struct unetc_config *c)
{
    for (uint32_t i = 1; i < c->n_levels; i++)
        if (c->up[i] == UNETC_RESNET || c->down[i - 1] == UNETC_RESNET)
            return true;
    return false;
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
        .size_multiple = is_doubling(&c) ? 1U << (c.n_levels - 1) : 1,
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
