/* solver.c - the formulas of DPM-Solver and DPM-Solver++.
 *
 * Sources.  Lu et al., arXiv:2206.00927 (dpmsolver) and arXiv:2211.01095
 * (dpmsolver++, its stochastic form in section 4.4 of the second); diffusers
 * 0.42.1, DPMSolverMultistepScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/solver.h"

#include <math.h>
#include <string.h>

struct solver_point solver_point_at(const struct sampler_run *run,
                                    uint32_t level)
{
    float sigma = run->sigmas[level];
    struct solver_point p = {1 - sigma, sigma, 0};

    if (schedule_kin_of(run->schedule->config.method) == KIN_EDM) {
        p.signal = 1;
    } else if (run->sigma_kind != SIGMAS_FLOW) {
        p.signal = 1 / sqrtf(sigma * sigma + 1);
        p.noise = sigma * p.signal;
    }
    p.lambda = logf(p.signal) - logf(p.noise);
    return p;
}

void solver_mixture(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    float *signal, float *noise)
{
    struct solver_point p = solver_point_at(run, step);

    (void)eval;
    *signal = p.signal;
    *noise = p.noise;
}

bool solver_is_sde(const struct schedule_config *c)
{
    return c->algorithm == ALGORITHM_SDE_DPMPP ||
           c->algorithm == ALGORITHM_SDE_DPM;
}

bool solver_is_of_noise(const struct schedule_config *c)
{
    return c->algorithm == ALGORITHM_DPM || c->algorithm == ALGORITHM_SDE_DPM;
}

/* -- terms ----------------------------------------------------------------- */

static struct solver_terms terms_dpmpp(struct solver_point t,
                                       struct solver_point s, unsigned order,
                                       bool is_midpoint)
{
    float h = t.lambda - s.lambda, a = t.signal, e = expf(-h) - 1;
    struct solver_terms k = {.x = t.noise / s.noise, .m = -(a * e)};

    if (order == 1)
        return k;
    if (order == 2 && is_midpoint)
        k.d1 = -(0.5f * (a * e));
    else
        k.d1 = a * (e / h + 1);
    if (order == 3)
        k.d2 = -(a * ((e + h) / (h * h) - 0.5f));
    return k;
}

static struct solver_terms terms_sde_dpmpp(struct solver_point t,
                                           struct solver_point s,
                                           unsigned order, bool is_midpoint)
{
    float h = t.lambda - s.lambda, a = t.signal, e = 1 - expf(-2 * h);
    struct solver_terms k = {
        .x = t.noise / s.noise * expf(-h),
        .m = a * e,
        .z = t.noise * sqrtf(e),
    };

    if (order == 1)
        return k;
    if (order == 2 && is_midpoint)
        k.d1 = 0.5f * (a * e);
    else
        k.d1 = a * (e / (-2 * h) + 1);
    if (order == 3)
        k.d2 = a * ((e - 2 * h) / ((2 * h) * (2 * h)) - 0.5f);
    return k;
}

static struct solver_terms terms_dpm(struct solver_point t,
                                     struct solver_point s, unsigned order,
                                     bool is_midpoint)
{
    float h = t.lambda - s.lambda, n = t.noise, e = expf(h) - 1;
    struct solver_terms k = {.x = t.signal / s.signal, .m = -(n * e)};

    if (order == 1)
        return k;
    if (order == 2 && is_midpoint)
        k.d1 = -(0.5f * (n * e));
    else
        k.d1 = -(n * (e / h - 1));
    if (order == 3)
        k.d2 = -(n * ((e - h) / (h * h) - 0.5f));
    return k;
}

static struct solver_terms terms_sde_dpm(struct solver_point t,
                                         struct solver_point s, unsigned order,
                                         bool is_midpoint)
{
    float h = t.lambda - s.lambda, n = t.noise, e = expf(h) - 1;
    struct solver_terms k = {
        .x = t.signal / s.signal,
        .m = -(2 * (n * e)),
        .z = n * sqrtf(expf(2 * h) - 1),
    };

    if (order == 2)
        k.d1 = is_midpoint ? -(n * e) : -(2 * (n * (e / h - 1)));
    return k;
}

struct solver_terms solver_terms_of(const struct schedule_config *c,
                                    struct solver_point t,
                                    struct solver_point s, unsigned order)
{
    bool is_midpoint = c->solver == SOLVER_MIDPOINT;

    switch (c->algorithm) {
    case ALGORITHM_SDE_DPMPP:
        return terms_sde_dpmpp(t, s, order, is_midpoint);
    case ALGORITHM_DPM:
        return terms_dpm(t, s, order, is_midpoint);
    case ALGORITHM_SDE_DPM:
        return terms_sde_dpm(t, s, order, is_midpoint);
    case ALGORITHM_DPMPP:
    case ALGORITHM_DEIS:
    case ALGORITHM_COUNT:
        break;
    }
    return terms_dpmpp(t, s, order, is_midpoint);
}

/* -- outputs --------------------------------------------------------------- */

static void picture_of_output(const struct sampler_run *run,
                              struct solver_point at, const float *output,
                              const float *sample, float *estimate)
{
    float a = at.signal, s = at.noise;

    switch (run->schedule->config.prediction) {
    case PREDICTION_EPSILON:
    case PREDICTION_COUNT:
        for (size_t i = 0; i < run->n; i++)
            estimate[i] = (sample[i] - s * output[i]) / a;
        break;
    case PREDICTION_SAMPLE:
        memcpy(estimate, output, run->n * sizeof *output);
        break;
    case PREDICTION_V:
        for (size_t i = 0; i < run->n; i++)
            estimate[i] = a * sample[i] - s * output[i];
        break;
    case PREDICTION_FLOW:
        for (size_t i = 0; i < run->n; i++)
            estimate[i] = sample[i] - s * output[i];
        break;
    }
}

