/* chain.c - the figure of 2015: a set made by rule on its way to noise, and
 * what the network makes on the way back.
 *
 * Sohl-Dickstein et al. (arXiv:1503.03585, figure 1) draw points of a spiral at
 * the start, the middle and the end of the forward chain, and below them the
 * learned chain from noise back.  The same here at five times, for pictures of
 * two pixels, which are points, and for rows of bits.
 *
 * The way back is that of the model folder just written, sampled as it would
 * be by anybody; where the chain is Gaussian by `ddpm`, its own steps back.
 * Samples of exploding variance are shown at the scale of pictures, as previews
 * are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "pipeline/generation.h"

#define POINTS    640u
#define ROWS      21u  /* as many as a panel shows                            */
#define MAX_STEPS 500u /* of 640 points: five seconds of one core            */
#define STREAM    6u /* of trainer_seed()                                    */

bool trainer_has_chain(const struct unstir_trainer *t)
{
    return t->data.height == 1 && t->data.channels == 1 &&
           (t->data.width == 2 || t->data.width <= PLOT_MAX_BITS);
}

static uint32_t shown(const struct unstir_trainer *t)
{
    uint32_t n = t->data.width == 2 ? POINTS : ROWS;
    return n < t->data.n ? n : t->data.n;
}

/* -- forward ------------------------------------------------------------- */

static void noise_picture(const struct unstir_trainer *t, uint32_t step,
                          uint32_t i, float *x)
{
    const struct unstir_train_options *o = &t->options;
    size_t m = t->data.width;
    float *noise = t->noise;
    struct rng rng;
    rng_seed(&rng, trainer_seed(t, STREAM, i));
    if (t->objective == OBJECTIVE_ORIGIN_BITS) {
        rng_fill_uniform_f32(&rng, noise, m);
        objective_apply_bits(o->n_timesteps, step, x, noise, m, x, noise);
        return;
    }
    rng_normal_f32(&rng, noise, m);
    if (t->objective != OBJECTIVE_SCORE) {
        objective_apply(t->objective, &t->schedule, step, x, noise, m, x,
                        noise);
        return;
    }
    double sigma =
        objective_sigma(o->sigma_min, o->sigma_max, o->n_timesteps, step);
    objective_apply_score(sigma, x, noise, m, x, noise);
    for (size_t k = 0; k < m; k++)
        x[k] = (2 * x[k] - 1) / sqrtf((float)(sigma * sigma) + 1);
}

/* Step of the chain at panel k, -1 being the picture.  By squares: what is
 * worth seeing is soon lost. */
static int64_t step_at(uint32_t n, size_t k)
{
    size_t last = PLOT_PANELS - 1;
    return (int64_t)(n * k * k / (last * last)) - 1;
}

static void go_forward(const struct unstir_trainer *t, struct plot_chain *c)
{
    for (size_t k = 0; k < PLOT_PANELS; k++) {
        int64_t step = step_at(t->options.n_timesteps, k);
        c->forward_step[k] = (uint32_t)(step + 1);
        for (uint32_t i = 0; i < c->n; i++) {
            float *x = c->forward[k] + i * c->m;
            dataset_picture(&t->data, i, 0, x);
            if (step >= 0)
                noise_picture(t, (uint32_t)step, i, x);
        }
    }
}

/* -- back ------------------------------------------------------------------ */

static void keep_sample(const struct unstir_generation *g, float *out)
{
    bool is_unit = g->run.sampler->is_unit_range;
    bool is_done = g->step == g->run.n_steps;
    const float *x = is_done && g->run.sampler->is_result_estimate
                         ? g->now.estimate
                         : g->now.sample;
    float scale = sampler_view_scale(&g->run, g->step);
    for (size_t i = 0; i < g->run.n; i++)
        out[i] = (is_unit ? 2 * x[i] - 1 : x[i]) * scale;
    if (g->run.sampler == &sampler_binomial) /* begins with signs of normals */
        for (size_t i = 0; i < g->run.n; i++)
            out[i] = out[i] > 0 ? 1 : -1;
}

static uint32_t steps_back(const struct unstir_trainer *t)
{
    uint32_t n = t->options.n_timesteps;
    return n < MAX_STEPS ? n : MAX_STEPS;
}

/* `n` generations side by side from noise, numbers `at` and on. */
static enum unstir_status walk(struct plot_chain *c, size_t at, size_t n,
                               struct unstir_generation **gens,
                               struct unstir_executor *exec,
                               struct unstir_error *err)
{
    uint32_t steps = gens[0]->run.n_steps;
    for (uint32_t step = 0; step <= steps; step++) {
        for (size_t k = 0; k < PLOT_PANELS; k++)
            if ((int64_t)steps - step == step_at(steps, k) + 1)
                for (size_t i = 0; i < n; i++)
                    keep_sample(gens[i], c->back[k] + (at + i) * c->m);
        if (step < steps)
            TRY(generation_step(gens, n, exec, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status walk_some(const struct unstir_trainer *t,
                                    const struct unstir_model *model,
                                    struct unstir_executor *exec,
                                    struct plot_chain *c, size_t at, size_t n,
                                    struct unstir_error *err)
{
    struct unstir_generation *gens[GENERATION_MAX_BATCH] = {NULL};
    struct unstir_request request = UNSTIR_REQUEST_INIT;
    enum unstir_status status = UNSTIR_OK;
    request.steps = steps_back(t);
    if (t->objective != OBJECTIVE_SCORE &&
        t->objective != OBJECTIVE_ORIGIN_BITS)
        request.sampler = "ddpm";
    for (size_t i = 0; status == UNSTIR_OK && i < n; i++) {
        request.seed = at + i;
        status = generation_begin(&gens[i], model, NULL, &request, NULL, err);
    }
    if (status == UNSTIR_OK)
        status = walk(c, at, n, gens, exec, err);
    for (size_t i = 0; i < n; i++)
        generation_free(gens[i]);
    return status;
}

enum unstir_status trainer_plot_chain(struct unstir_trainer *t,
                                      const struct unstir_model *model,
                                      struct unstir_executor *exec,
                                      struct unstir_image *out,
                                      struct unstir_error *err)
{
    struct plot_chain c = {.n = shown(t), .m = t->data.width};
    enum unstir_status status = UNSTIR_OK;
    float *memory;
    TRY(alloc_zero(&memory, 2 * PLOT_PANELS * c.n * c.m, sizeof *memory, err));
    for (size_t k = 0; k < PLOT_PANELS; k++) {
        c.forward[k] = memory + k * c.n * c.m;
        c.back[k] = memory + (PLOT_PANELS + k) * c.n * c.m;
    }
    go_forward(t, &c);
    for (size_t k = 0; k < PLOT_PANELS; k++) /* in steps of the way there */
        c.back_step[k] = (uint32_t)((uint64_t)(step_at(steps_back(t), k) + 1) *
                                    t->options.n_timesteps / steps_back(t));
    for (size_t at = 0; status == UNSTIR_OK && at < c.n;
         at += GENERATION_MAX_BATCH) {
        size_t left = c.n - at;
        status = walk_some(
            t, model, exec, &c, at,
            left < GENERATION_MAX_BATCH ? left : GENERATION_MAX_BATCH, err);
    }
    if (status == UNSTIR_OK)
        status = plot_chain(out, &c, err);
    alloc_free(memory);
    return status;
}
