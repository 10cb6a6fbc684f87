/* unet2d_condition_config.c - reading and checking the configuration of
 * UNet2DConditionModel.
 *
 * Every field of the reference's constructor.  Features that no published
 * checkpoint of the families above uses are refused by name.  Not read, because
 * these blocks do not use them or they change nothing in f32: see
 * tools/goldens/config_keys.py, which holds the list against the reference's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/unet2d_condition.h"

#include <string.h>

#include "format/json.h"
#include "model/fields.h"

#define MAX_CHANNELS         16384
#define MAX_PICTURE_CHANNELS 1024
#define MAX_ROWS             10000000
#define MAX_BLOCKS           64
#define MAX_ALL_BLOCKS       512 /* XL has 70 */
#define MAX_KERNEL           15
/* Pooled text, and up to as many sizes, crops and scores. */
#define XL_TIME_IDS      6
#define REFINER_TIME_IDS 5
#define REFINER_TEXT     1280

/* In the order of enum unetc_block. */
static const char *const down_names[] = {"DownBlock2D", "CrossAttnDownBlock2D",
                                         "AttnDownBlock2D",
                                         "ResnetDownsampleBlock2D"};
static const char *const up_names[] = {"UpBlock2D", "CrossAttnUpBlock2D",
                                       "AttnUpBlock2D",
                                       "ResnetUpsampleBlock2D"};

static enum unstir_status get_levels(struct unetc_config *c,
                                     const struct json *config,
                                     struct unstir_error *err)
{
    static const uint32_t fallback[] = {320, 640, 1280, 1280};
    static const int fallback_down[] = {1, 1, 1, 0};
    static const int fallback_up[] = {0, 1, 1, 1};
    int words[UNETC_MAX_LEVELS];

    TRY(field_list(config, "block_out_channels", fallback, ARRAY_LEN(fallback),
                   UNETC_MAX_LEVELS, MAX_CHANNELS, c->channels, &c->n_levels,
                   err));
    TRY(field_names(config, "down_block_types", down_names,
                    ARRAY_LEN(down_names), fallback_down,
                    ARRAY_LEN(fallback_down), c->n_levels, words, err));
    for (uint32_t i = 0; i < c->n_levels; i++)
        c->down[i] = (enum unetc_block)words[i];
    TRY(field_names(config, "up_block_types", up_names, ARRAY_LEN(up_names),
                    fallback_up, ARRAY_LEN(fallback_up), c->n_levels, words,
                    err));
    for (uint32_t i = 0; i < c->n_levels; i++)
        c->up[c->n_levels - 1 - i] = (enum unetc_block)words[i];
    return field_each(config, "layers_per_block", 2, c->n_levels,
                      UNETC_MAX_LAYERS, c->n_layers, err);
}

static enum unstir_status get_mid(struct unetc_config *c,
                                  const struct json *config,
                                  struct unstir_error *err)
{
    static const char *const words[] = {"UNetMidBlock2DCrossAttn",
                                        "UNetMidBlock2D"};
    int word;

    TRY(field_word(config, "mid_block_type", words, ARRAY_LEN(words), &word,
                   err));
    c->mid = field_is_null(config, "mid_block_type") ? UNETC_MID_NONE
                                                     : (enum unetc_mid)word;
    return field_divisor(config, "mid_block_scale_factor", 1, &c->mid_divisor,
                         err);
}

static enum unstir_status get_norm(struct unetc_config *c,
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
    TRY(json_get_bool(config, "resnet_skip_time_act", false, &c->is_temb_plain,
                      err));
    TRY(field_divisor(config, "resnet_out_scale_factor", 1, &c->resnet_divisor,
                      err));
    if (field_is_null(config, "norm_num_groups"))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "norm_num_groups is null; a number is "
                         "needed");
    return field_groups(config, c->channels, c->n_levels, MAX_CHANNELS,
                        &c->groups, err);
}

static bool is_said(const struct json *config, const char *key)
{
    const struct json *v = json_get(config, key);

    return v && json_type(v) != JSON_NULL;
}

/* -- transformers ------------------------------------------------------ */

