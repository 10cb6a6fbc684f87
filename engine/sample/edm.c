/* edm.c - networks preconditioned by their noise level: Euler, DPM-Solver++.
 *
 * The network sees c_in x at the time ln(sigma) / 4; the picture is
 * c_skip x + c_out output.  Samples are x0 + sigma z.
 *
 * Sources.  Karras et al., arXiv:2206.00364, table 1; diffusers 0.42.1,
 * EDMEulerScheduler and EDMDPMSolverMultistepScheduler (order of operations;
 * the first makes karras levels in double, the second in f32).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "base/alloc.h"
#include "sample/sampler.h"
#include "sample/sigmas.h"
#include "sample/solver.h"

static void level_karras_f32(struct sampler_run *run)
{
    const struct schedule_config *c = &run->schedule->config;
    double start = pow(c->sigma_max, 1 / c->rho);
    double end = pow(c->sigma_min, 1 / c->rho);

    schedule_linspace_f32(run->sigmas, 0, 1, run->n_steps);
    for (uint32_t i = 0; i < run->n_steps; i++)
        run->sigmas[i] =
            powf((float)start + run->sigmas[i] * (float)(end - start),
                 (float)c->rho);
}

static enum unstir_status level_karras(struct sampler_run *run,
                                       struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    void *memory;

    TRY(alloc_zero(&memory, run->n_steps, sizeof(double), err));
    double *levels = memory;
    sigmas_karras(levels, run->n_steps, c->sigma_max, c->sigma_min, c->rho);
    for (uint32_t i = 0; i < run->n_steps; i++)
        run->sigmas[i] = (float)levels[i];
    alloc_free(memory);
    return UNSTIR_OK;
}

static enum unstir_status edm_prepare(struct sampler_run *run,
                                      struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t n = run->n_steps;

    if (run->sigma_kind == SIGMAS_EXPONENTIAL) {
        /* From the least, in f32, turned round. */
        schedule_linspace_f32(run->middle_sigmas, log(c->sigma_min),
                              log(c->sigma_max), n);
        for (uint32_t i = 0; i < n; i++)
            run->sigmas[i] = expf(run->middle_sigmas[n - 1 - i]);
    } else if (c->method == METHOD_EDM_DPMPP) {
        level_karras_f32(run);
    } else {
        TRY(level_karras(run, err));
    }
    for (uint32_t i = 0; i < n; i++)
        run->times[i] = 0.25f * logf(run->sigmas[i]);
    run->sigmas[n] = c->final_sigma == FINAL_ZERO    ? 0
                     : c->method == METHOD_EDM_EULER ? run->sigmas[n - 1]
                                                     : (float)c->sigma_min;
    run->first_scale = (float)sqrt(c->sigma_max * c->sigma_max + 1);
    return UNSTIR_OK;
}

static enum unstir_status edm_check(const struct sampler_run *run,
                                    struct unstir_error *err)
{
    enum prediction p = run->schedule->config.prediction;

    if (p == PREDICTION_EPSILON || p == PREDICTION_V)
        return sampler_check_levels(run, err);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "preconditioned networks predict epsilon or v_prediction");
}

static void edm_scale_input(const struct sampler_run *run, uint32_t step,
                            uint32_t eval, const float *sample, float *out)
{
    float data = (float)(run->schedule->config.sigma_data *
                         run->schedule->config.sigma_data);
    float sigma = run->sigmas[step], gain = 1 / sqrtf(sigma * sigma + data);

    (void)eval;
    for (size_t i = 0; i < run->n; i++)
        out[i] = sample[i] * gain;
}

static void estimate(const struct sampler_run *run, float sigma,
                     const float *output, const float *x, float *x0)
{
    const struct schedule_config *c = &run->schedule->config;
    float data = (float)(c->sigma_data * c->sigma_data);
    float square = sigma * sigma + data, skip = data / square;
    float out = sigma * (float)c->sigma_data / sqrtf(square);

    if (c->prediction == PREDICTION_V)
        out = -out;
    for (size_t i = 0; i < run->n; i++)
        x0[i] = skip * x[i] + out * output[i];
    if (c->is_thresholding)
        sampler_limit(run, x0);
}

static void edm_euler_advance(const struct sampler_run *run, uint32_t step,
                              uint32_t eval, const struct sampler_io *io,
                              struct sampler_state *state)
{
    float sigma = run->sigmas[step], dt = run->sigmas[step + 1] - sigma;
    float *x = state->sample;

    (void)eval;
    estimate(run, sigma, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++)
        x[i] = x[i] + (x[i] - state->estimate[i]) / sigma * dt;
}

static void edm_dpmpp_advance(const struct sampler_run *run, uint32_t step,
                              uint32_t eval, const struct sampler_io *io,
                              struct sampler_state *state)
{
    float *m0 = sampler_push(run, state, 0, run->schedule->config.solver_order);

    (void)eval;
    estimate(run, run->sigmas[step], io->output, state->sample, m0);
    for (size_t i = 0; i < run->n; i++)
        state->estimate[i] = m0[i];
    solver_advance(run, step, io, state);
}

static uint32_t edm_max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

const struct sampler sampler_edm_euler = {
    .info = &sampler_infos[SAMPLER_EDM_EULER],
    .method = METHOD_EDM_EULER,
    .sigma_kinds = SIGMA_BIT(KARRAS) | SIGMA_BIT(EXPONENTIAL),
    .prepare = edm_prepare,
    .check = edm_check,
    .max_steps = edm_max_steps,
    .scale_input = edm_scale_input,
    .mixture = sampler_mix_exploding,
    .advance = edm_euler_advance,
};

const struct sampler sampler_edm_dpmpp_2m = {
    .info = &sampler_infos[SAMPLER_EDM_DPMPP_2M],
    .method = METHOD_EDM_DPMPP,
    .n_history = 3,
    .sigma_kinds = SIGMA_BIT(KARRAS) | SIGMA_BIT(EXPONENTIAL),
    .prepare = edm_prepare,
    .check = edm_check,
    .max_steps = edm_max_steps,
    .scale_input = edm_scale_input,
    .mixture = sampler_mix_exploding,
    .advance = edm_dpmpp_advance,
};
