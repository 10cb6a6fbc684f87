/* generation.c - begin and step.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/generation.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/size.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"
#include "pipeline/effort.h"
#include "pipeline/guidance.h"
#include "pipeline/latent.h"
#include "pipeline/picture.h"
#include "pipeline/request.h"

/* -- begin ------------------------------------------------------------------ */

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
    void *memory;

    /* two states, input, two or three outputs, noise */
    if (!size_mul(2 * (2 + n_history), n, &total) ||
        !size_add(total, n_input + 2 * n_out + n_pictured + n, &total))
        return error_set(err, UNSTIR_ERR_LIMIT, "the picture is too large");
    TRY(alloc_aligned(&memory, total, sizeof(float), err));
    g->memory = memory;
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
        .first = start->first,
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

    start_plan(&g->start, g->model, r, s);
    o = generation_run_options(g->model, r, s, &g->start);
    TRY(copy_prompts(g, err));
    if (g->model->conditioner.n)
        TRY(conditioning_begin(&g->text, &g->model->conditioner, r, err));
    TRY(sampler_run_init(
        &g->run, s, &g->model->samplers[sampler_index(s)].schedule, &o, err));
    TRY(take_memory(g, err));
    TRY(deep_init(&g->deep, g->model, r, err));
    TRY(start_init(&g->start, g->model, r, g->run.n,
                   company ? &company->start : NULL, err));
    rng_seed(&g->now.rng, r->seed);
    start_sample(&g->start, &g->run, &g->now);
    g->step = g->start.first;
    if (g->request.init_image)
        g->request.init_image = &request_absent_picture;
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
                                    const struct unstir_request *request,
                                    const struct unstir_generation *company,
                                    struct unstir_error *err)
{
    struct unstir_request resolved;

    *out = NULL;
    TRY(request_check(model, request, &resolved, NULL, NULL, err));
    return generation_new(out, model, &resolved, company, err);
}