static bool has_cross(const struct unetc_config *c)
{
    bool has = c->mid == UNETC_MID_CROSS;

    for (uint32_t i = 0; i < c->n_levels; i++)
        has = has || c->down[i] == UNETC_CROSS || c->up[i] == UNETC_CROSS;
    return has;
}

/* A text of another width goes through a linear layer first. */
static enum unstir_status get_projected(struct unetc_config *c,
                                        const struct json *config,
                                        struct unstir_error *err)
{
    static const char *const words[] = {"text_proj"};
    uint32_t width;
    int word;

    TRY(field_word(config, "encoder_hid_dim_type", words, 1, &word, err));
    TRY(field_u32(config, "encoder_hid_dim", 0, 1, MAX_CHANNELS, &width, err));
    c->has_context_proj = width > 0;
    if (width)
        c->context_width = width;
    else if (is_said(config, "encoder_hid_dim_type"))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "encoder_hid_dim_type needs "
                         "encoder_hid_dim, 1 to %d",
                         MAX_CHANNELS);
    return UNSTIR_OK;
}

static enum unstir_status get_context(struct unetc_config *c,
                                      const struct json *config,
                                      struct unstir_error *err)
{
    uint32_t widths[UNETC_MAX_LEVELS];

    if (!has_cross(c))
        return UNSTIR_OK;
    TRY(field_each(config, "cross_attention_dim", 1280, c->n_levels,
                   MAX_CHANNELS, widths, err));
    for (uint32_t i = 1; i < c->n_levels; i++)
        if (widths[i] != widths[0])
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "cross_attention_dim[%u] is %u, [0] "
                             "%u; all levels read one text",
                             i, widths[i], widths[0]);
    c->cross_width = c->context_width = widths[0];
    return get_projected(c, config, err);
}

static bool is_attending(enum unetc_block kind)
{
    return kind == UNETC_CROSS || kind == UNETC_ATTN;
}

static bool has_heads(const struct unetc_config *c, uint32_t level)
{
    return is_attending(c->down[level]) || c->up[level] == UNETC_CROSS ||
           (level + 1 == c->n_levels && c->mid == UNETC_MID_CROSS);
}

static enum unstir_status get_heads(struct unetc_config *c,
                                    const struct json *config,
                                    struct unstir_error *err)
{
    const struct json *heads = json_get(config, "num_attention_heads");
    const char *key = heads && json_type(heads) != JSON_NULL
                          ? "num_attention_heads"
                          : "attention_head_dim";

    TRY(field_each(config, key, 8, c->n_levels, MAX_CHANNELS, c->heads, err));
    for (uint32_t i = 0; i < c->n_levels; i++)
        if (has_heads(c, i) && c->heads[i] > c->channels[i])
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%s is %u (a number of heads here); "
                             "at most %u fit block_out_channels[%u]",
                             key, c->heads[i], c->channels[i], i);
    for (uint32_t i = 0; i < c->n_levels; i++) {
        uint32_t level = c->n_levels - 1 - i;
        if (c->up[level] == UNETC_ATTN && c->heads[i] > c->channels[level])
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%s[%u] is %u, the width of a head of "
                             "up_blocks.%u, which has %u channels",
                             key, i, c->heads[i], i, c->channels[level]);
    }
    return json_get_bool(config, "use_linear_projection", false,
                         &c->has_linear_proj, err);
}

static enum unstir_status get_only_cross(struct unetc_config *c,
                                         const struct json *config,
                                         struct unstir_error *err)
{
    const struct json *v = json_get(config, "only_cross_attention");
    bool all;

    if (!v || json_type(v) != JSON_ARRAY) {
        TRY(json_get_bool(config, "only_cross_attention", false, &all, err));
        for (uint32_t i = 0; i < c->n_levels; i++)
            c->is_only_cross[i] = all;
        return UNSTIR_OK;
    }
    if (json_len(v) != c->n_levels)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "only_cross_attention has %zu entries; "
                         "block_out_channels has %u",
                         json_len(v), c->n_levels);
    for (uint32_t i = 0; i < c->n_levels; i++) {
        if (json_type(json_at(v, i)) != JSON_BOOL)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "only_cross_attention[%u] must be "
                             "true or false",
                             i);
        c->is_only_cross[i] = json_bool(json_at(v, i));
    }
    return UNSTIR_OK;
}

