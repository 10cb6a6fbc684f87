/* vae_kl.c - the graphs of AutoencoderKL.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/vae_kl.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "format/json.h"
#include "model/fields.h"
#include "nn/attention_block.h"
#include "nn/conv.h"
#include "nn/downsample.h"
#include "nn/name.h"
#include "nn/resblock.h"
#include "nn/upsample.h"

#define EPS                  1e-6F
#define MAX_CHANNELS         16384
#define MAX_PICTURE_CHANNELS 1024

/* -- configuration ----------------------------------------------------- */

/* The lists go the way that a picture goes: the decoder's begins with the
 * latent's level. */
static enum unstir_status get_blocks(struct vae_config *c,
                                     const struct json *config,
                                     struct unstir_error *err)
{
    static const char *const down[] = {"DownEncoderBlock2D",
                                       "AttnDownEncoderBlock2D"};
    static const char *const up[] = {"UpDecoderBlock2D",
                                     "AttnUpDecoderBlock2D"};
    static const int fallback[VAE_MAX_LEVELS];
    int downs[VAE_MAX_LEVELS], ups[VAE_MAX_LEVELS];

    TRY(field_names(config, "down_block_types", down, ARRAY_LEN(down), fallback,
                    1, c->n_levels, downs, err));
    TRY(field_names(config, "up_block_types", up, ARRAY_LEN(up), fallback, 1,
                    c->n_levels, ups, err));
    for (uint32_t i = 0; i < c->n_levels; i++) {
        c->encoder_attends[i] = downs[i] == 1;
        c->decoder_attends[c->n_levels - 1 - i] = ups[i] == 1;
    }
    return UNSTIR_OK;
}

static enum unstir_status get_norm(struct vae_config *c,
                                   const struct json *config,
                                   struct unstir_error *err)
{
    TRY(field_act(config, ACT_SILU, &c->act, err));
    return field_groups(config, c->channels, c->n_levels, MAX_CHANNELS,
                        &c->groups, err);
}

enum unstir_status vae_parse(struct vae_config *c, const struct json *config,
                             uint32_t latent_fallback, struct unstir_error *err)
{
    static const uint32_t fallback[] = {64};

    memset(c, 0, sizeof *c);
    TRY(field_sample_size(config, &c->sample_h, &c->sample_w, err));
    TRY(field_u32(config, "in_channels", 3, 1, MAX_PICTURE_CHANNELS,
                  &c->in_channels, err));
    TRY(field_u32(config, "out_channels", 3, 1, MAX_PICTURE_CHANNELS,
                  &c->out_channels, err));
    TRY(field_u32(config, "latent_channels", latent_fallback, 1,
                  MAX_PICTURE_CHANNELS, &c->latent_channels, err));
    TRY(field_list(config, "block_out_channels", fallback, ARRAY_LEN(fallback),
                   VAE_MAX_LEVELS, MAX_CHANNELS, c->channels, &c->n_levels,
                   err));
    TRY(get_blocks(c, config, err));
    TRY(field_u32(config, "layers_per_block", 1, 1, VAE_MAX_LAYERS,
                  &c->n_layers, err));
    TRY(get_norm(c, config, err));
    TRY(json_get_bool(config, "mid_block_add_attention", true,
                      &c->has_mid_attention, err));
    TRY(json_get_bool(config, "use_quant_conv", true, &c->has_quant_conv, err));
    return json_get_bool(config, "use_post_quant_conv", true,
                         &c->has_post_quant_conv, err);
}

/* A picture's edges are so many times its latent's: 2^(levels - 1). */
static uint32_t factor_of(const struct vae_config *c)
{
    return 1U << (c->n_levels - 1);
}

/* A list of numbers, one a channel; n stays 0 if there is none. */
static enum unstir_status get_numbers(const struct json *config,
                                      const char *key, float *out, uint32_t *n,
                                      struct unstir_error *err)
{
    const struct json *v = json_get(config, key);

    *n = 0;
    if (!v || json_type(v) == JSON_NULL)
        return UNSTIR_OK;
    if (json_type(v) != JSON_ARRAY || json_len(v) == 0 ||
        json_len(v) > VAE_MAX_SCALED)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s must be a list of 1 to %d numbers", key,
                         VAE_MAX_SCALED);
    for (uint32_t i = 0; i < json_len(v); i++) {
        const struct json *e = json_at(v, i);
        bool is_number = json_type(e) == JSON_INT || json_type(e) == JSON_REAL;

        if (!is_number || !(fabs(json_real(e)) <= 1e9))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%s[%u] must be a number, -1e9 to "
                             "1e9",
                             key, i);
        out[i] = (float)json_real(e);
    }
    *n = (uint32_t)json_len(v);
    return UNSTIR_OK;
}

