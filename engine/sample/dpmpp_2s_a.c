/* dpmpp_2s_a.c - DPM-Solver++ of second order, singlestep, ancestral noise.
 *
 * A step estimates the picture at its start, goes half of the way to sigma_down
 * in ln sigma with it, estimates again there, and goes the whole way from its
 * start with that second picture; then noise of sigma_up is added.  The last
 * step, which ends at noise zero, is Euler's alone and draws nothing.
 *
 * The reference lacks it; people know it from webuis.  Its configuration is
 * that of DPM++ SDE, whose steps have the same two evaluations.
 *
 * Sources.  Lu et al., arXiv:2211.01095, algorithm 1 (2S); k-diffusion,
 * sample_dpmpp_2s_ancestral() (the noise).  Goldens:
 * tools/goldens/make_own_samplers.py.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"
#include "sample/sigmas.h"

static struct sampler_ancestral split_of(const struct sampler_run *run,
                                         uint32_t step)
{
    return sampler_ancestral_split(run->sigmas[step], run->sigmas[step + 1]);
}

static enum unstir_status two_s_prepare(struct sampler_run *run,
                                        struct unstir_error *err)
{
    TRY(sampler_prepare_exploding(run, err));
    for (uint32_t i = 0; i + 1 < run->n_steps; i++) {
        double start = log((double)run->sigmas[i]);
        double end = log((double)split_of(run, i).down);
        double middle = exp((start + end) / 2);
        run->middle_sigmas[i] = (float)middle;
        run->middle_times[i] = (float)sigmas_to_timestep(run->schedule, middle);
    }
    return UNSTIR_OK;
}

static void two_s_advance(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, const struct sampler_io *io,
                          struct sampler_state *state)
{
    float sigma = run->sigmas[step], middle = run->middle_sigmas[step];
    float *x = state->sample, *x0 = state->estimate;
    float *start = sampler_history(run, state, 0);
    bool is_last = run->sigmas[step + 1] <= 0;

    sampler_estimate_exploding(run, eval ? middle : sigma, io->output, x, x0);
    if (!eval)
        memcpy(start, x, run->n * sizeof *x);
    struct sampler_ancestral a = split_of(run, step);
    float keep = (is_last ? 0 : eval ? a.down : middle) / sigma;
    for (size_t i = 0; i < run->n; i++)
        x[i] = keep * start[i] + (1 - keep) * x0[i];
    if (!eval)
        return;
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] += io->noise[i] * a.up;
}

const struct sampler sampler_dpmpp_2s_a = {
    .info = &sampler_infos[SAMPLER_DPMPP_2S_A],
    .method = METHOD_DPMPP_SDE,
    .n_history = 1,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = two_s_prepare,
    .n_evals = sampler_n_evals_twice,
    .timestep = sampler_timestep_middle,
    .scale_input = sampler_scale_middle,
    .mixture = sampler_mix_exploding,
    .advance = two_s_advance,
};
