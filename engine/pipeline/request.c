/* request.c - what may be asked of a model.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "image/image.h"
#include "pipeline/checkpoint.h"
#include "pipeline/latent.h"
#include "pipeline/micro.h"
#include "pipeline/model_labels.h"
#include "pipeline/start.h"

/* One check in progress. */
struct check {
    const struct unstir_model *model;
    const struct unstir_request *request;
    struct unstir_request *out;
    unstir_violation_fn report;
    void *user;
    struct unstir_error first;
    const struct sampler_schedule *schedule; /* said, or NULL */
    unsigned n;
    bool is_untagged;      /* LoRAs that texts name are another's           */
    bool is_out_of_memory; /* then nothing is known about the request */
};

static void violate(struct check *c, const char *field, const char *nearest,
                    const char *format, ...) PRINTF_LIKE(4, 5);

static void violate(struct check *c, const char *field, const char *nearest,
                    const char *format, ...)
{
    char detail[sizeof c->first.detail];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(detail, sizeof detail, format, ap); /* cut is fine */
    va_end(ap);
    if (c->n++ == 0)
        (void)error_field(&c->first, field, "%s", detail);
    if (c->report)
        c->report(c->user, field, detail, nearest);
}

static bool is_blank_text(const char *text)
{
    return text[strspn(text, " \t\r\n\v\f")] == '\0';
}

static bool is_said(const char *text)
{
    return text && !is_blank_text(text);
}

/* "text" as JSON if it needs no escapes, else NULL. */
static const char *quote(char *buffer, size_t size, const char *text)
{
    for (const char *p = text; p && *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            return NULL;
    if (!text || strlen(text) + 3 > size)
        return NULL;
    (void)snprintf(buffer, size, "\"%s\"", text); /* fits */
    return buffer;
}

/* A class by number. */
static void check_class_id(struct check *c, uint32_t n_embeds)
{
    const struct unstir_model_info *info = &c->model->info;
    int64_t id = c->request->class_id;
    char nearest[32];

    if (id == UNSTIR_CLASS_NULL || id == UNSTIR_CLASS_UNSET) {
        if (info->null_class >= 0 || n_embeds == 0)
            c->out->class_id = UNSTIR_CLASS_NULL;
        else if (n_embeds == 1 && id == UNSTIR_CLASS_UNSET)
            c->out->class_id = 0;
        else
            violate(c, "class", NULL, "this model needs a class: 0 to %u%s",
                    n_embeds - 1, info->n_labels ? ", or a label" : "");
        return;
    }
    if (n_embeds == 0) {
        violate(c, "class", NULL,
                "this model has no classes, but class %lld "
                "was asked for",
                (long long)id);
        return;
    }
    if (id < 0 || id >= n_embeds) {
        (void)snprintf(nearest, sizeof nearest, "%u",
                       id < 0 ? 0 : n_embeds - 1);
        violate(c, "class", nearest, "class must be 0 to %u, not %lld",
                n_embeds - 1, (long long)id);
        return;
    }
    c->out->class_id = id;
}

static void check_class(struct check *c)
{
    const struct unstir_model_info *info = &c->model->info;
    uint32_t n_embeds = info->n_classes + (info->null_class >= 0);
    const char *label =
        is_said(c->request->label) ? c->request->label : c->request->prompt;
    struct unstir_error err;
    char text[256];

    c->out->class_id = UNSTIR_CLASS_NULL;
    c->out->label = NULL;
    if (!is_said(label)) {
        check_class_id(c, n_embeds);
    } else if (labels_find(info, n_embeds, label, &c->out->class_id, &err)) {
        violate(c, "class",
                quote(text, sizeof text, labels_nearest(info, label)), "%s",
                err.detail);
        return;
    }
    if (c->out->class_id == info->null_class)
        c->out->class_id = UNSTIR_CLASS_NULL;
    if (c->out->class_id >= 0)
        c->out->label = labels_name(info, c->out->class_id);
}

/* "ddim, pndm, ..." */
static void list_samplers(const struct unstir_model *m, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < SAMPLER_COUNT && n < size; i++)
        if (m->samplers[i].is_usable)
            n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "",
                                  samplers[i]->info->name); /* cut is fine */
}

