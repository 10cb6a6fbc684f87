/* t_sampler.c - the table of samplers and what they share.
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
#include "json_file.h"
#include "sample/sampler.h"

#define N 48

struct rig {
    struct schedule schedule;
    struct sampler_run run;
    struct sampler_state state;
    float sample[N], estimate[N], output[N], variance[N], noise[N];
};

static enum unstir_status rig_init(struct rig *r, const struct sampler *s,
                                   const char *config, uint32_t n_steps,
                                   double eta, struct unstir_error *err)
{
    struct json *o = json_text(config);
    struct sampler_run_options options = {
        .n_steps = n_steps, .n = N, .eta = eta};

    memset(r, 0, sizeof *r);
    if (sampler_schedule_init(s, &r->schedule, o, err))
        fail_msg("%s: %s", config, err->detail);
    json_free(o);
    r->state.sample = r->sample;
    r->state.estimate = r->estimate;
    rng_seed(&r->state.rng, 3);
    rng_normal_f32(&r->state.rng, r->sample, N);
    rng_normal_f32(&r->state.rng, r->output, N);
    return sampler_run_init(&r->run, s, &r->schedule, &options, err);
}

static void rig_fini(struct rig *r)
{
    sampler_run_fini(&r->run);
    schedule_fini(&r->schedule);
}

static void rig_step(struct rig *r, uint32_t step)
{
    struct sampler_io io = {r->output, r->variance, r->noise};
    sampler_advance(&r->run, step, 0, &io, &r->state);
}

static void test_table(void **state)
{
    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        const struct sampler *s = samplers[i];
        assert_non_null(s);
        assert_ptr_equal(s->info, &sampler_infos[i]);
        assert_ptr_equal(sampler_find(s->info->name), s);
        assert_ptr_equal(sampler_find(s->info->title), s);
        const char *class_name = schedule_class_name(s->method);
        assert_int_equal(sampler_of_class(class_name)->method, s->method);
        assert_int_equal(sampler_index(s), i);
        assert_non_null(s->advance);
        assert_true(s->n_history <= SAMPLER_MAX_HISTORY);
    }
}

static void test_find(void **state)
{
    static const struct {
        const char *name;
        const struct sampler *wanted;
    } rows[] = {
        {"ddim", &sampler_ddim},
        {"DDIM", &sampler_ddim},
        {" d-d_im ", &sampler_ddim},
        {"ddpm", &sampler_ddpm},
        {"Ancestral", &sampler_ddpm},
        {"ddi", NULL},
        {"ddimm", NULL},
        {"", NULL},
        {"ddim,ddpm", NULL},
        {"Euler", &sampler_euler},
        {"k euler", &sampler_euler},
        {"DPM++ 2M", &sampler_dpmpp_2m},
        {"DPM++ 2M SDE", &sampler_dpmpp_2m_sde},
        {"DPM++ 2M SDE Karras", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (sampler_find(rows[i].name) != rows[i].wanted)
            fail_msg("\"%s\": got %s", rows[i].name,
                     sampler_find(rows[i].name)
                         ? sampler_find(rows[i].name)->info->name
                         : "none");
}

/* A schedule may stand behind a name, as webuis write it. */
static void test_find_scheduled(void **state)
{
    static const struct {
        const char *name;
        const struct sampler *wanted;
        const char *schedule;
    } rows[] = {
        {"DPM++ 2M Karras", &sampler_dpmpp_2m, "karras"},
        {"DPM++ 2M SDE Exponential", &sampler_dpmpp_2m_sde, "exponential"},
        {"dpmpp_2m_sde", &sampler_dpmpp_2m_sde, NULL},
        {"euler_sgm_uniform", &sampler_euler, "trailing"},
        {"Heun Align Your Steps", &sampler_heun, "align_your_steps"},
        {"Heun Align Your Steps XL", &sampler_heun, "align_your_steps_xl"},
        {"k_dpmpp_2m_ka", &sampler_dpmpp_2m, "karras"},
        {"k_euler_ancestral", &sampler_euler_a, NULL},
        {"k_dpm_2_a", &sampler_dpm2_a, NULL},
        {"k_lms_ka", &sampler_lms, "karras"},
        {"dpm_2_ancestral", &sampler_dpm2_a, NULL},
        {"dpmpp_3m_sde_gpu", &sampler_dpmpp_3m_sde, NULL},
        {"dpm++2m", &sampler_dpmpp_2m, NULL},
        {"ddim_trailing", &sampler_ddim, "trailing"},
        {"uni_pc_bh2", &sampler_unipc, NULL},
        {"PLMS", &sampler_pndm, NULL},
        {"Euler Discrete", &sampler_euler, "linspace"},
        {"DPMSolverMultistepScheduler", &sampler_dpmpp_2m, NULL},
        {"EulerAncestralDiscreteScheduler", &sampler_euler_a, NULL},
        {"k", NULL, NULL},
        {"k_", NULL, NULL},
        {"DPM++ 2M SDE Heun Karras", &sampler_dpmpp_2m_sde_heun, "karras"},
        {"DPM++ 2S a Karras", &sampler_dpmpp_2s_a, "karras"},
        {"dpmpp_2s_ancestral", &sampler_dpmpp_2s_a, NULL},
        {"dpm++2s_a", &sampler_dpmpp_2s_a, NULL},
        {"Karras", NULL, NULL},
        {"Euler Carrots", NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct sampler_schedule *schedule;
        const struct sampler *s =
            sampler_find_scheduled(rows[i].name, &schedule);
        const char *got = schedule ? schedule->info->name : "none";
        const char *wanted = rows[i].schedule ? rows[i].schedule : "none";
        if (s != rows[i].wanted || strcmp(got, wanted) != 0)
            fail_msg("\"%s\": got %s with %s, wanted %s", rows[i].name,
                     s ? s->info->name : "none", got, wanted);
    }
}

static void test_nearest(void **state)
{
    static const struct {
        const char *name;
        const struct sampler *wanted;
    } rows[] = {
        {"eulr", &sampler_euler},
        {"Euler CFG++", &sampler_euler},
        {"euler_ancestral_cfg_pp", &sampler_euler_a},
        {"dpm++2mv2", &sampler_dpmpp_2m},
        {"DPM++ 4S", &sampler_dpmpp_2s},
        {"heunpp2", &sampler_heun},
        {"unipcc", &sampler_unipc},
        {"ipndm_v", &sampler_ipndm},
        {"Restart", NULL},
        {"", NULL},
        {"ddim and so on and on and on, longer than any name", &sampler_ddim},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct sampler *s = sampler_nearest(rows[i].name);
        if (s != rows[i].wanted)
            fail_msg("\"%s\": got %s", rows[i].name,
                     s ? s->info->name : "none");
    }
    assert_true(sampler_schedule_is_default("Automatic"));
    assert_true(sampler_schedule_is_default("default"));
    assert_false(sampler_schedule_is_default("default karras"));
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Against sorting, at sizes and ratios where ranks fall on and between. */
static void test_quantile(void **state)
{
    static const double ratios[] = {0, 0.25, 0.5, 0.7, 0.995, 1};
    float x[N], sorted[N];
    struct rng rng;

    rng_seed(&rng, 1);
    for (size_t n = 1; n <= N; n++) {
        rng_normal_f32(&rng, x, N);
        x[n / 2] = x[0]; /* a tie */
        for (size_t i = 0; i < n; i++)
            sorted[i] = fabsf(x[i]);
        qsort(sorted, n, sizeof *sorted, by_value);
        for (size_t k = 0; k < ARRAY_LEN(ratios); k++) {
            double rank = (double)((float)ratios[k] * (float)(n - 1));
            size_t low = (size_t)rank, high = low + 1 < n ? low + 1 : low;
            double wanted =
                sorted[low] +
                (rank - (double)low) * (double)(sorted[high] - sorted[low]);
            double got = (double)sampler_quantile_abs(x, n, ratios[k]);
            if (!(fabs(got - wanted) <= 3e-7 * fabs(wanted)))
                fail_msg("n %zu, ratio %g: got %.9g, wanted %.9g", n, ratios[k],
                         got, wanted);
        }
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const struct sampler *s;
        const char *config;
        uint32_t n_steps;
        double eta;
        const char *said;
    } rows[] = {
        {&sampler_ddpm, "{}", 0, 0, "steps"},
        {&sampler_ddpm, "{}", 1001, 0, "steps"},
        {&sampler_ddim, "{}", 10, -0.1, "eta"},
        {&sampler_ddim, "{}", 10, 1.1, "eta"},
        {&sampler_ddim, "{}", 10, NAN, "eta"},
        {&sampler_ddpm, "{\"variance_type\":\"learned\"}", 10, 0, "learned"},
        {&sampler_ddpm, "{\"variance_type\":\"learned_range\"}", 10, 0,
         "learned"},
        {&sampler_ddim,
         "{\"rescale_betas_zero_snr\":true,\"clip_sample\":false,"
         "\"timestep_spacing\":\"trailing\"}",
         10, 0, "no signal"},
        {&sampler_ddim, "{\"steps_offset\":1}", 1000, 0, "999"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct rig r;
        if (!rig_init(&r, rows[i].s, rows[i].config, rows[i].n_steps,
                      rows[i].eta, &err))
            fail_msg("row %zu was taken", i);
        if (!strstr(err.detail, rows[i].said))
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, err.detail,
                     rows[i].said);
        rig_fini(&r);
    }
}

/* A single DDIM step ends at its own estimate: abar is 1 there. */
static void test_one_step_is_estimate(void **state)
{
    static const char *const kinds[] = {"epsilon", "sample", "v_prediction"};
    struct unstir_error err;
    char config[64];
    struct rig r;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        (void)snprintf(config, sizeof config, "{\"prediction_type\":\"%s\"}",
                       kinds[i]);
        assert_int_equal(rig_init(&r, &sampler_ddim, config, 1, 0, &err), 0);
        rig_step(&r, 0);
        assert_memory_equal(r.sample, r.estimate, sizeof r.sample);
        rig_fini(&r);
    }
}

/* The three ways a network can speak describe one picture. */
static void test_predictions_agree(void **state)
{
    struct unstir_error err;
    float x0[N], z[N];
    struct rig r;

    assert_int_equal(
        rig_init(&r, &sampler_ddim, "{\"clip_sample\":false}", 4, 0, &err), 0);
    memcpy(x0, r.sample, sizeof x0);
    memcpy(z, r.output, sizeof z);
    for (int p = 0; p < PREDICTION_FLOW; p++) {
        float abar = r.schedule.abar[r.run.timesteps[1]];
        float a = sqrtf(abar), s = sqrtf(1 - abar);
        r.schedule.config.prediction = (enum prediction)p;
        for (size_t i = 0; i < N; i++) {
            r.sample[i] = a * x0[i] + s * z[i];
            r.output[i] = p == PREDICTION_EPSILON  ? z[i]
                          : p == PREDICTION_SAMPLE ? x0[i]
                                                   : a * z[i] - s * x0[i];
        }
        sampler_estimate(&r.run, abar, r.output, r.sample, r.estimate);
        for (size_t i = 0; i < N; i++)
            if (!(fabsf(r.estimate[i] - x0[i]) <= 1e-5f))
                fail_msg("prediction %d, [%zu]: got %g, wanted %g", p, i,
                         (double)r.estimate[i], (double)x0[i]);
    }
    rig_fini(&r);
}

/* With all signal gone and eta 1, 1 - abar_p - std^2 may round below 0. */
static void test_eta_one_stays_finite(void **state)
{
    static const char config[] =
        "{\"rescale_betas_zero_snr\":true,\"prediction_type\":\"v_prediction\","
        "\"timestep_spacing\":\"trailing\"}";
    struct unstir_error err;
    struct rig r;

    for (uint32_t n = 1; n <= 100; n++) {
        assert_int_equal(rig_init(&r, &sampler_ddim, config, n, 1, &err), 0);
        for (uint32_t k = 0; k < n; k++)
            rig_step(&r, k);
        for (size_t i = 0; i < N; i++)
            if (!isfinite(r.sample[i]))
                fail_msg("%u steps: element %zu is %g", n, i,
                         (double)r.sample[i]);
        rig_fini(&r);
    }
}

/* DDPM draws at every step but t = 0; DDIM draws only with eta. */
static void test_noise_is_drawn_when_needed(void **state)
{
    static const struct {
        const struct sampler *s;
        double eta;
        const char *config;
        uint32_t wanted; /* of 5 steps */
    } rows[] = {
        {&sampler_ddpm, 0, "{}", 4},
        {&sampler_ddpm, 0, "{\"timestep_spacing\":\"trailing\"}", 5},
        {&sampler_ddim, 0, "{}", 0},
        {&sampler_ddim, 0.1, "{}", 5},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err;
        struct rig r;
        uint32_t n = 0;
        assert_int_equal(
            rig_init(&r, rows[i].s, rows[i].config, 5, rows[i].eta, &err), 0);
        for (uint32_t k = 0; k < 5; k++) {
            struct rng before = r.state.rng;
            rig_step(&r, k);
            n += memcmp(&before, &r.state.rng, sizeof before) != 0;
        }
        if (n != rows[i].wanted)
            fail_msg("row %zu drew %u times, wanted %u", i, n, rows[i].wanted);
        rig_fini(&r);
    }
}

/* The interface carries methods of second order: a test's own midpoint method
 * with two evaluations a step, a scaled input and a history. */
static uint32_t two_evals(const struct sampler_run *run, uint32_t step)
{
    return step + 1 == run->n_steps ? 1 : 2;
}

static double half_way(const struct sampler_run *run, uint32_t step,
                       uint32_t eval)
{
    double t = run->timesteps[step];
    return eval ? (t + run->timesteps[step + 1]) / 2 : t;
}

static void halve(const struct sampler_run *run, uint32_t step, uint32_t eval,
                  const float *sample, float *out)
{
    for (size_t i = 0; i < run->n; i++)
        out[i] = sample[i] / 2;
}

static void keep(const struct sampler_run *run, uint32_t step, uint32_t eval,
                 const struct sampler_io *io, struct sampler_state *state)
{
    memcpy(state->history, io->output, run->n * sizeof(float));
    state->n_held = 1;
}

static void test_interface_of_second_order(void **state)
{
    static const struct sampler midpoint = {
        .info = &sampler_infos[0],
        .n_history = 1,
        .n_evals = two_evals,
        .timestep = half_way,
        .scale_input = halve,
        .advance = keep,
    };
    struct unstir_error err;
    float history[N], input[N];
    struct rig r;

    assert_int_equal(rig_init(&r, &midpoint, "{}", 2, 0, &err), 0);
    r.state.history = history;
    assert_int_equal(sampler_n_evals(&r.run, 0), 2);
    assert_int_equal(sampler_n_evals(&r.run, 1), 1);
    assert_true(sampler_timestep(&r.run, 0, 1) == 250);
    const float *p = sampler_scale_input(&r.run, 0, 0, r.sample, input);
    assert_ptr_equal(p, input);
    assert_true(input[5] == r.sample[5] / 2);
    rig_step(&r, 0);
    assert_memory_equal(history, r.output, sizeof history);
    assert_int_equal(r.state.n_held, 1);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_find_scheduled),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_one_step_is_estimate),
        cmocka_unit_test(test_predictions_agree),
        cmocka_unit_test(test_eta_one_stays_finite),
        cmocka_unit_test(test_noise_is_drawn_when_needed),
        cmocka_unit_test(test_interface_of_second_order),
    };
    return cmocka_run_group_tests_name("t_sampler", tests, NULL, NULL);
}
