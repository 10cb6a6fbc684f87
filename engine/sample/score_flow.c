/* score_flow.c - the probability flow of score networks, variance exploding.
 *
 * Beside the reverse equation, which draws noise, runs an ordinary one whose
 * samples have the same densities at every level:
 *
 *     dx / dsigma = -sigma s(x, sigma)
 *
 * It is followed by Heun's method from sigma_max to sigma_min, along levels
 * that lie denser where they are low; the last step is Euler's to zero, which
 * takes the remaining noise away as annealed_langevin.c does.  Smooth curves
 * want few steps: where the correctors take hundreds of evaluations, this one
 * takes two a step and some tens of steps.  Pictures lie in 0 .. 1.
 *
 * Sources.  Song et al., arXiv:2011.13456, section 4.3 and eq. 13; Karras et
 * al., arXiv:2206.00364, algorithm 1 and eq. 5 with rho 7 (levels, method).
 * The reference implementation has no such scheduler: goldens are of
 * tools/goldens/make_own_samplers.py.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"

#define RHO 7.0

static enum unstir_status prepare(struct sampler_run *run,
                                  struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    double high = pow(c->sigma_max, 1 / RHO), low = pow(c->sigma_min, 1 / RHO);
    uint32_t n = run->n_steps;

    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        double share = n > 1 ? (double)i / (n - 1) : 0;
        run->sigmas[i] = (float)pow(high + share * (low - high), RHO);
        run->times[i] = run->sigmas[i];
    }
    run->sigmas[n] = 0;
    run->first_scale = (float)c->sigma_max;
    return UNSTIR_OK;
}

static double timestep(const struct sampler_run *run, uint32_t step,
                       uint32_t eval)
{
    return (double)run->times[step + eval];
}

static void advance(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    const struct sampler_io *io, struct sampler_state *state)
{
    float sigma = run->sigmas[step], next = run->sigmas[step + 1];
    float here = eval ? next : sigma, by = next - sigma;
    const float *score = io->output;
    float *x = state->sample, *x0 = state->estimate;
    float *start = sampler_history(run, state, 0);
    float *slope = sampler_history(run, state, 1);

    for (size_t i = 0; i < run->n; i++)
        x0[i] = x[i] + here * here * score[i];
    if (eval) {
        for (size_t i = 0; i < run->n; i++)
            x[i] = start[i] + by * (slope[i] - here * score[i]) / 2;
        return;
    }
    memcpy(start, x, run->n * sizeof *x);
    for (size_t i = 0; i < run->n; i++) {
        slope[i] = -here * score[i];
        x[i] = next > 0 ? x[i] + by * slope[i] : x0[i];
    }
}

static void mixture(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    float *signal, float *noise)
{
    *signal = 1;
    *noise = run->sigmas[step + eval];
}

static uint32_t max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_score_flow = {
    .info = &sampler_infos[SAMPLER_SCORE_FLOW],
    .method = METHOD_SCORE_VE,
    .n_history = 2,
    .default_steps = 25,
    .is_unit_range = true,
    .is_result_estimate = true,
    .prepare = prepare,
    .max_steps = max_steps,
    .n_evals = sampler_n_evals_twice,
    .timestep = timestep,
    .mixture = mixture,
    .advance = advance,
};