/* Entry i of a list of transformer blocks: a number for all n layers, or a
 * list of n numbers. */
static enum unstir_status get_layer_blocks(const struct json *v,
                                           const char *key, uint32_t i,
                                           uint32_t n, uint32_t *out,
                                           struct unstir_error *err)
{
    bool is_list = json_type(v) == JSON_ARRAY;

    if (is_list && json_len(v) != n)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s[%u] has %zu entries; the block has "
                         "%u layers",
                         key, i, json_len(v), n);
    for (uint32_t j = 0; j < n; j++)
        TRY(field_number(is_list ? json_at(v, j) : v, key, i, MAX_BLOCKS,
                         &out[j], err));
    return UNSTIR_OK;
}

/* Up block i, counted from the lowest level, is beside level n - 1 - i. */
static enum unstir_status get_up_blocks(struct unetc_config *c,
                                        const struct json *v, bool is_reversed,
                                        const char *key,
                                        struct unstir_error *err)
{
    for (uint32_t i = 0; i < c->n_levels; i++) {
        uint32_t level = c->n_levels - 1 - i;

        TRY(get_layer_blocks(json_at(v, is_reversed ? i : level), key, i,
                             c->n_layers[level] + 1, c->n_up_blocks[level],
                             err));
    }
    return UNSTIR_OK;
}

/* A list, one entry a level: on the way down and in the middle. */
static enum unstir_status get_down_blocks(struct unetc_config *c,
                                          const struct json *v, const char *key,
                                          struct unstir_error *err)
{
    const struct json *last;

    if (json_len(v) != c->n_levels)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s has %zu entries; block_out_channels "
                         "has %u",
                         key, json_len(v), c->n_levels);
    for (uint32_t i = 0; i < c->n_levels; i++)
        TRY(get_layer_blocks(json_at(v, i), key, i, c->n_layers[i],
                             c->n_down_blocks[i], err));
    last = json_at(v, c->n_levels - 1);
    if (json_type(last) == JSON_ARRAY)
        last = json_at(last, 0);
    return field_number(last, key, c->n_levels - 1, MAX_BLOCKS,
                        &c->n_mid_blocks, err);
}

/* A number for all, where the way up has no list of its own. */
static enum unstir_status get_all_blocks(struct unetc_config *c,
                                         const struct json *config,
                                         const char *key,
                                         struct unstir_error *err)
{
    uint32_t all;

    TRY(field_u32(config, key, 1, 1, MAX_BLOCKS, &all, err));
    for (uint32_t i = 0; i < c->n_levels; i++)
        for (uint32_t j = 0; j <= c->n_layers[i]; j++)
            c->n_up_blocks[i][j] =
                c->n_down_blocks[i][j < c->n_layers[i] ? j : 0] = all;
    c->n_mid_blocks = all;
    return UNSTIR_OK;
}

static enum unstir_status get_blocks(struct unetc_config *c,
                                     const struct json *config,
                                     struct unstir_error *err)
{
    static const char key[] = "transformer_layers_per_block";
    static const char up_key[] = "reverse_transformer_layers_per_block";
    const struct json *v = json_get(config, key),
                      *up = json_get(config, up_key);

    if (v && json_type(v) == JSON_ARRAY)
        TRY(get_down_blocks(c, v, key, err));
    else
        TRY(get_all_blocks(c, config, key, err));
    if (is_said(config, up_key)) {
        if (json_type(up) != JSON_ARRAY || json_len(up) != c->n_levels)
            return error_set(err, UNSTIR_ERR_FORMAT, "%s must be a list of %u",
                             up_key, c->n_levels);
        return get_up_blocks(c, up, true, up_key, err);
    }
    return v && json_type(v) == JSON_ARRAY
               ? get_up_blocks(c, v, false, key, err)
               : UNSTIR_OK;
}

static enum unstir_status check_blocks(const struct unetc_config *c,
                                       struct unstir_error *err)
{
    uint32_t n = c->n_mid_blocks;