void generation_free(struct unstir_generation *g)
{
    if (!g)
        return;
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

/* -- one evaluation of a batch ---------------------------------------------- */

/* Planes to pixels and back: [c][hw] <-> [hw][c]. */
static void to_nhwc(float *dst, size_t width, const float *src, size_t c,
                    size_t hw)
{
    for (size_t k = 0; k < c; k++)
        for (size_t i = 0; i < hw; i++)
            dst[i * width + k] = src[k * hw + i];
}

static void to_nchw(float *dst, const float *src, size_t c, size_t hw)
{
    for (size_t k = 0; k < c; k++)
        for (size_t i = 0; i < hw; i++)
            dst[k * hw + i] = src[i * c + k];
}

static size_t n_images(const struct unstir_generation *g)
{
    return request_images_at(g->model, &g->request, g->step);
}

static enum unstir_status reserve(float **array, size_t *floats, size_t wanted,
                                  struct unstir_error *err)
{
    void *memory;

    if (wanted <= *floats)
        return UNSTIR_OK;
    alloc_free(*array);
    *array = NULL;
    *floats = 0;
    TRY(alloc_aligned(&memory, wanted, sizeof(float), err));
    *array = memory;
    *floats = wanted;
    return UNSTIR_OK;
}

/* What picture i of a generation is labelled with: with guidance the first
 * one is the null class. */
static float label_of(const struct unstir_generation *g, size_t i)
{
    int64_t class_id = g->request.class_id;
    bool is_null = class_id < 0 || i + 1 < n_images(g);

    return (float)(is_null ? g->model->info.null_class : class_id);
}

/* With guidance the first picture is led away from what is not wanted. */
static enum conditioning_side side_of(const struct unstir_generation *g,
                                      size_t i)
{
    return i + 1 < n_images(g) ? CONDITIONING_AWAY : CONDITIONING_TOWARD;
}

/* Channels that the network reads. */
static size_t n_inputs(const struct unstir_model *m)
{
    return network_info(m->net)->in_channels;
}

static enum deep_mode mode_of(const struct unstir_generation *g)
{
    return deep_mode_at(&g->deep, g->step - g->start.first, n_images(g));
}

/* What picture i of a generation has beside the sample. */
static void put_beside(const struct unstir_generation *g, size_t i, float *dst,
                       size_t width, size_t hw)
{
    const struct start *s = &g->start;
    size_t channels = g->model->sample_channels;

    if (s->masked) {
        to_nhwc(dst, width, s->mask, 1, hw);
        to_nhwc(dst + 1, width, s->masked, channels, hw);
    } else if (s->is_edit && i + 2 < n_images(g)) {
        for (size_t k = 0; k < hw; k++)
            memset(dst + k * width, 0, channels * sizeof *dst);
    } else if (s->is_edit) {
        to_nhwc(dst, width, s->known, channels, hw);
    }
}

/* Write the network's input of one generation at place `at` of the batch. */
static size_t gather(struct unstir_generation *g, uint32_t eval,
                     struct unstir_executor *x, size_t at)
{
    size_t channels = g->model->sample_channels;
    size_t hw = g->run.n / channels, width = n_inputs(g->model), n = hw * width;
    const float *input =
        sampler_scale_input(&g->run, g->step, eval, g->next.sample, g->input);
    float t = (float)sampler_timestep(&g->run, g->step, eval);

    for (size_t i = 0; i < n_images(g); i++, at++) {
        to_nhwc(x->sample + at * n, width, input, channels, hw);
        put_beside(g, i, x->sample + at * n + channels, width, hw);
        x->timestep[at] = t;
        x->label[at] = label_of(g, i);
        if (mode_of(g) == DEEP_SHALLOW)
            deep_give(&g->deep, i, n_images(g), x->deep + at * g->deep.floats);
        if (g->text.conditioner)
            conditioning_batch_put(&x->text, at, &g->text, side_of(g, i));
    }
    return at;
}

static void guide(struct unstir_generation *g, size_t n)
{
    float share = (float)g->request.guidance_rescale;
    float wanted = share > 0 ? guidance_deviation(g->output, n) : 0;

    float scale = (float)g->request.guidance;

    if (g->model->reads_picture)
        guidance_combine_two(g->output, g->unguided, g->pictured, g->output,
                             scale, (float)g->request.image_guidance, n);
    else
        guidance_combine(g->output, g->unguided, g->output, scale, n);
    if (share > 0)
        guidance_rescale(g->output, wanted, share, n);
}

/* Read the network's output, apply guidance, let the sampler go on. */
static size_t scatter(struct unstir_generation *g, uint32_t eval,
                      struct unstir_executor *x, size_t at)
{
    uint32_t channels = g->model->sample_channels;
    uint32_t out_channels = channels << g->model->has_learned_variance;
    size_t n = g->run.n, hw = n / channels, n_out = hw * out_channels;

    for (size_t i = 0; mode_of(g) == DEEP_WHOLE && i < n_images(g); i++)
        deep_take(&g->deep, i, n_images(g),
                  x->deep + (at + i) * g->deep.floats);
    if (n_images(g) > 1)
        to_nchw(g->unguided, x->out + at++ * n_out, out_channels, hw);
    if (n_images(g) > 2)
        to_nchw(g->pictured, x->out + at++ * n_out, out_channels, hw);
    to_nchw(g->output, x->out + at++ * n_out, out_channels, hw);
    if (n_images(g) > 1)
        guide(g, n);
    struct sampler_io io = {
        .output = g->output,
        .variance = g->model->has_learned_variance ? g->output + n : NULL,
        .noise = g->noise,
    };
    g->times.evaluations += effort_of(g->model, mode_of(g), n_images(g));
    sampler_advance(&g->run, g->step, eval, &io, &g->next);
    start_keep(&g->start, &g->run, g->step, eval, g->noise, &g->next);
    g->is_evaluated = true;
    return at;
}

static enum unstir_status check_finite(const struct unstir_generation *g,
                                       struct unstir_error *err)
{
    for (size_t i = 0; i < g->run.n; i++)
        if (!isfinite(g->next.sample[i]) || !isfinite(g->next.estimate[i]))
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "numbers ran away in step %u of %u: the sampler's "
                             "settings do not suit this network, or its "
                             "weights are damaged",
                             g->step + 1 - g->start.first,
                             g->start.end - g->start.first);
    return UNSTIR_OK;
}

