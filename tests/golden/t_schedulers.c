/* t_schedulers.c - schedules and sampler steps against the reference.
 *
 * Two files.  schedulers.json: whole runs with a stand-in network
 * x * t / (t + 1), of which sums and the first values are known.
 * schedulers_own.json (tools/goldens/make_schedulers.py): every configuration
 * field, timesteps in full, and single steps with their input, so that each
 * step is judged alone.
 *
 * Tolerances.  A step does some ten f32 operations an element in the
 * reference's own order: 1e-6 of the largest value (8 roundings of 2^-24 each
 * are 5e-7).  Where the network predicts noise, x0 = (x - s e) / a cancels, so
 * that the roundings of x and s e, divided by a, are added.  They count twice
 * 2^-23: the reference's square root s is off by one unit in the last place
 * for a fifth of all numbers (Intel's vector library on AMD's Zen 3), ours is
 * rounded correctly, and product and difference are rounded once each.
 * The same holds for v with a = 1, and for betas of a rescaled schedule, which
 * are 1 minus a quotient of squares of such roots (eight roundings near 1).
 * Sums of whole runs are f32 sums of 768 numbers in the file: 1e-5.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "format/json.h"
#include "json_file.h"
#include "sample/sampler.h"

#define STEP_TOLERANCE 1e-6
#define SUM_TOLERANCE  1e-5
#define MAX_CASES      1000
#define MAX_STEPS      1000
#define N_RUN          768
#define N_STEP         16

/* A run with its memory. */
struct rig {
    struct schedule schedule;
    struct sampler_run run;
    struct sampler_state state;
    float sample[N_RUN], estimate[N_RUN];
    float history[SAMPLER_MAX_HISTORY * N_RUN], input[N_RUN];
    float output[N_RUN], variance[N_RUN], noise[N_RUN];
    enum variance_type kind;
    uint32_t custom[8];
};

static void rig_init(struct rig *r, const struct json *row, size_t n,
                     bool has_variance)
{
    const struct json *config = json_get(row, "config");
    const struct json *mu =
        json_get(json_get(row, "set_timesteps_kwargs"), "mu");
    const struct json *timesteps =
        json_get(json_get(row, "set_timesteps_kwargs"), "timesteps");
    const struct sampler *s = sampler_of_config(config);
    struct sampler_run_options o = {
        .n_steps = (uint32_t)json_int(json_get(row, "steps")),
        .n = n,
        .eta = json_real(json_get(row, "eta")),
        .mu = json_real(mu),
        .has_clipped_output = json_bool(json_get(row, "clipped")),
        .has_learned_variance = has_variance,
    };
    struct unstir_error err;

    memset(r, 0, sizeof *r);
    assert_non_null(s);
    if (json_len(timesteps)) {
        assert_true(json_len(timesteps) <= ARRAY_LEN(r->custom));
        for (size_t i = 0; i < json_len(timesteps); i++)
            r->custom[i] = (uint32_t)json_int(json_at(timesteps, i));
        o.timesteps = r->custom;
    }
    if (!json_get(row, "eta"))
        o.eta = s->default_eta;
    if (sampler_schedule_init(s, &r->schedule, config, &err) ||
        sampler_run_init(&r->run, s, &r->schedule, &o, &err))
        fail_msg("%s", err.detail);
    r->kind = r->schedule.config.variance;
    r->state.sample = r->sample;
    r->state.estimate = r->estimate;
    r->state.history = r->history;
}

static void rig_fini(struct rig *r)
{
    sampler_run_fini(&r->run);
    schedule_fini(&r->schedule);
}

static void rig_eval(struct rig *r, uint32_t step, uint32_t eval)
{
    float t = (float)sampler_timestep(&r->run, step, eval);
    const float *input =
        sampler_scale_input(&r->run, step, eval, r->sample, r->input);
    struct sampler_io io = {r->output, r->variance, r->noise};

    for (size_t i = 0; i < r->run.n; i++) {
        float x = input[i];
        r->output[i] = x * t / (t + 1);
        r->variance[i] =
            r->kind == VARIANCE_LEARNED ? 0.01f * (1 + x * x) : x / (1 + x * x);
    }
    sampler_advance(&r->run, step, eval, &io, &r->state);
}

static void rig_step(struct rig *r, uint32_t step)
{
    for (uint32_t e = 0; e < sampler_n_evals(&r->run, step); e++)
        rig_eval(r, step, e);
}

/* One timestep an evaluation.  Whole ones are exact; others come from
 * logarithms of levels, whose last place (2^-22 near 3) is worth 1e-4 of a step
 * where the table's logarithm is flattest (0.003 a step). */
