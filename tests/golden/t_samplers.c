/* t_samplers.c - every sampler against the reference, evaluation by evaluation.
 *
 * samplers.json (tools/goldens/make_samplers.py): name x prediction type x
 * spacing, sigma schedules, orders, algorithms, endings; the sample after every
 * evaluation of a stand-in network x * t / (t + 1).  What the reference turns
 * into NaN is refused here with a reason, or computed (a last step that stands
 * still).  samplers_own.json has the samplers that the reference lacks, written
 * down a second time from their papers (tools/goldens/make_own_samplers.py).
 * img2img.json (make_img2img.py) has runs that begin from a picture part of the
 * way, with and without a mask; each begins with the first sample.
 * samplers_drawn.json has drawn rows (below) that once differed.
 *
 * usage: t_samplers [ROWS.json]: of the developers' tool
 * tools/goldens/diff_samplers.py, which draws configurations at random.  Its
 * rows say their tolerance, and leave out samples in the middle of long runs.
 *
 * Tolerance.  A sample carries the roundings of all steps before it: an
 * evaluation does some ten f32 operations an element, each worth 2^-24 of the
 * largest value so far, so 1e-6 of it.  Solvers multiply by weights that are
 * differences of exponentials and logarithms in f32, right to 2^-22 of numbers
 * up to 10, which is 1e-5 of the differences (steps of lambda, 0.2 and more):
 * 2e-5.  Samples x0 + sigma z are seen by the network at the scale of unit
 * noise, and so are errors.  Where they are, or noise is predicted or
 * extrapolated, a step computes a' ((x - s e) / a + ...), with a = 1 for such
 * samples: a sum that cancels, of four roundings of x / a, of which a' arrive.
 * These add up over the steps.
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
#include "pipeline/start.h"
#include "sample/sampler.h"

#define TOLERANCE        1e-6
#define SOLVER_TOLERANCE 2e-5
#define MAX_CASES        4000
#define N                16

struct rig {
    bool is_score, is_wave; /* the network: else the stand-in                */
    struct schedule schedule;
    struct sampler_run run;
    struct sampler_state state;
    struct start start; /* from a picture                                    */
    float known[N], first_noise[N], mask[N];
    float sample[N], estimate[N], history[SAMPLER_MAX_HISTORY * N];
    float input[N], output[N], variance[N], noise[N];
    double tolerance; /* 0: derived                                          */
};

/* The picture and the mask of make_img2img.py. */
static void begin_from_picture(struct rig *r, const struct json *row,
                               uint32_t n_steps)
{
    const struct json *strength = json_get(row, "strength");
    struct start *s = &r->start;

    if (!strength)
        return;
    s->has_picture = true;
    s->has_mask = json_bool(json_get(row, "has_mask"));
    s->is_pure = s->has_mask && json_real(strength) == 1;
    s->first = start_skipped(n_steps, json_real(strength));
    s->known = r->known;
    s->noise = r->first_noise;
    s->mask = s->has_mask ? r->mask : NULL;
    for (size_t i = 0; i < N; i++) {
        r->known[i] = (float)cos((double)i);
        r->mask[i] = i % 3 == 0;
    }
}

static enum unstir_status rig_init(struct rig *r, const struct json *row,
                                   struct unstir_error *err)
{
    const struct json *config = json_get(row, "config");
    const struct json *eta = json_get(row, "eta");
    const struct json *own = json_get(row, "sampler");
    const struct sampler *s =
        own ? sampler_find(json_string(own)) : sampler_of_config(config);
    struct sampler_run_options o = {
        .n_steps = (uint32_t)json_int(json_get(row, "steps")),
        .n = N,
        .mu = json_real(json_get(row, "mu")),
    };

    assert_non_null(s);
    memset(r, 0, sizeof *r);
    begin_from_picture(r, row, o.n_steps);
    o.first = r->start.first;
    r->is_score = strcmp(json_string(json_get(row, "network")), "score") == 0;
    r->is_wave = strcmp(json_string(json_get(row, "network")), "wave") == 0;
    r->tolerance = json_real(json_get(row, "tolerance"));
    o.has_learned_variance = r->is_wave;
    o.has_clipped_output = json_bool(json_get(row, "use_clipped_model_output"));
    if (json_get(row, "schedule"))
        o.schedule =
            sampler_schedule_find(json_string(json_get(row, "schedule")));
    o.eta = eta ? json_real(eta) : s->default_eta;
    r->state.sample = r->sample;
    r->state.estimate = r->estimate;
    r->state.history = r->history;
    TRY(sampler_schedule_init(s, &r->schedule, config, err));
    return sampler_run_init(&r->run, s, &r->schedule, &o, err);
}

static void rig_fini(struct rig *r)
{
    sampler_run_fini(&r->run);
    schedule_fini(&r->schedule);
}

