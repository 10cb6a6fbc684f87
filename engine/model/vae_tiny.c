/* vae_tiny.c - the graphs of AutoencoderTiny.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/vae_tiny.h"

#include <string.h>

#include "format/json.h"
#include "model/fields.h"
#include "nn/conv.h"
#include "nn/name.h"
#include "nn/upsample.h"
#include "ops/graph.h"

#define MAX_STAGES           8
#define MAX_BLOCKS           32
#define MAX_CHANNELS         4096
#define MAX_PICTURE_CHANNELS 1024
#define CLAMP                3 /* latents are bent to -3 .. 3               */

struct side {
    uint32_t n_stages;
    uint32_t channels[MAX_STAGES], n_blocks[MAX_STAGES];
};

struct tiny_config {
    uint32_t in_channels, out_channels, latent_channels;
    enum act act;
    struct side encoder, decoder;
};

/* One side's widths and blocks; strided and doubled layers keep the width. */
static enum unstir_status get_side(struct side *s, const struct json *config,
                                   const char *channels_key,
                                   const char *blocks_key,
                                   const uint32_t *fallback_blocks,
                                   struct unstir_error *err)
{
    static const uint32_t fallback[] = {64, 64, 64, 64};
    uint32_t n;

    TRY(field_list(config, channels_key, fallback, ARRAY_LEN(fallback),
                   MAX_STAGES, MAX_CHANNELS, s->channels, &s->n_stages, err));
    TRY(field_list(config, blocks_key, fallback_blocks, ARRAY_LEN(fallback),
                   MAX_STAGES, MAX_BLOCKS, s->n_blocks, &n, err));
    if (n != s->n_stages)
        return error_set(err, UNSTIR_ERR_FORMAT, "%s has %u entries; %s has %u",
                         blocks_key, n, channels_key, s->n_stages);
    for (uint32_t i = 1; i < s->n_stages; i++)
        if (s->channels[i] != s->channels[0])
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%s[%u] is %u; all must be equal "
                             "([0] is %u)",
                             channels_key, i, s->channels[i], s->channels[0]);
    return UNSTIR_OK;
}

static enum unstir_status parse(struct tiny_config *c,
                                const struct json *config,
                                struct unstir_error *err)
{
    static const uint32_t encoder_blocks[] = {1, 3, 3, 3};
    static const uint32_t decoder_blocks[] = {3, 3, 3, 1};
    static const char *const upsamplings[] = {"nearest"};
    uint32_t factor;
    int word;

    memset(c, 0, sizeof *c);
    TRY(field_u32(config, "in_channels", 3, 1, MAX_PICTURE_CHANNELS,
                  &c->in_channels, err));
    TRY(field_u32(config, "out_channels", 3, 1, MAX_PICTURE_CHANNELS,
                  &c->out_channels, err));
    TRY(field_u32(config, "latent_channels", 4, 1, MAX_PICTURE_CHANNELS,
                  &c->latent_channels, err));
    TRY(field_u32(config, "upsampling_scaling_factor", 2, 2, 2, &factor, err));
    TRY(field_act(config, ACT_RELU, &c->act, err));
    TRY(field_word(config, "upsample_fn", upsamplings, 1, &word, err));
    TRY(get_side(&c->encoder, config, "encoder_block_out_channels",
                 "num_encoder_blocks", encoder_blocks, err));
    return get_side(&c->decoder, config, "decoder_block_out_channels",
                    "num_decoder_blocks", decoder_blocks, err);
}

/* -- graphs ------------------------------------------------------------ */

/* Layers are numbered as they come. */
struct builder {
    struct graph *g;
    enum act act;
    const char *side;
    uint32_t layer;
};

static struct name next_layer(struct builder *b)
{
    return name_of("%s.layers.%u", b->side, b->layer++);
}

static value_id block(struct builder *b, value_id x)
{
    struct name prefix = next_layer(b);
    uint32_t c = graph_shape(b->g, x).c;
    value_id h = x;

    for (uint32_t i = 0; i < 3; i++) {
        h = conv3x3(b->g, name_of("%s.conv.%u", prefix.text, 2 * i).text, h, c);
        if (i < 2)
            h = graph_act(b->g, h, b->act);
    }
    return graph_act(b->g, graph_add(b->g, h, x), ACT_RELU);
}