static void check_timesteps(const struct rig *r, const struct json *row)
{
    const struct json *wanted = json_get(row, "timesteps");
    size_t n = 0;

    for (uint32_t k = 0; k < r->run.n_steps; k++)
        for (uint32_t e = 0; e < sampler_n_evals(&r->run, k); e++, n++) {
            double t = sampler_timestep(&r->run, k, e);
            double w = json_real(json_at(wanted, n));
            double allowed = e == 0 && w == floor(w) ? 0 : 1e-4;
            if (!(fabs(t - w) <= allowed))
                fail_msg("timestep %zu: got %.9g, wanted %.9g", n, t, w);
        }
    assert_int_equal(json_len(wanted), n);
}

/* The file lists a level an evaluation, methods of second order twice. */
static void check_sigmas(const struct rig *r, const struct json *row)
{
    const struct json *wanted = json_get(row, "sigmas");
    double first = json_real(json_get(row, "init_noise_sigma"));

    if (!(fabs((double)r->run.first_scale - first) <= 1e-6 * first))
        fail_msg("first noise: scaled by %.9g, wanted %.9g",
                 (double)r->run.first_scale, first);
    if (json_len(wanted) != r->run.n_steps + 1u)
        return;
    for (uint32_t i = 0; i <= r->run.n_steps; i++) {
        double w = json_real(json_at(wanted, i));
        if (!(fabs((double)r->run.sigmas[i] - w) <= 1e-6 * w))
            fail_msg("sigma %u: got %.9g, wanted %.9g", i,
                     (double)r->run.sigmas[i], w);
    }
}

static double largest_of(const struct json *values)
{
    double largest = 0;

    for (size_t i = 0; i < json_len(values); i++)
        largest = fmax(largest, fabs(json_real(json_at(values, i))));
    return largest;
}

static void check_close(const char *what, uint32_t step, const float *got,
                        const struct json *wanted, double tolerance)
{
    for (size_t i = 0; i < json_len(wanted); i++) {
        double w = json_real(json_at(wanted, i));
        if (!(fabs(got[i] - w) <= tolerance))
            fail_msg("step %u, %s[%zu]: got %.9g, wanted %.9g +- %.3g", step,
                     what, i, (double)got[i], w, tolerance);
    }
}

/* -- whole runs ------------------------------------------------------------- */

/* x[b][c][h][w] = ((c * 8 + h) * 8 + w) * 4 + b, over 768. */
static void ramp(float *x)
{
    for (size_t b = 0; b < 4; b++)
        for (size_t i = 0; i < 192; i++)
            x[b * 192 + i] = (float)(i * 4 + b) / 768;
}

static void check_sum(const struct json *row, uint32_t step, double sum)
{
    const struct json *all = json_get(row, "abs_sums");
    double wanted = json_real(json_at(all, step));

    if (!(fabs(sum - wanted) <= SUM_TOLERANCE * fmax(wanted, 1e-3)))
        fail_msg("step %u: sum of |x| %.9g, wanted %.9g", step, sum, wanted);
}

/* Thresholds are a picture's own; noise is drawn for the batch in one go. */
static void test_run(void **state)
{
    const struct json *row = *state;
    bool is_apart =
        json_bool(json_get(json_get(row, "config"), "thresholding"));
    size_t n_parts = is_apart ? 4 : 1, n = N_RUN / n_parts, n_calls = 0;
    static double sums[MAX_STEPS];
    static float x[N_RUN];
    static struct rig r;

    memset(sums, 0, sizeof sums);
    ramp(x);
    for (size_t part = 0; part < n_parts; part++) {
        rig_init(&r, row, n, false);
        check_timesteps(&r, row);
        check_sigmas(&r, row);
        for (size_t i = 0; i < n; i++)
            r.sample[i] = x[part * n + i] * r.run.first_scale;
        rng_seed(&r.state.rng, (uint64_t)json_int(json_get(row, "seed")));
        n_calls = 0;
        for (uint32_t k = 0; k < r.run.n_steps; k++)
            for (uint32_t e = 0; e < sampler_n_evals(&r.run, k); e++) {
                rig_eval(&r, k, e);
                for (size_t i = 0; i < n; i++)
                    sums[n_calls] += fabs((double)r.sample[i]);
                n_calls++;
            }
        if (part == 0)
            check_close("final", r.run.n_steps, r.sample,
                        json_get(row, "final_first8"), SUM_TOLERANCE);
        rig_fini(&r);
    }
    assert_int_equal(json_len(json_get(row, "abs_sums")), n_calls);
    for (uint32_t k = 0; k < n_calls; k++)
        check_sum(row, k, sums[k]);
}