/* Of samples before `step`, over unit noise. */
static double scale_at(const struct rig *r, uint32_t step)
{
    return 1 / (double)sampler_view_scale(&r->run, step);
}

static double largest_of(const struct json *values)
{
    double largest = 0;

    for (size_t i = 0; i < json_len(values); i++)
        largest = fmax(largest, fabs(json_real(json_at(values, i))));
    return largest;
}

static void check_close(const char *what, uint32_t step, uint32_t eval,
                        const float *got, const struct json *wanted,
                        double allowed)
{
    for (size_t i = 0; i < json_len(wanted); i++) {
        double w = json_real(json_at(wanted, i));
        if (!(fabs((double)got[i] - w) <= allowed))
            fail_msg("%s after step %u, evaluation %u: [%zu] got %.9g, wanted "
                     "%.9g +- %.3g",
                     what, step, eval, i, (double)got[i], w, allowed);
    }
}

/* The network is told the file's timestep: that is judged apart. */
static void evaluate(struct rig *r, uint32_t step, uint32_t eval, float t)
{
    const float *input =
        sampler_scale_input(&r->run, step, eval, r->sample, r->input);
    struct sampler_io io = {r->output, r->is_wave ? r->variance : NULL,
                            r->noise};

    for (size_t i = 0; i < N; i++) {
        float x = input[i];
        r->variance[i] = 1 / (1 + x * x);
        if (r->is_wave)
            r->output[i] = 0.7f * cosf(0.01f * t) * x + 0.3f * sinf(x);
        else
            r->output[i] = r->is_score ? -x / (1 + t * t) : x * t / (t + 1);
    }
    sampler_advance(&r->run, step, eval, &io, &r->state);
}

static double tolerance(const struct rig *r)
{
    if (r->tolerance > 0)
        return r->tolerance;
    return r->run.sampler->prepare == sampler_prepare_exploding
               ? TOLERANCE
               : SOLVER_TOLERANCE;
}

/* The share of the picture at the start of a step. */
static double signal_at(const struct rig *r, uint32_t step)
{
    float ones[N], zeros[N] = {0};

    if (step >= r->run.n_steps)
        return 1;
    for (size_t i = 0; i < N; i++)
        ones[i] = 1;
    sampler_add_noise(&r->run, step, ones, zeros, ones);
    return (double)ones[0];
}

/* What a step's sum that cancels adds, see the head of this file. */
static double cancelled(const struct rig *r, uint32_t step)
{
    const struct schedule *s = &r->schedule;
    bool is_of_noise = scale_at(r, 0) > 1 || /* x0 + sigma z */
                       s->config.method == METHOD_DEIS ||
                       s->config.method == METHOD_PNDM ||
                       s->config.algorithm == ALGORITHM_DPM ||
                       s->config.algorithm == ALGORITHM_SDE_DPM;
    double largest = 0;

    if (!s->abar ||
        (!is_of_noise && s->config.prediction != PREDICTION_EPSILON))
        return 0;
    for (size_t i = 0; i < N; i++)
        largest = fmax(largest, fabs((double)r->sample[i]));
    return 4 * 0x1p-24 * largest * signal_at(r, step + 1) / signal_at(r, step);
}

/* Logarithms of levels make timesteps: 1e-4 of a step where the table's is
 * flattest (t_schedulers.c).  Two of the reference's are its own noise:
 *  - where solvers cut a timestep to a whole number, the first, T - 1 by its
 *    making, is 998 or 999 with the CPU;
 *  - the middle of an ancestral DPM2 (or DPM++ 2S) step is the geometric mean
 *    of sigma and sigma'^2 / sigma, so sigma' itself, but it is made of
 *    sigma'^2 - up^2, which cancels.  One root in five of the reference's is off by one place,
 *    worth 4 * 2^-24 (sigma / sigma')^2 of the difference with the other
 *    roundings, a quarter of it in the mean's logarithm, of which a timestep
 *    is worth 0.003 at least. */
static double time_tolerance(const struct rig *r, uint32_t step, double t)
{
    const struct schedule_config *c = &r->schedule.config;
    enum sigma_kind kind = r->run.sigma_kind;
    bool is_cut = c->method == METHOD_DPMPP || c->method == METHOD_UNIPC ||
                  c->method == METHOD_DEIS || c->method == METHOD_DPMPP_SINGLE;
    bool is_curved = kind == SIGMAS_EXPONENTIAL || kind == SIGMAS_BETA;
    double allowed = r->tolerance > 0 ? 10e-4 : 1e-4;

    if (is_cut && ((is_curved && step == 0) || r->tolerance > 0))
        return 1; /* drawn at random, any may lie at a whole number */
    bool is_of_split =
        c->method == METHOD_DPM2_A || r->run.sampler == &sampler_dpmpp_2s_a;
    if (is_of_split && step + 1 < r->run.n_steps) {
        double ratio = (double)(r->run.sigmas[step] / r->run.sigmas[step + 1]);
        return allowed + 0x1p-24 * ratio * ratio / 0.003;
    }
    return allowed + 1e-6 * fabs(t);
}