static void noise_of_output(const struct sampler_run *run,
                            struct solver_point at, const float *output,
                            const float *sample, float *converted)
{
    float a = at.signal, s = at.noise;

    switch (run->schedule->config.prediction) {
    case PREDICTION_SAMPLE:
        for (size_t i = 0; i < run->n; i++)
            converted[i] = (sample[i] - a * output[i]) / s;
        break;
    case PREDICTION_V:
        for (size_t i = 0; i < run->n; i++)
            converted[i] = a * output[i] + s * sample[i];
        break;
    case PREDICTION_EPSILON:
    case PREDICTION_FLOW:
    case PREDICTION_COUNT:
        memcpy(converted, output, run->n * sizeof *output);
        break;
    }
}

void solver_convert(const struct sampler_run *run, struct solver_point at,
                    const float *output, const float *sample, float *estimate,
                    float *converted)
{
    const struct schedule_config *c = &run->schedule->config;
    bool is_of_noise = c->method == METHOD_UNIPC ? !c->is_predicting_x0
                                                 : solver_is_of_noise(c);
    /* UniPC thresholds pictures only. */
    bool is_limited =
        c->is_thresholding && !(is_of_noise && c->method == METHOD_UNIPC);

    if (!is_of_noise) {
        picture_of_output(run, at, output, sample, estimate);
        if (is_limited)
            sampler_limit(run, estimate);
        memcpy(converted, estimate, run->n * sizeof *converted);
        return;
    }
    noise_of_output(run, at, output, sample, converted);
    for (size_t i = 0; i < run->n; i++)
        estimate[i] = (sample[i] - at.noise * converted[i]) / at.signal;
    if (!is_limited)
        return;
    sampler_limit(run, estimate);
    for (size_t i = 0; i < run->n; i++)
        converted[i] = (sample[i] - at.signal * estimate[i]) / at.noise;
}

/* -- steps ----------------------------------------------------------------- */

static void step_first(const struct sampler_run *run, struct solver_terms k,
                       const float *m0, float *x)
{
    for (size_t i = 0; i < run->n; i++)
        x[i] = k.x * x[i] + k.m * m0[i];
}

static void step_second(const struct sampler_run *run, struct solver_terms k,
                        float r0, const float *m0, float *x)
{
    const float *m1 = m0 + run->n;
    float w = 1 / r0;

    for (size_t i = 0; i < run->n; i++)
        x[i] = k.x * x[i] + k.m * m0[i] + k.d1 * (w * (m0[i] - m1[i]));
}

static void step_third(const struct sampler_run *run, struct solver_terms k,
                       float r0, float r1, const float *m0, float *x)
{
    const float *m1 = m0 + run->n, *m2 = m1 + run->n;
    float w0 = 1 / r0, w1 = 1 / r1, w = 1 / (r0 + r1), share = r0 / (r0 + r1);

    for (size_t i = 0; i < run->n; i++) {
        float near = w0 * (m0[i] - m1[i]), far = w1 * (m1[i] - m2[i]);
        float d1 = near + share * (near - far), d2 = w * (near - far);
        x[i] = k.x * x[i] + k.m * m0[i] + k.d1 * d1 + k.d2 * d2;
    }
}

/* x (in place) = terms of x, newest output first; r0, r1: the earlier steps
 * as shares of this one. */
static void multistep(const struct sampler_run *run, struct solver_terms k,
                      unsigned order, float r0, float r1, const float *m0,
                      const float *noise, float *x)
{
    if (order == 1)
        step_first(run, k, m0, x);
    else if (order == 2)
        step_second(run, k, r0, m0, x);
    else
        step_third(run, k, r0, r1, m0, x);
    if (noise)
        for (size_t i = 0; i < run->n; i++)
            x[i] += k.z * noise[i];
}

/* Lower orders where history is short, and at the end where few steps or noise
 * zero make high ones unstable. */
unsigned solver_order_at(const struct sampler_run *run, uint32_t step,
                         uint32_t n_held)
{
    const struct schedule_config *c = &run->schedule->config;
    bool is_short = c->is_lower_order_final && run->n_steps < 15;
    uint32_t left = run->n_steps - step;
    unsigned order = c->solver_order;

    if (left == 1 &&
        (c->is_euler_at_final || is_short || c->final_sigma == FINAL_ZERO))
        order = 1;
    if (left == 2 && is_short && order > 2)
        order = 2;
    return order < n_held ? order : n_held;
}

void solver_advance(const struct sampler_run *run, uint32_t step,
                    const struct sampler_io *io, struct sampler_state *state)
{
    const struct schedule_config *c = &run->schedule->config;
    struct solver_point t = solver_point_at(run, step + 1);
    struct solver_point s = solver_point_at(run, step);
    const float *m0 = sampler_history(run, state, 0);
    unsigned order = solver_order_at(run, step, state->n_held);
    struct solver_terms k = solver_terms_of(c, t, s, order);
    float h = t.lambda - s.lambda, r0 = 0, r1 = 0;
    bool is_sde = solver_is_sde(c);

    if (order > 1) {
        struct solver_point s1 = solver_point_at(run, step - 1);
        r0 = (s.lambda - s1.lambda) / h;
        if (order > 2)
            r1 = (s1.lambda - solver_point_at(run, step - 2).lambda) / h;
    }
    if (is_sde)
        rng_normal_f32(&state->rng, io->noise, run->n);
    if (h == 0)
        return; /* a last step that stands still */
    multistep(run, k, order, r0, r1, m0, is_sde ? io->noise : NULL,
              state->sample);
}
