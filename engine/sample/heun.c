/* heun.c - Heun's method of second order.
 *
 * A step takes Euler's step, evaluates again at its end, and goes from its
 * start once more with the mean of both slopes.  The last step, which ends at
 * noise zero, is Euler's alone.
 *
 * The correction from level s to n is (x0' - x0) (s - n) / 2n, of the estimates
 * at both ends.  The exact solution never weighs that difference by more than
 * 1, so a fall from a level without signal (20,000, where the cosine schedule
 * begins) to one of pictures (5) buries the sample under what the network is
 * unsure of.  The reference gives noise there (standard deviation 49 instead of
 * 0.6 on models/fashion with 8 steps); here it is refused.
 *
 * Sources.  Karras et al., arXiv:2206.00364, algorithm 1; diffusers 0.42.1,
 * HeunDiscreteScheduler.step (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
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

/* Estimates differ by a share d of n / sqrt(n^2 + 1): of a picture's unit at
 * high noise, of the noise itself at low.  The correction then outweighs the
 * sample, whose deviation is sqrt(n^2 + 1), if d (s - n) > 2 (n^2 + 1).  d is
 * 1/8: what runs well lies three times below (14.6 to 0.65: three steps of
 * Stable Diffusion), what falls apart above. */
static enum unstir_status heun_check(const struct sampler_run *run,
                                     struct unstir_error *err)
{
    const float share = 0.125F;

    for (uint32_t k = 0; k + 1 < run->n_steps; k++) {
        float here = run->sigmas[k], next = run->sigmas[k + 1];

        if (share * (here - next) <= 2 * (next * next + 1))
            continue;
        return error_field(err, "schedule",
                           "heun's step %u of %u falls from noise %.4g to "
                           "%.3g, and its correction would bury the picture; "
                           "take the schedule leading or exponential, more "
                           "steps, or the sampler dpm2",
                           k + 1, run->n_steps, (double)here, (double)next);
    }
    return UNSTIR_OK;
}

const struct sampler sampler_heun = {
    .info = &sampler_infos[SAMPLER_HEUN],
    .method = METHOD_HEUN,
    .n_history = 2,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sampler_prepare_exploding,
    .check = heun_check,
    .n_evals = sampler_n_evals_twice,
    .timestep = heun_timestep,
    .scale_input = sampler_scale_exploding,
    .mixture = sampler_mix_exploding,
    .advance = heun_advance,
};
