/* levels.c - the tables of runs that count in noise levels.
 *
 * Two families.  Euler's and its kin space n timesteps, read the levels there,
 * and may curve them between their ends; the sample is x0 + sigma z.  The
 * multistep solvers space n + 1 timesteps, of which the last is left out, curve
 * between the ends of the whole table, and keep the variance; their timesteps
 * are whole numbers.
 *
 * Source.  diffusers 0.42.1, set_timesteps() of EulerDiscreteScheduler and of
 * DPMSolverMultistepScheduler and their kin.
 *
 * SPDX-License-Identifier: MIT
 */
#include <float.h>
#include <math.h>

#include "base/alloc.h"
#include "sample/sampler.h"
#include "sample/sigmas.h"

/* Fill `levels` [n_steps] by the run's kind between two ends. */
static void curve(const struct sampler_run *run, double most, double least,
                  double *levels)
{
    uint32_t n = run->n_steps;

    switch (run->sigma_kind) {
    case SIGMAS_KARRAS:
        sigmas_karras(levels, n, most, least, 7);
        break;
    case SIGMAS_EXPONENTIAL:
        sigmas_exponential(levels, n, most, least);
        break;
    case SIGMAS_BETA:
        sigmas_beta(levels, n, most, least);
        break;
    case SIGMAS_LU:
        most = (double)logf((float)most);
        least = (double)logf((float)least);
        for (uint32_t i = 0; i < n; i++)
            levels[i] =
                exp(most + sigmas_linspace(0, 1, n, i) * (least - most));
        break;
    case SIGMAS_AYS:
    case SIGMAS_AYS_XL:
        sigmas_align_your_steps(levels, n, run->sigma_kind == SIGMAS_AYS_XL);
        break;
    case SIGMAS_SPACED:
    case SIGMAS_FLOW:
    case SIGMAS_KIND_COUNT:
        break;
    }
}

static double or_else(double configured, double found)
{
    return isnan(configured) ? found : configured;
}

/* Between the ends that the file says, where the reference asks it: not for
 * lambdas, nor for the Karras levels of two methods. */
static void curve_as_configured(const struct sampler_run *run, double most,
                                double least, double *levels)
{
    const struct schedule_config *c = &run->schedule->config;
    bool is_deaf = run->sigma_kind == SIGMAS_LU ||
                   (run->sigma_kind == SIGMAS_KARRAS &&
                    (c->method == METHOD_LMS || c->method == METHOD_DPMPP_SDE));

    if (is_deaf)
        curve(run, most, least, levels);
    else
        curve(run, or_else(c->sigma_max, most), or_else(c->sigma_min, least),
              levels);
}

/* The last step may stand still, but for rounding: levels curved down to the
 * least, and final_sigmas_type "sigma_min". */
enum unstir_status sampler_check_levels(const struct sampler_run *run,
                                        struct unstir_error *err)
{
    for (uint32_t i = 0; i < run->n_steps; i++) {
        float here = run->sigmas[i], next = run->sigmas[i + 1];
        bool is_last = i + 1 == run->n_steps;
        if (isfinite(here) && next >= 0 &&
            (here > next || (is_last && next <= here * (1 + 4 * FLT_EPSILON))))
            continue;
        return error_field(err, "steps",
                           "with %u steps the noise of step %u (%g) does not "
                           "fall (%g): too many steps, or levels that end "
                           "above where they begin",
                           run->n_steps, i + 1, (double)here, (double)next);
    }
    return UNSTIR_OK;
}

static enum unstir_status check_prediction(const struct sampler_run *run,
                                           struct unstir_error *err)
{
    bool is_flow = run->schedule->config.prediction == PREDICTION_FLOW;

    if (is_flow == (run->sigma_kind == SIGMAS_FLOW))
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     is_flow ? "the network predicts a flow, which needs "
                               "use_flow_sigmas"
                             : "use_flow_sigmas needs a network that predicts "
                               "a flow");
}

