/* unipc.c - the unified predictor-corrector of Zhao et al.
 *
 * A step first corrects the sample that it was given with the output there,
 * then predicts the next one.  Both solve a small system for the weights of
 * the differences D_k = (m_k - m0) / r_k, with r_k = (lambda_k - lambda_0) / h.
 *
 * history: [0] the sample that the last prediction started from, [1 ..] the
 * outputs, newest first.
 *
 * Refused, because the reference computes infinity times zero: bh1, and orders
 * above 1 in the last step, where noise ends at zero.
 *
 * Sources.  arXiv:2302.04867, algorithms 5 to 8; diffusers 0.42.1,
 * UniPCMultistepScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "sample/sampler.h"
#include "sample/solver.h"

#define MAX_ORDER 3

/* What a step from level `from` to level `to` multiplies with. */
struct weights {
    unsigned n;           /* differences with weights of their own        */
    float r[MAX_ORDER];   /* of the differences                           */
    float rho[MAX_ORDER]; /* their weights; of the corrector one more     */
    float x, m, b;        /* sample, newest output, sum of differences    */
};

/* Gauss with pivoting, in double: the reference solves in f32, from which the
 * exact solution of the same f32 numbers differs by its own rounding only. */
static void solve(double a[MAX_ORDER][MAX_ORDER + 1], unsigned n, float *out)
{
    for (unsigned k = 0; k < n; k++) {
        unsigned best = k;
        for (unsigned i = k + 1; i < n; i++)
            if (fabs(a[i][k]) > fabs(a[best][k]))
                best = i;
        for (unsigned j = 0; j <= n; j++) {
            double swap = a[k][j];
            a[k][j] = a[best][j];
            a[best][j] = swap;
        }
        for (unsigned i = 0; i < n; i++) {
            double f = i == k ? 0 : a[i][k] / a[k][k];
            for (unsigned j = k; j <= n; j++)
                a[i][j] -= f * a[k][j];
        }
    }
    for (unsigned i = 0; i < n; i++)
        out[i] = (float)(a[i][n] / a[i][i]);
}

/* The right-hand side: b_j of the paper's eq. 10. */
static void moments(float hh, float b_h, unsigned n, float *b)
{
    float phi = expm1f(hh) / hh - 1, factorial = 1;

    for (unsigned j = 0; j < n; j++) {
        b[j] = phi * factorial / b_h;
        factorial *= (float)(j + 2);
        phi = phi / hh - 1 / factorial;
    }
}

/* The weights of `order` from level `from` to level `to`; differences reach
 * back from `from`. */
static struct weights weigh(const struct sampler_run *run, uint32_t from,
                            uint32_t to, unsigned order, bool is_corrector)
{
    const struct schedule_config *c = &run->schedule->config;
    struct solver_point t = solver_point_at(run, to);
    struct solver_point s = solver_point_at(run, from);
    float h = t.lambda - s.lambda, hh = c->is_predicting_x0 ? -h : h;
    float b_h = c->solver == SOLVER_BH1 ? hh : expm1f(hh);
    float scale = c->is_predicting_x0 ? t.signal : t.noise;
    double rows[MAX_ORDER][MAX_ORDER + 1];
    float b[MAX_ORDER];
    struct weights w = {
        .n = order - 1,
        .x = c->is_predicting_x0 ? t.noise / s.noise : t.signal / s.signal,
        .m = -(scale * expm1f(hh)),
        .b = -(scale * b_h),
    };

    for (unsigned k = 0; k + 1 < order; k++)
        w.r[k] = (solver_point_at(run, from - 1 - k).lambda - s.lambda) / h;
    w.r[order - 1] = 1;
    if (h == 0) /* a last step that stands still */
        return (struct weights){.x = 1};
    unsigned n = is_corrector ? order : order - 1;
    w.rho[0] = 0.5f;
    if (n < 1 || (n == 1 && (is_corrector || order == 2)))
        return w;
    moments(hh, b_h, n, b);
    for (unsigned j = 0; j < n; j++) {
        for (unsigned k = 0; k < n; k++)
            rows[j][k] = (double)powf(w.r[k], (float)j);
        rows[j][n] = (double)b[j];
    }
    solve(rows, n, w.rho);
    return w;
}

