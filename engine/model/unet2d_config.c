/* unet2d_config.c - reading and checking the configuration of UNet2DModel.
 *
 * Every field of the reference's constructor, with its default for an absent
 * key.  Ranges are wide enough for every published checkpoint and narrow
 * enough that no product of them wraps.  Combinations that the reference
 * cannot run are named here rather than found as shapes that do not fit.
 *
 * Not read, because they change nothing at inference: dropout.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/unet2d.h"

#include <string.h>

#include "base/affix.h"
#include "format/json.h"
#include "model/fields.h"

#define MAX_CHANNELS         16384
#define MAX_PICTURE_CHANNELS 1024
#define MAX_ROWS             10000000

/* Names in the order of enum unet2d_block: down, up. */
static const char *const block_names[UNET2D_BLOCK_COUNT][2] = {
    [UNET2D_PLAIN] = {"DownBlock2D", "UpBlock2D"},
    [UNET2D_ATTN] = {"AttnDownBlock2D", "AttnUpBlock2D"},
    [UNET2D_RESNET] = {"ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"},
    [UNET2D_SKIP] = {"SkipDownBlock2D", "SkipUpBlock2D"},
    [UNET2D_ATTN_SKIP] = {"AttnSkipDownBlock2D", "AttnSkipUpBlock2D"},
};

/* -- levels ------------------------------------------------------------ */

static enum unstir_status get_levels(struct unet2d_config *c,
                                     const struct json *config,
                                     struct unstir_error *err)
{
    static const uint32_t fallback[] = {224, 448, 672, 896};

    return field_list(config, "block_out_channels", fallback,
                      ARRAY_LEN(fallback), UNET2D_MAX_LEVELS, MAX_CHANNELS,
                      c->channels, &c->n_levels, err);
}

static enum unstir_status parse_block(const char *key, uint32_t i,
                                      const char *name, int is_up,
                                      enum unet2d_block *out,
                                      struct unstir_error *err)
{
    (void)affix_strip(name, "UNetRes", &name); /* their old names */
    for (int k = 0; k < UNET2D_BLOCK_COUNT; k++) {
        if (strcmp(name, block_names[k][is_up]) == 0) {
            *out = (enum unet2d_block)k;
            return UNSTIR_OK;
        }
    }
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%s[%u] is \"%.60s\"; supported: %s, %s, %s, "
                     "%s, %s",
                     key, i, name, block_names[0][is_up], block_names[1][is_up],
                     block_names[2][is_up], block_names[3][is_up],
                     block_names[4][is_up]);
}

static enum unstir_status get_blocks(const struct unet2d_config *c,
                                     const struct json *config, const char *key,
                                     int is_up, enum unet2d_block *out,
                                     struct unstir_error *err)
{
    static const enum unet2d_block fallback[2][4] = {
        {UNET2D_PLAIN, UNET2D_ATTN, UNET2D_ATTN, UNET2D_ATTN},
        {UNET2D_ATTN, UNET2D_ATTN, UNET2D_ATTN, UNET2D_PLAIN},
    };
    const struct json *v = json_get(config, key);
    size_t n = v ? json_len(v) : 4;

    if (v && json_type(v) != JSON_ARRAY)
        return error_set(err, UNSTIR_ERR_FORMAT, "%s must be a list", key);
    if (n != c->n_levels)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s has %zu entries; block_out_channels "
                         "has %u",
                         key, n, c->n_levels);
    if (!v) {
        memcpy(out, fallback[is_up], sizeof fallback[is_up]);
        return UNSTIR_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct json *e = json_at(v, i);

        if (json_type(e) != JSON_STRING)
            return error_set(err, UNSTIR_ERR_FORMAT, "%s[%u] must be a string",
                             key, i);
        TRY(parse_block(key, i, json_string(e), is_up, &out[i], err));
    }
    return UNSTIR_OK;
}

/* -- groups of fields -------------------------------------------------- */

static enum unstir_status get_time(struct unet2d_config *c,
                                   const struct json *config,
                                   struct unstir_error *err)
{
    static const char *const words[] = {"positional", "fourier", "learned"};
    int word;