/* -- Euler's family -------------------------------------------------------- */

/* linspace spacing is not rounded here; leading spacing that runs past the
 * table means its end, where only a curve's ends are taken from it. */
static enum unstir_status space_exploding(struct sampler_run *run,
                                          struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t n = run->n_steps, last = c->n_timesteps - 1;

    if (run->spacing == SPACING_LEADING && run->sigma_kind != SIGMAS_SPACED) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t t = i * (c->n_timesteps / n) + c->steps_offset;
            run->times[n - 1 - i] = (float)(t < last ? t : last);
        }
        return UNSTIR_OK;
    }
    if (run->spacing == SPACING_LINSPACE) {
        for (uint32_t i = 0; i < n; i++)
            run->times[i] = (float)sigmas_linspace(0, last, n, n - 1 - i);
        return UNSTIR_OK;
    }
    TRY(schedule_timesteps_as(run->schedule, run->spacing, n, run->timesteps,
                              err));
    for (uint32_t i = 0; i < n; i++)
        run->times[i] = (float)run->timesteps[i];
    return UNSTIR_OK;
}

/* n + 1 levels, log-linear over the table: the last step ends at its least. */
static void interpolate_log(struct sampler_run *run)
{
    const struct schedule *s = run->schedule;
    uint32_t last = s->config.n_timesteps - 1, n = run->n_steps;

    schedule_linspace_f32(run->sigmas, (double)logf(sigmas_of_table(s, last)),
                          (double)logf(sigmas_of_table(s, 0)), n + 1);
    for (uint32_t i = 0; i <= n; i++)
        run->sigmas[i] = expf(run->sigmas[i]);
}

static void level_exploding(struct sampler_run *run, double *levels)
{
    const struct schedule *s = run->schedule;
    const struct schedule_config *c = &s->config;
    uint32_t n = run->n_steps;
    double least;

    for (uint32_t i = 0; i < n; i++)
        levels[i] = sigmas_interpolate(s, (double)run->times[i]);
    least = levels[n - 1];
    if (run->spacing == SPACING_TRAILING &&
        schedule_trailing_count(c->n_timesteps, n, c->n_timesteps) > n)
        least = (double)sigmas_of_table(s, 0); /* its last timestep is -1 */
    run->sigmas[n] =
        c->final_sigma == FINAL_SIGMA_MIN ? sigmas_of_table(s, 0) : 0;
    if (c->interpolation == INTERPOLATION_LOG_LINEAR) {
        interpolate_log(run);
        for (uint32_t i = 0; i < n; i++)
            levels[i] = (double)run->sigmas[i];
        least = (double)run->sigmas[n];
    }
    if (run->sigma_kind == SIGMAS_SPACED)
        return;
    curve_as_configured(run, levels[0], least, levels);
    bool is_known = run->sigma_kind == SIGMAS_AYS || /* these end in 0 */
                    run->sigma_kind == SIGMAS_AYS_XL;
    run->sigmas[n] = c->final_sigma == FINAL_SIGMA_MIN && !is_known
                         ? sigmas_of_table(s, 0)
                         : 0;
    bool is_rounded = run->sigma_kind == SIGMAS_KARRAS &&
                      (c->method == METHOD_DPM2 || c->method == METHOD_DPM2_A);
    for (uint32_t i = 0; i < n; i++) {
        double t = sigmas_to_timestep(s, levels[i]);
        run->times[i] = (float)(is_rounded ? rint(t) : t);
    }
}

enum unstir_status sampler_prepare_exploding(struct sampler_run *run,
                                             struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    void *levels;

    TRY(check_prediction(run, err));
    TRY(space_exploding(run, err));
    TRY(alloc_zero(&levels, run->n_steps, sizeof(double), err));
    level_exploding(run, levels);
    for (uint32_t i = 0; i < run->n_steps; i++)
        run->sigmas[i] = (float)((double *)levels)[i];
    alloc_free(levels);
    if (c->timestep_type == TIMESTEPS_CONTINUOUS &&
        c->prediction == PREDICTION_V)
        for (uint32_t i = 0; i < run->n_steps; i++)
            run->times[i] = 0.25f * logf(run->sigmas[i]);
    float most = run->sigmas[0];
    run->first_scale =
        run->spacing == SPACING_LEADING ? sqrtf(most * most + 1) : most;
    return sampler_check_levels(run, err);
}

