/* single_file_config.c - configurations read off the tensors of a single file.
 *
 * What no tensor tells stands in the table of kinds.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/single_file_config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/affix.h"
#include "format/diffusers_pipelines.h"
#include "format/json.h"
#include "format/single_file.h"
#include "format/weights.h"

#define MAX_LEVELS       8
#define MAX_COUNT        1000
#define HEAD_WIDTH       64
#define SD1_HEADS        8
#define TIME_IDS_WIDTH   256 /* of each number beside the text, SDXL          */
#define SD2_BASE_SAMPLE  64
#define INPAINT_CHANNELS 9
#define EDIT_CHANNELS    8
/* Of latent consistency models: they read the guidance scale. */
#define GUIDANCE_NAME "time_embedding.cond_proj.weight"

static const struct {
    const char *pipeline, *scheduler;
    int64_t sample; /* cells of a latent's edge                              */
    double vae_scale;
} kinds[] = {
    [SINGLE_FILE_SD1] = {"StableDiffusionPipeline", "PNDMScheduler", 64,
                         0.18215},
    [SINGLE_FILE_SD2] = {"StableDiffusionPipeline", "DDIMScheduler", 96,
                         0.18215},
    [SINGLE_FILE_SDXL] = {"StableDiffusionXLPipeline", "EulerDiscreteScheduler",
                          128, 0.13025},
    [SINGLE_FILE_REFINER] = {"StableDiffusionXLImg2ImgPipeline",
                             "EulerDiscreteScheduler", 128, 0.13025},
};

/* -- reading tensors --------------------------------------------------- */

/* A size of a tensor; 0 if there is no such tensor. */
static int64_t dim(const struct weights *w, uint32_t axis, const char *format,
                   unsigned i)
{
    const struct tensor_view *t;
    char name[160];

    /* One format for all callers: at most one number stands in a name. */
    snprintf(name, sizeof name, "%s", format);
    char *mark = strchr(name, '#');
    if (mark) {
        char tail[160];

        snprintf(tail, sizeof tail, "%s", mark + 1);
        snprintf(mark, sizeof name - (size_t)(mark - name), "%u%s", i, tail);
    }
    t = weights_find(w, name);
    return t && axis < t->rank && t->dims[axis] <= UINT32_MAX
               ? (int64_t)t->dims[axis]
               : 0;
}

/* How many i from 0 have the tensor. */
static unsigned count(const struct weights *w, const char *format)
{
    unsigned n = 0;

    while (n < MAX_COUNT && dim(w, 0, format, n))
        n++;
    return n;
}

static bool has_prefix(const struct weights *w, const char *prefix)
{
    for (size_t i = 0; i < weights_len(w); i++)
        if (affix_begins(weights_at(w, i)->name, prefix))
            return true;
    return false;
}

static enum unstir_status finish(struct json **out, struct json_writer *w,
                                 struct unstir_error *err)
{
    json_close(w);
    return json_finish_value(out, w, err);
}

static enum unstir_status start(struct json_writer **w, const char *class_name,
                                struct unstir_error *err)
{
    TRY(json_writer_new(w, err));
    json_open_object(*w, NULL);
    if (class_name)
        json_put_string(*w, "_class_name", class_name);
    return UNSTIR_OK;
}

static enum unstir_status incomplete(const struct single_file_part *part,
                                     const char *what, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "the %s of the file is incomplete: %s", part->folder,
                     what);
}

/* -- as it was in a folder --------------------------------------------- */

/* The configuration in the file's metadata; *out is NULL if there is none. */
static enum unstir_status read_meta(struct json **out,
                                    const struct single_file *f,
                                    const char *what, struct unstir_error *err)
{
    char key[64];
    const char *text;

    *out = NULL;
    snprintf(key, sizeof key, SINGLE_FILE_META "%s", what);
    text = weights_metadata(f->file, key);
    if (!text)
        return UNSTIR_OK;
    return error_within(json_parse(out, text, strlen(text), err), key, err);
}

/* -- UNet -------------------------------------------------------------- */

struct unet {
    unsigned n_levels, layers;
    int64_t channels[MAX_LEVELS];
    unsigned depth[MAX_LEVELS]; /* transformer blocks; 0: no attention       */
    bool up_attends[MAX_LEVELS];
    unsigned mid_depth;
    bool has_mid;
    bool is_linear;
    int64_t context;
};

