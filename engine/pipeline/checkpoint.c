/* checkpoint.c - open a model: read, check, build, describe.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/path.h"
#include "format/diffusers_pipelines.h"
#include "format/json.h"
#include "model/clip_text.h"
#include "model/network.h"
#include "pipeline/checkpoint_inside.h"
#include "pipeline/deep.h"
#include "pipeline/effort.h"
#include "pipeline/latent.h"

/* -- network --------------------------------------------------------------- */

/* Of a latent model: what turns its latents into pictures. */
static enum unstir_status decoder_load(struct unstir_model *m,
                                       const struct checkpoint_parts *parts,
                                       const struct network_options *o,
                                       struct unstir_error *err)
{
    const struct network_info *n = network_info(m->net), *d;
    struct network_options options = *o;

    m->sample_channels = m->info.channels = n->in_channels;
    m->encoder.config = parts->vae_config;
    m->encoder.weights = parts->vae_weights;
    m->encoder.seed = parts->seed;
    m->encoder.precision = o->precision;
    m->factor = 1;
    if (!parts->vae_config)
        return UNSTIR_OK;
    options.part = "decode";
    options.cache.part = "vae";
    options.names = parts->vae_names;
    if (options.precision == UNSTIR_PRECISION_INT8)
        options.precision = UNSTIR_PRECISION_AUTO; /* few linear layers */
    if (!parts->vae_weights)
        options.cache.folder = NULL;
    TRY(network_open(&m->decoder, parts->vae_config, parts->vae_weights,
                     parts->seed, &options, err));
    TRY(error_within(vae_scaling(&m->scaling, parts->vae_config, err),
                     options.names.config, err));
    if (!m->conditioner.is_xl) /* the reference's other pipelines do not look */
        m->scaling.n_channels = 0;
    d = network_info(m->decoder);
    m->reads_mask = n->in_channels == 2 * d->in_channels + 1;
    m->reads_picture = n->in_channels == 2 * d->in_channels;
    if (m->reads_mask || m->reads_picture)
        m->sample_channels = d->in_channels;
    if (d->in_channels != m->sample_channels)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the network paints %u channels; its %s reads %u",
                         n->in_channels, d->family, d->in_channels);
    if (m->scaling.n_channels && m->scaling.n_channels != d->in_channels)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the autoencoder's latents_mean has %u entries, its "
                         "latents %u channels",
                         m->scaling.n_channels, d->in_channels);
    m->info.channels = d->out_channels;
    m->factor = d->up;
    return UNSTIR_OK;
}

/* Text encoders that are missing: those of SDXL write a token side by side. */
static const char *missing_texts(const struct checkpoint_parts *parts,
                                 const struct network_info *n)
{
    bool is_xl = model_parts_kind(parts->unet_config) == SINGLE_FILE_SDXL;
    int64_t width = 0;
    size_t found = 0;

    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        found += parts->texts[i].config != NULL;
        width += json_int(json_get(parts->texts[i].config, "hidden_size"));
    }
    if (found == 0)
        return is_xl ? "its two text encoders" : "its text encoder";
    return found == 1 && is_xl && width < n->context_width
               ? "one of its two text encoders"
               : NULL;
}

/* A model that reads a text has all that takes, or is told how to get it. */
static enum unstir_status parts_check(const struct checkpoint_parts *parts,
                                      const struct network_info *n,
                                      struct unstir_error *err)
{
    const char *texts = missing_texts(parts, n);
    bool has_vae = parts->vae_config != NULL;

    if (has_vae && !texts)
        return UNSTIR_OK;
    return error_set(
        err, UNSTIR_ERR_UNSUPPORTED,
        "a %s alone cannot paint: it lacks %s%s%s%s; give each as "
        "a file or folder: %s%s%s, or text_encoders and "
        "vae in its unstir.json",
        n->family, texts ? texts : "", texts && !has_vae ? " and " : "",
        has_vae ? "" : "its autoencoder",
        parts->index ? "" : " (no model_index.json names them)",
        texts ? "--text-encoder PATH" : "", texts && !has_vae ? " and " : "",
        has_vae ? "" : "--vae PATH");
}