static void scale_to_one(const struct sampler_run *run, float sigma,
                         const float *sample, float *out)
{
    float scale = sqrtf(sigma * sigma + 1);

    for (size_t i = 0; i < run->n; i++)
        out[i] = sample[i] / scale;
}

void sampler_scale_exploding(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, const float *sample, float *out)
{
    scale_to_one(run, run->sigmas[step + eval], sample, out);
}

uint32_t sampler_n_evals_twice(const struct sampler_run *run, uint32_t step)
{
    return step + 1 < run->n_steps ? 2 : 1;
}

double sampler_timestep_middle(const struct sampler_run *run, uint32_t step,
                               uint32_t eval)
{
    return (double)(eval ? run->middle_times[step] : run->times[step]);
}

void sampler_scale_middle(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, const float *sample, float *out)
{
    scale_to_one(run, eval ? run->middle_sigmas[step] : run->sigmas[step],
                 sample, out);
}

void sampler_mix_exploding(const struct sampler_run *run, uint32_t step,
                           uint32_t eval, float *signal, float *noise)
{
    *signal = 1;
    *noise = run->sigmas[step + (eval > 0)];
}

void sampler_estimate_exploding(const struct sampler_run *run, float sigma,
                                const float *output, const float *sample,
                                float *estimate)
{
    float square = sigma * sigma + 1, gain = -sigma / sqrtf(square);

    switch (run->schedule->config.prediction) {
    case PREDICTION_SAMPLE:
        for (size_t i = 0; i < run->n; i++)
            estimate[i] = output[i];
        break;
    case PREDICTION_V:
        for (size_t i = 0; i < run->n; i++)
            estimate[i] = output[i] * gain + sample[i] / square;
        break;
    case PREDICTION_EPSILON:
    case PREDICTION_FLOW:
    case PREDICTION_COUNT:
        for (size_t i = 0; i < run->n; i++)
            estimate[i] = sample[i] - sigma * output[i];
        break;
    }
}

/* -- multistep solvers ----------------------------------------------------- */

/* T, or less by the steps whose log-SNR lies below the configured one. */
static uint32_t last_timestep(const struct schedule *s)
{
    uint32_t n = s->config.n_timesteps;

    if (isinf(s->config.lambda_min_clipped))
        return n;
    while (n > 1) {
        float lambda =
            logf(sqrtf(s->abar[n - 1])) - logf(sqrtf(1 - s->abar[n - 1]));
        if ((double)lambda >= s->config.lambda_min_clipped)
            break;
        n--;
    }
    return n;
}

uint32_t sampler_max_steps_solver(const struct schedule *s)
{
    const struct schedule_config *c = &s->config;
    uint32_t n = c->n_timesteps;

    if (c->spacing == SPACING_TRAILING || n == 1)
        return n;
    n--;
    while (n > 1 && c->spacing == SPACING_LEADING &&
           (uint64_t)n * (c->n_timesteps / (n + 1)) + c->steps_offset >=
               c->n_timesteps)
        n--;
    return n;
}

/* Where flow matching begins: the share of noise, shifted. */
static double shift_flow(const struct sampler_run *run, double share)
{
    const struct schedule_config *c = &run->schedule->config;
    double shift = c->is_shift_dynamic ? exp(run->mu) : c->flow_shift;

    return shift * share / (1 + (shift - 1) * share);
}

