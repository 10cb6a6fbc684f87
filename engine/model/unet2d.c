/* unet2d.c - the graph of UNet2DModel.
 *
 * The pitfalls stand in unet2d.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/unet2d.h"

#include <math.h>

#include "nn/attention_block.h"
#include "nn/conv.h"
#include "nn/downsample.h"
#include "nn/fir.h"
#include "nn/name.h"
#include "nn/resblock.h"
#include "nn/timestep.h"
#include "nn/upsample.h"
#include "ops/graph.h"

#define MAX_SKIPS             (1 + UNET2D_MAX_LEVELS * (UNET2D_MAX_LAYERS + 1))
#define SKIP_ATTENTION_GROUPS 32
#define SKIP_DIVISOR          sqrt(2.0)

struct builder {
    struct graph *g;
    const struct unet2d_config *c;
    value_id temb;    /* activated                                           */
    value_id picture; /* of the skip blocks, or GRAPH_NO_VALUE               */
    value_id skips[MAX_SKIPS];
    size_t n_skips;
};

static bool is_skip(enum unet2d_block kind)
{
    return kind == UNET2D_SKIP || kind == UNET2D_ATTN_SKIP;
}

static bool has_attention(enum unet2d_block kind)
{
    return kind == UNET2D_ATTN || kind == UNET2D_ATTN_SKIP;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Groups by channels: for skip blocks, and where norm_num_groups is null. */
static uint32_t groups_by_channels(uint32_t channels)
{
    return min_u32(channels / 4, 32);
}

static uint32_t groups_of(const struct unet2d_config *c, uint32_t channels)
{
    return c->groups ? c->groups : groups_by_channels(channels);
}

static void push_skip(struct builder *b, value_id x)
{
    b->skips[b->n_skips++] = x;
}

/* -- layers of a block ------------------------------------------------- */

static struct resblock_spec resblock_spec(const struct builder *b,
                                          enum unet2d_block kind, uint32_t cin,
                                          uint32_t cout)
{
    const struct unet2d_config *c = b->c;
    struct resblock_spec spec = {
        .cout = cout,
        .groups_in = c->groups,
        .groups_out = c->groups,
        .eps = (float)c->eps,
        .act = c->act,
        .is_scale_shift = c->is_scale_shift,
        .out_divisor = 1,
    };

    if (is_skip(kind)) {
        spec.groups_in = groups_by_channels(cin);
        spec.groups_out = groups_by_channels(cout);
        spec.out_divisor = SKIP_DIVISOR;
    }
    return spec;
}

static value_id block_attention(struct builder *b, const char *block,
                                uint32_t j, value_id x, enum unet2d_block kind)
{
    struct attention_spec spec = {
        .head_dim = b->c->head_dim ? b->c->head_dim : graph_shape(b->g, x).c,
        .groups = is_skip(kind) ? SKIP_ATTENTION_GROUPS : b->c->groups,
        .eps = (float)b->c->eps,
        .out_divisor = is_skip(kind) ? SKIP_DIVISOR : 1,
    };

    return attention_block(b->g, name_of("%s.attentions.%u", block, j).text, x,
                           &spec);
}

/* A residual block that also resamples and keeps its channels. */
static value_id resampling_resblock(struct builder *b, const char *prefix,
                                    value_id x, enum unet2d_block kind,
                                    enum resblock_resample how)
{
    uint32_t c = graph_shape(b->g, x).c;
    struct resblock_spec spec = resblock_spec(b, kind, c, c);

    spec.resample = how;
    spec.has_shortcut = is_skip(kind);
    return resblock(b->g, prefix, x, b->temb, &spec);
}

/* -- down -------------------------------------------------------------- */

static value_id downsample(struct builder *b, const char *block, value_id x,
                           enum unet2d_block kind)
{
    struct name sampler = name_of("%s.downsamplers.0", block);
    uint32_t c = graph_shape(b->g, x).c;

    if (is_skip(kind)) {
        x = resampling_resblock(b, name_of("%s.resnet_down", block).text, x,
                                kind, RESBLOCK_FIR_DOWN);
        b->picture = fir_down(b->g, b->picture);
        return graph_add(
            b->g,
            conv1x1(b->g, name_of("%s.skip_conv", block).text, b->picture, c),
            x);
    }
    if (kind == UNET2D_RESNET || (kind == UNET2D_ATTN && b->c->is_resnet_down))
        return resampling_resblock(b, sampler.text, x, kind, RESBLOCK_DOWN);
    return downsample_conv(b->g, sampler.text, x, b->c->downsample_padding);
}

static value_id down_block(struct builder *b, uint32_t level, value_id x)
{
    enum unet2d_block kind = b->c->down[level];
    struct name block = name_of("down_blocks.%u", level);

    for (uint32_t j = 0; j < b->c->n_layers; j++) {
        struct resblock_spec spec = resblock_spec(
            b, kind, graph_shape(b->g, x).c, b->c->channels[level]);

        x = resblock(b->g, name_of("%s.resnets.%u", block.text, j).text, x,
                     b->temb, &spec);
        if (has_attention(kind))
            x = block_attention(b, block.text, j, x, kind);
        push_skip(b, x);
    }
    if (level + 1 < b->c->n_levels) {
        x = downsample(b, block.text, x, kind);
        push_skip(b, x);
    }
    return x;
}

/* -- middle ------------------------------------------------------------ */

static value_id mid_block(struct builder *b, value_id x)
{
    const struct unet2d_config *c = b->c;
    uint32_t channels = graph_shape(b->g, x).c;
    struct resblock_spec spec =
        resblock_spec(b, UNET2D_PLAIN, channels, channels);
    struct attention_spec attn = {
        .head_dim = c->head_dim ? c->head_dim : channels,
        .groups = c->mid_attn_groups,
        .eps = (float)c->eps,
        .out_divisor = c->mid_divisor,
    };

    spec.groups_in = spec.groups_out = groups_of(c, channels);
    spec.out_divisor = c->mid_divisor;
    if (attn.groups == 0 && !c->is_scale_shift)
        attn.groups = groups_of(c, channels);
    x = resblock(b->g, "mid_block.resnets.0", x, b->temb, &spec);
    if (c->has_mid_attention)
        x = attention_block(b->g, "mid_block.attentions.0", x, &attn);
    return resblock(b->g, "mid_block.resnets.1", x, b->temb, &spec);
}

/* -- up ---------------------------------------------------------------- */

/* The picture beside the network: doubled, and what this level adds to it. */
static void grow_picture(struct builder *b, const char *block, value_id x,
                         bool is_last)
{
    struct graph *g = b->g;
    uint32_t c = graph_shape(g, x).c;
    value_id s;

    if (b->picture != GRAPH_NO_VALUE)
        b->picture = fir_up(g, b->picture);
    if (is_last)
        return;
    s = graph_group_norm(g, name_of("%s.skip_norm", block).text, x,
                         groups_by_channels(c), (float)b->c->eps);
    s = graph_act(g, s, ACT_SILU);
    s = conv3x3(g, name_of("%s.skip_conv", block).text, s, 3);
    b->picture = b->picture == GRAPH_NO_VALUE ? s : graph_add(g, b->picture, s);
}

static value_id upsample(struct builder *b, const char *block, value_id x,
                         enum unet2d_block kind)
{
    struct name sampler = name_of("%s.upsamplers.0", block);

    if (is_skip(kind))
        return resampling_resblock(b, name_of("%s.resnet_up", block).text, x,
                                   kind, RESBLOCK_FIR_UP);
    if (kind == UNET2D_RESNET || (kind == UNET2D_ATTN && b->c->is_resnet_up))
        return resampling_resblock(b, sampler.text, x, kind, RESBLOCK_UP);
    return upsample_conv(b->g, sampler.text, x);
}

static value_id up_layer(struct builder *b, const char *block, uint32_t j,
                         value_id x, enum unet2d_block kind, uint32_t cout)
{
    value_id skip = b->skips[--b->n_skips];
    uint32_t c_main = graph_shape(b->g, x).c;
    uint32_t c_skip = graph_shape(b->g, skip).c;
    struct resblock_spec spec = resblock_spec(b, kind, c_main + c_skip, cout);

    if (kind == UNET2D_ATTN_SKIP)
        spec.groups_in = min_u32(c_main + c_skip / 4, 32);
    x = graph_concat(b->g, x, skip);
    x = resblock(b->g, name_of("%s.resnets.%u", block, j).text, x, b->temb,
                 &spec);
    if (kind == UNET2D_ATTN)
        x = block_attention(b, block, j, x, kind);
    return x;
}

/* Block i from the lowest level upwards. */
static value_id up_block(struct builder *b, uint32_t i, value_id x)
{
    enum unet2d_block kind = b->c->up[i];
    uint32_t cout = b->c->channels[b->c->n_levels - 1 - i];
    bool is_last = i + 1 == b->c->n_levels;
    struct name block = name_of("up_blocks.%u", i);

    for (uint32_t j = 0; j <= b->c->n_layers; j++) {
        /* What the last two layers begin with, unless a picture beside the
         * network comes from below as well. */
        if (is_last && j + 1 == b->c->n_layers && b->picture == GRAPH_NO_VALUE)
            graph_set_deep(b->g, x);
        x = up_layer(b, block.text, j, x, kind, cout);
    }
    if (kind == UNET2D_ATTN_SKIP)
        x = block_attention(b, block.text, 0, x, kind);
    if (is_skip(kind))
        grow_picture(b, block.text, x, is_last);
    return is_last ? x : upsample(b, block.text, x, kind);
}

/* -- time and class ---------------------------------------------------- */

static value_id time_features(struct builder *b, value_id t)
{
    const struct unet2d_config *c = b->c;

    switch (c->time) {
    case UNET2D_POSITIONAL:
        break;
    case UNET2D_FOURIER:
        return graph_fourier_embed(b->g, "time_proj.weight", t, c->channels[0],
                                   false, true);
    case UNET2D_LEARNED:
        return graph_lookup(b->g, "time_proj.weight", t, c->time_rows,
                            c->channels[0]);
    }
    return graph_time_embed(b->g, t, c->channels[0], c->is_cos_first,
                            (float)c->freq_shift);
}

static value_id class_embedding(struct builder *b, value_id label)
{
    const struct unet2d_config *c = b->c;

    switch (c->class_embed) {
    case UNET2D_NO_CLASS:
    case UNET2D_CLASS_IDENTITY:
        break;
    case UNET2D_CLASS_TABLE:
        return graph_lookup(b->g, "class_embedding.weight", label,
                            c->class_rows, c->time_dim);
    case UNET2D_CLASS_TIMESTEP:
        return timestep_embedding(b->g, "class_embedding",
                                  time_features(b, label), c->time_dim);
    }
    return label;
}

static uint32_t label_width(const struct unet2d_config *c)
{
    return c->class_embed == UNET2D_CLASS_IDENTITY ? c->time_dim : 1;
}

static void add_conditioning(struct builder *b, value_id t, uint32_t n)
{
    const struct unet2d_config *c = b->c;
    value_id emb = timestep_embedding(b->g, "time_embedding",
                                      time_features(b, t), c->time_dim);

    if (c->class_embed != UNET2D_NO_CLASS) {
        value_id label =
            graph_input(b->g, "label", (struct shape){n, 1, 1, label_width(c)});

        emb = graph_add(b->g, emb, class_embedding(b, label));
    }
    b->temb = graph_act(b->g, emb, c->act);
}

/* -- the whole --------------------------------------------------------- */

static value_id head(struct builder *b, value_id x, value_id t)
{
    const struct unet2d_config *c = b->c;
    struct graph *g = b->g;

    x = graph_group_norm(g, "conv_norm_out", x, groups_of(c, c->channels[0]),
                         (float)c->eps);
    x = conv3x3(g, "conv_out", graph_act(g, x, ACT_SILU), c->out_channels);
    if (b->picture != GRAPH_NO_VALUE)
        x = graph_add(g, x, b->picture);
    if (c->time == UNET2D_FOURIER)
        x = graph_div_vec(g, x, t);
    return x;
}

static void build(struct graph *g, const struct unet2d_config *c,
                  const struct model_size *size)
{
    struct shape sample = {size->n, size->h, size->w, c->in_channels};
    struct builder b = {.g = g, .c = c};
    value_id x, t;

    x = graph_input(g, "sample", sample);
    t = graph_input(g, "timestep", (struct shape){size->n, 1, 1, 1});
    add_conditioning(&b, t, size->n);
    if (c->is_centering)
        x = graph_affine(g, x, 2, -1);
    b.picture = x;
    x = conv3x3(g, "conv_in", x, c->channels[0]);
    push_skip(&b, x);
    for (uint32_t i = 0; i < c->n_levels; i++)
        x = down_block(&b, i, x);
    if (c->has_mid)
        x = mid_block(&b, x);
    b.picture = GRAPH_NO_VALUE;
    for (uint32_t i = 0; i < c->n_levels; i++)
        x = up_block(&b, i, x);
    graph_output(g, "out", head(&b, x, t));
}

enum unstir_status unet2d_facts(struct model_facts *facts,
                                const struct json *config,
                                struct unstir_error *err)
{
    struct unet2d_config c;

    TRY(unet2d_parse(&c, config, err));
    *facts = (struct model_facts){
        .in_channels = c.in_channels,
        .out_channels = c.out_channels,
        .sample_h = c.sample_h,
        .sample_w = c.sample_w,
        .size_multiple = 1U << (c.n_levels - 1),
        .has_timestep = true,
        .has_label = c.class_embed != UNET2D_NO_CLASS,
        .label_rows = c.class_embed == UNET2D_CLASS_TABLE      ? c.class_rows
                      : c.class_embed == UNET2D_CLASS_TIMESTEP ? c.time_rows
                                                               : 0,
        .label_width = label_width(&c),
        .timestep_rows = c.time_rows,
    };
    return UNSTIR_OK;
}

enum unstir_status unet2d_build_config(struct graph *g,
                                       const struct json *config,
                                       const struct model_size *size,
                                       struct unstir_error *err)
{
    struct unet2d_config c;

    TRY(unet2d_parse(&c, config, err));
    build(g, &c, size);
    return graph_status(g, err);
}