/* The rest of all schedules of a batch, for network_io.ahead: step by step,
 * in each two evaluations at most, in each every picture. */
struct ahead {
    struct unstir_generation *const *members;
    size_t images;
    uint32_t steps; /* of the member that has most left                      */
};

static uint32_t longest(struct unstir_generation *const *members, size_t n)
{
    uint32_t steps = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t left = members[i]->start.end - members[i]->step;
        steps = left > steps ? left : steps;
    }
    return steps;
}

static bool ahead_at(const void *arg, size_t k, float *timestep, float *label)
{
    const struct ahead *a = arg;
    size_t i = k % a->images;
    uint32_t eval = (uint32_t)(k / a->images % 2);
    uint64_t later = k / a->images / 2;
    const struct unstir_generation *g;
    uint64_t step;
    size_t m = 0;

    if (later >= a->steps)
        return false;
    for (; i >= n_images(a->members[m]); m++)
        i -= n_images(a->members[m]);
    g = a->members[m];
    step = g->step + later;
    if (step >= g->start.end) /* ends earlier than another member */
        step = g->start.end - 1;
    if (eval >= sampler_n_evals(&g->run, (uint32_t)step))
        eval = 0;
    *timestep = (float)sampler_timestep(&g->run, (uint32_t)step, eval);
    if (network_info(g->model->net)->has_class_input)
        *label = label_of(g, i);
    return true;
}

static enum unstir_status eval_batch(struct unstir_generation *const *members,
                                     size_t n, size_t images, uint32_t eval,
                                     struct unstir_executor *x,
                                     const struct cancel *cancel,
                                     struct unstir_error *err)
{
    const struct unstir_generation *first = members[0];
    const struct unstir_model *m = first->model;
    size_t floats = first->run.n, at = 0;

    size_t inputs = floats / m->sample_channels * n_inputs(m);
    TRY(reserve(&x->sample, &x->sample_floats, images * inputs, err));
    TRY(reserve(&x->out, &x->out_floats,
                images * (floats << m->has_learned_variance), err));
    TRY(reserve(&x->deep, &x->deep_floats, images * first->deep.floats, err));
    if (first->text.conditioner)
        TRY(conditioning_batch_reserve(&x->text, &first->text, images, err));
    for (size_t i = 0; i < n; i++)
        at = gather(members[i], eval, x, at);
    struct ahead ahead = {members, images, longest(members, n)};
    struct network_io io = {
        .n = (uint32_t)images,
        .h = first->request.height / m->factor,
        .w = first->request.width / m->factor,
        .sample = x->sample,
        .timestep = x->timestep,
        .label = network_info(m->net)->has_class_input ? x->label : NULL,
        .out = x->out,
        .deep = mode_of(first) == DEEP_OFF ? NULL : x->deep,
        .is_shallow = mode_of(first) == DEEP_SHALLOW,
        .ahead = ahead_at,
        .ahead_arg = &ahead,
    };
    if (first->text.conditioner)
        conditioning_batch_give(&x->text, &first->text, &io);
    TRY(network_eval(m->net, x->inner, &io, cancel, err));
    at = 0;
    for (size_t i = 0; i < n; i++)
        at = scatter(members[i], eval, x, at);
    for (size_t i = 0; i < n; i++)
        TRY(check_finite(members[i], err));
    return UNSTIR_OK;
}

/* -- step ------------------------------------------------------------------- */