static enum unstir_status get_channels(struct vae_scaling *s,
                                       const struct json *config,
                                       struct unstir_error *err)
{
    uint32_t n_means, n_deviations;

    TRY(get_numbers(config, "latents_mean", s->mean, &n_means, err));
    TRY(get_numbers(config, "latents_std", s->deviation, &n_deviations, err));
    if (n_means == 0 || n_deviations == 0)
        return UNSTIR_OK; /* the reference wants both */
    if (n_means != n_deviations)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "latents_mean has %u entries, "
                         "latents_std %u",
                         n_means, n_deviations);
    for (uint32_t i = 0; i < n_deviations; i++)
        if (!(fabsf(s->deviation[i]) > 1e-9F))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "latents_std[%u] is %g; it divides "
                             "and must not be near 0",
                             i, (double)s->deviation[i]);
    s->n_channels = n_means;
    return UNSTIR_OK;
}

enum unstir_status vae_scaling(struct vae_scaling *s, const struct json *config,
                               struct unstir_error *err)
{
    const char *name = json_string(json_get(config, "_class_name"));
    bool is_tiny = strcmp(name, "AutoencoderTiny") == 0;

    *s = (struct vae_scaling){.factor = 1};
    TRY(field_finite(config, "scaling_factor", is_tiny ? 1 : 0.18215,
                     &s->factor, err));
    if (fabs(s->factor) < 1e-9)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "scaling_factor is %g; it divides and "
                         "must not be near 0",
                         s->factor);
    return get_channels(s, config, err);
}

float vae_unscale(const struct vae_scaling *s, size_t c, float latent)
{
    if (c >= s->n_channels)
        return (float)((double)latent / s->factor);
    return (float)((double)latent * (double)s->deviation[c] / s->factor +
                   (double)s->mean[c]);
}

float vae_scale(const struct vae_scaling *s, size_t c, float latent)
{
    if (c >= s->n_channels)
        return (float)s->factor * latent;
    return (latent - s->mean[c]) * (float)s->factor / s->deviation[c];
}

/* -- graphs ------------------------------------------------------------ */

static value_id residual(struct graph *g, const struct vae_config *c,
                         const char *prefix, value_id x, uint32_t cout)
{
    struct resblock_spec spec = {
        .cout = cout,
        .groups_in = c->groups,
        .groups_out = c->groups,
        .eps = EPS,
        .act = c->act,
        .out_divisor = 1,
    };

    return resblock(g, prefix, x, GRAPH_NO_VALUE, &spec);
}

static value_id attend(struct graph *g, const struct vae_config *c,
                       const char *prefix, value_id x)
{
    struct attention_spec spec = {.head_dim = graph_shape(g, x).c,
                                  .groups = c->groups,
                                  .eps = EPS,
                                  .out_divisor = 1};

    return attention_block(g, prefix, x, &spec);
}

/* The residual blocks of a level, each with its attention behind it. */
static value_id level(struct graph *g, const struct vae_config *c,
                      const char *block, value_id x, uint32_t cout,
                      uint32_t n_layers, bool attends)
{
    for (uint32_t j = 0; j < n_layers; j++) {
        x = residual(g, c, name_of("%s.resnets.%u", block, j).text, x, cout);
        if (attends)
            x = attend(g, c, name_of("%s.attentions.%u", block, j).text, x);
    }
    return x;
}

static value_id middle(struct graph *g, const struct vae_config *c,
                       const char *side, value_id x)
{
    uint32_t channels = graph_shape(g, x).c;
    struct name block = name_of("%s.mid_block", side);

    x = residual(g, c, name_of("%s.resnets.0", block.text).text, x, channels);
    if (c->has_mid_attention)
        x = attend(g, c, name_of("%s.attentions.0", block.text).text, x);
    return residual(g, c, name_of("%s.resnets.1", block.text).text, x,
                    channels);
}

static value_id head(struct graph *g, const struct vae_config *c,
                     const char *side, value_id x, uint32_t cout)
{
    x = graph_group_norm(g, name_of("%s.conv_norm_out", side).text, x,
                         c->groups, EPS);
    return conv3x3(g, name_of("%s.conv_out", side).text,
                   graph_act(g, x, ACT_SILU), cout);
}

/* Levels whose values are large beside the latent's, and which tiled.c may
 * take in bands: those two that are the picture's size and half of it, if
 * there are more, up to the first that attends, which looks at all places. */
