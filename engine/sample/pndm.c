/* pndm.c - pseudo numerical methods of Liu et al.
 *
 * phi(x, e, t, p) carries a sample from t to p along the noise e.  Steps after
 * the beginning extrapolate e from the last four (Adams-Bashforth).  The
 * beginning is one of two:
 *
 *   plain        step 0 evaluates twice: it goes ahead, and goes again with the
 *                mean of the noises at both ends (the reference lists the
 *                second timestep twice);
 *   Runge-Kutta  steps 0 to 2 evaluate four times each.
 *
 * A run from a picture, which begins later, has the plain beginning; one that
 * begins within the Runge-Kutta steps is not defined by the reference either
 * and is refused.
 *
 * history: [0 ..] noises, newest first; behind them scratch of a step: [4] its
 * first sample, [5] the sum of weighted noises.
 *
 * Sources.  arXiv:2202.09778, eqs. 11 to 13 and algorithm 2; diffusers 0.42.1,
 * PNDMScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"

enum { HELD = 4, START = 4, SUM = 5, N_HISTORY = 6 };

static bool has_prk(const struct sampler_run *run)
{
    return !run->schedule->config.has_no_prk;
}

static bool is_prk(const struct sampler_run *run, uint32_t step)
{
    return has_prk(run) && step < 3;
}

static int64_t gap(const struct sampler_run *run)
{
    return run->schedule->config.n_timesteps / run->n_steps;
}

static uint32_t pndm_n_evals(const struct sampler_run *run, uint32_t step)
{
    if (is_prk(run, step))
        return 4;
    return step == run->first && run->n_steps > 1 ? 2 : 1;
}

/* The whole timestep that an evaluation is made at.  A run that begins later
 * begins as the reference's list of timesteps does when it is cut: in that one
 * the second timestep stands twice. */
static int64_t time_of(const struct sampler_run *run, uint32_t step,
                       uint32_t eval)
{
    if (run->first > 0 && step == run->first)
        return run->timesteps[eval || step == 1 ? step : step - 1];
    if (eval == 0)
        return run->timesteps[step];
    int64_t next = run->timesteps[step + 1];
    return is_prk(run, step) && eval < 3 ? next + gap(run) / 2 : next;
}

static double pndm_timestep(const struct sampler_run *run, uint32_t step,
                            uint32_t eval)
{
    return (double)time_of(run, step, eval);
}

static float abar_at(const struct sampler_run *run, int64_t t)
{
    const struct schedule *s = run->schedule;
    int64_t last = s->config.n_timesteps - 1;

    return schedule_abar(s, t < last ? t : last,
                         s->config.is_last_alpha_one ? 1 : s->abar[0]);
}

/* out = phi(x, e, from, to) */
static void carry(const struct sampler_run *run, int64_t from, int64_t to,
                  const float *x, const float *e, float *out)
{
    float a = abar_at(run, from), p = abar_at(run, to), b = 1 - a, q = 1 - p;
    float keep = sqrtf(p / a), fall = p - a;
    float below = a * sqrtf(q) + sqrtf(a * b * p);
    float signal = sqrtf(a), noise = sqrtf(b);
    bool is_v = run->schedule->config.prediction == PREDICTION_V;

    for (size_t i = 0; i < run->n; i++) {
        float z = is_v ? signal * e[i] + noise * x[i] : e[i];
        out[i] = keep * x[i] - fall * z / below;
    }
}

/* One of the four stages of a Runge-Kutta step. */
static void advance_prk(const struct sampler_run *run, uint32_t step,
                        uint32_t eval, const float *output,
                        struct sampler_state *state)
{
    static const float weights[] = {1.0f / 6, 1.0f / 3, 1.0f / 3, 1.0f / 6};
    float *start = sampler_history(run, state, START);
    float *sum = sampler_history(run, state, SUM);
    int64_t t = time_of(run, step, eval), half = gap(run) / 2;
    size_t bytes = run->n * sizeof *start;

    if (eval == 0) {
        memcpy(start, state->sample, bytes);
        memset(sum, 0, bytes);
        memcpy(sampler_push(run, state, 0, HELD), output, bytes);
    }
    for (size_t i = 0; i < run->n; i++)
        sum[i] += weights[eval] * output[i];
    carry(run, run->timesteps[step], eval % 2 ? t : t - half, start,
          eval == 3 ? sum : output, state->sample);
}

/* sum = the noise extrapolated from those held. */
static void extrapolate(const struct sampler_run *run,
                        const struct sampler_state *state, float *sum)
{
    const float *a = sampler_history(run, state, 0), *b = a + run->n;
    const float *c = b + run->n, *d = c + run->n;

    for (size_t i = 0; i < run->n; i++) {
        if (state->n_held == 1)
            sum[i] = a[i];
        else if (state->n_held == 2)
            sum[i] = (3 * a[i] - b[i]) / 2;
        else if (state->n_held == 3)
            sum[i] = (23 * a[i] - 16 * b[i] + 5 * c[i]) / 12;
        else
            sum[i] = 1.0f / 24 * (55 * a[i] - 59 * b[i] + 37 * c[i] - 9 * d[i]);
    }
}

static void advance_plms(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const float *output,
                         struct sampler_state *state)
{
    float *start = sampler_history(run, state, START);
    float *sum = sampler_history(run, state, SUM);
    int64_t t = time_of(run, step, eval);
    size_t bytes = run->n * sizeof *start;

    if (eval == 1) {
        const float *first = sampler_history(run, state, 0);
        for (size_t i = 0; i < run->n; i++)
            sum[i] = (output[i] + first[i]) / 2;
        carry(run, t + gap(run), t, start, sum, state->sample);
        return;
    }
    memcpy(sampler_push(run, state, 0, HELD), output, bytes);
    memcpy(start, state->sample, bytes);
    extrapolate(run, state, sum);
    carry(run, t, t - gap(run), start, sum, state->sample);
}

static void pndm_advance(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const struct sampler_io *io,
                         struct sampler_state *state)
{
    sampler_estimate(run, abar_at(run, time_of(run, step, eval)), io->output,
                     state->sample, state->estimate);
    if (is_prk(run, step))
        advance_prk(run, step, eval, io->output, state);
    else
        advance_plms(run, step, eval, io->output, state);
}

static enum unstir_status pndm_check(const struct sampler_run *run,
                                     struct unstir_error *err)
{
    if (run->schedule->config.prediction == PREDICTION_SAMPLE)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "pndm extrapolates noise, and the network predicts "
                         "the sample");
    if (has_prk(run) && run->first > 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "pndm with a Runge-Kutta start (skip_prk_steps false) "
                         "cannot begin from a picture");
    if (has_prk(run) && run->n_steps < 4)
        return error_field(err, "steps",
                           "pndm with a Runge-Kutta start (skip_prk_steps "
                           "false) needs at least 4 steps, not %u",
                           run->n_steps);
    return UNSTIR_OK;
}

static void pndm_mixture(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, float *signal, float *noise)
{
    float abar = abar_at(run, time_of(run, step, eval));

    *signal = sqrtf(abar);
    *noise = sqrtf(1 - abar);
}

const struct sampler sampler_pndm = {
    .info = &sampler_infos[SAMPLER_PNDM],
    .method = METHOD_PNDM,
    .n_history = N_HISTORY,
    .has_spacings = true,
    .check = pndm_check,
    .n_evals = pndm_n_evals,
    .timestep = pndm_timestep,
    .mixture = pndm_mixture,
    .advance = pndm_advance,
};