static bool fits_batch(const struct unstir_generation *a,
                       const struct unstir_generation *b)
{
    return a->model == b->model && a->request.width == b->request.width &&
           a->request.height == b->request.height &&
           a->text.n_tokens == b->text.n_tokens && mode_of(a) == mode_of(b);
}

/* The eval-th evaluation of every generation that has one, in batches of those
 * that share model, size, length of text and layers to be evaluated. */
static enum unstir_status eval_round(struct unstir_generation *const *gens,
                                     size_t n, uint32_t eval,
                                     struct unstir_executor *x, bool *is_any,
                                     struct unstir_error *err)
{
    struct unstir_generation *members[GENERATION_MAX_BATCH];

    *is_any = false;
    for (size_t i = 0; i < n; i++)
        gens[i]->is_evaluated =
            eval >= sampler_n_evals(&gens[i]->run, gens[i]->step);
    for (size_t i = 0; i < n; i++) {
        size_t n_members = 0, images = 0;
        if (gens[i]->is_evaluated)
            continue;
        for (size_t k = i; k < n; k++) {
            struct unstir_generation *g = gens[k];
            if (g->is_evaluated || !fits_batch(g, gens[i]) ||
                images + n_images(g) > GENERATION_MAX_BATCH)
                continue;
            members[n_members++] = g;
            images += n_images(g);
        }
        *is_any = true;
        TRY(eval_batch(members, n_members, images, eval, x, &gens[0]->cancel,
                       err));
    }
    return UNSTIR_OK;
}

static void state_copy(struct sampler_state *dst,
                       const struct sampler_state *src, size_t n,
                       size_t n_history)
{
    memcpy(dst->sample, src->sample, n * sizeof(float));
    memcpy(dst->estimate, src->estimate, n * sizeof(float));
    memcpy(dst->history, src->history, n_history * n * sizeof(float));
    dst->n_held = src->n_held;
    dst->rng = src->rng;
}

static void prepare(struct unstir_generation *const *gens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct unstir_generation *g = gens[i];
        state_copy(&g->next, &g->now, g->run.n, g->run.sampler->n_history);
        deep_begin(&g->deep);
        g->cancel.next = i + 1 < n ? &gens[i + 1]->cancel : NULL;
    }
}

static void commit(struct unstir_generation *g)
{
    struct sampler_state done = g->next;

    g->next = g->now;
    g->now = done;
    deep_commit(&g->deep);
    g->step++;
}

static enum unstir_status check_members(struct unstir_generation *const *gens,
                                        size_t n, struct unstir_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (generation_is_done(gens[i]))
            return error_set(err, UNSTIR_ERR_ARG,
                             "the picture is finished after %u steps",
                             gens[i]->step - gens[i]->start.first);
        for (size_t k = 0; k < i; k++)
            if (gens[k] == gens[i])
                return error_set(err, UNSTIR_ERR_ARG,
                                 "a generation stands twice in a batch");
    }
    return UNSTIR_OK;
}

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static const float *result_of(const struct unstir_generation *g,
                              const struct sampler_state *state)
{
    bool is_estimate = g->is_early || g->run.sampler->is_result_estimate;

    return is_estimate ? state->estimate : state->sample;
}

/* Under low memory the pages of the model's files that one part has read need
 * not stay beside those of the next: the system has them, if it has room. */
static void turn_page(const struct unstir_model *m)
{
    if (m->is_frugal)
        checkpoint_source_forget(&m->source);
}

/* The picture of what the last step made; it is a part of that step. */
static enum unstir_status decode_last(struct unstir_generation *g,
                                      struct unstir_executor *x,
                                      const struct cancel *cancel,
                                      struct unstir_error *err)
{
    uint32_t width = g->request.width, height = g->request.height;
    void *p;