    TRY(field_word(config, "time_embedding_type", words, ARRAY_LEN(words),
                   &word, err));
    c->time = (enum unet2d_time)word;
    /* 0 means null here, as in the reference. */
    TRY(field_u32(config, "time_embedding_dim", 0, 0, 8 * MAX_CHANNELS,
                  &c->time_dim, err));
    if (c->time_dim == 0)
        c->time_dim = 4 * c->channels[0];
    TRY(field_finite(config, "freq_shift", 0, &c->freq_shift, err));
    TRY(json_get_bool(config, "flip_sin_to_cos", true, &c->is_cos_first, err));
    if (c->time == UNET2D_POSITIONAL &&
        (c->channels[0] < 2 || c->channels[0] / 2 == c->freq_shift))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "freq_shift is %g; block_out_channels[0]"
                         " / 2 (here %u) must be at least 1 and differ from it",
                         c->freq_shift, c->channels[0] / 2);
    if (c->time == UNET2D_LEARNED) {
        TRY(field_u32(config, "num_train_timesteps", 0, 0, MAX_ROWS,
                      &c->time_rows, err));
        if (c->time_rows == 0)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "time_embedding_type \"learned\" "
                             "needs num_train_timesteps, 1 to %d",
                             MAX_ROWS);
    }
    return UNSTIR_OK;
}

static enum unstir_status get_class(struct unet2d_config *c,
                                    const struct json *config,
                                    struct unstir_error *err)
{
    static const char *const words[] = {"timestep", "identity"};
    static const enum unet2d_class kinds[] = {UNET2D_CLASS_TIMESTEP,
                                              UNET2D_CLASS_IDENTITY};
    const struct json *type = json_get(config, "class_embed_type");
    int word;

    TRY(field_u32(config, "num_class_embeds", 0, 1, MAX_ROWS, &c->class_rows,
                  err));
    if (!type || json_type(type) == JSON_NULL) {
        c->class_embed = c->class_rows ? UNET2D_CLASS_TABLE : UNET2D_NO_CLASS;
        return UNSTIR_OK;
    }
    TRY(field_word(config, "class_embed_type", words, ARRAY_LEN(words), &word,
                   err));
    c->class_embed = kinds[word];
    return UNSTIR_OK;
}

static enum unstir_status get_mid(struct unet2d_config *c,
                                  const struct json *config,
                                  struct unstir_error *err)
{
    static const char *const words[] = {"UNetMidBlock2D"};
    int word;

    c->has_mid = !field_is_null(config, "mid_block_type");
    TRY(field_word(config, "mid_block_type", words, 1, &word, err));
    TRY(json_get_bool(config, "add_attention", true, &c->has_mid_attention,
                      err));
    TRY(field_divisor(config, "mid_block_scale_factor", 1, &c->mid_divisor,
                      err));
    return field_u32(config, "attn_norm_num_groups", 0, 1, MAX_CHANNELS,
                     &c->mid_attn_groups, err);
}

static enum unstir_status get_norm(struct unet2d_config *c,
                                   const struct json *config,
                                   struct unstir_error *err)
{
    static const char *const shifts[] = {"default", "scale_shift"};
    int word;

    TRY(field_act(config, ACT_SILU, &c->act, err));
    TRY(field_word(config, "resnet_time_scale_shift", shifts, ARRAY_LEN(shifts),
                   &word, err));
    c->is_scale_shift = word == 1;
    TRY(field_positive(config, "norm_eps", 1e-5, &c->eps, err));
    if (!field_is_null(config, "norm_num_groups"))
        TRY(field_u32(config, "norm_num_groups", 32, 1, MAX_CHANNELS,
                      &c->groups, err));
    if (!field_is_null(config, "attention_head_dim"))
        TRY(field_u32(config, "attention_head_dim", 8, 1, MAX_CHANNELS,
                      &c->head_dim, err));
    return UNSTIR_OK;
}

static enum unstir_status get_samplers(struct unet2d_config *c,
                                       const struct json *config,
                                       struct unstir_error *err)
{
    static const char *const words[] = {"conv", "resnet"};
    int word;

    TRY(field_word(config, "downsample_type", words, 2, &word, err));
    c->is_resnet_down = word == 1;
    TRY(field_word(config, "upsample_type", words, 2, &word, err));
    c->is_resnet_up = word == 1;
    return field_u32(config, "downsample_padding", 1, 0, 1,
                     &c->downsample_padding, err);
}

