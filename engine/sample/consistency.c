/* consistency.c - multistep sampling of consistency models.
 *
 * Every step estimates the finished picture and noises it again to the next
 * level.  Levels are karras's at whole steps of a table of T (usually 40); a
 * run may name those steps itself ([22, 0]).  Of one step no noise is drawn.
 *
 * Sources.  Song et al., arXiv:2303.01469, algorithm 1 and appendix C;
 * diffusers 0.42.1, CMStochasticIterativeScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "base/alloc.h"
#include "sample/sampler.h"
#include "sample/sigmas.h"

static double level_at(const struct schedule_config *c, uint32_t t)
{
    double start = pow(c->sigma_max, 1 / c->rho);
    double end = pow(c->sigma_min, 1 / c->rho);
    double ramp = c->n_timesteps > 1 ? (double)t / (c->n_timesteps - 1) : 0;

    return pow(start + ramp * (end - start), c->rho);
}

static enum unstir_status check_custom(const struct sampler_run *run,
                                       struct unstir_error *err)
{
    const uint32_t *t = run->custom;

    for (uint32_t i = 0; i < run->n_steps; i++)
        if (t[i] >= run->schedule->config.n_timesteps ||
            (i && t[i] >= t[i - 1]))
            return error_field(err, "steps",
                               "timesteps must fall, from below %u",
                               run->schedule->config.n_timesteps);
    return UNSTIR_OK;
}

static enum unstir_status consistency_prepare(struct sampler_run *run,
                                              struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t n = run->n_steps;

    if (run->custom)
        TRY(check_custom(run, err));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t t =
            run->custom ? run->custom[n - 1 - i] : i * (c->n_timesteps / n);
        double sigma = level_at(c, t);
        run->sigmas[i] = (float)sigma;
        run->times[i] = (float)(250 * log(sigma + 1e-44));
    }
    run->sigmas[n] = (float)c->sigma_min;
    run->first_scale = (float)c->sigma_max;
    return sampler_check_levels(run, err);
}

static void consistency_scale_input(const struct sampler_run *run,
                                    uint32_t step, uint32_t eval,
                                    const float *sample, float *out)
{
    float data = (float)(run->schedule->config.sigma_data *
                         run->schedule->config.sigma_data);
    float sigma = run->sigmas[step], scale = sqrtf(sigma * sigma + data);

    (void)eval;
    for (size_t i = 0; i < run->n; i++)
        out[i] = sample[i] / scale;
}

static void consistency_advance(const struct sampler_run *run, uint32_t step,
                                uint32_t eval, const struct sampler_io *io,
                                struct sampler_state *state)
{
    const struct schedule_config *c = &run->schedule->config;
    float sigma = run->sigmas[step], least = (float)c->sigma_min;
    float data = (float)(c->sigma_data * c->sigma_data), above = sigma - least;
    float skip = data / (above * above + data);
    float out = above * (float)c->sigma_data / sqrtf(sigma * sigma + data);
    float next =
        fminf(fmaxf(run->sigmas[step + 1], least), (float)c->sigma_max);
    float std =
        sqrtf(fmaxf(next * next - (float)(c->sigma_min * c->sigma_min), 0));
    float *x = state->sample, *x0 = state->estimate;

    (void)eval;
    for (size_t i = 0; i < run->n; i++)
        x0[i] = out * io->output[i] + skip * x[i];
    sampler_limit(run, x0);
    for (size_t i = 0; i < run->n; i++)
        x[i] = x0[i];
    if (run->n_steps == 1)
        return;
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] += io->noise[i] * (float)c->noise_gain * std;
}

static uint32_t consistency_max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_consistency = {
    .info = &sampler_infos[SAMPLER_CONSISTENCY],
    .method = METHOD_CONSISTENCY,
    .default_steps = 1,
    .prepare = consistency_prepare,
    .max_steps = consistency_max_steps,
    .scale_input = consistency_scale_input,
    .mixture = sampler_mix_exploding,
    .advance = consistency_advance,
};
