/* euler_a.c - Euler's method with ancestral noise.
 *
 * A step goes down further than the next level, to sigma_down, and adds fresh
 * noise of sigma_up on top: sigma_down^2 + sigma_up^2 = sigma'^2.  Noise is
 * drawn in every step, the last one included, where it is multiplied by zero.
 *
 * The reference refuses networks that predict the sample; here they are taken,
 * by the same formulas.
 *
 * Sources.  Song et al., arXiv:2010.02502, eq. 16 at eta 1 in this form;
 * diffusers 0.42.1, EulerAncestralDiscreteScheduler.step (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sampler.h"

static void euler_a_advance(const struct sampler_run *run, uint32_t step,
                            uint32_t eval, const struct sampler_io *io,
                            struct sampler_state *state)
{
    float sigma = run->sigmas[step];
    struct sampler_ancestral a =
        sampler_ancestral_split(sigma, run->sigmas[step + 1]);
    float dt = a.down - sigma;
    float *x = state->sample;

    (void)eval;
    sampler_estimate_exploding(run, sigma, io->output, x, state->estimate);
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++) {
        x[i] = x[i] + (x[i] - state->estimate[i]) / sigma * dt;
        x[i] = x[i] + io->noise[i] * a.up;
    }
}

const struct sampler sampler_euler_a = {
    .info = &sampler_infos[SAMPLER_EULER_A],
    .method = METHOD_EULER_A,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sampler_prepare_exploding,
    .scale_input = sampler_scale_exploding,
    .mixture = sampler_mix_exploding,
    .advance = euler_a_advance,
};