static const struct sampler *check_sampler(struct check *c)
{
    const char *name = c->request->sampler;
    const struct unstir_model *m = c->model;
    const struct sampler *s = samplers[m->default_sampler];
    char text[64], others[256];

    if (name && *name) {
        s = sampler_find_scheduled(name, &c->schedule);
    } else if (m->no_default[0]) {
        list_samplers(m, others, sizeof others);
        violate(c, "sampler", quote(text, sizeof text, s->info->name),
                "the model's own sampler cannot run: %s; name another: %s",
                m->no_default, others);
        return NULL;
    }
    if (!s) {
        const struct sampler *near = sampler_nearest(name);
        violate(c, "sampler",
                near ? quote(text, sizeof text, near->info->name) : NULL,
                "sampler \"%.40s\" is not known%s%s%s", name,
                near ? "; did you mean \"" : "", near ? near->info->name : "",
                near ? "\"?" : "");
        return NULL;
    }
    c->out->sampler = s->info->name;
    if (!m->samplers[sampler_index(s)].is_usable) {
        violate(c, "sampler", quote(text, sizeof text, m->info.default_sampler),
                "sampler \"%s\" does not suit this model: %s", s->info->name,
                m->samplers[sampler_index(s)].reason);
        return NULL;
    }
    return s;
}

/* The field, else what stands behind the sampler's name, else the default of
 * the model's default sampler. */
static void check_schedule(struct check *c, const struct sampler *s)
{
    const struct unstir_model *m = c->model;
    const char *name = c->request->schedule;
    const char *names[SAMPLER_N_SCHEDULES + 1];
    char text[64];

    bool is_said = name && *name;
    bool is_default = is_said && sampler_schedule_is_default(name);
    if (is_said && !is_default)
        c->schedule = sampler_schedule_find(name);
    else if (is_default)
        c->schedule = NULL;
    else if (!c->schedule && s == samplers[m->default_sampler])
        c->schedule = m->default_schedule;
    c->out->schedule = c->schedule ? c->schedule->info->name
                       : is_default && m->default_schedule ? "default"
                                                           : NULL;
    if (!is_said || is_default || c->schedule)
        return;
    for (size_t i = 0; i < SAMPLER_N_SCHEDULES; i++)
        names[i] = sampler_schedule_infos[i].name;
    names[SAMPLER_N_SCHEDULES] = "default";
    int near = nearest_word(name, names, ARRAY_LEN(names));
    violate(c, "schedule",
            near < 0 ? NULL : quote(text, sizeof text, names[near]),
            "schedule \"%.40s\" is not known%s%s%s", name,
            near < 0 ? "" : "; did you mean \"", near < 0 ? "" : names[near],
            near < 0 ? "" : "\"?");
}

static void note_memory(struct check *c, const struct unstir_error *err)
{
    c->is_out_of_memory = true;
    c->first = *err;
}

/* False without memory. */
static bool plan_run(struct check *c, const struct unstir_request *r,
                     const struct sampler *s, struct start *plan)
{
    struct unstir_error err;

    if (start_plan(plan, c->model, r, s, &err) == UNSTIR_OK)
        return true;
    note_memory(c, &err);
    return false;
}

/* Refusals that only the sampler knows. */
static void check_run(struct check *c, const struct sampler *s)
{
    struct sampler_run run;
    struct unstir_error err;
    struct start plan;
    if (!plan_run(c, c->out, s, &plan) || plan.first >= plan.end)
        return; /* told by check_strength() */
    struct sampler_run_options o = {
        .n_steps = c->out->steps,
        .first = start_run_first(&plan),
        .share = plan.share,
        .n = 1,
        .schedule = c->schedule,
        .has_learned_variance = c->model->has_learned_variance,
    };

    enum unstir_status st = sampler_run_init(
        &run, s, &c->model->samplers[sampler_index(s)].schedule, &o, &err);
    if (st == UNSTIR_ERR_NOMEM) {
        note_memory(c, &err);
    } else if (st) {
        violate(c, err.field[0] ? err.field : "sampler", NULL, "%s",
                err.detail);
    }
    sampler_run_fini(&run);
}

