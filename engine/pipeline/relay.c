/* relay.c - one picture by two models: a base begins, a refiner goes on.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/relay.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"
#include "pipeline/generation_inside.h"
#include "pipeline/micro.h"
#include "pipeline/request.h"

/* -- two requests of one --------------------------------------------------- */

/* What the base is asked.  A score of beauty is the refiner's if the base
 * knows none. */
static struct unstir_request base_of(const struct unstir_model *base,
                                     const struct unstir_model *refiner,
                                     const struct unstir_request *asked)
{
    struct unstir_request r = *asked;

    if (r.denoising_end == 0)
        r.denoising_end = RELAY_BORDER;
    if (!base->info.takes_aesthetic_score &&
        refiner->info.takes_aesthetic_score)
        r.aesthetic_score = r.negative_aesthetic_score = UNSTIR_UNSET_F;
    return r;
}

/* The refiner is not told target sizes where it reads a score instead, nor
 * anything where the network is not told at all. */
static void pass_micro(const struct unstir_model *refiner,
                       struct unstir_request *r)
{
    const struct unstir_model_info *info = &refiner->info;
    struct unstir_micro *sides[] = {&r->micro, &r->negative_micro};

    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        if (!info->takes_micro_conditioning)
            *sides[i] = (struct unstir_micro){0};
        if (info->takes_aesthetic_score)
            sides[i]->target_width = sides[i]->target_height = 0;
    }
    if (!info->takes_aesthetic_score)
        r->aesthetic_score = r->negative_aesthetic_score = UNSTIR_UNSET_F;
}

static void prefer_text(const char **value, const char *own)
{
    if (own)
        *value = own;
}

static void prefer_count(uint32_t *value, uint32_t own)
{
    if (own)
        *value = own;
}

static void prefer_real(double *value, double own)
{
    if (own != UNSTIR_UNSET_F)
        *value = own;
}

static void prefer_micro(struct unstir_micro *value,
                         const struct unstir_micro *own)
{
    if (!micro_is_empty(own))
        *value = *own;
}

/* Settings that are the refiner's alone. */
static void prefer(struct unstir_request *r, const struct unstir_request *own)
{
    prefer_text(&r->prompt, own->prompt);
    prefer_text(&r->negative_prompt, own->negative_prompt);
    prefer_text(&r->schedule, own->schedule);
    if (own->sampler) { /* which takes its schedule along */
        r->sampler = own->sampler;
        r->schedule = own->schedule;
    }
    prefer_count(&r->steps, own->steps);
    prefer_count(&r->clip_skip, own->clip_skip);
    prefer_count(&r->deep_cache, own->deep_cache);
    prefer_real(&r->eta, own->eta);
    prefer_real(&r->guidance, own->guidance);
    prefer_real(&r->guidance_rescale, own->guidance_rescale);
    prefer_real(&r->guidance_start, own->guidance_start);
    prefer_real(&r->guidance_end, own->guidance_end);
    prefer_real(&r->aesthetic_score, own->aesthetic_score);
    prefer_real(&r->negative_aesthetic_score, own->negative_aesthetic_score);
    prefer_micro(&r->micro, &own->micro);
    prefer_micro(&r->negative_micro, &own->negative_micro);
}

/* What the refiner is asked: the picture's size, border and mask are the base's,
 * it draws no first noise, and begins in latents. */
static struct unstir_request refiner_of(const struct unstir_refiner *refiner,
                                        const struct unstir_request *asked,
                                        const struct unstir_request *base)
{
    const struct unstir_model *m = refiner->model;
    struct unstir_request r = *asked;

    pass_micro(m, &r);
    if (!m->info.takes_deep_cache)
        r.deep_cache = 1;
    if (refiner->own)
        prefer(&r, refiner->own);
    r.width = base->width;
    r.height = base->height;
    r.init_image = NULL;
    r.mask = asked->mask ? &request_absent_picture : NULL;
    r.init_latents = &request_absent_latents;
    r.strength = r.image_guidance = UNSTIR_UNSET_F;
    r.variation_seed = 0;
    r.variation_strength = 0;
    r.denoising_start = base->denoising_end;
    r.denoising_end = 0;
    return r;
}