static value_id plain_conv(struct builder *b, value_id x, uint32_t cout,
                           uint32_t stride, bool has_bias)
{
    struct conv2d_spec spec = {.cout = cout,
                               .k = 3,
                               .stride = stride,
                               .pad_t = 1,
                               .pad_l = 1,
                               .pad_b = 1,
                               .pad_r = 1,
                               .has_bias = has_bias};

    return graph_conv2d(b->g, next_layer(b).text, x, &spec);
}

static value_id encoder(struct graph *g, const struct tiny_config *c,
                        value_id x)
{
    struct builder b = {g, c->act, "encoder", 0};
    const struct side *s = &c->encoder;

    x = graph_affine(g, x, 0.5F, 0.5F);
    for (uint32_t i = 0; i < s->n_stages; i++) {
        x = plain_conv(&b, x, s->channels[i], i ? 2 : 1, i == 0);
        for (uint32_t j = 0; j < s->n_blocks[i]; j++)
            x = block(&b, x);
    }
    return plain_conv(&b, x, c->latent_channels, 1, true);
}

static value_id decoder(struct graph *g, const struct tiny_config *c,
                        value_id z)
{
    struct builder b = {g, c->act, "decoder", 0};
    const struct side *s = &c->decoder;
    value_id x;

    x = graph_act(g, graph_affine(g, z, 1.0F / CLAMP, 0), ACT_TANH);
    x = graph_affine(g, x, CLAMP, 0);
    x = graph_act(g, plain_conv(&b, x, s->channels[0], 1, true), c->act);
    b.layer++; /* the activation */
    for (uint32_t i = 0; i < s->n_stages; i++) {
        bool is_last = i + 1 == s->n_stages;

        for (uint32_t j = 0; j < s->n_blocks[i]; j++)
            x = block(&b, x);
        if (!is_last) {
            x = upsample_nearest2(g, x);
            b.layer++;
        }
        x = plain_conv(&b, x, is_last ? c->out_channels : s->channels[i], 1,
                       is_last);
    }
    return graph_affine(g, x, 2, -1);
}

/* -- the rows of model.c ----------------------------------------------- */

enum unstir_status tiny_decode_facts(struct model_facts *facts,
                                     const struct json *config,
                                     struct unstir_error *err)
{
    struct tiny_config c;

    TRY(parse(&c, config, err));
    *facts = (struct model_facts){
        .in_channels = c.latent_channels,
        .out_channels = c.out_channels,
        .size_multiple = 1,
        .up = 1U << (c.decoder.n_stages - 1),
        .down = 1,
    };
    return UNSTIR_OK;
}

enum unstir_status tiny_decode_build(struct graph *g, const struct json *config,
                                     const struct model_size *size,
                                     struct unstir_error *err)
{
    struct tiny_config c;
    value_id z;

    TRY(parse(&c, config, err));
    z = graph_input(
        g, "sample",
        (struct shape){size->n, size->h, size->w, c.latent_channels});
    graph_output(g, "out", decoder(g, &c, z));
    return graph_status(g, err);
}

enum unstir_status tiny_encode_facts(struct model_facts *facts,
                                     const struct json *config,
                                     struct unstir_error *err)
{
    struct tiny_config c;

    TRY(parse(&c, config, err));
    *facts = (struct model_facts){
        .in_channels = c.in_channels,
        .out_channels = c.latent_channels,
        .size_multiple = 1U << (c.encoder.n_stages - 1),
        .up = 1,
        .down = 1U << (c.encoder.n_stages - 1),
    };
    return UNSTIR_OK;
}

enum unstir_status tiny_encode_build(struct graph *g, const struct json *config,
                                     const struct model_size *size,
                                     struct unstir_error *err)
{
    struct tiny_config c;
    value_id x;

    TRY(parse(&c, config, err));
    x = graph_input(g, "sample",
                    (struct shape){size->n, size->h, size->w, c.in_channels});
    graph_output(g, "out", encoder(g, &c, x));
    return graph_status(g, err);
}
