/* ddim.c - implicit sampling of Song, Meng and Ermon, with eta.
 *
 * One step from t to p = t - floor(T / steps), whatever the next timestep of
 * the run is (below 0: abar 1, or abar_0 by configuration):
 *
 *   std = eta sqrt((1 - abar_p) / (1 - abar_t) (1 - abar_t / abar_p))
 *   x'  = sqrt(abar_p) x0 + sqrt(1 - abar_p - std^2) e + std z
 *
 * e is the network's noise before x0 was clipped, unless the run asks for the
 * one that belongs to the clipped x0.  1 - abar_p - std^2 can round to just
 * below 0 at eta 1 (zero terminal SNR); the root of 0 is taken then, where the
 * reference gets NaN.
 *
 * Sources.  arXiv:2010.02502, eqs. 12 and 16; diffusers 0.42.1,
 * DDIMScheduler.step (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sampler.h"

#include <math.h>

static void ddim_advance(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const struct sampler_io *io,
                         struct sampler_state *state)
{
    const struct schedule *s = run->schedule;
    uint32_t t = run->timesteps[step];
    int64_t p = (int64_t)t - s->config.n_timesteps / run->n_steps;
    float abar = s->abar[t];
    float abar_p =
        schedule_abar(s, p, s->config.is_last_alpha_one ? 1 : s->abar[0]);
    float variance = (1 - abar_p) / (1 - abar) * (1 - abar / abar_p);
    float std = (float)run->eta * sqrtf(variance);
    float direction = sqrtf(fmaxf(1 - abar_p - std * std, 0));
    float signal = sqrtf(abar), noise = sqrtf(1 - abar);
    float signal_p = sqrtf(abar_p);
    float *x = state->sample;

    sampler_estimate(run, abar, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++) {
        float e =
            run->has_clipped_output
                ? (x[i] - signal * state->estimate[i]) / noise
                : sampler_noise_of(run, signal, noise, io->output[i], x[i]);
        x[i] = signal_p * state->estimate[i] + direction * e;
    }
    if (!(run->eta > 0))
        return;
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] += std * io->noise[i];
}

const struct sampler sampler_ddim = {
    .info = &sampler_infos[SAMPLER_DDIM],
    .method = METHOD_DDIM,
    .has_spacings = true,
    .has_eta = true,
    .advance = ddim_advance,
};