/* Of models that read a text: its encoders. */
static enum unstir_status texts_load(struct unstir_model *m,
                                     const struct checkpoint_parts *parts,
                                     const struct network_options *o,
                                     struct unstir_error *err)
{
    const struct network_info *n = network_info(m->net);
    struct conditioner *c = &m->conditioner;
    bool has_text = parts->texts[0].config || parts->texts[1].config;
    bool reads = n->context_width || n->pooled_width || n->guidance_width;

    if (!n->has_timestep)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "a %s alone cannot paint: it takes no steps",
                         n->family);
    if (!reads && !has_text)
        return UNSTIR_OK;
    TRY(parts_check(parts, n, err));
    if (n->in_channels != n->out_channels &&
        n->in_channels != 2 * n->out_channels &&
        n->in_channels != 2 * n->out_channels + 1)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network reads %u channels and paints %u: beside "
                         "the noise it wants something that a request cannot "
                         "bring",
                         n->in_channels, n->out_channels);
    TRY(conditioner_open(c, parts->texts, n, o, err));
    c->inversions = parts->inversions;
    for (size_t i = 0; c->inversions && i < c->inversions->n; i++)
        TRY(notes_add(&m->notes, err, "the word \"%s\" is a textual inversion",
                      c->inversions->list[i].name));
    return json_get_bool(parts->index, "force_zeros_for_empty_prompt", c->is_xl,
                         &c->is_empty_zero, err);
}

/* A folder beside the model's parts, if the options name none. */
static enum unstir_status tiny_load(struct unstir_model *m,
                                    const struct unstir_model_options *o,
                                    const struct network_options *options,
                                    struct unstir_error *err)
{
    const char *path = o ? o->tiny_decoder : NULL;
    char beside[PATH_BYTES];

    if (!m->decoder || (!path && (!m->source.folder.path || m->source.is_file)))
        return UNSTIR_OK;
    if (path)
        return tiny_decoder_open(&m->tiny, m, path, options, err);
    TRY(path_join(beside, m->source.folder.path, "vae_tiny", err));
    if (!path_exists(beside))
        return UNSTIR_OK;
    return tiny_decoder_open(&m->tiny, m, beside, options, err);
}

/* The picture's latents are read as the encoder says them; CosXL alone was
 * trained with scaled ones, as its index tells. */
static enum unstir_status editing_load(struct unstir_model *m,
                                       const struct checkpoint_parts *parts,
                                       struct unstir_error *err)
{
    bool is_scaled;

    TRY(json_get_bool(parts->index, "is_cosxl_edit", false, &is_scaled, err));
    m->read_scale = is_scaled ? m->scaling.factor : 1;
    if (m->reads_picture && m->conditioner.n == 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network reads %u channels for latents of %u: a "
                         "picture beside the noise, but no text that says "
                         "what to do with it",
                         network_info(m->net)->in_channels, m->sample_channels);
    return UNSTIR_OK;
}

/* Whether a sampler and a request can drive it. */
static enum unstir_status network_check(const struct unstir_model *m,
                                        struct unstir_error *err)
{
    const struct network_info *n = network_info(m->net);

    if (m->info.channels != 1 && m->info.channels != 3)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network paints %u channels; pictures have 1 or 3",
                         m->info.channels);
    if (n->out_channels != m->sample_channels &&
        n->out_channels != 2 * m->sample_channels)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network turns %u channels into %u; a sampler "
                         "needs %u or, with a learned variance, %u",
                         n->in_channels, n->out_channels, n->in_channels,
                         2 * n->in_channels);
    if (n->has_class_input && n->n_class_embeds == 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network takes a class as a vector, which a "
                         "request cannot say");
    return UNSTIR_OK;
}