/* -- combinations ------------------------------------------------------ */

static bool is_skip_block(enum unet2d_block kind)
{
    return kind == UNET2D_SKIP || kind == UNET2D_ATTN_SKIP;
}

static bool is_attention_block(enum unet2d_block kind)
{
    return kind == UNET2D_ATTN || kind == UNET2D_ATTN_SKIP;
}

/* The picture beside the network must be resampled at every level once it is
 * used: skip blocks come first on the way down, last on the way up. */
static enum unstir_status check_skips(const struct unet2d_config *c,
                                      struct unstir_error *err)
{
    uint32_t last = c->n_levels - 1;

    for (uint32_t i = 0; i < last; i++) {
        if (is_skip_block(c->down[i]) && c->in_channels != 3)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "in_channels is %u; %s needs 3", c->in_channels,
                             block_names[c->down[i]][0]);
        if (is_skip_block(c->down[i]) && i && !is_skip_block(c->down[i - 1]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "down_block_types[%u] is %s; skip "
                             "blocks must come before all others",
                             i, block_names[c->down[i]][0]);
        if (is_skip_block(c->up[i]) && c->out_channels != 3)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "out_channels is %u; %s needs 3", c->out_channels,
                             block_names[c->up[i]][1]);
        if (is_skip_block(c->up[i]) && !is_skip_block(c->up[i + 1]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "up_block_types[%u] is %s; skip "
                             "blocks must come after all others",
                             i, block_names[c->up[i]][1]);
    }
    return UNSTIR_OK;
}

/* Groups and heads of level i, whose channels are c->channels[i]. */
static enum unstir_status check_level(const struct unet2d_config *c, uint32_t i,
                                      struct unstir_error *err)
{
    enum unet2d_block down = c->down[i], up = c->up[c->n_levels - 1 - i];
    bool is_plain = !is_skip_block(down) || !is_skip_block(up);
    bool has_heads =
        is_attention_block(down) || is_attention_block(up) ||
        (i + 1 == c->n_levels && c->has_mid && c->has_mid_attention);

    if (is_plain && c->groups == 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "norm_num_groups is null; %s needs a "
                         "number (only skip blocks go without)",
                         is_skip_block(down) ? block_names[up][1]
                                             : block_names[down][0]);
    if (is_plain && c->channels[i] % c->groups != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "block_out_channels[%u] is %u; it must "
                         "be a multiple of norm_num_groups, %u",
                         i, c->channels[i], c->groups);
    if (has_heads && c->head_dim > c->channels[i])
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "attention_head_dim is %u; at most %u "
                         "fit block_out_channels[%u]",
                         c->head_dim, c->channels[i], i);
    return UNSTIR_OK;
}

static enum unstir_status check_combinations(const struct unet2d_config *c,
                                             struct unstir_error *err)
{
    TRY(check_skips(c, err));
    for (uint32_t i = 0; i < c->n_levels; i++)
        TRY(check_level(c, i, err));
    return UNSTIR_OK;
}

enum unstir_status unet2d_parse(struct unet2d_config *c,
                                const struct json *config,
                                struct unstir_error *err)
{
    memset(c, 0, sizeof *c);
    TRY(field_sample_size(config, &c->sample_h, &c->sample_w, err));
    TRY(field_u32(config, "in_channels", 3, 1, MAX_PICTURE_CHANNELS,
                  &c->in_channels, err));
    TRY(field_u32(config, "out_channels", 3, 1, MAX_PICTURE_CHANNELS,
                  &c->out_channels, err));
    TRY(json_get_bool(config, "center_input_sample", false, &c->is_centering,
                      err));
    TRY(get_levels(c, config, err));
    TRY(get_blocks(c, config, "down_block_types", 0, c->down, err));
    TRY(get_blocks(c, config, "up_block_types", 1, c->up, err));
    TRY(field_u32(config, "layers_per_block", 2, 1, UNET2D_MAX_LAYERS,
                  &c->n_layers, err));
    TRY(get_time(c, config, err));
    TRY(get_class(c, config, err));
    TRY(get_mid(c, config, err));
    TRY(get_norm(c, config, err));
    TRY(get_samplers(c, config, err));
    return check_combinations(c, err);
}