/* out = the step from x; `ahead` is the output at its end, or NULL. */
static void apply(const struct sampler_run *run, const struct weights *w,
                  const float *x, const float *m0, const float *ahead,
                  float *out)
{
    size_t n = run->n;

    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (unsigned k = 0; k < w->n; k++)
            sum += w->rho[k] * ((m0[(k + 1) * n + i] - m0[i]) / w->r[k]);
        if (ahead)
            sum += w->rho[w->n] * (ahead[i] - m0[i]);
        out[i] = w->x * x[i] + w->m * m0[i] + w->b * sum;
    }
}

static bool is_corrected(const struct schedule_config *c, uint32_t step)
{
    for (uint32_t i = 0; i < c->n_uncorrected; i++)
        if (c->uncorrected[i] + 1 == step)
            return false;
    return true;
}

/* Of the prediction at `step` with `n_held` outputs, this one's included. */
static unsigned order_at(const struct sampler_run *run, uint32_t step,
                         uint32_t n_held)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t left = run->n_steps - step;
    unsigned order = c->solver_order;

    if (c->is_lower_order_final && order > left)
        order = left;
    return order < n_held ? order : n_held;
}

static void unipc_advance(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, const struct sampler_io *io,
                          struct sampler_state *state)
{
    const struct schedule_config *c = &run->schedule->config;
    float *x = state->sample, *start = sampler_history(run, state, 0);
    float *output = sampler_history(run, state, MAX_ORDER + 1);
    uint32_t n_held = state->n_held ? state->n_held - 1 : 0;
    size_t bytes = run->n * sizeof *x;

    (void)eval;
    solver_convert(run, solver_point_at(run, step), io->output, x,
                   state->estimate, output);
    if (n_held && is_corrected(c, step)) {
        unsigned order = order_at(run, step - 1, n_held);
        struct weights w = weigh(run, step - 1, step, order, true);
        apply(run, &w, start, sampler_history(run, state, 1), output, x);
    }
    memcpy(sampler_push(run, state, 1, c->solver_order), output, bytes);
    memcpy(start, x, bytes);
    unsigned order = order_at(run, step, state->n_held - 1);
    struct weights w = weigh(run, step, step + 1, order, false);
    apply(run, &w, start, sampler_history(run, state, 1), NULL, x);
}

static enum unstir_status unipc_check(const struct sampler_run *run,
                                      struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    bool is_zero = run->sigmas[run->n_steps] <= 0;

    if (is_zero && c->solver == SOLVER_BH1)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "solver_type \"bh1\" with final_sigmas_type \"zero\" "
                         "multiplies infinity by zero in the last step; use "
                         "\"bh2\" or \"sigma_min\"");
    uint32_t n_held = run->n_steps - run->first; /* outputs, at the end       */
    if (is_zero && order_at(run, run->n_steps - 1, n_held) > 1)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "final_sigmas_type \"zero\" needs lower_order_final");
    if (is_zero && !c->is_predicting_x0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "predict_x0 false cannot end at noise zero: "
                         "final_sigmas_type must be \"sigma_min\"");
    if (!c->is_predicting_x0 && c->prediction == PREDICTION_FLOW)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "a network that predicts a flow needs predict_x0");
    return sampler_check_levels(run, err);
}

const struct sampler sampler_unipc = {
    .info = &sampler_infos[SAMPLER_UNIPC],
    .method = METHOD_UNIPC,
    .n_history = MAX_ORDER + 2,
    .sigma_kinds = SIGMA_USUAL,
    .has_spacings = true,
    .prepare = sampler_prepare_solver,
    .check = unipc_check,
    .max_steps = sampler_max_steps_solver,
    .mixture = solver_mixture,
    .advance = unipc_advance,
};
