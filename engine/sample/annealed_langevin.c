/* annealed_langevin.c - Langevin dynamics at falling levels of noise.
 *
 * Levels fall geometrically from sigma_max to sigma_min, one a step.  At level
 * sigma the sample walks langevin_steps (K) times by
 *
 *     x += a s(x, sigma) + sqrt(2 a) z,   a = eps sigma^2 / sigma_min^2
 *
 * where s is the network's score, and goes on to the next level without any
 * prediction.  After the last walk one more evaluation takes the remaining
 * noise away: x + sigma_min^2 s, the mean of the picture under it.  Pictures
 * lie in 0 .. 1.
 *
 * How far a walk goes follows from e = eps / sigma_min^2 alone.  For a picture
 * that is a point, s = -x / sigma^2, a sample of standard deviation
 * g sigma, g the ratio of two levels, has after K walks the variance
 *
 *     sigma^2 ((1 - e)^2K (g^2 - v) + v),   v = 2 / (2 - e)
 *
 * and e is chosen so that this comes nearest to sigma^2: few levels or walks
 * make long steps, many make short ones.  langevin_epsilon in the folder's
 * configuration says eps instead.  (The first paper writes a / 2 and sqrt(a):
 * its eps is twice this one.)
 *
 * Sources.  Song and Ermon, arXiv:1907.05600, algorithm 1; arXiv:2006.09011,
 * technique 4 (the choice of eps) and section 4 (the last denoising).  The
 * reference implementation has no such scheduler: goldens are of
 * tools/goldens/make_own_samplers.py.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "sample/sampler.h"

/* What is looked through for e: 1e-6 to 1, so many a decade. */
#define DECADES    6
#define PER_DECADE 400

static double variance_after(double e, double ratio, uint32_t walks)
{
    double v = 2 / (2 - e);

    return pow(1 - e, 2.0 * walks) * (ratio * ratio - v) + v;
}

static double choose_pace(double ratio, uint32_t walks)
{
    double best = 1, least = INFINITY;

    for (int i = -DECADES * PER_DECADE; i <= 0; i++) {
        double e = pow(10, (double)i / PER_DECADE);
        double off = fabs(variance_after(e, ratio, walks) - 1);
        if (off < least) {
            least = off;
            best = e;
        }
    }
    return best;
}

/* sigmas: the levels, which are also what the network is told (times);
 * middle_sigmas: the length of a walk at each. */
static enum unstir_status prepare(struct sampler_run *run,
                                  struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t n = run->n_steps;
    double spread = log(c->sigma_max / c->sigma_min), pace;

    if (isnan(c->langevin_epsilon)) {
        double ratio = n > 1 ? exp(spread / (n - 1)) : 1;
        pace = choose_pace(ratio, c->n_langevin);
    } else {
        pace = c->langevin_epsilon / (c->sigma_min * c->sigma_min);
    }
    if (!(pace < 2))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "langevin_epsilon is %g; a walk grows without end "
                         "from 2 sigma_min^2 = %g on",
                         c->langevin_epsilon, 2 * c->sigma_min * c->sigma_min);
    schedule_linspace_f32(run->sigmas, log(c->sigma_max), log(c->sigma_min), n);
    for (uint32_t i = 0; i < n; i++) {
        run->sigmas[i] = expf(run->sigmas[i]);
        run->times[i] = run->sigmas[i];
        run->middle_sigmas[i] = (float)pace * run->sigmas[i] * run->sigmas[i];
    }
    run->first_scale = (float)c->sigma_max;
    return UNSTIR_OK;
}

/* The last level has the denoising as well. */
static uint32_t n_evals(const struct sampler_run *run, uint32_t step)
{
    return run->schedule->config.n_langevin + (step + 1 == run->n_steps);
}

static double timestep(const struct sampler_run *run, uint32_t step,
                       uint32_t eval)
{
    (void)eval;
    return (double)run->times[step];
}

static void advance(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    const struct sampler_io *io, struct sampler_state *state)
{
    float square = run->sigmas[step] * run->sigmas[step];
    float length = run->middle_sigmas[step], std = sqrtf(2 * length);
    const float *score = io->output;
    float *x = state->sample, *x0 = state->estimate;

    for (size_t i = 0; i < run->n; i++)
        x0[i] = x[i] + square * score[i];
    if (eval == run->schedule->config.n_langevin) {
        for (size_t i = 0; i < run->n; i++)
            x[i] = x0[i];
        return;
    }
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] = x[i] + length * score[i] + std * io->noise[i];
}

static void mixture(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    float *signal, float *noise)
{
    (void)eval;
    *signal = 1;
    *noise = run->sigmas[step];
}

static uint32_t max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_annealed_langevin = {
    .info = &sampler_infos[SAMPLER_ANNEALED_LANGEVIN],
    .method = METHOD_SCORE_VE,
    .default_steps = 100,
    .is_unit_range = true,
    .is_result_estimate = true,
    .prepare = prepare,
    .max_steps = max_steps,
    .n_evals = n_evals,
    .timestep = timestep,
    .mixture = mixture,
    .advance = advance,
};