static unsigned depth_of(const struct weights *w, const char *attention)
{
    char format[160];

    snprintf(format, sizeof format, "%s.transformer_blocks.#.attn1.to_q.weight",
             attention);
    return count(w, format);
}

static void read_attention(struct unet *u, const struct weights *w,
                           const char *attention)
{
    char name[160];
    const struct tensor_view *t;
    int64_t context;

    snprintf(name, sizeof name, "%s.proj_in.weight", attention);
    t = weights_find(w, name);
    u->is_linear |= t && t->rank == 2;
    snprintf(name, sizeof name, "%s.transformer_blocks.0.attn2.to_k.weight",
             attention);
    context = dim(w, 1, name, 0);
    if (context)
        u->context = context;
}

static void read_level(struct unet *u, const struct weights *w, unsigned i)
{
    char name[96];

    snprintf(name, sizeof name, "down_blocks.%u.attentions.0", i);
    u->depth[i] = depth_of(w, name);
    if (u->depth[i])
        read_attention(u, w, name);
    snprintf(name, sizeof name, "up_blocks.%u.attentions.0", i);
    u->up_attends[i] = depth_of(w, name) > 0;
}

static enum unstir_status read_unet(struct unet *u,
                                    const struct single_file_part *part,
                                    struct unstir_error *err)
{
    const struct weights *w = part->weights;

    *u = (struct unet){
        .n_levels = count(w, "down_blocks.#.resnets.0.conv1.weight"),
        .layers = count(w, "down_blocks.0.resnets.#.conv1.weight"),
    };
    if (u->n_levels == 0 || u->n_levels > MAX_LEVELS || u->layers == 0)
        return incomplete(part, "down_blocks.*.resnets.*.conv1.weight", err);
    for (unsigned i = 0; i < u->n_levels; i++) {
        u->channels[i] = dim(w, 0, "down_blocks.#.resnets.0.conv1.weight", i);
        read_level(u, w, i);
    }
    u->has_mid = has_prefix(w, "mid_block.");
    u->mid_depth = depth_of(w, "mid_block.attentions.0");
    if (u->mid_depth)
        read_attention(u, w, "mid_block.attentions.0");
    if (!u->context)
        return incomplete(part, "no attention to a text", err);
    for (unsigned i = 0; i < u->n_levels; i++)
        if (u->is_linear && u->channels[i] % HEAD_WIDTH != 0)
            return incomplete(part,
                              "a level's channels are no multiple of 64, the "
                              "width of a head",
                              err);
    return UNSTIR_OK;
}

/* Depths where there is no attention do not matter, but for the last one,
 * which is also the middle's. */
static void put_depths(struct json_writer *out, const struct unet *u)
{
    json_open_array(out, "transformer_layers_per_block");
    for (unsigned i = 0; i < u->n_levels; i++) {
        unsigned depth = u->depth[i];

        if (i + 1 == u->n_levels && u->mid_depth)
            depth = u->mid_depth;
        json_put_int(out, NULL, depth ? depth : 1);
    }
    json_close(out);
}

static void put_unet_lists(struct json_writer *out, const struct unet *u)
{
    json_open_array(out, "block_out_channels");
    for (unsigned i = 0; i < u->n_levels; i++)
        json_put_int(out, NULL, u->channels[i]);
    json_close(out);
    json_open_array(out, "down_block_types");
    for (unsigned i = 0; i < u->n_levels; i++)
        json_put_string(out, NULL,
                        u->depth[i] ? "CrossAttnDownBlock2D" : "DownBlock2D");
    json_close(out);
    json_open_array(out, "up_block_types");
    for (unsigned i = 0; i < u->n_levels; i++)
        json_put_string(out, NULL,
                        u->up_attends[i] ? "CrossAttnUpBlock2D" : "UpBlock2D");
    json_close(out);
    json_open_array(out, "attention_head_dim"); /* number of heads, in truth */
    for (unsigned i = 0; i < u->n_levels; i++)
        json_put_int(out, NULL,
                     u->is_linear ? u->channels[i] / HEAD_WIDTH : SD1_HEADS);
    json_close(out);
    put_depths(out, u);
}

