/* euler.c - Euler's method on the probability-flow equation.
 *
 *   d  = (x - x0) / sigma
 *   x' = x + d (sigma' - sigma)
 *
 * The reference's churn (s_churn) is a parameter of a call that its pipelines
 * never set; it is not offered.
 *
 * Sources.  Karras et al., arXiv:2206.00364, algorithm 2 without churn;
 * diffusers 0.42.1, EulerDiscreteScheduler.step (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sampler.h"

static void euler_advance(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, const struct sampler_io *io,
                          struct sampler_state *state)
{
    float sigma = run->sigmas[step], dt = run->sigmas[step + 1] - sigma;
    float *x = state->sample;

    (void)eval;
    sampler_estimate_exploding(run, sigma, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++)
        x[i] = x[i] + (x[i] - state->estimate[i]) / sigma * dt;
}

const struct sampler sampler_euler = {
    .info = &sampler_infos[SAMPLER_EULER],
    .method = METHOD_EULER,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sampler_prepare_exploding,
    .scale_input = sampler_scale_exploding,
    .mixture = sampler_mix_exploding,
    .advance = euler_advance,
};