/* Steps are known: is one of them left to run? */
static void check_strength(struct check *c, const struct sampler *s)
{
    double strength = c->out->strength, steps = c->out->steps;
    struct start plan;
    char nearest[32];

    if (!request_has_start(c->out))
        strength = 1;
    else if (!(strength >= 0 && strength <= 1))
        return; /* told */
    if (!plan_run(c, c->out, s, &plan) ||
        (plan.first < plan.end && (!c->model->keeps_steps || strength > 0)))
        return;
    if (c->out->denoising_start > 0 || c->out->denoising_end < 1) {
        violate(c,
                c->out->denoising_start > 0 ? "denoising_start"
                                            : "denoising_end",
                NULL, "from %g to %g lies none of %u steps",
                c->out->denoising_start, c->out->denoising_end, c->out->steps);
        return;
    }
    struct unstir_request whole = *c->out;
    whole.strength = 1;
    if (!plan_run(c, &whole, s, &plan))
        return;
    double least = fmax(1, steps - plan.end + 1);
    (void)snprintf(nearest, sizeof nearest, "%g",
                   ceil(1e4 * least / steps) / 1e4);
    violate(c, "strength", nearest,
            "strength %g leaves none of %u steps to run; at least %s", strength,
            c->out->steps, nearest);
}

static void check_steps(struct check *c, const struct sampler *s)
{
    const struct unstir_model_info *info = &c->model->info;
    uint32_t most = info->max_steps, steps = c->request->steps;
    char nearest[32];

    if (s) {
        uint32_t own = sampler_max_steps(
            s, &c->model->samplers[sampler_index(s)].schedule);
        most = own < most ? own : most;
    }
    if (steps == 0)
        steps = info->default_steps < most ? info->default_steps : most;
    c->out->steps = steps;
    if (steps > most) {
        (void)snprintf(nearest, sizeof nearest, "%u", most);
        violate(c, "steps", nearest, "steps must be 1 to %u, not %u", most,
                steps);
    } else if (s) {
        check_strength(c, s);
        check_run(c, s);
    }
}

static void check_shape(struct check *c, const char *field,
                        const struct unstir_image *image)
{
    if (image->width >= 1 && image->width <= IMAGE_MAX_EDGE &&
        image->height >= 1 && image->height <= IMAGE_MAX_EDGE &&
        (image->channels == 1 || image->channels == 3))
        return;
    violate(c, field, NULL,
            "a picture has edges of 1 to %u pixels and 1 or 3 channels, not "
            "%u x %u x %u",
            IMAGE_MAX_EDGE, image->width, image->height, image->channels);
}

/* Models that read the picture beside the noise begin in noise. */
static void check_editing(struct check *c, const struct sampler *s)
{
    const struct unstir_request *q = c->request;
    const char *id = c->model->info.id;

    if (!c->model->reads_picture) {
        if (q->image_guidance != UNSTIR_UNSET_F)
            violate(c, "image_guidance_scale", NULL,
                    "%s does not edit pictures by instruction", id);
        return;
    }
    if (!q->init_image)
        violate(c, "init_image", NULL,
                "%s edits a picture and needs an init_image", id);
    if (q->mask)
        violate(c, "mask", NULL, "%s edits whole pictures and takes no mask",
                id);
    if (q->strength != UNSTIR_UNSET_F && q->strength != 1)
        violate(c, "strength", "1",
                "%s begins in noise: strength is 1; image_guidance_scale says "
                "how hard to hold on to the picture",
                id);
    if (s && s->is_inverse)
        violate(c, "sampler", NULL, "%s does not suit a model that edits",
                s->info->name);
}

