/* lms.c - the linear multistep method of fourth order.
 *
 * The slopes d = (x - x0) / sigma of the last steps are interpolated over
 * sigma; a weight is the integral of a Lagrange polynomial over the step.  The
 * reference integrates numerically; three Gauss points integrate polynomials
 * up to degree 5 exactly, and these have degree 3.
 *
 * history: slopes, newest first.
 *
 * Sources.  k-diffusion, sample_lms() (Adams and Bashforth's method over
 * sigma); diffusers 0.42.1, LMSDiscreteScheduler.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"

#define ORDER 4

/* The polynomial that is 1 at level step - j, 0 at the others of the order. */
static double basis(const struct sampler_run *run, uint32_t step,
                    uint32_t order, uint32_t j, double tau)
{
    double product = 1, own = (double)run->sigmas[step - j];

    for (uint32_t k = 0; k < order; k++) {
        double other = (double)run->sigmas[step - k];
        if (k != j)
            product *= (tau - other) / (own - other);
    }
    return product;
}

static float weight(const struct sampler_run *run, uint32_t step,
                    uint32_t order, uint32_t j)
{
    double a = (double)run->sigmas[step], b = (double)run->sigmas[step + 1];
    double middle = (a + b) / 2, half = (b - a) / 2, reach = half * sqrt(0.6);

    return (float)(half *
                   (5 * basis(run, step, order, j, middle - reach) +
                    8 * basis(run, step, order, j, middle) +
                    5 * basis(run, step, order, j, middle + reach)) /
                   9);
}

static void lms_advance(const struct sampler_run *run, uint32_t step,
                        uint32_t eval, const struct sampler_io *io,
                        struct sampler_state *state)
{
    float sigma = run->sigmas[step], *x = state->sample;
    float *slope = sampler_push(run, state, 0, ORDER);
    uint32_t order = step + 1 < ORDER ? step + 1 : ORDER;
    float w[ORDER];

    (void)eval;
    sampler_estimate_exploding(run, sigma, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++)
        slope[i] = (x[i] - state->estimate[i]) / sigma;
    for (uint32_t j = 0; j < order; j++)
        w[j] = weight(run, step, order, j);
    uint32_t n = order < state->n_held ? order : state->n_held;
    for (size_t i = 0; i < run->n; i++) {
        float sum = 0;
        for (uint32_t j = 0; j < n; j++)
            sum += w[j] * slope[j * run->n + i];
        x[i] += sum;
    }
}

const struct sampler sampler_lms = {
    .info = &sampler_infos[SAMPLER_LMS],
    .method = METHOD_LMS,
    .n_history = ORDER,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sampler_prepare_exploding,
    .scale_input = sampler_scale_exploding,
    .mixture = sampler_mix_exploding,
    .advance = lms_advance,
};