/* -- checks ---------------------------------------------------------------- */

/* Violations of the refiner's request, told as the refiner's. */
struct retold {
    const struct unstir_model *model;
    unstir_violation_fn report;
    void *user;
};

static void retell(void *user, const char *field, const char *detail,
                   const char *nearest)
{
    const struct retold *t = user;
    struct unstir_error e;

    (void)error_field(&e, "refiner", "%.60s: %.400s", t->model->info.id,
                      detail);
    (void)snprintf(e.field, sizeof e.field, "refiner.%.39s", field);
    t->report(t->user, e.field, e.detail, nearest);
}

static enum unstir_status fault(unstir_violation_fn report, void *user,
                                const char *field, const char *nearest,
                                const struct unstir_error *e,
                                struct unstir_error *err)
{
    if (report)
        report(user, field, e->detail, nearest);
    return error_field(err, field, "%s", e->detail);
}

/* Latents of the one must be latents of the other. */
static enum unstir_status check_pair(const struct unstir_model *base,
                                     const struct unstir_model *refiner,
                                     unstir_violation_fn report, void *user,
                                     struct unstir_error *err)
{
    const char *id = refiner->info.id;
    struct unstir_error e;

    if (!base->decoder || !refiner->decoder)
        (void)error_field(&e, "refiner",
                          "%.60s works on pixels: a refiner goes on with the "
                          "latents of a base, and both have an autoencoder",
                          base->decoder ? id : base->info.id);
    else if (base->sample_channels != refiner->sample_channels ||
             base->factor != refiner->factor)
        (void)error_field(
            &e, "refiner",
            "%.60s has latents of %u channels at 1/%u of the picture's edges, "
            "%.60s of %u at 1/%u",
            id, refiner->sample_channels, refiner->factor, base->info.id,
            base->sample_channels, base->factor);
    else
        return UNSTIR_OK;
    return fault(report, user, "refiner", NULL, &e, err);
}

static enum unstir_status check_border(const struct unstir_request *asked,
                                       unstir_violation_fn report, void *user,
                                       struct unstir_error *err)
{
    struct unstir_error e;

    if (asked->denoising_end < 1)
        return UNSTIR_OK;
    (void)error_field(&e, "denoising_end",
                      "denoising_end %g leaves nothing to the refiner: it must "
                      "be below 1, 0.8 if it is left out",
                      asked->denoising_end);
    return fault(report, user, "denoising_end", "0.8", &e, err);
}

enum unstir_status relay_check(const struct unstir_model *model,
                               const struct unstir_refiner *refiner,
                               const struct unstir_request *request,
                               struct unstir_request *resolved,
                               unstir_violation_fn report, void *user,
                               struct unstir_error *err)
{
    struct unstir_request base = base_of(model, refiner->model, request), next;
    struct retold told = {refiner->model, report, user};
    struct unstir_error why = {0};
    struct unstir_request both[2];

    TRY(check_pair(model, refiner->model, report, user, err));
    TRY(check_border(request, report, user, err));
    TRY(request_check(model, &base, &both[0], report, user, err));
    next = refiner_of(refiner, request, &both[0]);
    enum unstir_status st = request_check_untagged(
        refiner->model, &next, &both[1], report ? retell : NULL, &told, &why);
    if (st == UNSTIR_ERR_ARG) {
        (void)error_field(err, "refiner", "%.60s: %.380s",
                          refiner->model->info.id, why.detail);
        return st;
    }
    if (st) {
        if (err)
            *err = why;
        return st;
    }
    if (resolved)
        memcpy(resolved, both, sizeof both);
    return UNSTIR_OK;
}

/* -- the border ------------------------------------------------------------ */

enum unstir_status relay_join(struct unstir_generation *g,
                              const struct unstir_model *refiner,
                              const struct unstir_request *resolved,
                              struct unstir_error *err)
{
    struct relay *relay = &g->relay;
    struct unstir_request *r = &relay->request;
    const char *prompt = resolved->prompt, *away = resolved->negative_prompt;
    char *text;