/* Latents come in place of a picture. */
static void check_latents(struct check *c)
{
    const struct unstir_latents *l = c->request->init_latents;
    const struct unstir_model *m = c->model;

    if (!l)
        return;
    if (c->request->init_image)
        violate(c, "init_latents", NULL, "goes with no init_image");
    if (!m->decoder || m->reads_mask || m->reads_picture)
        violate(c, "init_latents", NULL, "%s does not begin in latents",
                m->info.id);
    else if (l->values && (l->n < 1 || l->channels != m->sample_channels))
        violate(c, "init_latents", NULL,
                "%s has latents of %u channels, not %u", m->info.id,
                m->sample_channels, l->channels);
}

/* A part of the way: the reference's two models that hand over. */
static void check_range(struct check *c, const struct sampler *s)
{
    const struct unstir_request *q = c->request;
    double start = q->denoising_start,
           end = q->denoising_end == 0 ? 1 : q->denoising_end;
    bool is_cut = start != 0 || end != 1;

    if (!(start >= 0 && start < 1))
        violate(c, "denoising_start", start < 0 ? "0" : NULL,
                "denoising_start must be 0 to below 1, not %g", start);
    if (!(end > 0 && end <= 1))
        violate(c, "denoising_end", "1",
                "denoising_end must be above 0 and at most 1, not %g", end);
    else if (start >= end)
        violate(c, "denoising_start", "0",
                "denoising_start %g does not lie before denoising_end %g",
                start, end);
    if (start > 0 && !request_has_start(q))
        violate(c, "denoising_start", "0",
                "needs an init_image or latents, with the noise of there");
    if (start > 0 && q->strength != UNSTIR_UNSET_F && q->strength != 1)
        violate(c, "strength", "1",
                "denoising_start says where to begin; strength has no say");
    if (is_cut && (c->model->reads_picture || (s && s->is_inverse)))
        violate(c, start != 0 ? "denoising_start" : "denoising_end",
                start != 0 ? "0" : "1",
                "a part of the way goes with no model that edits and no "
                "ddim_inverse");
    c->out->denoising_start = start;
    c->out->denoising_end = end;
}

/* Before steps and sizes, whose defaults depend on it. */
static void check_pictures(struct check *c, const struct sampler *s)
{
    const struct unstir_request *q = c->request;
    bool is_inverse = s && s->is_inverse;
    double strength = q->strength;

    check_editing(c, s);
    check_latents(c);
    check_range(c, s);
    if (c->model->reads_mask && (!q->init_image || !q->mask))
        violate(c, q->init_image ? "mask" : "init_image", NULL,
                "this model repaints a part of a picture and needs an "
                "init_image and a mask");
    if (!request_has_start(q)) {
        if (q->mask)
            violate(c, "mask", NULL, "a mask needs an init_image");
        if (strength != UNSTIR_UNSET_F)
            violate(c, "strength", NULL, "strength needs an init_image");
        if (is_inverse)
            violate(c, "sampler", NULL,
                    "%s goes from a picture to noise and needs an init_image",
                    s->info->name);
        return;
    }
    if (q->init_image)
        check_shape(c, "init_image", q->init_image);
    if (q->mask)
        check_shape(c, "mask", q->mask);
    if (q->init_image && c->model->decoder && !latent_is_encodable(c->model))
        violate(c, "init_image", NULL,
                "this model has no encoder and cannot begin with a picture");
    if (q->mask && is_inverse)
        violate(c, "mask", NULL, "%s takes no mask", s->info->name);
    if (c->model->reads_picture || q->denoising_start > 0)
        strength = 1; /* whatever was said has been told */
    if (strength == UNSTIR_UNSET_F)
        strength = q->mask || is_inverse ? 1 : 0.8;
    if (!(strength >= 0 && strength <= 1))
        violate(c, "strength", strength > 1 ? "1" : "0.8",
                "strength must be 0 to 1, not %g", strength);
    c->out->strength = strength;
}