static void put_added(struct json_writer *out, const struct weights *w)
{
    int64_t width = dim(w, 1, "add_embedding.linear_1.weight", 0);

    if (!width)
        return;
    json_put_string(out, "addition_embed_type", "text_time");
    json_put_int(out, "addition_time_embed_dim", TIME_IDS_WIDTH);
    json_put_int(out, "projection_class_embeddings_input_dim", width);
}

static enum unstir_status configure_unet(struct single_file *f,
                                         struct unstir_error *err)
{
    struct single_file_part *part = &f->parts[SINGLE_FILE_UNET];
    const struct weights *w = part->weights;
    int64_t sample = kinds[f->kind].sample;
    struct json_writer *out;
    struct unet u;

    TRY(read_unet(&u, part, err));
    if (f->kind == SINGLE_FILE_SD2 &&
        strcmp(f->prediction_type, "epsilon") == 0)
        sample = SD2_BASE_SAMPLE;
    TRY(start(&out, part->class_name, err));
    json_put_int(out, "in_channels", dim(w, 1, "conv_in.weight", 0));
    json_put_int(out, "out_channels", dim(w, 0, "conv_out.weight", 0));
    json_put_int(out, "sample_size", sample);
    json_put_int(out, "layers_per_block", u.layers);
    json_put_int(out, "cross_attention_dim", u.context);
    json_put_bool(out, "use_linear_projection", u.is_linear);
    put_unet_lists(out, &u);
    if (u.mid_depth)
        json_put_string(out, "mid_block_type", "UNetMidBlock2DCrossAttn");
    else if (!u.has_mid)
        json_put_null(out, "mid_block_type");
    put_added(out, w);
    if (dim(w, 1, GUIDANCE_NAME, 0))
        json_put_int(out, "time_cond_proj_dim", dim(w, 1, GUIDANCE_NAME, 0));
    return finish(&part->config, out, err);
}

/* -- VAE --------------------------------------------------------------- */

static enum unstir_status configure_vae(struct single_file *f,
                                        struct unstir_error *err)
{
    static const struct {
        const char *key, *type;
    } types[] = {{"down_block_types", "DownEncoderBlock2D"},
                 {"up_block_types", "UpDecoderBlock2D"}};
    struct single_file_part *part = &f->parts[SINGLE_FILE_VAE];
    const struct weights *w = part->weights;
    unsigned n = count(w, "encoder.down_blocks.#.resnets.0.conv1.weight");
    struct json_writer *out;

    if (n == 0 || n > MAX_LEVELS)
        return incomplete(part, "encoder.down_blocks.*.resnets.0.conv1.weight",
                          err);
    TRY(start(&out, part->class_name, err));
    json_put_int(out, "in_channels", dim(w, 1, "encoder.conv_in.weight", 0));
    json_put_int(out, "out_channels", dim(w, 0, "decoder.conv_out.weight", 0));
    json_put_int(out, "latent_channels",
                 dim(w, 1, "decoder.conv_in.weight", 0));
    json_put_int(out, "layers_per_block",
                 count(w, "encoder.down_blocks.0.resnets.#.conv1.weight"));
    json_put_int(out, "sample_size",
                 kinds[f->kind].sample * (INT64_C(1) << (n - 1)));
    json_put_real(out, "scaling_factor", kinds[f->kind].vae_scale);
    json_put_bool(out, "use_quant_conv",
                  dim(w, 0, "quant_conv.weight", 0) != 0);
    json_put_bool(out, "use_post_quant_conv",
                  dim(w, 0, "post_quant_conv.weight", 0) != 0);
    json_open_array(out, "block_out_channels");
    for (unsigned i = 0; i < n; i++)
        json_put_int(
            out, NULL,
            dim(w, 0, "encoder.down_blocks.#.resnets.0.conv1.weight", i));
    json_close(out);
    for (size_t k = 0; k < ARRAY_LEN(types); k++) {
        json_open_array(out, types[k].key);
        for (unsigned i = 0; i < n; i++)
            json_put_string(out, NULL, types[k].type);
        json_close(out);
    }
    return finish(&part->config, out, err);
}

/* -- text encoders ----------------------------------------------------- */