    if (!g->model->decoder)
        return UNSTIR_OK;
    if (!g->decoded) {
        TRY(alloc_aligned(&p, latent_picture_floats(g->model, width, height),
                          sizeof(float), err));
        g->decoded = p;
    }
    double start = now_ms();
    turn_page(g->model);
    TRY(latent_decode(g->model, x->inner, result_of(g, &g->next), width, height,
                      g->decoded, cancel, err));
    g->times.decode_ms += now_ms() - start;
    return UNSTIR_OK;
}

static enum unstir_status encode_texts(struct unstir_generation *const *gens,
                                       size_t n, struct unstir_executor *x,
                                       struct unstir_error *err)
{
    struct pool *pool = executor_pool(x->inner);

    for (size_t i = 0; i < n; i++) {
        bool is_first = !gens[i]->text.memory;
        double start = now_ms();

        TRY(conditioning_encode(&gens[i]->text, pool, &gens[0]->cancel, err));
        if (is_first && gens[i]->text.memory)
            turn_page(gens[i]->model);
        gens[i]->times.text_ms += now_ms() - start;
    }
    return UNSTIR_OK;
}

/* Before the states are copied: what comes of it stays, whatever comes of the
 * step. */
static enum unstir_status encode_pictures(struct unstir_generation *const *gens,
                                          size_t n, struct unstir_executor *x,
                                          struct unstir_error *err)
{
    for (size_t i = 0; i < n; i++)
        TRY(start_encode(&gens[i]->start, gens[i]->model, &gens[i]->request,
                         &gens[i]->run, &gens[i]->now, x->inner,
                         &gens[0]->cancel, err));
    return UNSTIR_OK;
}

enum unstir_status generation_step(struct unstir_generation *const *gens,
                                   size_t n, struct unstir_executor *x,
                                   struct unstir_error *err)
{
    enum unstir_status st;
    bool is_any = true;

    TRY(check_members(gens, n, err));
    if (n == 0)
        return UNSTIR_OK;
    TRY(encode_pictures(gens, n, x, err));
    prepare(gens, n);
    st = encode_texts(gens, n, x, err);
    for (uint32_t eval = 0; is_any && !st; eval++) {
        if (cancel_is_raised(&gens[0]->cancel))
            st = error_set(err, UNSTIR_ERR_CANCELLED, "cancelled");
        else
            st = eval_round(gens, n, eval, x, &is_any, err);
    }
    for (size_t i = 0; i < n && !st; i++)
        if (gens[i]->step + 1 == gens[i]->start.end)
            st = decode_last(gens[i], x, &gens[0]->cancel, err);
    for (size_t i = 0; i < n; i++) {
        gens[i]->cancel.next = NULL;
        if (!st)
            commit(gens[i]);
    }
    return st;
}

/* -- views ------------------------------------------------------------------ */

bool generation_is_done(const struct unstir_generation *g)
{
    return g->is_early || g->step == g->start.end;
}

size_t generation_floats(const struct unstir_generation *g)
{
    return g->run.n;
}

/* x * scale at the range of pictures; samplers of unit range keep 0 .. 1. */
static void to_range(const struct unstir_generation *g, const float *x,
                     float scale, float *out)
{
    bool is_unit = g->run.sampler->is_unit_range;

    for (size_t i = 0; i < g->run.n; i++)
        out[i] = (is_unit ? 2 * x[i] - 1 : x[i]) * scale;
}

/* By the model's decoder or the tiny one; x NULL: with a thread of its own. */
static enum unstir_status decode_view(const struct unstir_generation *g,
                                      bool is_tiny, struct executor *x,
                                      const float *sample, float *planes,
                                      struct unstir_error *err)
{
    const struct unstir_model *m = g->model;
    bool is_other = is_tiny && m->tiny.net;
    struct executor *own = NULL;
    enum unstir_status st;

    if (!x)
        TRY(executor_new(&own, 1, 0, 0, err));
    st =
        latent_decode_by(m, is_other ? m->tiny.net : m->decoder,
                         is_other ? &m->tiny.scaling : &m->scaling, x ? x : own,
                         sample, g->request.width, g->request.height, planes,
                         x ? &g->cancel : NULL, err);
    executor_free(own);
    return st;
}

