/* dpm2.c - the midpoint method of DPM-Solver-2, plain and ancestral.
 *
 * A step evaluates at its start and at the geometric mean of its levels, and
 * goes from its start with the slope found there.  The ancestral form goes to
 * sigma_down and adds noise, by euler_a.c.  The last step, which ends at noise
 * zero, is Euler's alone and draws nothing.
 *
 * The reference refuses networks that predict the sample; here they are taken,
 * by the same formulas.
 *
 * Sources.  Karras et al., arXiv:2206.00364, appendix; diffusers 0.42.1,
 * KDPM2DiscreteScheduler and KDPM2AncestralDiscreteScheduler.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"
#include "sample/sigmas.h"

static bool is_ancestral(const struct sampler_run *run)
{
    return run->schedule->config.method == METHOD_DPM2_A;
}

/* Where a step ends before noise is added. */
static float end_of(const struct sampler_run *run, uint32_t step)
{
    float next = run->sigmas[step + 1];

    return is_ancestral(run)
               ? sampler_ancestral_split(run->sigmas[step], next).down
               : next;
}

static enum unstir_status dpm2_prepare(struct sampler_run *run,
                                       struct unstir_error *err)
{
    TRY(sampler_prepare_exploding(run, err));
    for (uint32_t i = 0; i + 1 < run->n_steps; i++) {
        float start = logf(run->sigmas[i]), end = logf(end_of(run, i));
        /* Interpolation half way, from the reference's end of each form. */
        float middle = is_ancestral(run) ? end - (end - start) * 0.5f
                                         : start - (start - end) * 0.5f;
        run->middle_sigmas[i] = expf(middle);
        run->middle_times[i] = (float)sigmas_to_timestep(
            run->schedule, (double)run->middle_sigmas[i]);
    }
    return UNSTIR_OK;
}

static void dpm2_advance(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const struct sampler_io *io,
                         struct sampler_state *state)
{
    float sigma = run->sigmas[step], middle = run->middle_sigmas[step];
    float here = eval ? middle : sigma;
    float dt = eval ? end_of(run, step) - sigma : middle - sigma;
    float *x = state->sample, *x0 = state->estimate;
    float *start = sampler_history(run, state, 0);

    sampler_estimate_exploding(run, here, io->output, x, x0);
    if (!eval)
        memcpy(start, x, run->n * sizeof *x);
    for (size_t i = 0; i < run->n; i++)
        x[i] = start[i] + (x[i] - x0[i]) / here * dt;
    if (!eval || !is_ancestral(run))
        return;
    float up = sampler_ancestral_split(sigma, run->sigmas[step + 1]).up;
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] += io->noise[i] * up;
}

#define DPM2(id, which)                                                        \
    {                                                                          \
        .info = &sampler_infos[id], .method = which, .n_history = 1,           \
        .sigma_kinds = SIGMA_USUAL, .has_spacings = true,                      \
        .prepare = dpm2_prepare, .n_evals = sampler_n_evals_twice,             \
        .timestep = sampler_timestep_middle,                                   \
        .scale_input = sampler_scale_middle, .mixture = sampler_mix_exploding, \
        .advance = dpm2_advance,                                               \
    }

const struct sampler sampler_dpm2 = DPM2(SAMPLER_DPM2, METHOD_DPM2);
const struct sampler sampler_dpm2_a = DPM2(SAMPLER_DPM2_A, METHOD_DPM2_A);