static uint32_t nearest_size(const struct unstir_model_info *info, uint32_t v)
{
    uint32_t unit = info->size_multiple;
    uint64_t up = ((uint64_t)v + unit / 2) / unit * unit;

    if (up < info->min_size)
        return info->min_size;
    return up > info->max_size ? info->max_size : (uint32_t)up;
}

static uint32_t check_size(struct check *c, const char *field, uint32_t v,
                           uint32_t fallback)
{
    const struct unstir_model_info *info = &c->model->info;
    char nearest[32];

    if (v == 0)
        v = fallback;
    (void)snprintf(nearest, sizeof nearest, "%u", nearest_size(info, v));
    if (v < info->min_size || v > info->max_size)
        violate(c, field, nearest, "%s must be %u to %u, not %u", field,
                info->min_size, info->max_size, v);
    else if (v % info->size_multiple)
        violate(c, field, nearest, "%s must be a multiple of %u, not %u", field,
                info->size_multiple, v);
    return v;
}

/* Of a request that says none: that of its picture as far as the model can. */
static uint32_t default_size(const struct check *c, uint32_t of_picture,
                             uint32_t fallback)
{
    const struct unstir_model_info *info = &c->model->info;
    uint32_t unit = info->size_multiple;

    if (!request_has_start(c->request) || of_picture == 0)
        return fallback;
    uint32_t v = of_picture / unit * unit;
    return v < info->min_size   ? info->min_size
           : v > info->max_size ? info->max_size / unit * unit
                                : v;
}

/* Of what it begins with. */
static void check_sizes(struct check *c)
{
    const struct unstir_model_info *info = &c->model->info;
    const struct unstir_request *q = c->request;
    const struct unstir_latents *l = q->init_latents;
    uint32_t w = 0, h = 0, most = UINT32_MAX / c->model->factor;

    if (q->init_image) {
        w = q->init_image->width;
        h = q->init_image->height;
    } else if (l && l->values) {
        w = (l->width < most ? l->width : most) * c->model->factor;
        h = (l->height < most ? l->height : most) * c->model->factor;
    }
    c->out->width = check_size(c, "width", q->width,
                               default_size(c, w, info->default_width));
    c->out->height = check_size(c, "height", q->height,
                                default_size(c, h, info->default_height));
    if (l && l->values && (c->out->width != w || c->out->height != h))
        violate(c, "init_latents", NULL,
                "are those of a picture of %u x %u, not %u x %u", w, h,
                c->out->width, c->out->height);
}

static void check_micro(struct check *c)
{
    struct micro_fault fault;

    if (!micro_settle(c->model, c->request, c->out, &fault))
        violate(c, fault.field, NULL, "%s", fault.text);
}

static double check_share(struct check *c, const char *field, double v,
                          double fallback)
{
    if (v == UNSTIR_UNSET_F)
        return fallback;
    if (v >= 0 && v <= 1)
        return v;
    violate(c, field, v > 1 ? "1" : "0", "%s must be 0 to 1, not %g", field, v);
    return fallback;
}

static bool can_be_guided(const struct check *c)
{
    const struct unstir_model_info *info = &c->model->info;

    return info->takes_text ||
           (info->null_class >= 0 && c->out->class_id != UNSTIR_CLASS_NULL);
}

