/* ddim_inverse.c - DDIM backwards: from a picture to the noise it comes from.
 *
 * Timesteps rise.  A step to t takes the noise that the network sees in the
 * sample of t - floor(T / steps) as that of t.
 *
 * Sources.  Song, Meng and Ermon, arXiv:2010.02502, section 5.4 (the reverse of
 * eq. 14); Mokady et al., arXiv:2211.09794, "DDIM inversion"; diffusers 0.42.1,
 * DDIMInverseScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "sample/sampler.h"

/* The timestep that a step comes from; below 0: the picture. */
static int64_t from_of(const struct sampler_run *run, uint32_t step)
{
    return (int64_t)run->timesteps[step] -
           run->schedule->config.n_timesteps / run->n_steps;
}

static void inverse_advance(const struct sampler_run *run, uint32_t step,
                            uint32_t eval, const struct sampler_io *io,
                            struct sampler_state *state)
{
    const struct schedule *s = run->schedule;
    uint32_t t = run->timesteps[step];
    float abar = schedule_abar(s, from_of(run, step),
                               s->config.is_last_alpha_one ? 1 : s->abar[0]);
    float signal = sqrtf(abar), noise = sqrtf(1 - abar);
    float signal_t = sqrtf(s->abar[t]), noise_t = sqrtf(1 - s->abar[t]);
    float *x = state->sample;

    (void)eval;
    sampler_estimate_free(run, abar, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++) /* of the estimate before clipping */
        io->noise[i] =
            sampler_noise_of(run, signal, noise, io->output[i], x[i]);
    sampler_limit(run, state->estimate);
    for (size_t i = 0; i < run->n; i++)
        x[i] = signal_t * state->estimate[i] + noise_t * io->noise[i];
}

static enum unstir_status inverse_prepare(struct sampler_run *run,
                                          struct unstir_error *err)
{
    uint32_t n = run->n_steps;

    TRY(schedule_timesteps_as(run->schedule, run->spacing, n, run->timesteps,
                              err));
    for (uint32_t i = 0; i < n / 2; i++) {
        uint32_t swap = run->timesteps[i];
        run->timesteps[i] = run->timesteps[n - 1 - i];
        run->timesteps[n - 1 - i] = swap;
    }
    for (uint32_t i = 0; i < n; i++)
        run->times[i] = (float)run->timesteps[i];
    return UNSTIR_OK;
}

static enum unstir_status inverse_check(const struct sampler_run *run,
                                        struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;

    if (run->spacing == SPACING_LINSPACE)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "ddim_inverse knows leading and trailing spacing, "
                         "not linspace");
    if (c->prediction == PREDICTION_FLOW)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "ddim_inverse cannot follow a predicted flow");
    if (c->prediction == PREDICTION_SAMPLE && c->is_last_alpha_one &&
        from_of(run, 0) < 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "ddim_inverse of a network that predicts the sample "
                         "divides by zero noise (set_alpha_to_one)");
    return UNSTIR_OK;
}

const struct sampler sampler_ddim_inverse = {
    .info = &sampler_infos[SAMPLER_DDIM_INVERSE],
    .method = METHOD_DDIM_INVERSE,
    .has_spacings = true,
    .is_inverse = true,
    .prepare = inverse_prepare,
    .check = inverse_check,
    .advance = inverse_advance,
};
