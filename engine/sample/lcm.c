/* lcm.c - multistep sampling of latent consistency models.
 *
 * Every step estimates the finished picture and noises it again to the next
 * timestep; the last one keeps it.  Timesteps are taken from the coarse grid
 * of original_inference_steps that the model was distilled on.
 *
 * Sources.  Luo et al., arXiv:2310.04378, algorithm 3; diffusers 0.42.1,
 * LCMScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "sample/sampler.h"

static void lcm_advance(const struct sampler_run *run, uint32_t step,
                        uint32_t eval, const struct sampler_io *io,
                        struct sampler_state *state)
{
    const struct schedule *s = run->schedule;
    uint32_t t = run->timesteps[step];
    float scaled = (float)t * (float)s->config.timestep_scaling;
    float square = scaled * scaled + 0.25f;
    float skip = 0.25f / square, out = scaled / sqrtf(square);
    float *x = state->sample, *x0 = state->estimate;

    (void)eval;
    sampler_estimate(run, s->abar[t], io->output, x, x0);
    for (size_t i = 0; i < run->n; i++)
        x[i] = x0[i] = out * x0[i] + skip * x[i];
    if (step + 1 == run->n_steps)
        return;
    float next = s->abar[run->timesteps[step + 1]];
    float signal = sqrtf(next), noise = sqrtf(1 - next);
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] = signal * x0[i] + noise * io->noise[i];
}

const struct sampler sampler_lcm = {
    .info = &sampler_infos[SAMPLER_LCM],
    .method = METHOD_LCM,
    .default_steps = 4,
    .has_grid = true,
    .prepare = sampler_prepare_distilled,
    .max_steps = sampler_max_steps_distilled,
    .advance = lcm_advance,
};
