/* ipndm.c - improved pseudo numerical method, of fourth order.
 *
 * The sample is a cos(u) + z sin(u) for an angle u that falls from a quarter
 * turn to 0; the network predicts its derivative.  Levels are beta = sin(u),
 * signal = sqrt(1 - beta^2), timesteps the angle as a share of a quarter turn.
 *
 * history: noises, newest first.
 *
 * trained_betas of a file are the levels themselves, whatever number of steps
 * is asked for: between L of them lie L - 1.
 *
 * Sources.  Zhang and Chen, arXiv:2204.13902 (iPNDM: PNDM that begins with
 * lower orders instead of Runge-Kutta); Liu et al., arXiv:2202.09778, eq. 12
 * (weights); diffusers 0.42.1, IPNDMScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"

#define ORDER 4
#define PI    3.14159265358979323846f

static float signal_of(float beta)
{
    return sqrtf(1 - beta * beta);
}

static uint32_t ipndm_count_steps(const struct sampler_run *run)
{
    const struct schedule_config *c = &run->schedule->config;

    return c->trained_betas ? c->n_trained_betas - 1 : run->n_asked;
}

static void fill_levels(const struct sampler_run *run)
{
    const float *trained = run->schedule->config.trained_betas;
    uint32_t n = run->n_steps;

    if (trained) {
        memcpy(run->sigmas, trained, (n + 1) * sizeof *trained);
        return;
    }
    schedule_linspace_f32(run->sigmas, 1, 0, n + 1);
    for (uint32_t i = 0; i <= n; i++) {
        float s = sinf(run->sigmas[i] * PI / 2);
        run->sigmas[i] = s * s;
    }
}

static enum unstir_status ipndm_prepare(struct sampler_run *run,
                                        struct unstir_error *err)
{
    uint32_t n = run->n_steps;

    (void)err;
    fill_levels(run);
    for (uint32_t i = 0; i < n; i++)
        run->times[i] =
            atan2f(run->sigmas[i], signal_of(run->sigmas[i])) / PI * 2;
    return UNSTIR_OK;
}

static float extrapolated(const float *e, size_t n, uint32_t n_held, size_t i)
{
    float a = e[i], b = n_held > 1 ? e[n + i] : 0;

    if (n_held == 1)
        return a;
    if (n_held == 2)
        return (3 * a - b) / 2;
    if (n_held == 3)
        return (23 * a - 16 * b + 5 * e[2 * n + i]) / 12;
    return 1.0f / 24 * (55 * a - 59 * b + 37 * e[2 * n + i] - 9 * e[3 * n + i]);
}

static void ipndm_advance(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, const struct sampler_io *io,
                          struct sampler_state *state)
{
    float beta = run->sigmas[step], next = run->sigmas[step + 1];
    float alpha = signal_of(beta), signal = signal_of(next);
    float *e = sampler_push(run, state, 0, ORDER), *x = state->sample;

    (void)eval;
    for (size_t i = 0; i < run->n; i++)
        e[i] = x[i] * beta + io->output[i] * alpha;
    for (size_t i = 0; i < run->n; i++) {
        float z = extrapolated(e, run->n, state->n_held, i);
        state->estimate[i] = (x[i] - beta * z) / fmaxf(alpha, 1e-8f);
        x[i] = signal * state->estimate[i] + z * next;
    }
}

static void ipndm_mixture(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, float *signal, float *noise)
{
    (void)eval;
    *noise = run->sigmas[step];
    *signal = signal_of(*noise);
}

static uint32_t ipndm_max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_ipndm = {
    .info = &sampler_infos[SAMPLER_IPNDM],
    .method = METHOD_IPNDM,
    .n_history = ORDER,
    .prepare = ipndm_prepare,
    .max_steps = ipndm_max_steps,
    .count_steps = ipndm_count_steps,
    .mixture = ipndm_mixture,
    .advance = ipndm_advance,
};