static void test_run(void **state)
{
    const struct json *row = *state, *x = json_get(row, "x");
    const struct json *times = json_get(row, "timesteps");
    struct unstir_error err = {0};
    double largest = 0, added = 0;
    size_t n = 0;
    struct rig r;

    if (rig_init(&r, row, &err))
        fail_msg("%s", err.detail);
    rng_seed(&r.state.rng, (uint64_t)json_int(json_get(row, "seed")));
    start_sample(&r.start, &r.run, &r.state);
    if (r.start.has_picture)
        check_close("the first sample", 0, 0, r.sample, json_at(x, n++),
                    fmax(TOLERANCE, r.tolerance / 100) *
                        largest_of(json_at(x, 0)));
    for (uint32_t k = r.run.first; k < r.run.n_steps; k++)
        for (uint32_t e = 0; e < sampler_n_evals(&r.run, k); e++, n++) {
            double t = sampler_timestep(&r.run, k, e);
            double w = json_real(json_at(times, n - r.start.has_picture));
            if (!(fabs(t - w) <= time_tolerance(&r, k, w)))
                fail_msg("step %u, evaluation %u: timestep %.9g, wanted %.9g",
                         k, e, t, w);
            bool is_last = e + 1 == sampler_n_evals(&r.run, k);
            double scale = scale_at(&r, k + is_last);
            for (size_t i = 0; i < N; i++)
                largest =
                    fmax(largest, fabs((double)r.sample[i]) / scale_at(&r, k));
            added += cancelled(&r, k);
            evaluate(&r, k, e, (float)w);
            start_keep(&r.start, &r.run, k, e, r.noise, &r.state);
            largest = fmax(largest, largest_of(json_at(x, n)) / scale);
            check_close("sample", k, e, r.sample, json_at(x, n),
                        tolerance(&r) * largest * scale + added);
        }
    if (n != json_len(x))
        fail_msg("%zu samples, wanted %zu", n, json_len(x));
    if (json_get(row, "mean"))
        check_close("result", r.run.n_steps, 0, r.estimate,
                    json_get(row, "mean"), tolerance(&r) * largest + added);
    rig_fini(&r);
}

static void test_not_finite(void **state)
{
    struct unstir_error err = {0};
    struct rig r;

    if (rig_init(&r, *state, &err)) {
        assert_true(strlen(err.detail) > 20);
    } else {
        for (uint32_t k = 0; k < r.run.n_steps; k++)
            for (uint32_t e = 0; e < sampler_n_evals(&r.run, k); e++)
                evaluate(&r, k, e, (float)sampler_timestep(&r.run, k, e));
        for (size_t i = 0; i < N; i++)
            if (!isfinite(r.sample[i]))
                fail_msg("[%zu] is %g", i, (double)r.sample[i]);
    }
    rig_fini(&r);
}

static size_t add_cases(struct CMUnitTest *tests, size_t n,
                        const struct json *rows)
{
    for (size_t i = 0; i < json_len(rows) && n < MAX_CASES; i++, n++) {
        const struct json *row = json_at(rows, i);
        tests[n] = (struct CMUnitTest){
            .name = json_string(json_get(row, "name")),
            .test_func =
                json_bool(json_get(row, "is_nan")) ? test_not_finite : test_run,
            .initial_state = (void *)row,
        };
    }
    return n;
}

/* The rows of one file. */
static int run_file(const char *path, struct CMUnitTest *tests)
{
    struct json *rows = json_file_open(path);
    size_t n = add_cases(tests, 0, rows);
    int rc = _cmocka_run_group_tests(path, tests, n, NULL, NULL);

    json_free(rows);
    return rc;
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[MAX_CASES];

    if (argc > 1)
        return run_file(argv[1], tests);
    struct json *rows = json_file_open("tests/data/samplers.json");
    struct json *own = json_file_open("tests/data/samplers_own.json");
    struct json *pictures = json_file_open("tests/data/img2img.json");
    struct json *drawn = json_file_open("tests/data/samplers_drawn.json");
    size_t n_own, n_pictures, n = add_cases(tests, 0, rows);

    n_own = add_cases(tests, n, own) - n;
    n_pictures = add_cases(tests, n + n_own, pictures) - n - n_own;
    n = add_cases(tests, n + n_own + n_pictures, drawn);
    if (n < 300 || n_own < 4 || n_pictures < 100 || n == MAX_CASES)
        return 1;
    int rc = _cmocka_run_group_tests("t_samplers", tests, n, NULL, NULL);
    json_free(drawn);
    json_free(pictures);
    json_free(own);
    json_free(rows);
    return rc;
}