static enum unstir_status configure_text(struct single_file *f,
                                         enum single_file_part_id id,
                                         struct unstir_error *err)
{
    struct single_file_part *part = &f->parts[id];
    const struct weights *w = part->weights;
    bool is_old = has_prefix(w, "text_model.");
    /* The encoders with projection and those of SD 2.x are OpenCLIP's. */
    bool is_open_clip = id == SINGLE_FILE_TEXT_2 || f->kind == SINGLE_FILE_SD2;
    const char *prefix = is_old ? "text_model." : "";
    char tokens[96], positions[96], layers[96], fc1[96];
    int64_t channels, n_tokens, projection;
    struct json_writer *out;

    snprintf(tokens, sizeof tokens, "%sembeddings.token_embedding.weight",
             prefix);
    snprintf(positions, sizeof positions,
             "%sembeddings.position_embedding.weight", prefix);
    snprintf(layers, sizeof layers, "%sencoder.layers.#.layer_norm1.weight",
             prefix);
    snprintf(fc1, sizeof fc1, "%sencoder.layers.0.mlp.fc1.weight", prefix);
    channels = dim(w, 1, tokens, 0);
    n_tokens = dim(w, 0, tokens, 0);
    projection = dim(w, 0, "text_projection.weight", 0);
    if (channels < HEAD_WIDTH || channels % HEAD_WIDTH != 0 || n_tokens < 3)
        return incomplete(part,
                          "token_embedding.weight must have channels in "
                          "multiples of 64",
                          err);
    TRY(start(&out, NULL, err));
    json_open_array(out, "architectures");
    json_put_string(out, NULL, part->class_name);
    json_close(out);
    json_put_string(out, "model_type", "clip_text_model");
    json_put_int(out, "hidden_size", channels);
    json_put_int(out, "intermediate_size", dim(w, 0, fc1, 0));
    json_put_int(out, "num_attention_heads", channels / HEAD_WIDTH);
    json_put_int(out, "num_hidden_layers", count(w, layers));
    json_put_int(out, "max_position_embeddings", dim(w, 0, positions, 0));
    json_put_int(out, "vocab_size", n_tokens);
    json_put_int(out, "bos_token_id", n_tokens - 2);
    json_put_int(out, "eos_token_id", n_tokens - 1);
    json_put_string(out, "hidden_act", is_open_clip ? "gelu" : "quick_gelu");
    json_put_real(out, "layer_norm_eps", 1e-5);
    json_put_int(out, "projection_dim", projection ? projection : channels);
    return finish(&part->config, out, err);
}

/* -- scheduler and index ----------------------------------------------- */

static bool is_consistency(const struct single_file *f)
{
    return dim(f->parts[SINGLE_FILE_UNET].weights, 1, GUIDANCE_NAME, 0) != 0;
}

static const char *scheduler_of(const struct single_file *f)
{
    if (is_consistency(f))
        return "LCMScheduler";
    if (f->is_few_step)
        return f->kind == SINGLE_FILE_SDXL ? "EulerAncestralDiscreteScheduler"
                                           : "EulerDiscreteScheduler";
    return kinds[f->kind].scheduler;
}

/* What the network predicts may have been told. */
static enum unstir_status read_scheduler(struct single_file *f,
                                         struct unstir_error *err)
{
    static const char key[] = "prediction_type";
    const struct json *value;
    struct json_writer *out;
    struct json *read;
    const char *name;
    size_t i = 0;

    TRY(read_meta(&read, f, "scheduler", err));
    if (!read)
        return UNSTIR_OK;
    TRY(start(&out, NULL, err));
    while (json_each(read, &i, &name, &value))
        if (strcmp(name, key) != 0)
            json_put_value(out, name, value);
    json_put_string(out, key, f->prediction_type);
    json_free(read);
    return finish(&f->scheduler_config, out, err);
}

static enum unstir_status configure_scheduler(struct single_file *f,
                                              struct unstir_error *err)
{
    struct json_writer *out;

    TRY(read_scheduler(f, err));
    if (f->scheduler_config)
        return UNSTIR_OK;

