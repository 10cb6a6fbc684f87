/* t_trajectories_text.c - whole guided runs with a text against the reference.
 *
 * A small UNet2DConditionModel, guidance 7.5, 4 to 20 steps of six samplers;
 * the state after every evaluation is in the file, the noise is drawn again by
 * the run's seed.  Tolerance: 1e-3 of the largest value, as t_trajectories.c
 * derives it; here f32 drifts from double by 3.4e-5.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "format/json.h"
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "model/network.h"
#include "pipeline/guidance.h"
#include "sample/sampler.h"

#define FOLDER    "tests/data/traj/"
#define TOLERANCE 1e-3
#define EDGE      8
#define CHANNELS  4
#define N         (CHANNELS * EDGE * EDGE)
#define TOKENS    7
#define WIDTH     24

static struct network *net;
static struct executor *executor;
static struct weights *weights;
static struct json *config;

struct rig {
    struct schedule schedule;
    struct sampler_run run;
    struct sampler_state state;
    float sample[N], estimate[N], history[SAMPLER_MAX_HISTORY * N];
    float input[N], noise[N], both[2 * N], out[2 * N];
    float with[N], without[N], context[2 * TOKENS * WIDTH];
    float scale;
};

static void load(const struct weights *w, const char *name, float *out,
                 size_t n)
{
    const struct tensor_view *v = weights_find(w, name);

    assert_non_null(v);
    assert_int_equal(v->n, n);
    dtype_load(out, v->data, v->dtype, n);
}

static int setup(void **state)
{
    struct network_options options = {.precision = UNSTIR_PRECISION_F32};
    struct unstir_error err;

    weights = golden_open_named("traj", "sd_weights");
    config = json_file_open(FOLDER "sd_unet.json");
    if (network_open(&net, config, weights, 0, &options, &err) ||
        executor_new(&executor, 1, 0, 0, &err))
        fail_msg("%s", err.detail);
    return 0;
}

static int teardown(void **state)
{
    executor_free(executor);
    network_free(net);
    json_free(config);
    weights_close(weights);
    return 0;
}

/* Both halves see the same input; planes to pixels and back. */
static void evaluate(struct rig *r, uint32_t step, uint32_t eval)
{
    const float *x =
        sampler_scale_input(&r->run, step, eval, r->sample, r->input);
    float t = (float)sampler_timestep(&r->run, step, eval);
    float times[] = {t, t};
    struct network_io io = {
        .n = 2,
        .h = EDGE,
        .w = EDGE,
        .sample = r->both,
        .timestep = times,
        .context = r->context,
        .context_len = TOKENS,
        .out = r->out,
    };
    struct unstir_error err;

    for (size_t i = 0; i < N; i++) {
        size_t at = i % (EDGE * EDGE) * CHANNELS + i / (EDGE * EDGE);
        r->both[at] = r->both[N + at] = x[i];
    }
    if (network_eval(net, executor, &io, NULL, &err))
        fail_msg("%s", err.detail);
    for (size_t i = 0; i < N; i++) {
        size_t at = i % (EDGE * EDGE) * CHANNELS + i / (EDGE * EDGE);
        r->without[i] = r->out[at];
        r->with[i] = r->out[N + at];
    }
    guidance_combine(r->with, r->without, r->with, r->scale, N);
    struct sampler_io given = {r->with, NULL, r->noise};
    sampler_advance(&r->run, step, eval, &given, &r->state);
}

/* Largest |got - wanted| as a share of the largest |wanted|. */
static double distance(const struct weights *known, const char *name,
                       const float *got)
{
    double largest = 0, worst = 0;
    float wanted[N];

    load(known, name, wanted, N);
    for (size_t i = 0; i < N; i++) {
        double d = fabs((double)got[i] - (double)wanted[i]);
        largest = fmax(largest, fabs((double)wanted[i]));
        worst = isnan(d) ? INFINITY : fmax(worst, d);
    }
    return worst / largest;
}

static void rig_init(struct rig *r, const struct weights *known)
{
    char text[2048]; /* Python wrote an infinity into one */
    (void)snprintf(text, sizeof text, "%s",
                   weights_metadata(known, "scheduler"));
    json_blank_infinities(text, strlen(text));
    struct json *scheduler = json_text(text);
    const struct sampler *s = sampler_of_config(scheduler);
    struct sampler_run_options o = {
        .n_steps =
            (uint32_t)strtoul(weights_metadata(known, "steps"), NULL, 10),
        .n = N,
    };
    struct unstir_error err;

    memset(r, 0, sizeof *r);
    assert_non_null(s);
    if (sampler_schedule_init(s, &r->schedule, scheduler, &err) ||
        sampler_run_init(&r->run, s, &r->schedule, &o, &err))
        fail_msg("%s", err.detail);
    json_free(scheduler);
    r->state.sample = r->sample;
    r->state.estimate = r->estimate;
    r->state.history = r->history;
    r->scale = strtof(weights_metadata(known, "cfg"), NULL);
    load(known, "ctx", r->context, ARRAY_LEN(r->context));
    rng_seed(&r->state.rng,
             strtoull(weights_metadata(known, "seed"), NULL, 10));
    rng_normal_f32(&r->state.rng, r->sample, N);
    for (size_t i = 0; i < N; i++)
        r->sample[i] *= r->run.first_scale;
}

static void test_run(void **state)
{
    const char *file = *state;
    struct weights *known = golden_open_named("traj", file);
    static struct rig r;
    double worst;
    char name[16];
    unsigned n = 0;

    rig_init(&r, known);
    worst = distance(known, "x_init", r.sample);
    for (uint32_t k = 0; k < r.run.n_steps; k++)
        for (uint32_t e = 0; e < sampler_n_evals(&r.run, k); e++) {
            evaluate(&r, k, e);
            (void)snprintf(name, sizeof name, "x.%02u", n++);
            double d = distance(known, name, r.sample);
            if (!(d <= TOLERANCE))
                fail_msg("%s, %s: %.3g of the largest value away", file, name,
                         d);
            worst = fmax(worst, d);
        }
    printf("%s: at most %.2e of the largest value away\n", file, worst);
    sampler_run_fini(&r.run);
    schedule_fini(&r.schedule);
    weights_close(known);
}

int main(void)
{
    static char *const files[] = {"sd_cfg_pndm",   "sd_cfg_euler",
                                  "sd_cfg_eulera", "sd_cfg_dpmpp2m_karras",
                                  "sd_cfg_unipc",  "sd_cfg_lcm"};
    struct CMUnitTest tests[ARRAY_LEN(files)];

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        tests[i] = (struct CMUnitTest){
            .name = files[i], .test_func = test_run, .initial_state = files[i]};
    return cmocka_run_group_tests_name("t_trajectories_text", tests, setup,
                                       teardown);
}