static enum unstir_status network_load(struct unstir_model *m,
                                       const struct checkpoint_parts *parts,
                                       const struct unstir_model_options *o,
                                       struct unstir_error *err)
{
    struct network_options options = {
        .isa = o ? o->isa : NULL,
        .precision = o ? o->precision : UNSTIR_PRECISION_AUTO,
        .mode = LOWER_FUSED,
        .cache = {.folder = o && parts->weights ? o->pack_cache : NULL,
                  .digest = parts->digest,
                  .late = parts->late,
                  .part = "unet"},
        .without_weights = o && o->without_weights,
        .keeping = o && o->low_memory ? PACKS_FRUGAL : PACKS_BY_SIZE,
        .names = parts->unet_names,
    };

    m->precision = options.precision;
    TRY(network_open(&m->net, parts->unet_config, parts->weights, parts->seed,
                     &options, err));
    checkpoint_source_forget(&m->source);
    TRY(texts_load(m, parts, &options, err));
    TRY(decoder_load(m, parts, &options, err));
    TRY(editing_load(m, parts, err));
    TRY(tiny_load(m, o, &options, err));
    m->is_frugal = m->decoder && o && o->low_memory;
    TRY(network_check(m, err));
    m->has_learned_variance =
        network_info(m->net)->out_channels == 2 * m->sample_channels;
    return UNSTIR_OK;
}

static void info_from_network(struct unstir_model *m)
{
    const struct network_info *n = network_info(m->net);
    struct unstir_model_info *info = &m->info;

    info->family = n->family;
    info->isa = n->isa;
    info->precision = n->precision;
    (void)snprintf(m->fingerprint, sizeof m->fingerprint, "%s%s",
                   n->fingerprint, m->is_frugal ? "-low" : ""); /* fits */
    info->fingerprint = m->fingerprint;
    info->packs = pack_source_name(n->pack_source);
    info->n_parameters = n->n_parameters;
    info->weight_bytes = n->weight_bytes;
    info->size_multiple = (n->size_multiple ? n->size_multiple : 1) * m->factor;
    info->default_width = n->sample_w * m->factor;
    info->default_height = n->sample_h * m->factor;
    info->n_classes = n->n_class_embeds;
    info->null_class = -1;
    if (m->decoder) {
        info->autoencoder = network_info(m->decoder)->family;
        info->n_parameters += network_info(m->decoder)->n_parameters;
        info->weight_bytes += network_info(m->decoder)->weight_bytes;
        info->has_tiny_decoder =
            m->tiny.net || strcmp(info->autoencoder, "AutoencoderTiny") == 0;
    }
    if (m->tiny.net)
        info->weight_bytes += network_info(m->tiny.net)->weight_bytes;
    info->n_parameters += m->conditioner.n_parameters;
    info->weight_bytes += m->conditioner.weight_bytes;
    info->takes_text = m->conditioner.n > 0;
    info->edits_pictures = m->reads_picture;
    info->takes_picture = !m->decoder || latent_is_encodable(m);
    info->takes_mask = info->takes_picture && !m->reads_picture;
    info->needs_mask = m->reads_mask;
    info->takes_micro_conditioning = m->conditioner.n_time_ids > 0;
    info->takes_aesthetic_score =
        m->conditioner.n_time_ids > 0 &&
        m->conditioner.n_time_ids < CONDITIONING_MAX_TIME_IDS;
    info->takes_deep_cache = deep_is_possible(m);
    info->max_clip_skip = m->conditioner.max_skip;
}

/* -- opening ------------------------------------------------------------- */

static enum unstir_status copy_notes(struct unstir_model *m,
                                     struct unstir_error *err)
{
    const struct network_info *n = network_info(m->net);

    for (size_t i = 0; i < m->source.notes.n; i++)
        TRY(notes_add(&m->notes, err, "%s", m->source.notes.texts[i]));
    for (size_t i = 0; i < n->notes->n; i++)
        TRY(notes_add(&m->notes, err, "%s", n->notes->texts[i]));
    return UNSTIR_OK;
}

