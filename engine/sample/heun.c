/* heun.c - Heun's method of second order.
 *
 * A step takes Euler's step, evaluates again at its end, and goes from its
 * start once more with the mean of both slopes.  The last step, which ends at
 * noise zero, is Euler's alone.
 *
 * Sources.  Karras et al., arXiv:2206.00364, algorithm 1; diffusers 0.42.1,
 * HeunDiscreteScheduler.step (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "sample/sampler.h"

static double heun_timestep(const struct sampler_run *run, uint32_t step,
                            uint32_t eval)
{
    return (double)run->times[step + eval];
}

static void heun_advance(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const struct sampler_io *io,
                         struct sampler_state *state)
{
    float sigma = run->sigmas[step], next = run->sigmas[step + 1];
    float here = eval ? next : sigma, dt = next - sigma;
    float *x = state->sample, *x0 = state->estimate;
    float *start = sampler_history(run, state, 0);
    float *slope = sampler_history(run, state, 1);

    sampler_estimate_exploding(run, here, io->output, x, x0);
    sampler_limit(run, x0);
    if (eval) {
        for (size_t i = 0; i < run->n; i++)
            x[i] = start[i] + (slope[i] + (x[i] - x0[i]) / here) / 2 * dt;
        return;
    }
    memcpy(start, x, run->n * sizeof *x);
    for (size_t i = 0; i < run->n; i++) {
        slope[i] = (x[i] - x0[i]) / here;
        x[i] = x[i] + slope[i] * dt;
    }
}

const struct sampler sampler_heun = {
    .info = &sampler_infos[SAMPLER_HEUN],
    .method = METHOD_HEUN,
    .n_history = 2,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sampler_prepare_exploding,
    .n_evals = sampler_n_evals_twice,
    .timestep = heun_timestep,
    .scale_input = sampler_scale_exploding,
    .mixture = sampler_mix_exploding,
    .advance = heun_advance,
};
