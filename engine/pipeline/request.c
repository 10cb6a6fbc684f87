/* request.c - what may be asked of a model.
 *
 *   request_words.c   what to paint
 *   request_way.c     sampler, schedule, steps
 *   request_start.c   pictures and latents to begin with, sizes
 *   here              guidance and the rest, and all of it together
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/checkpoint.h"
#include "pipeline/micro.h"
#include "pipeline/request_inside.h"
#include "pipeline/start.h"

/* -- telling --------------------------------------------------------------- */

void check_violate(struct check *c, const char *field, const char *nearest,
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

const char *check_quote(char *buffer, size_t size, const char *text)
{
    for (const char *p = text; p && *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            return NULL;
    if (!text || strlen(text) + 3 > size)
        return NULL;
    (void)snprintf(buffer, size, "\"%s\"", text); /* fits */
    return buffer;
}

bool check_is_said(const char *text)
{
    return text && text[strspn(text, " \t\r\n\v\f")] != '\0';
}

void check_note_memory(struct check *c, const struct unstir_error *err)
{
    c->is_out_of_memory = true;
    c->first = *err;
}

/* -- the rest of a request -------------------------------------------------- */

static void check_micro(struct check *c)
{
    struct micro_fault fault;

    if (!micro_settle(c->model, c->request, c->out, &fault))
        check_violate(c, fault.field, NULL, "%s", fault.text);
}

static double check_share(struct check *c, const char *field, double v,
                          double fallback)
{
    if (v == UNSTIR_UNSET_F)
        return fallback;
    if (v >= 0 && v <= 1)
        return v;
    check_violate(c, field, v > 1 ? "1" : "0", "%s must be 0 to 1, not %g",
                  field, v);
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
        check_violate(c, "guidance_scale", g > 0 ? "100" : "1",
                      "guidance_scale must be 0 to %g, not %g",
                      REQUEST_MAX_GUIDANCE, g);
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
        check_violate(c, "guidance_start", "0",
                      "guidance_start %g lies behind guidance_end %g", start,
                      end);
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
        check_violate(c, "image_guidance_scale", g > 1 ? "100" : "1",
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
        check_violate(c, "eta", eta > 1 ? "1" : "0",
                      "eta must be 0 to 1, not %g", eta);
    else if (s && !s->has_eta && eta > 0)
        check_violate(c, "eta", "0",
                      "eta is a setting of ddim and tcd; %s has none",
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
        check_violate(c, "variation_strength", "0",
                      "%s draws no noise that could be varied", s->info->name);
    }
}

static void check_deep_cache(struct check *c)
{
    uint32_t every = c->request->deep_cache ? c->request->deep_cache : 1;

    c->out->deep_cache = every;
    if (every > REQUEST_MAX_DEEP_CACHE)
        check_violate(c, "deep_cache", "100",
                      "deep_cache must be 1 to %d, not %u",
                      REQUEST_MAX_DEEP_CACHE, every);
    else if (every > 1 && !c->model->info.takes_deep_cache)
        check_violate(c, "deep_cache", "1",
                      "%s has no shallow layers that could be evaluated alone",
                      c->model->info.id);
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
static bool is_guided_at(const struct unstir_model *model,
                         const struct unstir_request *r, uint32_t step)
{
    return request_is_guided(model, r) &&
           step >= (uint32_t)(r->guidance_start * r->steps) &&
           step < (uint32_t)(r->guidance_end * r->steps);
}

uint32_t request_images_at(const struct unstir_model *model,
                           const struct unstir_request *r, uint32_t step)
{
    if (!is_guided_at(model, r, step))
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