    *r = *resolved;
    r->prompt = r->negative_prompt = NULL;
    relay->model = refiner;
    relay->n_steps = unstir_request_steps(refiner, resolved);
    if (prompt) {
        TRY(alloc_strdup(&text, prompt, err));
        r->prompt = text;
    }
    if (away) {
        TRY(alloc_strdup(&text, away, err));
        r->negative_prompt = text;
    }
    return UNSTIR_OK;
}

bool relay_is_ahead(const struct unstir_generation *g)
{
    return g->relay.model && !g->relay.base;
}

enum unstir_status relay_prepare(struct unstir_generation *g,
                                 const float *latents, struct unstir_error *err)
{
    const struct unstir_model *m = g->relay.model;
    struct unstir_request r = g->relay.request;
    struct unstir_latents start = {.n = 1,
                                   .channels = m->sample_channels,
                                   .height = r.height / m->factor,
                                   .width = r.width / m->factor,
                                   .values = (float *)latents};

    r.init_latents = latents ? &start : &request_absent_latents;
    TRY(generation_new(&g->relay.ready, m, &r, NULL, err));
    if (latents && r.mask) /* as made for latents of the same kind */
        start_take_mask(&g->relay.ready->start, &g->start, g->run.n);
    return UNSTIR_OK;
}

/* All that is of one model changes hands. */
static void swap_runs(struct unstir_generation *a, struct unstir_generation *b)
{
    unsigned char *x = (void *)a, *y = (void *)b;

    for (size_t i = 0; i < offsetof(struct unstir_generation, cancel); i++) {
        unsigned char kept = x[i];
        x[i] = y[i];
        y[i] = kept;
    }
}

/* The base's last estimate stays what the picture looks like, until the refiner
 * has one of its own. */
void relay_pass(struct unstir_generation *g)
{
    struct unstir_generation *base = g->relay.ready;

    memcpy(base->now.estimate, g->now.estimate, g->run.n * sizeof(float));
    base->times = g->times; /* go on being counted */
    swap_runs(g, base);
    g->relay.base = base;
    g->relay.ready = NULL;
}

enum unstir_status relay_restore(struct unstir_generation *g,
                                 const struct unstir_model *refiner,
                                 const struct unstir_request *resolved,
                                 bool has_begun, struct unstir_error *err)
{
    const struct unstir_request *base = &g->request;

    TRY(check_pair(g->model, refiner, NULL, NULL, err));
    if (resolved->width != base->width || resolved->height != base->height ||
        resolved->denoising_start != base->denoising_end)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the refiner does not begin where the base ends");
    TRY(relay_join(g, refiner, resolved, err));
    if (!has_begun)
        return UNSTIR_OK;
    TRY(relay_prepare(g, NULL, err));
    g->step = g->start.end;
    relay_pass(g);
    return UNSTIR_OK;
}

void relay_drop(struct unstir_generation *g)
{
    generation_free(g->relay.ready);
    g->relay.ready = NULL;
}

void relay_free(struct unstir_generation *g)
{
    relay_drop(g);
    generation_free(g->relay.base);
    alloc_free((char *)g->relay.request.prompt);
    alloc_free((char *)g->relay.request.negative_prompt);
}

/* -- both together --------------------------------------------------------- */

const struct unstir_generation *relay_first(const struct unstir_generation *g)
{
    return g->relay.base ? g->relay.base : g;
}

struct unstir_progress relay_progress(const struct unstir_generation *g)
{
    const struct start *s = &g->start;
    const struct unstir_generation *base = g->relay.base;
    uint32_t coming = g->step < s->end ? g->step : s->end - 1;
    uint32_t before = base ? base->start.end - base->start.first : 0;

    return (struct unstir_progress){
        .step = before + g->step - s->first,
        .steps = before + s->end - s->first +
                 (relay_is_ahead(g) ? g->relay.n_steps : 0),
        .timestep = sampler_timestep(&g->run, coming, 0),
    };
}
