/* checkpoint.c - open a model: read, check, build, describe.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/checkpoint.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/network.h"
#include "pipeline/model_labels.h"

#define MAX_NOTES 256

static enum unstir_status note(struct unstir_model *m, struct unstir_error *err,
                               const char *format, ...) PRINTF_LIKE(3, 4);

static enum unstir_status note(struct unstir_model *m, struct unstir_error *err,
                               const char *format, ...)
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

/* -- samplers --------------------------------------------------------------- */

static void refuse(struct checkpoint_sampler *s, const char *why)
{
    s->is_usable = false;
    (void)snprintf(s->reason, sizeof s->reason, "%.150s",
                   why); /* cut is fine */
}

static enum unstir_status samplers_fill(struct unstir_model *m,
                                        const struct json *config,
                                        enum schedule_kin kin,
                                        struct unstir_error *err)
{
    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        enum schedule_kin other = schedule_kin_of(samplers[i]->method);
        struct checkpoint_sampler *s = &m->samplers[i];
        struct unstir_error why = {0};
        if (other != kin) {
            (void)snprintf(why.detail, sizeof why.detail, "it drives %s",
                           schedule_kin_text(other));
            refuse(s, why.detail);
            continue;
        }
        s->is_usable = true;
        enum unstir_status st =
            sampler_schedule_init(samplers[i], &s->schedule, config, &why);
        if (st && (i == m->default_sampler || st == UNSTIR_ERR_NOMEM))
            return error_set(err, st, "%s", why.detail);
        if (st)
            refuse(s, why.detail);
    }
    return UNSTIR_OK;
}

/* The folder's own sampler must work; another one that this configuration
 * does not suit is merely not offered. */
static enum unstir_status samplers_load(struct unstir_model *m,
                                        const struct json *config,
                                        struct unstir_error *err)
{
    const char *class_name = "DDPMScheduler";
    enum schedule_kin kin;

    if (config)
        TRY(json_get_string(config, "_class_name", class_name, &class_name,
                            err));
    const struct sampler *own = config && json_get(config, "_class_name")
                                    ? sampler_of_config(config)
                                    : sampler_of_class(class_name);
    if (!schedule_kin_of_class(class_name, &kin) || (!own && kin != KIN_BETAS))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "scheduler_config.json: class \"%.60s\" is not "
                         "something this version can run",
                         class_name);
    if (!own)
        TRY(note(m, err,
                 "its own sampler %.60s is not here; ddim takes its "
                 "place",
                 class_name));
    m->default_sampler = own ? sampler_index(own) : SAMPLER_DDIM;
    return samplers_fill(m, config, kin, err);
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

/* Some methods need a few steps to begin with; what a run of them refuses, it
 * refuses for every number. */
static uint32_t few_steps(const struct sampler *s, const struct schedule *c)
{
    uint32_t most = sampler_max_steps(s, c);

    return most < 4 ? most : 4;
}

/* A sampler that wants output channels that the network lacks is no use; the
 * folder's own one must be. */
static enum unstir_status samplers_check(struct unstir_model *m,
                                         struct unstir_error *err)
{
    struct sampler_run_options o = {
        .n = 1, .has_learned_variance = m->has_learned_variance};

    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        struct checkpoint_sampler *s = &m->samplers[i];
        struct unstir_error why = {0};
        struct sampler_run run;
        if (!s->is_usable)
            continue;
        o.n_steps = few_steps(samplers[i], &s->schedule);
        enum unstir_status st =
            sampler_run_init(&run, samplers[i], &s->schedule, &o, &why);
        sampler_run_fini(&run);
        if (st && (i == m->default_sampler || st == UNSTIR_ERR_NOMEM))
            return error_set(err, st, "scheduler_config.json: %.400s",
                             why.detail);
        if (st)
            refuse(s, why.detail);
    }
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

/* -- unstir.json ------------------------------------------------------------ */