static void check_guidance(struct check *c)
{
    double g = c->request->guidance;

    if (g == UNSTIR_UNSET_F)
        g = c->model->info.default_guidance;
    if (!(g >= 0 && g <= REQUEST_MAX_GUIDANCE)) {
        violate(c, "guidance_scale", g > 0 ? "100" : "1",
                "guidance_scale must be 0 to %g, not %g", REQUEST_MAX_GUIDANCE,
                g);
        g = 1;
    }
    bool is_embedded = c->model->conditioner.guidance_width > 0;
    bool is_off = g <= 1 || !can_be_guided(c);
    c->out->guidance = is_off && !is_embedded ? 1 : g;
    is_off |= is_embedded; /* for all that follows */
    c->out->guidance_rescale =
        check_share(c, "guidance_rescale", c->request->guidance_rescale, 0);
    /* The model's interval holds where neither of its ends is said. */
    const struct unstir_request *q = c->request;
    bool is_said = q->guidance_start != UNSTIR_UNSET_F ||
                   q->guidance_end != UNSTIR_UNSET_F;
    double start =
        check_share(c, "guidance_start", q->guidance_start,
                    is_said ? 0 : c->model->info.default_guidance_start);
    double end = check_share(c, "guidance_end", q->guidance_end,
                             is_said ? 1 : c->model->info.default_guidance_end);
    if (start > end)
        violate(c, "guidance_start", "0",
                "guidance_start %g lies behind guidance_end %g", start, end);
    if (is_off) {
        c->out->guidance_rescale = start = 0;
        end = 1;
    }
    c->out->guidance_start = start;
    c->out->guidance_end = end;
}

/* Behind check_guidance(): without that one the reference has neither. */
static void check_image_guidance(struct check *c)
{
    double g = c->request->image_guidance;

    if (!c->model->reads_picture)
        return;
    if (g == UNSTIR_UNSET_F)
        g = REQUEST_IMAGE_GUIDANCE;
    if (!(g >= 1 && g <= REQUEST_MAX_GUIDANCE))
        violate(c, "image_guidance_scale", g > 1 ? "100" : "1",
                "image_guidance_scale must be 1 to %g, not %g",
                REQUEST_MAX_GUIDANCE, g);
    c->out->image_guidance = request_is_guided(c->model, c->out) ? g : 1;
}

static void check_eta(struct check *c, const struct sampler *s)
{
    double eta = c->request->eta;

    if (eta == UNSTIR_UNSET_F)
        eta = s && !c->model->passes_eta ? s->default_eta : 0;
    c->out->eta = eta;
    if (!(eta >= 0 && eta <= 1))
        violate(c, "eta", eta > 1 ? "1" : "0", "eta must be 0 to 1, not %g",
                eta);
    else if (s && !s->has_eta && eta > 0)
        violate(c, "eta", "0", "eta is a setting of ddim and tcd; %s has none",
                s->info->name);
}

static void check_variation(struct check *c, const struct sampler *s)
{
    double t =
        check_share(c, "variation_strength", c->request->variation_strength, 0);

    c->out->variation_strength = t;
    if (t == 0) {
        c->out->variation_seed = 0;
        c->out->variation_strength = 0; /* it may have been -0 */
    } else if (s && s->is_inverse) {
        violate(c, "variation_strength", "0",
                "%s draws no noise that could be varied", s->info->name);
    }
}

/* -- texts ----------------------------------------------------------------- */

/* Models without a text encoder.  The prompt is a label: check_class(). */
static void check_no_texts(struct check *c)
{
    const struct unstir_request *q = c->request;
    const char *id = c->model->info.id;

    if (is_said(q->negative_prompt))
        violate(c, "negative_prompt", NULL,
                "%s reads no text: it has nothing to keep away from", id);
    if (q->clip_skip > 1)
        violate(c, "clip_skip", "1", "%s has no text encoder", id);
    if (q->prompt_syntax)
        violate(c, "prompt_syntax", NULL, "%s reads no text", id);
    c->out->prompt = c->out->negative_prompt = c->out->prompt_syntax = NULL;
    c->out->clip_skip = 1;
}

static void check_no_class(struct check *c)
{
    const struct unstir_request *q = c->request;

    if (is_said(q->label) || q->class_id >= 0)
        violate(c, "class", NULL, "%s has no classes; it reads a prompt",
                c->model->info.id);
    c->out->label = NULL;
    c->out->class_id = UNSTIR_CLASS_NULL;
}

