/* checkpoint_json.c - what a model is called, offers and allows.
 *
 * Network and schedule give limits and defaults; unstir.json may narrow the
 * ones and change the others.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/network.h"
#include "pipeline/checkpoint_inside.h"
#include "pipeline/model_labels.h"

#define FEW_STEPS 4 /* of distilled models: 1 to 4 by their makers          */

/* -- unstir.json ----------------------------------------------------------- */

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
            TRY(notes_add(&m->notes, err,
                          "unstir.json: %skey \"%.60s\" is not known", where,
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
    m->no_default[0] = '\0';
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
    static const char *const known[] = {
        "id",           "title",    "licence", "source",          "labels",
        "null_class",   "defaults", "limits",  "prediction_type", "vae",
        "text_encoders"};
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

/* -- defaults -------------------------------------------------------------- */

static uint32_t round_down(uint32_t v, uint32_t unit)
{
    return v < unit ? unit : v - v % unit;
}

/* The reference's pipelines. */
static double default_guidance(const struct unstir_model *m, bool is_few_step)
{
    const struct conditioner *c = &m->conditioner;

    if (c->n == 0 || is_few_step)
        return 1;
    if (c->guidance_width)
        return 8.5;
    return c->is_xl && !m->reads_mask ? 5 : 7.5;
}

/* Limits before unstir.json speaks: pictures up to four times the native
 * edge. */
static void derive_limits(struct unstir_model *m, bool is_few_step)
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
    info->default_guidance = default_guidance(m, is_few_step);
    info->default_guidance_end = 1;
    if (m->conditioner.n && is_few_step)
        info->default_steps = FEW_STEPS;
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
    info->takes_negative_prompt =
        info->takes_text && m->conditioner.guidance_width == 0;
    info->takes_guidance = info->takes_text || info->null_class >= 0;
    if (!info->takes_guidance)
        info->default_guidance = 1;
    info->default_sampler = sampler_infos[m->default_sampler].name;
    info->notes = (const char *const *)m->notes.texts;
    info->n_notes = m->notes.n;
    return UNSTIR_OK;
}

static enum unstir_status describe(struct unstir_model *m,
                                   const struct checkpoint_parts *parts,
                                   struct unstir_error *err)
{
    derive_limits(m, parts->is_few_step);
    TRY(read_unstir(m, parts->unstir, err));
    TRY(read_id(m, parts, err));
    TRY(read_classes(m, parts, err));
    return settle(m, err);
}

enum unstir_status checkpoint_describe(struct unstir_model *m,
                                       const struct checkpoint_parts *parts,
                                       struct unstir_error *err)
{
    return error_within(describe(m, parts, err),
                        parts->unstir_name ? parts->unstir_name : "unstir.json",
                        err);
}