static enum unstir_status build(struct unstir_model *m,
                                const struct checkpoint_parts *parts,
                                const struct unstir_model_options *options,
                                struct unstir_error *err)
{
    const char *scheduler =
        parts->scheduler_name ? parts->scheduler_name : "scheduler_config.json";

    TRY(error_within(checkpoint_samplers_load(m, parts->scheduler_config, err),
                     scheduler, err));
    TRY(network_load(m, parts, options, err));
    TRY(error_within(checkpoint_samplers_check(m, err), scheduler, err));
    info_from_network(m);
    m->info.digest = parts->digest;
    m->info.pipeline = parts->pipeline ? parts->pipeline : "";
    const struct diffusers_pipeline *p =
        diffusers_pipeline_find(m->info.pipeline);
    m->passes_eta = p ? p->passes_eta : m->conditioner.n > 0;
    m->keeps_steps = p && p->keeps_steps;
    TRY(copy_notes(m, err));
    TRY(checkpoint_describe(m, parts, err));
    return effort_measure(m, err);
}

enum unstir_status checkpoint_new(struct unstir_model **out,
                                  const struct checkpoint_parts *parts,
                                  const struct unstir_model_options *options,
                                  struct unstir_error *err)
{
    void *memory;

    *out = NULL;
    TRY(alloc_zero(&memory, 1, sizeof **out, err));
    struct unstir_model *m = memory;
    enum unstir_status st = build(m, parts, options, err);
    if (st)
        checkpoint_free(m);
    else
        *out = m;
    return st;
}

static enum unstir_status open_source(struct unstir_model *m, const char *path,
                                      const struct unstir_model_options *o,
                                      struct unstir_error *err)
{
    struct checkpoint_source_options options = {
        .merges_path = o ? o->merges_path : NULL,
        .prediction_type = o ? o->prediction_type : NULL,
        .cache = o ? o->pack_cache : NULL};
    enum unstir_status status;

    if (o)
        options.parts = (struct model_parts_wish){
            o->vae, {o->text_encoders[0], o->text_encoders[1]}};
    TRY(checkpoint_source_open(&m->source, path, &options, err));
    struct checkpoint_parts parts = checkpoint_source_parts(&m->source);
    status = build(m, &parts, o, err);
    if (status == UNSTIR_OK)
        status = checkpoint_source_settle(&m->source, err);
    checkpoint_source_forget(&m->source);
    return error_within(status, path, err);
}

enum unstir_status checkpoint_open(struct unstir_model **out, const char *path,
                                   const struct unstir_model_options *options,
                                   struct unstir_error *err)
{
    void *memory;

    *out = NULL;
    TRY(alloc_zero(&memory, 1, sizeof **out, err));
    struct unstir_model *m = memory;
    enum unstir_status st = open_source(m, path, options, err);
    if (st)
        checkpoint_free(m);
    else
        *out = m;
    return st;
}

void checkpoint_unload(struct unstir_model *m)
{
    network_unload(m->net);
    if (m->decoder)
        network_unload(m->decoder);
    if (m->tiny.net)
        network_unload(m->tiny.net);
    conditioner_unload(&m->conditioner);
}

void checkpoint_free(struct unstir_model *m)
{
    if (!m)
        return;
    if (m->derived) {
        checkpoint_free_derived(m);
        return;
    }
    checkpoint_source_stop(&m->source); /* packs wait for the digest */
    conditioner_fini(&m->conditioner);
    network_free(m->decoder);
    tiny_decoder_fini(&m->tiny);
    network_free(m->net);
    for (size_t i = 0; i < SAMPLER_COUNT; i++)
        schedule_fini(&m->samplers[i].schedule);
    notes_fini(&m->notes);
    alloc_free(m->labels);
    alloc_free(m->label_text);
    alloc_free(m->id);
    checkpoint_source_close(&m->source);
    alloc_free(m);
}