    for (uint32_t i = 0; i < c->n_levels; i++) {
        for (uint32_t j = 0; c->down[i] == UNETC_CROSS && j < c->n_layers[i];
             j++)
            n += c->n_down_blocks[i][j];
        for (uint32_t j = 0; c->up[i] == UNETC_CROSS && j <= c->n_layers[i];
             j++)
            n += c->n_up_blocks[i][j];
    }
    if (n > MAX_ALL_BLOCKS)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "transformer_layers_per_block makes %u "
                         "transformer blocks; at most %d are possible",
                         n, MAX_ALL_BLOCKS);
    return UNSTIR_OK;
}

/* -- conditioning ------------------------------------------------------ */

static enum unstir_status get_time(struct unetc_config *c,
                                   const struct json *config,
                                   struct unstir_error *err)
{
    static const char *const words[] = {"positional", "fourier"};
    int word;

    TRY(field_word(config, "time_embedding_type", words, ARRAY_LEN(words),
                   &word, err));
    c->is_fourier = word == 1;
    TRY(field_u32(config, "time_embedding_dim", 0, 0, 8 * MAX_CHANNELS,
                  &c->time_dim, err));
    if (c->time_dim == 0)
        c->time_dim = (c->is_fourier ? 2 : 4) * c->channels[0];
    if (c->is_fourier && c->time_dim % 2 != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "time_embedding_dim is %u; "
                         "time_embedding_type \"fourier\" needs an even number",
                         c->time_dim);
    c->time_features = c->is_fourier ? c->time_dim : c->channels[0];
    TRY(field_act_of(config, "timestep_post_act", ACT_NONE, &c->time_post_act,
                     err));
    TRY(field_act_of(config, "time_embedding_act_fn", ACT_NONE, &c->emb_act,
                     err));
    TRY(field_finite(config, "freq_shift", 0, &c->freq_shift, err));
    TRY(json_get_bool(config, "flip_sin_to_cos", true, &c->is_cos_first, err));
    if (!c->is_fourier &&
        (c->channels[0] < 2 || c->channels[0] / 2 == c->freq_shift))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "freq_shift is %g; block_out_channels[0]"
                         " / 2 (here %u) must be at least 1 and differ from it",
                         c->freq_shift, c->channels[0] / 2);
    return field_u32(config, "time_cond_proj_dim", 0, 1, MAX_CHANNELS,
                     &c->guidance_width, err);
}

static enum unstir_status get_class(struct unetc_config *c,
                                    const struct json *config,
                                    struct unstir_error *err)
{
    static const char *const words[] = {"timestep", "identity", "projection",
                                        "simple_projection"};
    static const enum unetc_class kinds[] = {
        UNETC_CLASS_TIMESTEP, UNETC_CLASS_IDENTITY, UNETC_CLASS_PROJECTION,
        UNETC_CLASS_LINEAR};
    const struct json *type = json_get(config, "class_embed_type");
    int word;

    TRY(field_u32(config, "num_class_embeds", 0, 1, MAX_ROWS, &c->class_rows,
                  err));
    TRY(json_get_bool(config, "class_embeddings_concat", false,
                      &c->is_class_beside, err));
    c->class_width = 1;
    if (!type || json_type(type) == JSON_NULL) {
        c->class_embed = c->class_rows ? UNETC_CLASS_TABLE : UNETC_NO_CLASS;
        return UNSTIR_OK;
    }
    TRY(field_word(config, "class_embed_type", words, ARRAY_LEN(words), &word,
                   err));
    c->class_embed = kinds[word];
    if (c->class_embed == UNETC_CLASS_IDENTITY)
        c->class_width = c->time_dim;
    if (c->class_embed == UNETC_CLASS_PROJECTION ||
        c->class_embed == UNETC_CLASS_LINEAR)
        TRY(field_u32(config, "projection_class_embeddings_input_dim", 0, 1,
                      MAX_CHANNELS, &c->class_width, err));
    if (c->class_width == 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "class_embed_type \"%s\" needs "
                         "projection_class_embeddings_input_dim, 1 to %d",
                         words[word], MAX_CHANNELS);
    return UNSTIR_OK;
}

