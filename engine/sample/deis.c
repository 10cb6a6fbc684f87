/* deis.c - the exponential integrator of Zhang and Chen, in log-rho form.
 *
 * The noise that the outputs stand for is extrapolated by a polynomial over
 * ln rho, rho = sigma; its integral over the step is known in closed form.
 * Runs end at the table's least level, not at zero.
 *
 * The closed forms cancel: the reference's f32 keeps four digits of a third
 * order's weights, so they are made in double here (its own run in double is
 * the nearer one by ten times).
 *
 * history: noises, newest first.
 *
 * Sources.  arXiv:2204.13902, polynomial extrapolation of the noise in an
 * exponential integrator, its multistep form over rho; diffusers 0.42.1,
 * DEISMultistepScheduler (order of operations; the logarithm of rho is its).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"
#include "sample/solver.h"

/* The integral of (ln t - ln c) / (ln b - ln c). */
static double line(double t, double b, double c)
{
    return t * (-log(c) + log(t) - 1) / (log(b) - log(c));
}

/* The integral of the parabola that is 1 at b, 0 at c and d. */
static double parabola(double t, double b, double c, double d)
{
    double lb = log(b), lc = log(c), ld = log(d), lt = log(t);
    double above =
        t * (lc * (ld - lt + 1) - ld * lt + ld + lt * lt - 2 * lt + 2);

    return above / ((lb - lc) * (lb - ld));
}

static unsigned order_at(const struct sampler_run *run, uint32_t step,
                         uint32_t n_held)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t left = run->n_steps - step;
    unsigned order = c->solver_order;

    if (c->is_lower_order_final && run->n_steps < 15 && left < order)
        order = left;
    return order < n_held ? order : n_held;
}

static void step_first(const struct sampler_run *run, struct solver_point t,
                       struct solver_point s, const float *m0, float *x)
{
    float h = t.lambda - s.lambda, keep = t.signal / s.signal;
    float gain = t.noise * (expf(h) - 1);

    for (size_t i = 0; i < run->n; i++)
        x[i] = keep * x[i] - gain * m0[i];
}

static void step_high(const struct sampler_run *run, uint32_t step,
                      unsigned order, const float *m0, float *x)
{
    struct solver_point p[4];
    float rho[4], c[3];

    for (unsigned k = 0; k <= order; k++) {
        p[k] = solver_point_at(run, step + 1 - k);
        rho[k] = p[k].noise / p[k].signal;
    }
    for (unsigned k = 0; k < order; k++) {
        double b = (double)rho[1 + k], d = (double)rho[1 + (k + 1) % order];
        double e = (double)rho[1 + (k + 2) % order];
        double t = (double)rho[0], start = (double)rho[1];
        c[k] = (float)(order == 2
                           ? line(t, b, d) - line(start, b, d)
                           : parabola(t, b, d, e) - parabola(start, b, d, e));
    }
    for (size_t i = 0; i < run->n; i++) {
        float sum = x[i] / p[1].signal + c[0] * m0[i] + c[1] * m0[run->n + i];
        if (order == 3)
            sum += c[2] * m0[2 * run->n + i];
        x[i] = p[0].signal * sum;
    }
}

static void deis_advance(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const struct sampler_io *io,
                         struct sampler_state *state)
{
    const struct schedule_config *c = &run->schedule->config;
    struct solver_point s = solver_point_at(run, step);
    float *m0 = sampler_push(run, state, 0, c->solver_order);
    float *x = state->sample;

    (void)eval;
    solver_convert(run, s, io->output, x, state->estimate, m0);
    for (size_t i = 0; i < run->n; i++)
        m0[i] = (x[i] - s.signal * state->estimate[i]) / s.noise;
    unsigned order = order_at(run, step, state->n_held);
    if (order == 1)
        step_first(run, solver_point_at(run, step + 1), s, m0, x);
    else
        step_high(run, step, order, m0, x);
}

const struct sampler sampler_deis = {
    .info = &sampler_infos[SAMPLER_DEIS],
    .method = METHOD_DEIS,
    .n_history = 3,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sampler_prepare_solver,
    .check = sampler_check_levels,
    .max_steps = sampler_max_steps_solver,
    .mixture = solver_mixture,
    .advance = deis_advance,
};
