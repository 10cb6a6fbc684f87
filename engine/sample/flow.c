/* flow.c - Euler's method for networks that predict a flow.
 *
 * The sample is (1 - sigma) x0 + sigma z, the network predicts z - x0.  Levels
 * are shifted towards noise.  Pitfall: the constructor's ends are shifted
 * already, and the list between them is shifted again, as in the reference.
 *
 * Sources.  Lipman et al., arXiv:2210.02747; Esser et al., arXiv:2403.03206
 * (shift); diffusers 0.42.1, FlowMatchEulerDiscreteScheduler.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "base/alloc.h"
#include "sample/sampler.h"
#include "sample/sigmas.h"

/* An end of the training levels: t of T, in f32. */
static double end_of(const struct schedule_config *c, uint32_t t)
{
    float sigma = (float)t / (float)c->n_timesteps;
    float shift = (float)c->flow_shift;

    if (!c->is_shift_dynamic)
        sigma = shift * sigma / (1 + (shift - 1) * sigma);
    return (double)sigma;
}

static double shifted(const struct sampler_run *run, double sigma)
{
    const struct schedule_config *c = &run->schedule->config;

    if (!c->is_shift_dynamic)
        return c->flow_shift * sigma / (1 + (c->flow_shift - 1) * sigma);
    double m = c->is_shift_linear ? run->mu : exp(run->mu);
    return m / (m + (1 / sigma - 1));
}

static void level(struct sampler_run *run, double *levels)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t n = run->n_steps;
    double most = end_of(c, c->n_timesteps) * c->n_timesteps;
    double least = end_of(c, 1) * c->n_timesteps;

    for (uint32_t i = 0; i < n; i++)
        levels[i] =
            shifted(run, sigmas_linspace(most, least, n, i) / c->n_timesteps);
    if (!isnan(c->shift_terminal)) {
        double scale = (1 - levels[n - 1]) / (1 - c->shift_terminal);
        for (uint32_t i = 0; i < n; i++)
            levels[i] = 1 - (1 - levels[i]) / scale;
    }
    most = levels[0];
    least = levels[n - 1];
    if (run->sigma_kind == SIGMAS_KARRAS)
        sigmas_karras(levels, n, most, least, 7);
    else if (run->sigma_kind == SIGMAS_EXPONENTIAL)
        sigmas_exponential(levels, n, most, least);
    else if (run->sigma_kind == SIGMAS_BETA)
        sigmas_beta(levels, n, most, least);
}

static enum unstir_status flow_prepare(struct sampler_run *run,
                                       struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t n = run->n_steps;
    void *levels;

    TRY(alloc_zero(&levels, n, sizeof(double), err));
    level(run, levels);
    for (uint32_t i = 0; i < n; i++) {
        run->sigmas[i] = (float)((double *)levels)[i];
        if (c->is_flow_inverted)
            run->sigmas[i] = 1 - run->sigmas[i];
        run->times[i] = run->sigmas[i] * (float)c->n_timesteps;
    }
    alloc_free(levels);
    run->sigmas[n] = c->is_flow_inverted ? 1 : 0;
    return UNSTIR_OK;
}

static enum unstir_status flow_check(const struct sampler_run *run,
                                     struct unstir_error *err)
{
    return run->schedule->config.is_flow_inverted
               ? UNSTIR_OK
               : sampler_check_levels(run, err);
}

static void flow_advance(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const struct sampler_io *io,
                         struct sampler_state *state)
{
    float sigma = run->sigmas[step], next = run->sigmas[step + 1];
    float dt = next - sigma, *x = state->sample;

    (void)eval;
    for (size_t i = 0; i < run->n; i++)
        state->estimate[i] = x[i] - sigma * io->output[i];
    if (!run->schedule->config.is_flow_stochastic) {
        for (size_t i = 0; i < run->n; i++)
            x[i] = x[i] + dt * io->output[i];
        return;
    }
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] = (1 - next) * state->estimate[i] + next * io->noise[i];
}

static void flow_mixture(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, float *signal, float *noise)
{
    (void)eval;
    *noise = run->sigmas[step];
    *signal = 1 - *noise;
}

static uint32_t flow_max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_flow_euler = {
    .info = &sampler_infos[SAMPLER_FLOW_EULER],
    .method = METHOD_FLOW,
    .sigma_kinds = SIGMA_BIT(KARRAS) | SIGMA_BIT(EXPONENTIAL) | SIGMA_BIT(BETA),
    .prepare = flow_prepare,
    .check = flow_check,
    .max_steps = flow_max_steps,
    .mixture = flow_mixture,
    .advance = flow_advance,
};
