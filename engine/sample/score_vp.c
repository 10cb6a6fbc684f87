/* score_vp.c - reverse diffusion for score networks, variance preserving.
 *
 * Time falls from 1 to sampling_eps in n steps, of 1 / n each.  The network
 * predicts noise, of which the score is made; it is told 999 t, the label that
 * the authors' own networks take (ours: the reference has no pipeline for
 * them).  The result is the last step before its noise.
 *
 * Sources.  Song et al., arXiv:2011.13456, eq. 32 and algorithm 3, and the
 * authors' score_sde_pytorch, models/utils.py (labels); diffusers 0.42.1,
 * ScoreSdeVpScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "sample/sampler.h"

static enum unstir_status score_vp_prepare(struct sampler_run *run,
                                           struct unstir_error *err)
{
    (void)err;
    schedule_linspace_f32(run->middle_times, 1,
                          run->schedule->config.sampling_eps, run->n_steps);
    for (uint32_t i = 0; i < run->n_steps; i++)
        run->times[i] = run->middle_times[i] * 999;
    return UNSTIR_OK;
}

/* The logarithm of the share of signal at time t. */
static float log_signal(const struct schedule_config *c, float t)
{
    return -0.25f * (t * t) * (float)(c->beta_max - c->beta_min) -
           0.5f * t * (float)c->beta_min;
}

static void score_vp_advance(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, const struct sampler_io *io,
                             struct sampler_state *state)
{
    const struct schedule_config *c = &run->schedule->config;
    float t = run->middle_times[step], signal_log = log_signal(c, t);
    float std = sqrtf(1 - expf(2 * signal_log)), signal = expf(signal_log);
    float beta = (float)c->beta_min + t * (float)(c->beta_max - c->beta_min);
    float diffusion = sqrtf(beta), square = diffusion * diffusion;
    float dt = -1.0f / (float)run->n_steps;
    float gain = diffusion * sqrtf(-dt);
    float *x = state->sample, *x0 = state->estimate;

    (void)eval;
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++) {
        float score = -io->output[i] / std;
        float mean = x[i] + (-0.5f * beta * x[i] - square * score) * dt;
        x0[i] = step + 1 == run->n_steps
                    ? mean
                    : (x[i] - std * io->output[i]) / signal;
        x[i] = mean + gain * io->noise[i];
    }
}

static void score_vp_mixture(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, float *signal, float *noise)
{
    (void)eval;
    float l = log_signal(&run->schedule->config, run->middle_times[step]);

    *signal = expf(l);
    *noise = sqrtf(1 - expf(2 * l));
}

static uint32_t score_max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_score_vp = {
    .info = &sampler_infos[SAMPLER_SCORE_VP],
    .method = METHOD_SCORE_VP,
    .default_steps = 1000,
    .is_result_estimate = true,
    .prepare = score_vp_prepare,
    .max_steps = score_max_steps,
    .mixture = score_vp_mixture,
    .advance = score_vp_advance,
};
