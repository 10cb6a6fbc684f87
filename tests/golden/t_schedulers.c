/* t_schedulers.c - schedules and sampler steps against the reference.
 *
 * Two files.  schedulers_ddpm_ddim.json: whole runs with a stand-in network
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
#define MAX_CASES      160
#define MAX_STEPS      1000
#define N_RUN          768
#define N_STEP         16

/* A run with its memory. */
struct rig {
    struct schedule schedule;
    struct sampler_run run;
    struct sampler_state state;
    float sample[N_RUN], estimate[N_RUN];
    float output[N_RUN], variance[N_RUN], noise[N_RUN];
    enum variance_type kind;
};

static void rig_init(struct rig *r, const struct json *row, size_t n,
                     bool has_variance)
{
    const struct sampler *s =
        sampler_of_class(json_string(json_get(row, "cls")));
    struct sampler_run_options o = {
        .n_steps = (uint32_t)json_int(json_get(row, "steps")),
        .n = n,
        .eta = json_real(json_get(row, "eta")),
        .has_clipped_output = json_bool(json_get(row, "clipped")),
        .has_learned_variance = has_variance,
    };
    struct schedule_config c;
    struct unstir_error err;

    memset(r, 0, sizeof *r);
    if (schedule_config_parse(&c, json_get(row, "config"), s->method, &err) ||
        schedule_init(&r->schedule, &c, &err) ||
        sampler_run_init(&r->run, s, &r->schedule, &o, &err))
        fail_msg("%s", err.detail);
    r->kind = r->schedule.config.variance;
    r->state.sample = r->sample;
    r->state.estimate = r->estimate;
}

static void rig_fini(struct rig *r)
{
    sampler_run_fini(&r->run);
    schedule_fini(&r->schedule);
}

static void rig_step(struct rig *r, uint32_t step)
{
    float t = (float)sampler_timestep(&r->run, step, 0);
    struct sampler_io io = {r->output, r->variance, r->noise};

    assert_int_equal(sampler_n_evals(&r->run, step), 1);
    for (size_t i = 0; i < r->run.n; i++) {
        float x = r->sample[i];
        r->output[i] = x * t / (t + 1);
        r->variance[i] =
            r->kind == VARIANCE_LEARNED ? 0.01f * (1 + x * x) : x / (1 + x * x);
    }
    sampler_advance(&r->run, step, 0, &io, &r->state);
}

static void check_timesteps(const struct rig *r, const struct json *row)
{
    const struct json *t = json_get(row, "timesteps");

    assert_int_equal(json_len(t), r->run.n_steps);
    for (uint32_t i = 0; i < r->run.n_steps; i++)
        if (r->run.timesteps[i] != json_real(json_at(t, i)))
            fail_msg("timestep %u: got %u, wanted %g", i, r->run.timesteps[i],
                     json_real(json_at(t, i)));
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
    const struct json *all = json_get(row, "traj_abs_sum_mean");
    double wanted = json_real(json_at(json_at(all, step), 0));

    if (!(fabs(sum - wanted) <= SUM_TOLERANCE * fmax(wanted, 1e-3)))
        fail_msg("step %u: sum of |x| %.9g, wanted %.9g", step, sum, wanted);
}

/* DDIM treats pictures of a batch apart (thresholds are a picture's own), DDPM
 * draws the noise of the batch in one go. */
static void test_run(void **state)
{
    const struct json *row = *state;
    bool is_ddim = !strcmp(json_string(json_get(row, "cls")), "DDIMScheduler");
    size_t n_parts = is_ddim ? 4 : 1, n = N_RUN / n_parts;
    static double sums[MAX_STEPS];
    static float x[N_RUN];
    struct rig r;

    memset(sums, 0, sizeof sums);
    ramp(x);
    for (size_t part = 0; part < n_parts; part++) {
        rig_init(&r, row, n, false);
        check_timesteps(&r, row);
        memcpy(r.sample, x + part * n, n * sizeof *x);
        rng_seed(&r.state.rng, (uint64_t)json_int(json_get(row, "seed")));
        for (uint32_t k = 0; k < r.run.n_steps; k++) {
            rig_step(&r, k);
            for (size_t i = 0; i < n; i++)
                sums[k] += fabs((double)r.sample[i]);
        }
        if (part == 0)
            check_close("final", r.run.n_steps, r.sample,
                        json_get(row, "final_first8"), SUM_TOLERANCE);
        rig_fini(&r);
    }
    for (uint32_t k = 0; k < json_len(json_get(row, "timesteps")); k++)
        check_sum(row, k, sums[k]);
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
    size_t next = 0;
    struct rig r;

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
            .test_func = fn,
            .initial_state = (void *)json_at(rows, i),
        };
    return n;
}

int main(void)
{
    static struct CMUnitTest tests[MAX_CASES];
    struct json *runs = json_file_open("tests/data/schedulers_ddpm_ddim.json");
    struct json *steps = json_file_open("tests/data/schedulers_own.json");
    size_t n = add(tests, 0, runs, test_run);

    n = add(tests, n, steps, test_steps);
    int rc = _cmocka_run_group_tests("t_schedulers", tests, n, NULL, NULL);
    json_free(runs);
    json_free(steps);
    return rc;
}
