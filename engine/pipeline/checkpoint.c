/* checkpoint.c - open a model: read, check, build, describe.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/checkpoint.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/network.h"
#include "pipeline/checkpoint_inside.h"

#define MAX_NOTES 256

enum unstir_status checkpoint_note(struct unstir_model *m,
                                   struct unstir_error *err, const char *format,
                                   ...)
{
    char text[256];
    va_list ap;
    void *notes = m->notes;

    if (m->n_notes >= MAX_NOTES)
        return UNSTIR_OK;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap); /* cut is fine */
    va_end(ap);
    TRY(alloc_grow(&notes, &m->notes_capacity, m->n_notes + 1, sizeof(char *),
                   err));
    m->notes = notes;
    TRY(alloc_strdup(&m->notes[m->n_notes], text, err));
    m->n_notes++;
    return UNSTIR_OK;
}

/* -- network ---------------------------------------------------------------- */

/* Of a latent model: what turns its latents into pictures. */
static enum unstir_status decoder_load(struct unstir_model *m,
                                       const struct checkpoint_parts *parts,
                                       const struct network_options *o,
                                       struct unstir_error *err)
{
    const struct network_info *n = network_info(m->net), *d;
    struct network_options options = *o;

    m->sample_channels = m->info.channels = n->in_channels;
    m->factor = 1;
    if (!parts->vae_config)
        return UNSTIR_OK;
    options.part = "decode";
    options.cache.part = "vae";
    if (!parts->vae_weights)
        options.cache.folder = NULL;
    TRY(network_open(&m->decoder, parts->vae_config, parts->vae_weights,
                     parts->seed, &options, err));
    TRY(vae_scaling(&m->scaling, parts->vae_config, err));
    d = network_info(m->decoder);
    if (d->in_channels != n->in_channels)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the network paints %u channels; its %s reads %u",
                         n->in_channels, d->family, d->in_channels);
    m->info.channels = d->out_channels;
    m->factor = d->up;
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
                  .part = "unet"},
        .without_weights = o && o->without_weights,
    };

    TRY(network_open(&m->net, parts->unet_config, parts->weights, parts->seed,
                     &options, err));
    const struct network_info *n = network_info(m->net);
    if (!n->has_timestep || n->context_width || n->pooled_width ||
        n->guidance_width)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "a %s alone cannot paint: it %s", n->family,
                         n->has_timestep ? "reads a text" : "takes no steps");
    TRY(decoder_load(m, parts, &options, err));
    if (m->info.channels != 1 && m->info.channels != 3)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network paints %u channels; pictures have 1 or 3",
                         m->info.channels);
    if (n->out_channels != n->in_channels &&
        n->out_channels != 2 * n->in_channels)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network turns %u channels into %u; a sampler "
                         "needs %u or, with a learned variance, %u",
                         n->in_channels, n->out_channels, n->in_channels,
                         2 * n->in_channels);
    if (n->has_class_input && n->n_class_embeds == 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network takes a class as a vector, which a "
                         "request cannot say");
    m->has_learned_variance = n->out_channels == 2 * n->in_channels;
    return UNSTIR_OK;
}

static void info_from_network(struct unstir_model *m)
{
    const struct network_info *n = network_info(m->net);
    struct unstir_model_info *info = &m->info;

    info->family = n->family;
    info->isa = n->isa;
    info->precision = n->precision;
    info->fingerprint = n->fingerprint;
    info->packs = pack_source_name(n->pack_source);
    info->n_parameters = n->n_parameters;
    info->weight_bytes = n->weight_bytes;
    info->size_multiple = (n->size_multiple ? n->size_multiple : 1) * m->factor;
    info->default_width = n->sample_w * m->factor;
    info->default_height = n->sample_h * m->factor;
    info->n_classes = n->n_class_embeds;
    info->null_class = -1;
    if (m->decoder) {
        info->n_parameters += network_info(m->decoder)->n_parameters;
        info->weight_bytes += network_info(m->decoder)->weight_bytes;
    }
}

/* -- opening ------------------------------------------------------------- */

static enum unstir_status copy_notes(struct unstir_model *m,
                                     struct unstir_error *err)
{
    const struct network_info *n = network_info(m->net);

    for (size_t i = 0; i < m->folder.n_notes; i++)
        TRY(checkpoint_note(m, err, "%s", m->folder.notes[i]));
    for (size_t i = 0; i < n->n_notes; i++)
        TRY(checkpoint_note(m, err, "%s", n->notes[i]));
    return UNSTIR_OK;
}

static enum unstir_status build(struct unstir_model *m,
                                const struct checkpoint_parts *parts,
                                const struct unstir_model_options *options,
                                struct unstir_error *err)
{
    TRY(checkpoint_samplers_load(m, parts->scheduler_config, err));
    TRY(network_load(m, parts, options, err));
    TRY(checkpoint_samplers_check(m, err));
    info_from_network(m);
    m->info.digest = parts->digest;
    TRY(copy_notes(m, err));
    return checkpoint_describe(m, parts, err);
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

/* The folder's own name, also for "." and paths that end with a slash. */
static enum unstir_status folder_name(char name[128], const char *path,
                                      struct unstir_error *err)
{
    void *memory;

    TRY(alloc_zero(&memory, PATH_MAX, 1, err));
    const char *real = realpath(path, memory);
    const char *text = real ? real : path;
    const char *slash = strrchr(text, '/');
    (void)snprintf(name, 128, "%.100s", slash ? slash + 1 : text);
    alloc_free(memory);
    return UNSTIR_OK;
}

enum unstir_status checkpoint_open(struct unstir_model **out, const char *path,
                                   const struct unstir_model_options *options,
                                   struct unstir_error *err)
{
    char name[128];
    void *memory;

    *out = NULL;
    TRY(alloc_zero(&memory, 1, sizeof **out, err));
    struct unstir_model *m = memory;
    enum unstir_status st = folder_name(name, path, err);
    if (!st)
        st = diffusers_folder_open(&m->folder, path, false, err);
    if (!st) {
        struct checkpoint_parts parts = {
            .name = name,
            .digest = m->folder.digest,
            .index = m->folder.index,
            .unet_config = m->folder.unet_config,
            .scheduler_config = m->folder.scheduler_config,
            .unstir = m->folder.unstir,
            .weights = m->folder.unet_weights,
            .vae_config = m->folder.vae_config,
            .vae_weights = m->folder.vae_weights,
        };
        st = build(m, &parts, options, err);
        if (st)
            error_prefix(err, path);
    }
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
}

void checkpoint_free(struct unstir_model *m)
{
    if (!m)
        return;
    network_free(m->decoder);
    network_free(m->net);
    for (size_t i = 0; i < SAMPLER_COUNT; i++)
        schedule_fini(&m->samplers[i].schedule);
    for (size_t i = 0; i < m->n_notes; i++)
        alloc_free(m->notes[i]);
    alloc_free(m->notes);
    alloc_free(m->labels);
    alloc_free(m->label_text);
    alloc_free(m->id);
    diffusers_folder_close(&m->folder);
    alloc_free(m);
}