static enum unstir_status
check_keys(struct unstir_model *m, const struct json *object, const char *where,
           const char *const *known, size_t n, struct unstir_error *err)
{
    const char *key;
    const struct json *value;
    size_t i = 0;

    while (json_each(object, &i, &key, &value)) {
        size_t k = 0;
        while (k < n && strcmp(known[k], key) != 0)
            k++;
        if (k == n)
            TRY(note(m, err, "unstir.json: %skey \"%.60s\" is not known", where,
                     key));
    }
    return UNSTIR_OK;
}

static enum unstir_status get_u32(const struct json *object, const char *key,
                                  uint32_t min, uint32_t max, uint32_t *out,
                                  struct unstir_error *err)
{
    int64_t v;

    TRY(json_get_int(object, key, *out, min, max, &v, err));
    *out = (uint32_t)v;
    return UNSTIR_OK;
}

static enum unstir_status read_object(const struct json *u, const char *key,
                                      const struct json **out,
                                      struct unstir_error *err)
{
    *out = json_get(u, key);
    if (*out && json_type(*out) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT, "%s is not an object", key);
    return UNSTIR_OK;
}

static enum unstir_status read_limits(struct unstir_model *m,
                                      const struct json *u,
                                      struct unstir_error *err)
{
    static const char *const known[] = {"min_size", "max_size", "size_multiple",
                                        "max_steps"};
    struct unstir_model_info *info = &m->info;
    const struct json *o;
    uint32_t network_multiple = info->size_multiple;

    TRY(read_object(u, "limits", &o, err));
    if (!o)
        return UNSTIR_OK;
    TRY(check_keys(m, o, "limits: ", known, ARRAY_LEN(known), err));
    TRY(get_u32(o, "size_multiple", 1, CHECKPOINT_MAX_SIZE,
                &info->size_multiple, err));
    if (info->size_multiple % network_multiple)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "size_multiple is %u, the network needs multiples of "
                         "%u",
                         info->size_multiple, network_multiple);
    TRY(get_u32(o, "min_size", 1, CHECKPOINT_MAX_SIZE, &info->min_size, err));
    TRY(get_u32(o, "max_size", 1, CHECKPOINT_MAX_SIZE, &info->max_size, err));
    return get_u32(o, "max_steps", 1, info->n_train_timesteps, &info->max_steps,
                   err);
}

static enum unstir_status read_default_sampler(struct unstir_model *m,
                                               const struct json *o,
                                               struct unstir_error *err)
{
    const char *name;

    TRY(json_get_string(o, "sampler", NULL, &name, err));
    if (!name)
        return UNSTIR_OK;
    const struct sampler *s = sampler_find(name);
    if (!s)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "sampler \"%.40s\" is not "
                         "known",
                         name);
    if (!m->samplers[sampler_index(s)].is_usable)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "sampler \"%.40s\" does not "
                         "suit this model: %s",
                         name, m->samplers[sampler_index(s)].reason);
    m->default_sampler = sampler_index(s);
    return UNSTIR_OK;
}

static enum unstir_status read_default_schedule(struct unstir_model *m,
                                                const struct json *o,
                                                struct unstir_error *err)
{
    const char *name;

    TRY(json_get_string(o, "schedule", NULL, &name, err));
    if (!name || strcmp(name, "default") == 0)
        return UNSTIR_OK;
    m->default_schedule = sampler_schedule_find(name);
    if (!m->default_schedule)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "schedule \"%.40s\" is not known", name);
    m->info.default_schedule = m->default_schedule->info->name;
    return UNSTIR_OK;
}

static enum unstir_status read_guidance_interval(struct unstir_model_info *info,
                                                 const struct json *o,
                                                 struct unstir_error *err)
{
    double *start = &info->default_guidance_start;
    double *end = &info->default_guidance_end;

    TRY(json_get_real(o, "guidance_start", *start, start, err));
    TRY(json_get_real(o, "guidance_end", *end, end, err));
    if (!(*start >= 0 && *start <= *end && *end <= 1))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "guidance_start %g and guidance_end %g must be "
                         "0 to 1, the first not behind the second",
                         *start, *end);
    return UNSTIR_OK;
}