    TRY(start(&out, scheduler_of(f), err));
    json_put_int(out, "num_train_timesteps", 1000);
    json_put_real(out, "beta_start", 0.00085);
    json_put_real(out, "beta_end", 0.012);
    json_put_string(out, "beta_schedule", "scaled_linear");
    json_put_string(out, "prediction_type", f->prediction_type);
    json_put_string(out, "timestep_spacing",
                    f->is_few_step ? "trailing" : "leading");
    json_put_int(out, "steps_offset", 1);
    if (f->kind == SINGLE_FILE_SD1)
        json_put_bool(out, "skip_prk_steps", true);
    if (f->kind <= SINGLE_FILE_SD2) {
        json_put_bool(out, "set_alpha_to_one", false);
    }
    json_put_bool(out, "clip_sample", false); /* latents never are           */
    return finish(&f->scheduler_config, out, err);
}

static const char *pipeline_of(const struct single_file *f)
{
    int64_t in =
        dim(f->parts[SINGLE_FILE_UNET].weights, 1, "conv_in.weight", 0);

    if (in == INPAINT_CHANNELS && f->kind <= SINGLE_FILE_SD2)
        return "StableDiffusionInpaintPipeline";
    if (in == INPAINT_CHANNELS && f->kind == SINGLE_FILE_SDXL)
        return "StableDiffusionXLInpaintPipeline";
    if (in == EDIT_CHANNELS && f->kind <= SINGLE_FILE_SD2)
        return "StableDiffusionInstructPix2PixPipeline";
    if (in == EDIT_CHANNELS && f->kind == SINGLE_FILE_SDXL)
        return "StableDiffusionXLInstructPix2PixPipeline";
    if (is_consistency(f) && f->kind == SINGLE_FILE_SD1)
        return "LatentConsistencyModelPipeline";
    return kinds[f->kind].pipeline;
}

static enum unstir_status configure_index(struct single_file *f,
                                          struct unstir_error *err)
{
    struct json_writer *out;

    TRY(start(&out, pipeline_of(f), err));
    json_put_string(out, "_diffusers_version", DIFFUSERS_VERSION);
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        const struct single_file_part *part = &f->parts[i];
        bool is_text = i == SINGLE_FILE_TEXT || i == SINGLE_FILE_TEXT_2;

        if (!part->weights)
            continue;
        diffusers_put_component(out, part->folder,
                                is_text ? "transformers" : "diffusers",
                                part->class_name);
        if (is_text)
            diffusers_put_component(
                out, i == SINGLE_FILE_TEXT ? "tokenizer" : "tokenizer_2",
                "transformers", "CLIPTokenizer");
    }
    diffusers_put_component(
        out, "scheduler", "diffusers",
        json_string(json_get(f->scheduler_config, "_class_name")));
    if (f->kind >= SINGLE_FILE_SDXL)
        json_put_bool(out, "force_zeros_for_empty_prompt",
                      f->kind == SINGLE_FILE_SDXL);
    if (f->kind == SINGLE_FILE_REFINER)
        json_put_bool(out, "requires_aesthetics_score", true);
    return finish(&f->index, out, err);
}

enum unstir_status single_file_configure_part(struct single_file *f,
                                              enum single_file_part_id part,
                                              struct unstir_error *err)
{
    TRY(read_meta(&f->parts[part].config, f, f->parts[part].folder, err));
    if (f->parts[part].config)
        return UNSTIR_OK;
    switch (part) {
    case SINGLE_FILE_UNET:
        return configure_unet(f, err);
    case SINGLE_FILE_VAE:
        return configure_vae(f, err);
    default:
        return configure_text(f, part, err);
    }
}

enum unstir_status single_file_configure(struct single_file *f,
                                         struct unstir_error *err)
{
    if (!f->parts[SINGLE_FILE_UNET].weights)
        return incomplete(&f->parts[SINGLE_FILE_UNET], "no tensors", err);
    for (int id = 0; id < SINGLE_FILE_PARTS; id++)
        if (f->parts[id].weights)
            TRY(single_file_configure_part(f, (enum single_file_part_id)id,
                                           err));
    TRY(configure_scheduler(f, err));
    TRY(configure_index(f, err));
    if (f->kind != SINGLE_FILE_REFINER)
        return UNSTIR_OK;
    return diffusers_tell_scores(&f->parts[SINGLE_FILE_UNET].config, f->index,
                                 err);
}