/* A LoRA that a text names is in use, or it would be passed over in silence. */
static void check_tag(struct check *c, const char *field,
                      const struct unstir_lora_tag *tag)
{
    const struct unstir_model_info *info = &c->model->info;

    if (tag->unet_weight == 0 && tag->text_weight == 0)
        return;
    for (size_t i = 0; i < info->n_loras; i++)
        if (strcmp(info->loras[i].name, tag->name) == 0)
            return;
    violate(c, field, NULL, "the LoRA \"%.60s\" is not in use here", tag->name);
}

static void check_tags(struct check *c, const char *field, const char *text)
{
    struct unstir_lora_tag tags[UNSTIR_MAX_LORAS];
    size_t n;

    if (prompt_lora_tags(text, tags, &n, NULL) != UNSTIR_OK)
        return; /* told already */
    for (size_t i = 0; i < n; i++)
        check_tag(c, field, &tags[i]);
}

static void check_text(struct check *c, const char *field, const char *text,
                       enum prompt_syntax syntax)
{
    struct unstir_error err;
    enum unstir_status status;

    if (!text)
        return;
    status = conditioner_check(&c->model->conditioner, text, syntax, &err);
    if (status == UNSTIR_ERR_NOMEM) {
        note_memory(c, &err);
    } else if (status) {
        violate(c, field, NULL, "%s", err.detail);
    } else if (syntax == PROMPT_WEIGHTED && !c->is_untagged) {
        check_tags(c, field, text);
    }
}

static void check_clip_skip(struct check *c)
{
    uint32_t most = c->model->conditioner.max_skip;
    char nearest[16];

    c->out->clip_skip = c->request->clip_skip ? c->request->clip_skip : 1;
    if (c->out->clip_skip <= most)
        return;
    (void)snprintf(nearest, sizeof nearest, "%u", most);
    violate(c, "clip_skip", nearest, "clip_skip must be 1 to %u, not %u", most,
            c->out->clip_skip);
}

static void check_deep_cache(struct check *c)
{
    uint32_t every = c->request->deep_cache ? c->request->deep_cache : 1;

    c->out->deep_cache = every;
    if (every > REQUEST_MAX_DEEP_CACHE)
        violate(c, "deep_cache", "100", "deep_cache must be 1 to %d, not %u",
                REQUEST_MAX_DEEP_CACHE, every);
    else if (every > 1 && !c->model->info.takes_deep_cache)
        violate(c, "deep_cache", "1",
                "%s has no shallow layers that could be evaluated alone",
                c->model->info.id);
}

/* Behind check_guidance(): unguided pictures have no negative prompt. */
static void check_texts(struct check *c)
{
    const struct unstir_request *q = c->request;
    struct unstir_request *out = c->out;
    enum prompt_syntax syntax = PROMPT_WEIGHTED;

    if (q->prompt_syntax && !prompt_syntax_find(&syntax, q->prompt_syntax))
        violate(c, "prompt_syntax", "\"weighted\"",
                "prompt_syntax must be weighted or plain, not \"%.40s\"",
                q->prompt_syntax);
    out->prompt_syntax = syntax == PROMPT_PLAIN ? "plain" : NULL;
    out->prompt = q->prompt ? q->prompt : "";
    check_text(c, "prompt", out->prompt, syntax);
    check_text(c, "negative_prompt", q->negative_prompt, syntax);
    if (is_said(q->negative_prompt) && c->model->conditioner.guidance_width > 0)
        violate(c, "negative_prompt", NULL,
                "%s embeds the guidance scale and has no second evaluation "
                "to keep away with",
                c->model->info.id);
    if (!request_is_guided(c->model, out) ||
        (q->negative_prompt && !*q->negative_prompt &&
         !c->model->conditioner.is_empty_zero))
        out->negative_prompt = NULL;
    check_clip_skip(c);
}