static enum unstir_status read_defaults(struct unstir_model *m,
                                        const struct json *u,
                                        struct unstir_error *err)
{
    static const char *const known[] = {
        "steps",          "sampler",      "schedule", "guidance_scale",
        "guidance_start", "guidance_end", "width",    "height"};
    struct unstir_model_info *info = &m->info;
    const struct json *o;

    TRY(read_object(u, "defaults", &o, err));
    if (!o)
        return UNSTIR_OK;
    TRY(check_keys(m, o, "defaults: ", known, ARRAY_LEN(known), err));
    TRY(get_u32(o, "steps", 1, info->n_train_timesteps, &info->default_steps,
                err));
    TRY(read_default_sampler(m, o, err));
    TRY(read_default_schedule(m, o, err));
    TRY(json_get_real(o, "guidance_scale", info->default_guidance,
                      &info->default_guidance, err));
    if (!(info->default_guidance >= 0 && info->default_guidance <= 100))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "guidance_scale is %g, allowed is 0 to 100",
                         info->default_guidance);
    TRY(read_guidance_interval(info, o, err));
    TRY(get_u32(o, "width", 1, CHECKPOINT_MAX_SIZE, &info->default_width, err));
    return get_u32(o, "height", 1, CHECKPOINT_MAX_SIZE, &info->default_height,
                   err);
}

static enum unstir_status read_classes(struct unstir_model *m,
                                       const struct checkpoint_parts *parts,
                                       struct unstir_error *err)
{
    uint32_t n = network_info(m->net)->n_class_embeds;
    /* The last row of a DiT's table is its null class. */
    bool is_dit = strstr(m->info.family, "Transformer2DModel") != NULL;
    int64_t null_class;

    TRY(json_get_int(parts->unstir, "null_class", is_dit ? (int64_t)n - 1 : -1,
                     -1, (int64_t)n - 1, &null_class, err));
    m->info.null_class = null_class;
    m->info.n_classes = n - (null_class >= 0);
    TRY(labels_read(&m->labels, &m->info.n_labels, &m->label_text, n,
                    parts->unstir, parts->index, err));
    m->info.labels = m->labels;
    return UNSTIR_OK;
}

static enum unstir_status read_unstir(struct unstir_model *m,
                                      const struct json *u,
                                      struct unstir_error *err)
{
    static const char *const known[] = {"id",       "title",  "licence",
                                        "source",   "labels", "null_class",
                                        "defaults", "limits"};
    struct unstir_model_info *info = &m->info;

    if (!u)
        return UNSTIR_OK;
    if (json_type(u) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT, "not an object");
    TRY(check_keys(m, u, "", known, ARRAY_LEN(known), err));
    TRY(json_get_string(u, "title", NULL, &info->title, err));
    TRY(json_get_string(u, "licence", NULL, &info->licence, err));
    TRY(json_get_string(u, "source", NULL, &info->source, err));
    TRY(read_limits(m, u, err));
    return read_defaults(m, u, err);
}

/* An id stands in addresses and file names: letters, digits, '.', '_', '-'. */
static enum unstir_status read_id(struct unstir_model *m,
                                  const struct checkpoint_parts *parts,
                                  struct unstir_error *err)
{
    const char *id;

    TRY(json_get_string(parts->unstir, "id", NULL, &id, err));
    bool is_own = id != NULL;
    TRY(alloc_strdup(&m->id, is_own ? id : parts->name, err));
    size_t n = strlen(m->id);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)m->id[i];
        if (isalnum(c) || c == '_' || c == '-' || (c == '.' && i > 0))
            continue;
        if (is_own)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "id \"%.60s\" may have letters, digits, '.', '_' "
                             "and '-' only",
                             id);
        m->id[i] = '-';
    }
    if (n == 0 || n > 100) {
        if (is_own)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "id has %zu characters, allowed is 1 to 100", n);
        alloc_free(m->id);
        m->id = NULL;
        TRY(alloc_strdup(&m->id, "model", err));
    }
    m->info.id = m->id;
    return UNSTIR_OK;
}

/* -- defaults --------------------------------------------------------------- */

