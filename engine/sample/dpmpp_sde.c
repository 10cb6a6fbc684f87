/* dpmpp_sde.c - DPM-Solver++ (SDE): two stochastic stages a step.
 *
 * Both stages start at the step's start.  The first goes to the geometric mean
 * of its levels, the second to its end, with the picture estimated at the
 * mean.  Each adds noise of sigma_up, which is the increment of one Brownian
 * motion over sigma divided by the root of its length, so that the noises of
 * the two stages agree where they overlap:
 *
 *   N1 = W(start .. middle) / sqrt(start - middle)
 *   N2 = (W(start .. middle) + W(middle .. end)) / sqrt(start - end)
 *
 * The reference asks a Brownian tree for W, whose bits come from its own
 * splitting of seeds.  A run only ever asks for adjoining intervals in order,
 * so here the two increments are two draws of the run's generator: the same
 * law, other bits (ours; tools/goldens gives the reference these draws).
 *
 * Source.  diffusers 0.42.1, DPMSolverSDEScheduler.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"
#include "sample/sigmas.h"

static float middle_of(float sigma, float next)
{
    float t = -logf(sigma), end = -logf(next);

    return expf(-(t + (end - t) * 0.5f));
}

static enum unstir_status sde_prepare(struct sampler_run *run,
                                      struct unstir_error *err)
{
    TRY(sampler_prepare_exploding(run, err));
    for (uint32_t i = 0; i + 1 < run->n_steps; i++) {
        run->middle_sigmas[i] = middle_of(run->sigmas[i], run->sigmas[i + 1]);
        run->middle_times[i] = (float)sigmas_to_timestep(
            run->schedule,
            sqrt((double)run->sigmas[i] * (double)run->sigmas[i + 1]));
    }
    return UNSTIR_OK;
}

/* noise = the second stage's, from the first's and a fresh draw. */
static void join_noises(const struct sampler_run *run, uint32_t step,
                        const float *first, float *noise)
{
    float sigma = run->sigmas[step], middle = run->middle_sigmas[step];
    float next = run->sigmas[step + 1], all = sqrtf(sigma - next);
    float before = sqrtf(sigma - middle), after = sqrtf(middle - next);

    for (size_t i = 0; i < run->n; i++)
        noise[i] = (before * first[i] + after * noise[i]) / all;
}

static void sde_advance(const struct sampler_run *run, uint32_t step,
                        uint32_t eval, const struct sampler_io *io,
                        struct sampler_state *state)
{
    float sigma = run->sigmas[step], next = run->sigmas[step + 1];
    float *x = state->sample, *x0 = state->estimate;
    float *start = sampler_history(run, state, 0);
    float *first = sampler_history(run, state, 1);

    sampler_estimate_exploding(run, eval ? run->middle_sigmas[step] : sigma,
                               io->output, x, x0);
    if (next <= 0) {
        for (size_t i = 0; i < run->n; i++)
            x[i] = x[i] + (x[i] - x0[i]) / sigma * (next - sigma);
        return;
    }
    float t = -logf(sigma), end = -logf(next);
    float to = expf(-(eval ? end : t + (end - t) * 0.5f)), from = expf(-t);
    struct sampler_ancestral a = sampler_ancestral_split(from, to);
    if (!eval)
        memcpy(start, x, run->n * sizeof *x);
    rng_normal_f32(&state->rng, io->noise, run->n);
    if (eval)
        join_noises(run, step, first, io->noise);
    else
        memcpy(first, io->noise, run->n * sizeof *first);
    float down = -logf(a.down), keep = expf(-down) / expf(-t);
    float gain = expm1f(t - down);
    for (size_t i = 0; i < run->n; i++) {
        x[i] = keep * start[i] - gain * x0[i];
        x[i] = x[i] + io->noise[i] * a.up;
    }
}

const struct sampler sampler_dpmpp_sde = {
    .info = &sampler_infos[SAMPLER_DPMPP_SDE],
    .method = METHOD_DPMPP_SDE,
    .n_history = 2,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sde_prepare,
    .n_evals = sampler_n_evals_twice,
    .timestep = sampler_timestep_middle,
    .scale_input = sampler_scale_middle,
    .mixture = sampler_mix_exploding,
    .advance = sde_advance,
};
