/* generation_batch.c - one evaluation of the network for many generations.
 *
 *   gather    every member's input, step and condition -> one batch
 *   evaluate  the network, once
 *   scatter   its output -> guidance -> the member's sampler
 *
 * Members share what shapes the network's work (model, size, length of text,
 * layers run) and nothing else: each has its own sampler, step and guidance.
 * A member with guidance takes two or three places, the unguided one first.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"
#include "pipeline/effort.h"
#include "pipeline/generation_inside.h"
#include "pipeline/guidance.h"
#include "pipeline/request.h"

static size_t n_images(const struct unstir_generation *g)
{
    return request_images_at(g->model, &g->request, g->step);
}

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

static enum unstir_status reserve(float **array, size_t *floats, size_t wanted,
                                  struct unstir_error *err)
{

    if (wanted <= *floats)
        return UNSTIR_OK;
    alloc_free(*array);
    *array = NULL;
    *floats = 0;
    TRY(alloc_aligned(array, wanted, sizeof(float), err));
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
    if (eval >= start_n_evals(&g->start, &g->run, (uint32_t)step))
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

static bool fits_batch(const struct unstir_generation *a,
                       const struct unstir_generation *b)
{
    return a->model == b->model && a->request.width == b->request.width &&
           a->request.height == b->request.height &&
           a->text.n_tokens == b->text.n_tokens && mode_of(a) == mode_of(b);
}

enum unstir_status generation_round(struct unstir_generation *const *gens,
                                    size_t n, uint32_t eval,
                                    struct unstir_executor *x, bool *is_any,
                                    struct unstir_error *err)
{
    struct unstir_generation *members[GENERATION_MAX_BATCH];

    *is_any = false;
    for (size_t i = 0; i < n; i++)
        gens[i]->is_evaluated =
            eval >=
            start_n_evals(&gens[i]->start, &gens[i]->run, gens[i]->step);
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