static void level_flow(struct sampler_run *run, double *levels)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t n = run->n_steps;
    double end = 1.0 / c->n_timesteps;
    bool is_unipc = c->method == METHOD_UNIPC;

    for (uint32_t i = 0; i < n; i++)
        levels[i] = shift_flow(
            run, is_unipc ? sigmas_linspace(1, end, n + 1, i)
                          : 1 - sigmas_linspace(1, end, n + 1, n - i));
    if (!is_unipc)
        return;
    if (!isnan(c->shift_terminal)) {
        double scale = (1 - levels[n - 1]) / (1 - c->shift_terminal);
        for (uint32_t i = 0; i < n; i++)
            levels[i] = 1 - (1 - levels[i]) / scale;
    }
    if (fabs(levels[0] - 1) < 1e-6)
        levels[0] -= 1e-6; /* all noise has no log-SNR */
}

/* Cut to a whole number, but for what rounding of logarithms takes from one: an
 * ulp of a logarithm of 3 over the table's least slope, 0.003 a step. */
static float cut_timestep(double t)
{
    return (float)floor(t + 1e-4);
}

/* The timestep of a level: rounded where the reference rounds, else cut. */
static float solver_time(const struct sampler_run *run, double level)
{
    const struct schedule_config *c = &run->schedule->config;
    enum sigma_kind kind = run->sigma_kind;
    bool is_kept = c->method == METHOD_DPMPP && c->beta_schedule == BETA_COSINE;

    if (kind == SIGMAS_FLOW)
        return (float)trunc(level * c->n_timesteps);
    double t = sigmas_to_timestep(run->schedule, level);
    if (kind == SIGMAS_EXPONENTIAL || kind == SIGMAS_BETA ||
        (is_kept && (kind == SIGMAS_KARRAS || kind == SIGMAS_LU)))
        return cut_timestep(t);
    return (float)rint(t);
}

static void level_solver(struct sampler_run *run, double *levels)
{
    const struct schedule *s = run->schedule;
    const struct schedule_config *c = &s->config;
    uint32_t n = run->n_steps;
    bool is_spaced = run->sigma_kind == SIGMAS_SPACED;

    if (run->sigma_kind == SIGMAS_FLOW)
        level_flow(run, levels);
    else
        curve_as_configured(run, (double)sigmas_of_table(s, c->n_timesteps - 1),
                            (double)sigmas_of_table(s, 0), levels);
    for (uint32_t i = 0; i < n; i++) {
        if (is_spaced)
            levels[i] = sigmas_interpolate(s, run->timesteps[i]);
        run->times[i] =
            is_spaced ? (float)run->timesteps[i] : solver_time(run, levels[i]);
        run->sigmas[i] = (float)levels[i];
    }
    bool is_own_end = c->method == METHOD_UNIPC || c->method == METHOD_DEIS;
    if (c->method != METHOD_DEIS && c->final_sigma == FINAL_ZERO)
        run->sigmas[n] = 0;
    else if (is_spaced || !is_own_end)
        run->sigmas[n] = sigmas_of_table(s, 0);
    else
        run->sigmas[n] = run->sigmas[n - 1];
}

uint32_t sampler_count_steps_solver(const struct sampler_run *run)
{
    uint32_t n_all = run->schedule->config.n_timesteps;
    uint32_t last = last_timestep(run->schedule);

    if (last == n_all || run->spacing != SPACING_TRAILING ||
        run->sigma_kind != SIGMAS_SPACED)
        return run->n_asked;
    return schedule_trailing_count(n_all, run->n_asked, last);
}

enum unstir_status sampler_prepare_solver(struct sampler_run *run,
                                          struct unstir_error *err)
{
    const struct schedule *s = run->schedule;
    uint32_t last = last_timestep(s);
    void *levels;

    TRY(check_prediction(run, err));
    if (run->sigma_kind == SIGMAS_SPACED)
        TRY(schedule_timesteps_solver(s, run->spacing, run->n_asked, last,
                                      run->timesteps, err));
    TRY(alloc_zero(&levels, run->n_steps, sizeof(double), err));
    level_solver(run, levels);
    alloc_free(levels);
    return UNSTIR_OK;
}