static uint32_t round_down(uint32_t v, uint32_t unit)
{
    return v < unit ? unit : v - v % unit;
}

/* Limits before unstir.json speaks: pictures up to four times the native
 * edge. */
static void derive_limits(struct unstir_model *m)
{
    struct unstir_model_info *info = &m->info;
    const struct schedule *s = &m->samplers[m->default_sampler].schedule;
    uint32_t native = info->default_width > info->default_height
                          ? info->default_width
                          : info->default_height;

    if (native > CHECKPOINT_MAX_SIZE)
        native = CHECKPOINT_MAX_SIZE;
    if (native == 0) {
        native = round_down(64, info->size_multiple);
        info->default_width = info->default_height = native;
    }
    info->n_train_timesteps = s->config.n_timesteps;
    info->max_steps = s->config.n_timesteps;
    info->default_guidance = 1;
    info->default_guidance_end = 1;
    info->min_size = info->size_multiple;
    info->max_size =
        native > CHECKPOINT_MAX_SIZE / 4 ? CHECKPOINT_MAX_SIZE : native * 4;
}

/* The reference's pipelines: 1,000 steps for DDPM, 50 for DDIM. */
static void derive_default_steps(struct unstir_model *m)
{
    struct unstir_model_info *info = &m->info;
    const struct sampler *s = samplers[m->default_sampler];
    uint32_t most =
        sampler_max_steps(s, &m->samplers[m->default_sampler].schedule);

    if (info->default_steps == 0)
        info->default_steps = s->default_steps ? s->default_steps : 50;
    if (info->default_steps > info->max_steps)
        info->default_steps = info->max_steps;
    if (info->default_steps > most)
        info->default_steps = most;
}

static enum unstir_status check_size(const struct unstir_model_info *info,
                                     const char *name, uint32_t v,
                                     struct unstir_error *err)
{
    if (v % info->size_multiple == 0 && v >= info->min_size &&
        v <= info->max_size)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "the default %s %u is not a multiple of %u between %u "
                     "and %u",
                     name, v, info->size_multiple, info->min_size,
                     info->max_size);
}

static enum unstir_status settle(struct unstir_model *m,
                                 struct unstir_error *err)
{
    struct unstir_model_info *info = &m->info;
    uint32_t unit = info->size_multiple;

    info->max_size = round_down(info->max_size, unit);
    info->min_size = info->min_size > UINT32_MAX - unit
                         ? info->min_size
                         : (info->min_size + unit - 1) / unit * unit;
    TRY(check_size(info, "width", info->default_width, err));
    TRY(check_size(info, "height", info->default_height, err));
    derive_default_steps(m);
    if (info->null_class < 0)
        info->default_guidance = 1;
    info->default_sampler = sampler_infos[m->default_sampler].name;
    info->notes = (const char *const *)m->notes;
    info->n_notes = m->n_notes;
    return UNSTIR_OK;
}

static enum unstir_status copy_notes(struct unstir_model *m,
                                     struct unstir_error *err)
{
    const struct network_info *n = network_info(m->net);

    for (size_t i = 0; i < m->folder.n_notes; i++)
        TRY(note(m, err, "%s", m->folder.notes[i]));
    for (size_t i = 0; i < n->n_notes; i++)
        TRY(note(m, err, "%s", n->notes[i]));
    return UNSTIR_OK;
}

static enum unstir_status build(struct unstir_model *m,
                                const struct checkpoint_parts *parts,
                                const struct unstir_model_options *options,
                                struct unstir_error *err)
{
    enum unstir_status st;

    TRY(samplers_load(m, parts->scheduler_config, err));
    TRY(network_load(m, parts, options, err));
    TRY(samplers_check(m, err));
    info_from_network(m);
    derive_limits(m);
    m->info.digest = parts->digest;
    st = read_unstir(m, parts->unstir, err);
    if (!st)
        st = read_id(m, parts, err);
    if (!st)
        st = read_classes(m, parts, err);
    if (!st)
        st = copy_notes(m, err);
    if (!st)
        st = settle(m, err);
    if (st)
        error_prefix(err, "unstir.json");
    return st;
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
