/* generation.c - a generation's beginning and end: the run planned, all memory
 * taken in one piece, the first noise drawn.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/generation.h"

#include "base/alloc.h"
#include "base/size.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation_inside.h"
#include "pipeline/latent.h"
#include "pipeline/relay.h"
#include "pipeline/request.h"

static float *cut(float **memory, size_t n)
{
    float *piece = *memory;
    *memory += n;
    return piece;
}

static enum unstir_status take_memory(struct unstir_generation *g,
                                      struct unstir_error *err)
{
    size_t n = g->run.n, n_history = g->run.sampler->n_history;
    size_t n_out = n * (g->model->has_learned_variance ? 2 : 1);
    size_t n_input = g->run.sampler->scale_input ? n : 0;
    size_t n_pictured = g->model->reads_picture ? n_out : 0;
    size_t total;

    /* two states, input, two or three outputs, noise */
    if (!size_mul(2 * (2 + n_history), n, &total) ||
        !size_add(total, n_input + 2 * n_out + n_pictured + n, &total))
        return error_set(err, UNSTIR_ERR_LIMIT, "the picture is too large");
    TRY(alloc_aligned(&g->memory, total, sizeof(float), err));
    float *p = g->memory;
    struct sampler_state *states[] = {&g->now, &g->next};
    for (size_t i = 0; i < 2; i++) {
        states[i]->sample = cut(&p, n);
        states[i]->estimate = cut(&p, n);
        states[i]->history = cut(&p, n_history * n);
    }
    g->input = cut(&p, n_input);
    g->output = cut(&p, n_out);
    g->unguided = cut(&p, n_out);
    g->pictured = cut(&p, n_pictured);
    g->noise = cut(&p, n);
    return UNSTIR_OK;
}

/* The shift of flow matching grows with the picture: linear in its tokens, of
 * 2 x 2 pixels of the sample each, as the reference's pipelines of such models
 * count. */
static double flow_mu(const struct schedule_config *c,
                      const struct unstir_request *r, uint32_t factor)
{
    double tokens = (double)(r->width / factor / 2) * (r->height / factor / 2);
    double slope = (c->max_shift - c->base_shift) /
                   ((double)c->max_seq - (double)c->base_seq);

    return c->max_seq == c->base_seq
               ? c->base_shift
               : c->base_shift + (tokens - c->base_seq) * slope;
}

static enum unstir_status copy_prompts(struct unstir_generation *g,
                                       struct unstir_error *err)
{
    struct unstir_request *r = &g->request;

    if (r->prompt)
        TRY(alloc_strdup(&g->prompt, r->prompt, err));
    if (r->negative_prompt)
        TRY(alloc_strdup(&g->negative_prompt, r->negative_prompt, err));
    r->prompt = g->prompt;
    r->negative_prompt = g->negative_prompt;
    return UNSTIR_OK;
}

struct sampler_run_options
generation_run_options(const struct unstir_model *m,
                       const struct unstir_request *r, const struct sampler *s,
                       const struct start *start)
{
    return (struct sampler_run_options){
        .n_steps = r->steps,
        .first = start_run_first(start),
        .share = start->share,
        .n = latent_floats(m, r->width, r->height),
        .eta = r->eta,
        .schedule = r->schedule ? sampler_schedule_find(r->schedule) : NULL,
        .mu = flow_mu(&m->samplers[sampler_index(s)].schedule.config, r,
                      m->factor),
        .has_learned_variance = m->has_learned_variance,
    };
}

static enum unstir_status begin(struct unstir_generation *g,
                                const struct unstir_generation *company,
                                struct unstir_error *err)
{
    const struct unstir_request *r = &g->request;
    const struct sampler *s = sampler_find(r->sampler);
    struct sampler_run_options o;

    TRY(start_plan(&g->start, g->model, r, s, err));
    o = generation_run_options(g->model, r, s, &g->start);
    TRY(copy_prompts(g, err));
    if (g->model->conditioner.n)
        TRY(conditioning_begin(&g->text, &g->model->conditioner, r, err));
    TRY(sampler_run_init(
        &g->run, s, &g->model->samplers[sampler_index(s)].schedule, &o, err));
    TRY(take_memory(g, err));
    TRY(deep_init(&g->deep, g->model, r, err));
    TRY(start_init(&g->start, g->model, r, g->run.n,
                   company ? &relay_first(company)->start : NULL, err));
    rng_seed(&g->now.rng, r->seed);
    start_sample(&g->start, &g->run, &g->now);
    g->step = g->start.first;
    if (g->request.init_image)
        g->request.init_image = &request_absent_picture;
    if (g->request.init_latents)
        g->request.init_latents = &request_absent_latents;
    if (g->request.mask)
        g->request.mask = &request_absent_picture;
    return UNSTIR_OK;
}

enum unstir_status generation_new(struct unstir_generation **out,
                                  const struct unstir_model *model,
                                  const struct unstir_request *resolved,
                                  const struct unstir_generation *company,
                                  struct unstir_error *err)
{
    void *memory;

    *out = NULL;
    TRY(alloc_zero(&memory, 1, sizeof **out, err));
    struct unstir_generation *g = memory;
    g->model = model;
    g->request = *resolved;
    enum unstir_status st = begin(g, company, err);
    if (st)
        generation_free(g);
    else
        *out = g;
    return st;
}

enum unstir_status generation_begin(struct unstir_generation **out,
                                    const struct unstir_model *model,
                                    const struct unstir_refiner *refiner,
                                    const struct unstir_request *request,
                                    const struct unstir_generation *company,
                                    struct unstir_error *err)
{
    struct unstir_request resolved[2];
    enum unstir_status st;

    *out = NULL;
    st = refiner
             ? relay_check(model, refiner, request, resolved, NULL, NULL, err)
             : request_check(model, request, resolved, NULL, NULL, err);
    if (!st)
        st = generation_new(out, model, &resolved[0], company, err);
    if (!st && refiner)
        st = relay_join(*out, refiner->model, &resolved[1], err);
    if (st) {
        generation_free(*out);
        *out = NULL;
    }
    return st;
}

void generation_free(struct unstir_generation *g)
{
    if (!g)
        return;
    relay_free(g);
    start_fini(&g->start);
    deep_fini(&g->deep);
    sampler_run_fini(&g->run);
    conditioning_fini(&g->text);
    alloc_free(g->prompt);
    alloc_free(g->negative_prompt);
    alloc_free(g->decoded);
    alloc_free(g->memory);
    alloc_free(g);
}

enum unstir_status generation_json(const struct unstir_generation *g,
                                   char **json, struct unstir_error *err)
{
    const struct unstir_generation *first = relay_first(g);
    const struct unstir_refiner refiner = {g->relay.model, &g->relay.request};

    return request_write(first->model, &first->request, &first->start,
                         refiner.model ? &refiner : NULL, json, err);
}

bool generation_is_done(const struct unstir_generation *g)
{
    return g->is_early || (g->step == g->start.end && !relay_is_ahead(g));
}

size_t generation_floats(const struct unstir_generation *g)
{
    return g->run.n;
}

const float *generation_state_result(const struct unstir_generation *g,
                                     const struct sampler_state *state)
{
    bool is_estimate = g->is_early || g->run.sampler->is_result_estimate;

    return is_estimate ? state->estimate : state->sample;
}