static void check_all(struct check *c)
{
    bool takes_text = c->model->info.takes_text;

    if (takes_text)
        check_no_class(c);
    else
        check_class(c);
    const struct sampler *s = check_sampler(c);
    check_schedule(c, s);
    check_pictures(c, s);
    check_steps(c, s);
    check_sizes(c);
    check_micro(c);
    check_guidance(c);
    check_image_guidance(c);
    check_eta(c, s);
    check_variation(c, s);
    check_deep_cache(c);
    if (takes_text)
        check_texts(c);
    else
        check_no_texts(c);
}

/* What is wrong, if anything is. */
static enum unstir_status verdict(struct check *c, struct unstir_error *err)
{
    size_t n = strlen(c->first.detail);

    if (!c->is_out_of_memory && c->n == 0)
        return UNSTIR_OK;
    if (!c->is_out_of_memory && c->n > 1)
        (void)snprintf(c->first.detail + n, sizeof c->first.detail - n,
                       " (and %u more)", c->n - 1);
    if (err)
        *err = c->first;
    return c->is_out_of_memory ? UNSTIR_ERR_NOMEM : UNSTIR_ERR_ARG;
}

static enum unstir_status check_request(struct check *c,
                                        const struct unstir_model *model,
                                        const struct unstir_request *request,
                                        struct unstir_request *resolved,
                                        struct unstir_error *err)
{
    struct unstir_request out = *request;

    c->model = model;
    c->request = request;
    c->out = &out;
    check_all(c);
    TRY(verdict(c, err));
    if (resolved)
        *resolved = out;
    return UNSTIR_OK;
}

enum unstir_status request_check(const struct unstir_model *model,
                                 const struct unstir_request *request,
                                 struct unstir_request *resolved,
                                 unstir_violation_fn report, void *user,
                                 struct unstir_error *err)
{
    struct check c = {.report = report, .user = user};

    return check_request(&c, model, request, resolved, err);
}

enum unstir_status request_check_untagged(const struct unstir_model *model,
                                          const struct unstir_request *request,
                                          struct unstir_request *resolved,
                                          unstir_violation_fn report,
                                          void *user, struct unstir_error *err)
{
    struct check c = {.report = report, .user = user, .is_untagged = true};

    return check_request(&c, model, request, resolved, err);
}

bool request_is_guided(const struct unstir_model *model,
                       const struct unstir_request *resolved)
{
    return resolved->guidance > 1 && model->conditioner.guidance_width == 0;
}

bool request_has_interval(const struct unstir_model *model,
                          const struct unstir_request *r)
{
    const struct unstir_model_info *info = &model->info;
    return request_is_guided(model, r) &&
           (r->guidance_start > 0 || r->guidance_end < 1 ||
            info->default_guidance_start > 0 || info->default_guidance_end < 1);
}

/* Shares are cut to whole steps, as the reference's guiders do. */
bool request_is_guided_at(const struct unstir_model *model,
                          const struct unstir_request *r, uint32_t step)
{
    return request_is_guided(model, r) &&
           step >= (uint32_t)(r->guidance_start * r->steps) &&
           step < (uint32_t)(r->guidance_end * r->steps);
}

uint32_t request_images_at(const struct unstir_model *model,
                           const struct unstir_request *r, uint32_t step)
{
    if (!request_is_guided_at(model, r, step))
        return 1;
    return model->reads_picture ? 3 : 2;
}

const struct unstir_image request_absent_picture = {1, 1, 1, NULL};
const struct unstir_latents request_absent_latents = {1, 1, 1, 1, NULL};

bool request_has_start(const struct unstir_request *r)
{
    return r->init_image || r->init_latents;
}

void unstir_request_picture(struct unstir_request *request, uint32_t i)
{
    if (request->variation_strength > 0)
        request->variation_seed += i;
    else
        request->seed += i;
}

uint32_t unstir_request_steps(const struct unstir_model *model,
                              const struct unstir_request *resolved)
{
    struct start plan;

    /* Without memory: as if nothing were cut. */
    (void)start_plan(&plan, model, resolved, sampler_find(resolved->sampler),
                     NULL);
    return plan.end - plan.first;
}