/* What the reference turns into NaN is refused, with the reason. */
static void test_refused(void **state)
{
    const struct json *config = json_get(*state, "config");
    const struct sampler *s = sampler_of_config(config);
    struct sampler_run_options o = {
        .n_steps = (uint32_t)json_int(json_get(*state, "steps")), .n = N_STEP};
    struct sampler_run run = {0};
    struct schedule schedule;
    struct unstir_error err = {0};

    enum unstir_status st = sampler_schedule_init(s, &schedule, config, &err);
    if (!st)
        st = sampler_run_init(&run, s, &schedule, &o, &err);
    assert_int_equal(st, UNSTIR_ERR_UNSUPPORTED);
    assert_true(strlen(err.detail) > 20);
    sampler_run_fini(&run);
    schedule_fini(&schedule);
}

/* -- single steps ----------------------------------------------------------- */

static void check_table(const char *what, const float *got,
                        const struct json *wanted, double absolute)
{
    for (size_t i = 0; i < json_len(wanted); i++) {
        size_t at = (size_t)json_int(json_at(json_at(wanted, i), 0));
        double w = json_real(json_at(json_at(wanted, i), 1));
        if (!(fabs(got[at] - w) <= 1e-6 * fabs(w) + absolute))
            fail_msg("%s[%zu]: got %.9g, wanted %.9g", what, at,
                     (double)got[at], w);
    }
}

static void check_tables(const struct rig *r, const struct json *row)
{
    double sum = 0, wanted = json_real(json_get(row, "abar_sum"));

    check_table("beta", r->schedule.beta, json_get(row, "betas"),
                r->schedule.config.is_zero_snr ? 8 * 0x1p-24 : 0);
    check_table("abar", r->schedule.abar, json_get(row, "abar"), 0);
    for (uint32_t i = 0; i < r->schedule.config.n_timesteps; i++)
        sum += (double)r->schedule.abar[i];
    if (!(fabs(sum - wanted) <= 1e-6 * wanted))
        fail_msg("sum of abar: got %.12g, wanted %.12g", sum, wanted);
}

/* What the cancellation in x0 adds, see the head of this file. */
static double cancelled(const struct rig *r, uint32_t step,
                        const struct json *known)
{
    enum prediction p = r->schedule.config.prediction;
    double a = sqrt((double)r->schedule.abar[r->run.timesteps[step]]);

    if (p == PREDICTION_SAMPLE)
        return 0;
    if (p == PREDICTION_V)
        a = 1;
    return 0x1p-22 * 2 * largest_of(json_get(known, "in")) / a;
}

static void check_step(const struct rig *r, uint32_t step,
                       const struct json *known)
{
    const struct json *x0 = json_get(known, "x0"), *x = json_get(known, "out");
    double extra = cancelled(r, step, known);

    check_close("x0", step, r->estimate, x0,
                STEP_TOLERANCE * largest_of(x0) + extra);
    check_close("x", step, r->sample, x,
                STEP_TOLERANCE * largest_of(x) + extra);
}

static void test_steps(void **state)
{
    const struct json *row = *state;
    const struct json *record = json_get(row, "record");
    static struct rig r;
    size_t next = 0;

    rig_init(&r, row, N_STEP, true);
    check_tables(&r, row);
    check_timesteps(&r, row);
    rng_seed(&r.state.rng, (uint64_t)json_int(json_get(row, "seed")));
    rng_normal_f32(&r.state.rng, r.sample, N_STEP);
    for (size_t i = 0; i < N_STEP; i++)
        r.sample[i] *= 1.5f;
    for (uint32_t k = 0; k < r.run.n_steps; k++) {
        const struct json *known = json_at(record, next);
        bool is_known = known && json_int(json_get(known, "step")) == k;
        if (is_known)
            json_floats(json_get(known, "in"), r.sample, N_STEP);
        rig_step(&r, k);
        if (!is_known)
            continue;
        check_step(&r, k, known);
        next++;
    }
    assert_int_equal(next, json_len(record));
    rig_fini(&r);
}

/* -- table of tests from the files ------------------------------------------ */

static size_t add(struct CMUnitTest *tests, size_t n, const struct json *rows,
                  CMUnitTestFunction fn)
{
    for (size_t i = 0; i < json_len(rows) && n < MAX_CASES; i++)
        tests[n++] = (struct CMUnitTest){
            .name = json_string(json_get(json_at(rows, i), "name")),
            .test_func = json_bool(json_get(json_at(rows, i), "is_nan"))
                             ? test_refused
                             : fn,
            .initial_state = (void *)json_at(rows, i),
        };
    return n;
}

int main(void)
{
    static struct CMUnitTest tests[MAX_CASES];
    struct json *runs = json_file_open("tests/data/schedulers.json");
    struct json *steps = json_file_open("tests/data/schedulers_own.json");
    size_t n = add(tests, 0, runs, test_run);

    n = add(tests, n, steps, test_steps);
    int rc = _cmocka_run_group_tests("t_schedulers", tests, n, NULL, NULL);
    json_free(runs);
    json_free(steps);
    return rc;
}
