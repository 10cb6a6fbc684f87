/* dpmpp.c - DPM-Solver++ as a multistep method, with and without noise.
 *
 * The names are one method: order 2 or 3, deterministic or stochastic.  A
 * folder of this very class keeps what a name leaves open: order 1 under 2m,
 * the older algorithms (dpmsolver, sde-dpmsolver), midpoint or heun.
 *
 * Formulas: solver.c.  The stochastic forms draw noise in every step, the last
 * one included, where it is multiplied by zero.
 *
 * Source.  diffusers 0.42.1, DPMSolverMultistepScheduler.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sampler.h"
#include "sample/solver.h"

static enum unstir_status dpmpp_adapt(const struct sampler *self,
                                      struct schedule_config *c, bool is_own,
                                      struct unstir_error *err)
{
    bool is_of_noise = solver_is_of_noise(c);

    if (self->is_heun)
        c->solver = SOLVER_HEUN;
    (void)is_own;
    if (self->order == 3 || c->solver_order > self->order)
        c->solver_order = self->order;
    if (self->is_sde)
        c->algorithm = is_of_noise ? ALGORITHM_SDE_DPM : ALGORITHM_SDE_DPMPP;
    else
        c->algorithm = is_of_noise ? ALGORITHM_DPM : ALGORITHM_DPMPP;
    if (is_of_noise && c->prediction == PREDICTION_FLOW)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network predicts a flow, which needs "
                         "algorithm_type \"dpmsolver++\"");
    return UNSTIR_OK;
}

static enum unstir_status dpmpp_check(const struct sampler_run *run,
                                      struct unstir_error *err)
{
    unsigned most = 0;

    for (uint32_t i = run->first; i < run->n_steps; i++) {
        unsigned order = solver_order_at(run, i, i - run->first + 1);
        most = order > most ? order : most;
    }
    if (run->schedule->config.algorithm == ALGORITHM_SDE_DPM && most > 2)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "algorithm_type \"sde-dpmsolver\" has no third order");
    return sampler_check_levels(run, err);
}

static void dpmpp_advance(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, const struct sampler_io *io,
                          struct sampler_state *state)
{
    struct solver_point here = solver_point_at(run, step);
    float *m0 = sampler_push(run, state, 0, run->schedule->config.solver_order);

    (void)eval;
    solver_convert(run, here, io->output, state->sample, state->estimate, m0);
    solver_advance(run, step, io, state);
}

#define DPMPP(id, steps_back, sde, heun)                                      \
    {                                                                         \
        .info = &sampler_infos[id], .method = METHOD_DPMPP,                   \
        .order = steps_back, .is_sde = sde, .is_heun = heun,                  \
        .n_history = steps_back, .sigma_kinds = SIGMA_USUAL | SIGMA_BIT(LU),  \
        .has_spacings = true, .adapt = dpmpp_adapt,                           \
        .prepare = sampler_prepare_solver, .check = dpmpp_check,              \
        .max_steps = sampler_max_steps_solver,                                \
        .count_steps = sampler_count_steps_solver, .mixture = solver_mixture, \
        .advance = dpmpp_advance,                                             \
    }

const struct sampler sampler_dpmpp_2m =
    DPMPP(SAMPLER_DPMPP_2M, 2, false, false);
const struct sampler sampler_dpmpp_3m =
    DPMPP(SAMPLER_DPMPP_3M, 3, false, false);
const struct sampler sampler_dpmpp_2m_sde =
    DPMPP(SAMPLER_DPMPP_2M_SDE, 2, true, false);
const struct sampler sampler_dpmpp_3m_sde =
    DPMPP(SAMPLER_DPMPP_3M_SDE, 3, true, false);
const struct sampler sampler_dpmpp_2m_sde_heun =
    DPMPP(SAMPLER_DPMPP_2M_SDE_HEUN, 2, true, true);