static enum unstir_status
paint(const struct unstir_generation *g, const float *x, float scale,
      enum unstir_preview_decoder decoder, struct executor *executor,
      struct unstir_image *image, struct unstir_error *err)
{
    const struct unstir_request *r = &g->request;
    size_t n = latent_picture_floats(g->model, r->width, r->height);
    enum unstir_status st = UNSTIR_OK;
    void *memory;

    TRY(alloc_aligned(&memory, g->run.n + n, sizeof(float), err));
    float *ranged = memory, *planes = ranged + g->run.n;
    to_range(g, x, scale, ranged);
    if (decoder != UNSTIR_PREVIEW_MATRIX && g->model->decoder)
        st = decode_view(g, decoder == UNSTIR_PREVIEW_TINY, executor, ranged,
                         planes, err);
    else
        latent_sketch(g->model, ranged, r->width, r->height, planes);
    if (!st)
        st = picture_from_planes(image, planes, r->width, r->height,
                                 g->model->info.channels, err);
    alloc_free(memory);
    return st;
}

/* What the last step has decoded already. */
static bool is_result(const struct unstir_generation *g, const float *x)
{
    return g->decoded && g->step == g->start.end && !g->is_early &&
           memcmp(x, result_of(g, &g->now), g->run.n * sizeof *x) == 0;
}

enum unstir_status
generation_view(const struct unstir_generation *g, enum unstir_view view,
                enum unstir_preview_decoder decoder, struct executor *x,
                struct unstir_image *image, struct unstir_error *err)
{
    bool is_estimate = view == UNSTIR_VIEW_ESTIMATE;
    const float *from = is_estimate ? g->now.estimate : g->now.sample;
    float scale = is_estimate ? 1 : sampler_view_scale(&g->run, g->step);

    if (decoder == UNSTIR_PREVIEW_TINY && g->model->decoder &&
        !g->model->info.has_tiny_decoder)
        return error_field(err, "preview.decoder",
                           "%s has no tiny decoder: it wants a folder with an "
                           "AutoencoderTiny, vae_tiny beside its parts or one "
                           "that is named when it is opened",
                           g->model->info.id);
    if (decoder == UNSTIR_PREVIEW_FULL && is_result(g, from))
        return generation_result(g, image, err);
    return paint(g, from, scale, decoder, x, image, err);
}

const float *generation_result_sample(const struct unstir_generation *g)
{
    return result_of(g, &g->now);
}

/* What the last step decoded; NULL if the picture is of another one. */
static const float *decoded_result(const struct unstir_generation *g)
{
    return g->is_early || g->step != g->start.end ? NULL : g->decoded;
}

enum unstir_status generation_planes(const struct unstir_generation *g,
                                     float **planes, size_t *n_floats,
                                     struct unstir_error *err)
{
    const float *x = result_of(g, &g->now), *decoded = decoded_result(g);
    enum unstir_status st = UNSTIR_OK;
    size_t n =
        latent_picture_floats(g->model, g->request.width, g->request.height);
    void *memory;

    TRY(alloc_aligned(&memory, n, sizeof **planes, err));
    if (decoded || !g->model->decoder)
        memcpy(memory, decoded ? decoded : x, n * sizeof **planes);
    else
        st = decode_view(g, false, NULL, x, memory, err);
    if (st) {
        alloc_free(memory);
        return st;
    }
    *planes = memory;
    *n_floats = n;
    return UNSTIR_OK;
}

enum unstir_status generation_result(const struct unstir_generation *g,
                                     struct unstir_image *image,
                                     struct unstir_error *err)
{
    const float *decoded = decoded_result(g);

    if (decoded)
        return picture_from_planes(image, decoded, g->request.width,
                                   g->request.height, g->model->info.channels,
                                   err);
    return paint(g, result_of(g, &g->now), 1, UNSTIR_PREVIEW_FULL, NULL, image,
                 err);
}
