/* score_ve.c - predictor and corrector for score networks, variance exploding.
 *
 * A step corrects its sample correct_steps times by Langevin dynamics at its
 * level and predicts the next one by the reverse equation, each with an
 * evaluation and a draw of its own.  The network is told the level itself.
 * Pictures lie in 0 .. 1; the result is the last prediction before its noise.
 *
 * The corrector's step follows the norms of score and noise.  The reference
 * takes their means over a batch; here a picture is a batch of its own.
 *
 * Sources.  Song et al., arXiv:2011.13456, algorithms 2 and 4; diffusers
 * 0.42.1, ScoreSdeVeScheduler and its pipeline (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "sample/sampler.h"

/* sigmas: the table of the predictor, rising; times: what the network is told;
 * middle_times: the time itself, from 1 to sampling_eps. */
static enum unstir_status score_ve_prepare(struct sampler_run *run,
                                           struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    float ratio = (float)(c->sigma_max / c->sigma_min);
    uint32_t n = run->n_steps;

    (void)err;
    schedule_linspace_f32(run->middle_times, 1, c->sampling_eps, n);
    schedule_linspace_f32(run->sigmas, log(c->sigma_min), log(c->sigma_max), n);
    for (uint32_t i = 0; i < n; i++) {
        run->sigmas[i] = expf(run->sigmas[i]);
        run->times[i] = (float)c->sigma_min * powf(ratio, run->middle_times[i]);
    }
    run->first_scale = (float)c->sigma_max;
    return UNSTIR_OK;
}

static uint32_t score_ve_n_evals(const struct sampler_run *run, uint32_t step)
{
    (void)step;
    return run->schedule->config.n_corrections + 1;
}

static double score_ve_timestep(const struct sampler_run *run, uint32_t step,
                                uint32_t eval)
{
    (void)eval;
    return (double)run->times[step];
}

static float norm(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return (float)sqrt(sum);
}

static void correct(const struct sampler_run *run, const struct sampler_io *io,
                    float *x)
{
    float grad = norm(io->output, run->n), noise = norm(io->noise, run->n);
    float ratio = (float)run->schedule->config.snr * noise / grad;
    float size = grad > 0 ? ratio * ratio * 2 : 0, std = sqrtf(size * 2);

    for (size_t i = 0; i < run->n; i++)
        x[i] = x[i] + size * io->output[i] + std * io->noise[i];
}

static void predict(const struct sampler_run *run, uint32_t step,
                    const struct sampler_io *io, struct sampler_state *state)
{
    uint32_t last = run->n_steps - 1;
    uint32_t k = (uint32_t)(run->middle_times[step] * (float)last);
    float sigma = run->sigmas[k], below = k ? run->sigmas[k - 1] : 0;
    float diffusion = sqrtf(sigma * sigma - below * below);
    float drift = diffusion * diffusion, square = sigma * sigma;
    float *x = state->sample, *x0 = state->estimate;

    for (size_t i = 0; i < run->n; i++) {
        float mean = x[i] + drift * io->output[i];
        x0[i] = step == last ? mean : x[i] + square * io->output[i];
        x[i] = mean + diffusion * io->noise[i];
    }
}

static void score_ve_advance(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, const struct sampler_io *io,
                             struct sampler_state *state)
{
    rng_normal_f32(&state->rng, io->noise, run->n);
    if (eval < run->schedule->config.n_corrections)
        correct(run, io, state->sample);
    else
        predict(run, step, io, state);
}

static void score_ve_mixture(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, float *signal, float *noise)
{
    (void)eval;
    *signal = 1;
    *noise = run->times[step];
}

static uint32_t score_max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_score_ve = {
    .info = &sampler_infos[SAMPLER_SCORE_VE],
    .method = METHOD_SCORE_VE,
    .default_steps = 2000,
    .is_unit_range = true,
    .is_result_estimate = true,
    .prepare = score_ve_prepare,
    .max_steps = score_max_steps,
    .n_evals = score_ve_n_evals,
    .timestep = score_ve_timestep,
    .mixture = score_ve_mixture,
    .advance = score_ve_advance,
};