/* text_time: as many sinusoids as fill the vector behind the pooled text.
 * How wide the text is, is not said: six numbers, or the refiner's five, must
 * leave something for it.  A refiner is told by its pipeline's
 * requires_aesthetics_score (which the loader copies), else by its five
 * leaving exactly the width of its one text encoder: 1280, or that of a
 * token. */
static enum unstir_status get_added(struct unetc_config *c,
                                    const struct json *config,
                                    struct unstir_error *err)
{
    static const char *const words[] = {"text_time"};
    const struct json *type = json_get(config, "addition_embed_type");
    bool is_refiner;
    uint32_t five;
    int word;

    if (!type || json_type(type) == JSON_NULL)
        return UNSTIR_OK;
    TRY(field_word(config, "addition_embed_type", words, 1, &word, err));
    TRY(field_u32(config, "addition_time_embed_dim", 0, 2, MAX_CHANNELS,
                  &c->added_time_dim, err));
    TRY(field_u32(config, "projection_class_embeddings_input_dim", 0, 1,
                  MAX_CHANNELS, &c->added_width, err));
    five = REFINER_TIME_IDS * c->added_time_dim;
    TRY(json_get_bool(config, "requires_aesthetics_score",
                      c->added_width == five + REFINER_TEXT ||
                          c->added_width == five + c->context_width,
                      &is_refiner, err));
    c->n_time_ids = is_refiner ? REFINER_TIME_IDS : XL_TIME_IDS;
    if (c->added_time_dim == 0 ||
        c->added_width <= c->n_time_ids * c->added_time_dim)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "projection_class_embeddings_input_dim "
                         "is %u; it must be above %u times "
                         "addition_time_embed_dim, %u",
                         c->added_width, c->n_time_ids, c->added_time_dim);
    return UNSTIR_OK;
}

static enum unstir_status get_kernels(struct unetc_config *c,
                                      const struct json *config,
                                      struct unstir_error *err)
{
    TRY(field_u32(config, "conv_in_kernel", 3, 1, MAX_KERNEL, &c->in_kernel,
                  err));
    TRY(field_u32(config, "conv_out_kernel", 3, 1, MAX_KERNEL, &c->out_kernel,
                  err));
    if (c->in_kernel % 2 == 0 || c->out_kernel % 2 == 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "conv_in_kernel is %u, conv_out_kernel "
                         "%u; odd numbers are supported",
                         c->in_kernel, c->out_kernel);
    return field_u32(config, "downsample_padding", 1, 0, 1, &c->down_padding,
                     err);
}

static enum unstir_status refuse_others(const struct json *config,
                                        struct unstir_error *err)
{
    static const char *const keys[] = {"dual_cross_attention",
                                       "cross_attention_norm"};
    static const char *const words[] = {"default"};
    int word;

    TRY(field_must_be_null(config, keys, ARRAY_LEN(keys), err));
    return field_word(config, "attention_type", words, 1, &word, err);
}

enum unstir_status unetc_parse(struct unetc_config *c,
                               const struct json *config,
                               struct unstir_error *err)
{
    memset(c, 0, sizeof *c);
    TRY(refuse_others(config, err));
    TRY(field_sample_size(config, &c->sample_h, &c->sample_w, err));
    TRY(field_u32(config, "in_channels", 4, 1, MAX_PICTURE_CHANNELS,
                  &c->in_channels, err));
    TRY(field_u32(config, "out_channels", 4, 1, MAX_PICTURE_CHANNELS,
                  &c->out_channels, err));
    TRY(json_get_bool(config, "center_input_sample", false, &c->is_centering,
                      err));
    TRY(get_levels(c, config, err));
    TRY(get_mid(c, config, err));
    TRY(get_norm(c, config, err));
    TRY(get_context(c, config, err));
    TRY(get_heads(c, config, err));
    TRY(get_only_cross(c, config, err));
    TRY(get_blocks(c, config, err));
    TRY(check_blocks(c, err));
    TRY(get_time(c, config, err));
    TRY(get_class(c, config, err));
    TRY(get_added(c, config, err));
    return get_kernels(c, config, err);
}