static uint32_t n_large(const struct vae_config *c, const bool *attends)
{
    uint32_t most = c->n_levels > 2 ? 2 : c->n_levels - 1, n = 0;

    while (n < most && !attends[n])
        n++;
    return n;
}

value_id vae_encoder(struct graph *g, const struct vae_config *c, value_id x,
                     bool is_double)
{
    uint32_t large = n_large(c, c->encoder_attends);

    x = conv3x3(g, "encoder.conv_in", x, c->channels[0]);
    for (uint32_t i = 0; i < c->n_levels; i++) {
        struct name block = name_of("encoder.down_blocks.%u", i);

        x = level(g, c, block.text, x, c->channels[i], c->n_layers,
                  c->encoder_attends[i]);
        if (i + 1 < c->n_levels)
            x = downsample_conv(
                g, name_of("%s.downsamplers.0", block.text).text, x, 0);
        if (i + 1 == large)
            graph_set_deep(g, x);
    }
    x = middle(g, c, "encoder", x);
    return head(g, c, "encoder", x, c->latent_channels * (is_double ? 2 : 1));
}

value_id vae_decoder(struct graph *g, const struct vae_config *c, value_id z)
{
    uint32_t large = n_large(c, c->decoder_attends);
    value_id x = conv3x3(g, "decoder.conv_in", z, c->channels[c->n_levels - 1]);

    x = middle(g, c, "decoder", x);
    for (uint32_t i = 0; i < c->n_levels; i++) {
        struct name block = name_of("decoder.up_blocks.%u", i);
        uint32_t k = c->n_levels - 1 - i; /* as the encoder counts           */

        x = level(g, c, block.text, x, c->channels[k], c->n_layers + 1,
                  c->decoder_attends[k]);
        if (large && k == large)
            graph_set_deep(g, x);
        if (k > 0)
            x = upsample_conv(g, name_of("%s.upsamplers.0", block.text).text,
                              x);
    }
    return head(g, c, "decoder", x, c->out_channels);
}

/* -- the rows of model.c ----------------------------------------------- */

#define LATENT_CHANNELS 4

enum unstir_status vae_decode_facts(struct model_facts *facts,
                                    const struct json *config,
                                    struct unstir_error *err)
{
    struct vae_config c;

    TRY(vae_parse(&c, config, LATENT_CHANNELS, err));
    *facts = (struct model_facts){
        .in_channels = c.latent_channels,
        .out_channels = c.out_channels,
        .sample_h = c.sample_h / factor_of(&c),
        .sample_w = c.sample_w / factor_of(&c),
        .size_multiple = 1,
        .up = factor_of(&c),
        .down = 1,
    };
    return UNSTIR_OK;
}

enum unstir_status vae_decode_build(struct graph *g, const struct json *config,
                                    const struct model_size *size,
                                    struct unstir_error *err)
{
    struct vae_config c;
    value_id z;

    TRY(vae_parse(&c, config, LATENT_CHANNELS, err));
    z = graph_input(
        g, "sample",
        (struct shape){size->n, size->h, size->w, c.latent_channels});
    if (c.has_post_quant_conv)
        z = conv1x1(g, "post_quant_conv", z, c.latent_channels);
    graph_output(g, "out", vae_decoder(g, &c, z));
    return graph_status(g, err);
}

enum unstir_status vae_encode_facts(struct model_facts *facts,
                                    const struct json *config,
                                    struct unstir_error *err)
{
    struct vae_config c;

    TRY(vae_parse(&c, config, LATENT_CHANNELS, err));
    *facts = (struct model_facts){
        .in_channels = c.in_channels,
        .out_channels = 2 * c.latent_channels,
        .sample_h = c.sample_h,
        .sample_w = c.sample_w,
        .size_multiple = factor_of(&c),
        .up = 1,
        .down = factor_of(&c),
    };
    return UNSTIR_OK;
}

enum unstir_status vae_encode_build(struct graph *g, const struct json *config,
                                    const struct model_size *size,
                                    struct unstir_error *err)
{
    struct vae_config c;
    value_id x;

    TRY(vae_parse(&c, config, LATENT_CHANNELS, err));
    x = graph_input(g, "sample",
                    (struct shape){size->n, size->h, size->w, c.in_channels});
    x = vae_encoder(g, &c, x, true);
    if (c.has_quant_conv)
        x = conv1x1(g, "quant_conv", x, 2 * c.latent_channels);
    graph_output(g, "out", x);
    return graph_status(g, err);
}
