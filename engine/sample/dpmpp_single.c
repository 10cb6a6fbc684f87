/* dpmpp_single.c - DPM-Solver++ as a singlestep method (2S, 3S).
 *
 * Steps come in groups of the solver's order: the first of a group is of order
 * 1, the next of order 2, and so on, each from the group's first sample.  What
 * the reference counts as a step, one evaluation, is a step here too.  The last
 * is of order 1 where noise ends at zero or the groups come out even.
 *
 * history: [0] the group's first sample, [1 ..] outputs, newest first.
 *
 * Sources.  Lu et al., arXiv:2211.01095, algorithms 1 and 2; diffusers 0.42.1,
 * DPMSolverSinglestepScheduler.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "sample/sampler.h"
#include "sample/solver.h"

/* The reference turns lower_order_final on where groups would not come out
 * even or the end would be infinite. */
static bool has_low_end(const struct sampler_run *run)
{
    const struct schedule_config *c = &run->schedule->config;

    return c->is_lower_order_final || c->final_sigma == FINAL_ZERO ||
           run->n_steps % c->solver_order != 0;
}

static unsigned order_at(const struct sampler_run *run, uint32_t step)
{
    const struct schedule_config *c = &run->schedule->config;
    bool is_last = step + 1 == run->n_steps;

    if (is_last && (c->final_sigma == FINAL_ZERO ||
                    (has_low_end(run) && run->n_steps % c->solver_order == 0)))
        return 1;
    return step % c->solver_order + 1;
}

/* x = the step of third order from `start`; m0 is the newest of the group. */
static void step_third(const struct sampler_run *run, struct solver_terms k,
                       float r0, float r1, const float *start, const float *m0,
                       float *x)
{
    bool is_midpoint = run->schedule->config.solver == SOLVER_MIDPOINT;
    const float *m1 = m0 + run->n, *m2 = m1 + run->n;
    float w0 = 1 / r0, w1 = 1 / r1;

    for (size_t i = 0; i < run->n; i++) {
        float near = w1 * (m1[i] - m2[i]), far = w0 * (m0[i] - m2[i]);
        float sum = k.x * start[i] + k.m * m2[i];
        if (is_midpoint) {
            x[i] = sum + k.d1 * far;
            continue;
        }
        float d1 = (r0 * near - r1 * far) / (r0 - r1);
        float d2 = 2 * (far - near) / (r0 - r1);
        x[i] = sum + k.d1 * d1 + k.d2 * d2;
    }
}

static void step_of_order(const struct sampler_run *run, uint32_t step,
                          unsigned order, const float *start, const float *m0,
                          struct solver_terms *k, float *x)
{
    struct solver_point t = solver_point_at(run, step + 1);
    struct solver_point s = solver_point_at(run, step);
    struct solver_point base = solver_point_at(run, step + 1 - order);
    float h = t.lambda - base.lambda, r0 = (s.lambda - base.lambda) / h;
    const float *m1 = m0 + run->n;

    *k = solver_terms_of(&run->schedule->config, t, base, order);
    if (order == 1) {
        for (size_t i = 0; i < run->n; i++)
            x[i] = k->x * start[i] + k->m * m0[i];
    } else if (order == 2) {
        float w = 1 / r0;
        for (size_t i = 0; i < run->n; i++)
            x[i] =
                k->x * start[i] + k->m * m1[i] + k->d1 * (w * (m0[i] - m1[i]));
    } else {
        float r1 = (solver_point_at(run, step - 1).lambda - base.lambda) / h;
        step_third(run, *k, r0, r1, start, m0, x);
    }
}

static void single_advance(const struct sampler_run *run, uint32_t step,
                           uint32_t eval, const struct sampler_io *io,
                           struct sampler_state *state)
{
    const struct schedule_config *c = &run->schedule->config;
    float *x = state->sample, *start = sampler_history(run, state, 0);
    unsigned order = order_at(run, step);
    struct solver_terms k;

    (void)eval;
    if (state->n_held == 0)
        order = 1; /* a run that begins within a group */
    float *m0 = sampler_push(run, state, 1, c->solver_order);
    solver_convert(run, solver_point_at(run, step), io->output, x,
                   state->estimate, m0);
    if (order > state->n_held - 1)
        order = state->n_held - 1;
    if (order == 1)
        memcpy(start, x, run->n * sizeof *x);
    if (solver_is_sde(c))
        rng_normal_f32(&state->rng, io->noise, run->n);
    step_of_order(run, step, order, start, m0, &k, x);
    if (solver_is_sde(c))
        for (size_t i = 0; i < run->n; i++)
            x[i] += k.z * io->noise[i];
}

static enum unstir_status single_adapt(const struct sampler *self,
                                       struct schedule_config *c, bool is_own,
                                       struct unstir_error *err)
{
    if (self->order == 3 || c->solver_order > self->order)
        c->solver_order = self->order;
    if (!is_own && c->algorithm == ALGORITHM_SDE_DPMPP)
        c->algorithm = ALGORITHM_DPMPP;
    if (solver_is_of_noise(c) &&
        (c->prediction == PREDICTION_FLOW || c->is_thresholding))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "a predicted flow, and thresholding, need "
                         "algorithm_type \"dpmsolver++\"");
    return UNSTIR_OK;
}

#define SINGLE(id, n)                                                          \
    {                                                                          \
        .info = &sampler_infos[id], .method = METHOD_DPMPP_SINGLE, .order = n, \
        .n_history = n + 1, .sigma_kinds = SIGMA_USUAL, .adapt = single_adapt, \
        .prepare = sampler_prepare_solver, .check = sampler_check_levels,      \
        .max_steps = sampler_max_steps_solver, .mixture = solver_mixture,      \
        .advance = single_advance,                                             \
    }

const struct sampler sampler_dpmpp_2s = SINGLE(SAMPLER_DPMPP_2S, 2);
const struct sampler sampler_dpmpp_3s = SINGLE(SAMPLER_DPMPP_3S, 3);
