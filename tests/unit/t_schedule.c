/* t_schedule.c - schedules: known values, refusals, traps of spacing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "format/diffusers_pipelines.h"
#include "format/json.h"
#include "json_file.h"
#include "sample/schedule.h"
#include "sample/sigmas.h"

static void make(struct schedule *s, const char *config, enum schedule_method m)
{
    struct json *o = json_text(config);
    struct schedule_config c;
    struct unstir_error err;

    if (schedule_config_parse(&c, o, m, &err) || schedule_init(s, &c, &err))
        fail_msg("%s: %s", config, err.detail);
    json_free(o);
}

#define TEXT  "StableDiffusionPipeline"
#define PAINT "StableDiffusionInpaintPipeline"

/* Stable Diffusion's pipelines correct what a file says for every sampler, and
 * what it leaves to defaults for the class it names alone: the reference keeps
 * a list of values that were defaults, and from_config() drops them. */
static void test_patched_defaults(void **state)
{
    static const struct {
        const char *config;
        enum schedule_method m;
        const char *pipeline;
        uint32_t offset;
        bool is_clipping, has_no_prk;
    } rows[] = {
        {"{\"_class_name\":\"DDIMScheduler\"}", METHOD_DDIM, TEXT, 1, false,
         false},
        {"{\"_class_name\":\"DDIMScheduler\"}", METHOD_DDIM, PAINT, 1, true,
         true},
        {"{\"_class_name\":\"DDIMParallelScheduler\"}", METHOD_DDIM, TEXT, 1,
         false, false},
        {"{\"_class_name\":\"DDPMParallelScheduler\"}", METHOD_DDPM, PAINT, 1,
         true, true},
        {"{\"_class_name\":\"DDPMParallelScheduler\"}", METHOD_DDIM, TEXT, 0,
         true, false},
        {"{\"_class_name\":\"DDIMScheduler\"}", METHOD_DDPM, TEXT, 0, true,
         false},
        {"{\"_class_name\":\"DDIMScheduler\",\"clip_sample\":true,"
         "\"steps_offset\":0}",
         METHOD_DDPM, TEXT, 1, false, false},
        {"{\"_class_name\":\"DDIMScheduler\",\"clip_sample\":true,"
         "\"steps_offset\":0}",
         METHOD_DDPM, PAINT, 1, true, false},
        {"{\"_class_name\":\"PNDMScheduler\"}", METHOD_PNDM, TEXT, 1, false,
         false},
        {"{\"_class_name\":\"PNDMScheduler\",\"skip_prk_steps\":false}",
         METHOD_PNDM, PAINT, 1, false, true},
        {"{\"_class_name\":\"DPMSolverSinglestepScheduler\"}", METHOD_PNDM,
         TEXT, 0, false, true},
        {"{\"_class_name\":\"DPMSolverSinglestepScheduler\"}", METHOD_DDIM,
         TEXT, 0, true, false},
        {"{\"_class_name\":\"EulerDiscreteScheduler\",\"steps_offset\":0}",
         METHOD_DDIM, TEXT, 1, true, false},
    };
    struct unstir_error err;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *o = json_text(rows[i].config);
        struct schedule_config c;
        unsigned patches = diffusers_pipeline_find(rows[i].pipeline)->patches;
        if (diffusers_patch_scheduler(&o, patches, &err) ||
            schedule_config_parse(&c, o, rows[i].m, &err))
            fail_msg("%s: %s", rows[i].config, err.detail);
        bool skips = rows[i].m == METHOD_PNDM && c.has_no_prk;
        if (c.steps_offset != rows[i].offset ||
            c.is_clipping != rows[i].is_clipping ||
            (rows[i].m == METHOD_PNDM && skips != rows[i].has_no_prk))
            fail_msg("row %zu: %s as %s: got steps_offset %u, clip_sample %d, "
                     "skip_prk_steps %d, wanted %u, %d, %d",
                     i, rows[i].config, schedule_class_name(rows[i].m),
                     c.steps_offset, c.is_clipping, skips, rows[i].offset,
                     rows[i].is_clipping, rows[i].has_no_prk);
        schedule_config_fini(&c);
        json_free(o);
    }
    (void)state;
}

/* Values of the reference for the schedules of well-known checkpoints. */
static void test_known_values(void **state)
{
    static const struct {
        const char *config;
        uint32_t t;
        double abar;
    } rows[] = {
        {"{}", 999, 4.0358307e-05},
        {"{\"beta_schedule\":\"scaled_linear\",\"beta_start\":0.00085,"
         "\"beta_end\":0.012}",
         0, 0.9991499781608582},
        {"{\"beta_schedule\":\"scaled_linear\",\"beta_start\":0.00085,"
         "\"beta_end\":0.012}",
         500, 0.2763324976},
        {"{\"beta_schedule\":\"scaled_linear\",\"beta_start\":0.00085,"
         "\"beta_end\":0.012}",
         999, 0.00466009602},
    };
    struct schedule s;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        make(&s, rows[i].config, METHOD_DDIM);
        double got = (double)s.abar[rows[i].t];
        if (!(fabs(got - rows[i].abar) <= 1e-6 * rows[i].abar))
            fail_msg("%s abar[%u]: got %.10g, wanted %.10g", rows[i].config,
                     rows[i].t, got, rows[i].abar);
        schedule_fini(&s);
    }
}

static void test_defaults(void **state)
{
    struct schedule_config c;
    struct unstir_error err;

    assert_int_equal(schedule_config_parse(&c, NULL, METHOD_DDPM, &err), 0);
    assert_int_equal(c.n_timesteps, 1000);
    assert_int_equal(c.beta_schedule, BETA_LINEAR);
    assert_int_equal(c.prediction, PREDICTION_EPSILON);
    assert_int_equal(c.spacing, SPACING_LEADING);
    assert_int_equal(c.variance, VARIANCE_FIXED_SMALL);
    assert_true(c.is_clipping && c.is_last_alpha_one);
    assert_true(!c.is_thresholding && !c.is_zero_snr && !c.trained_betas);
    assert_true(c.beta_start == 0.0001 && c.beta_end == 0.02);
    assert_true(c.clip_range == 1 && c.threshold_ratio == 0.995 &&
                c.threshold_max == 1 && c.steps_offset == 0);
    schedule_config_fini(&c);
}

/* Keys of the file carry over to another method, keys that the method lacks
 * fall away: fixed_large_log stops DDPM, not DDIM. */
static void test_from_other_class(void **state)
{
    static const char text[] =
        "{\"_class_name\":\"PNDMScheduler\",\"skip_prk_steps\":true,"
        "\"set_alpha_to_one\":false,\"steps_offset\":1,\"clip_sample\":null,"
        "\"beta_schedule\":\"scaled_linear\",\"beta_start\":0.00085,"
        "\"beta_end\":0.012,\"variance_type\":\"fixed_large_log\"}";
    struct json *o = json_text(text);
    struct schedule_config c;
    struct unstir_error err;

    assert_int_equal(schedule_config_parse(&c, o, METHOD_DDIM, &err), 0);
    assert_true(!c.is_last_alpha_one && c.is_clipping);
    assert_int_equal(c.steps_offset, 1);
    assert_int_equal(c.beta_schedule, BETA_SCALED_LINEAR);
    schedule_config_fini(&c);
    assert_int_equal(schedule_config_parse(&c, o, METHOD_DDPM, &err),
                     UNSTIR_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.detail, "fixed_large"));
    json_free(o);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *config, *said;
    } rows[] = {
        {"{\"num_train_timesteps\":0}", "num_train_timesteps"},
        {"{\"num_train_timesteps\":100001}", "num_train_timesteps"},
        {"{\"num_train_timesteps\":\"1000\"}", "num_train_timesteps"},
        {"{\"beta_start\":-0.1}", "beta_start"},
        {"{\"beta_start\":\"x\"}", "beta_start"},
        {"{\"beta_end\":1.5}", "beta_end"},
        {"{\"beta_start\":0}", "beta 0"},
        {"{\"beta_start\":1,\"beta_end\":1}", "beta 0"},
        {"{\"beta_schedule\":\"scaled-linear\"}", "scaled_linear"},
        {"{\"beta_schedule\":\"exp\"}", "beta_schedule"},
        {"{\"beta_schedule\":7}", "beta_schedule"},
        {"{\"prediction_type\":\"v\"}", "prediction_type"},
        {"{\"prediction_type\":\"eps\"}", "prediction_type"},
        {"{\"timestep_spacing\":\"even\"}", "timestep_spacing"},
        {"{\"steps_offset\":-1}", "steps_offset"},
        {"{\"steps_offset\":100001}", "steps_offset"},
        {"{\"clip_sample\":1}", "clip_sample"},
        {"{\"clip_sample_range\":0}", "clip_sample_range"},
        {"{\"thresholding\":\"yes\"}", "thresholding"},
        {"{\"dynamic_thresholding_ratio\":1.01}", "ratio"},
        {"{\"sample_max_value\":-1}", "sample_max_value"},
        {"{\"rescale_betas_zero_snr\":[]}", "rescale_betas_zero_snr"},
        {"{\"variance_type\":\"fixed_large_log\"}", "fixed_large_log"},
        {"{\"variance_type\":\"fixed\"}", "variance_type"},
        {"{\"trained_betas\":{}}", "trained_betas"},
        {"{\"trained_betas\":[0.1]}", "1 entries"},
        {"{\"trained_betas\":[0.1,true],\"num_train_timesteps\":2}",
         "trained_betas[1]"},
        {"{\"trained_betas\":[0.1,-0.1],\"num_train_timesteps\":2}", "beta 1"},
        {"{\"trained_betas\":[0.1,1,0.1],\"num_train_timesteps\":3}", "beta 1"},
        {"{\"trained_betas\":[0.1,1e99],\"num_train_timesteps\":2}", "beta 1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *o = json_text(rows[i].config);
        struct schedule_config c;
        struct schedule s;
        struct unstir_error err = {0};
        enum unstir_status st = schedule_config_parse(&c, o, METHOD_DDPM, &err);
        if (!st)
            st = schedule_init(&s, &c, &err);
        json_free(o);
        if (!st)
            fail_msg("%s was taken", rows[i].config);
        if (!strstr(err.detail, rows[i].said))
            fail_msg("%s: \"%s\" does not name \"%s\"", rows[i].config,
                     err.detail, rows[i].said);
    }
}

/* Every count of steps gives that many timesteps, falling, inside the table. */
static void check_counts(const char *config, uint32_t n_train)
{
    static uint32_t t[1000];
    struct schedule s;
    struct unstir_error err;

    make(&s, config, METHOD_DDPM);
    for (uint32_t n = 1; n <= n_train; n++) {
        if (schedule_timesteps(&s, n, t, &err))
            fail_msg("%s, %u steps: %s", config, n, err.detail);
        for (uint32_t i = 0; i < n; i++)
            if (t[i] >= n_train || (i && t[i] >= t[i - 1]))
                fail_msg("%s, %u steps: timestep %u is %u", config, n, i, t[i]);
    }
    schedule_fini(&s);
}

static void test_every_count(void **state)
{
    check_counts("{\"timestep_spacing\":\"leading\"}", 1000);
    check_counts("{\"timestep_spacing\":\"linspace\"}", 1000);
    check_counts("{\"timestep_spacing\":\"trailing\"}", 1000);
    check_counts("{\"timestep_spacing\":\"trailing\","
                 "\"num_train_timesteps\":77}",
                 77);
}

/* These counts give one timestep too many, -1, in the reference. */
static void test_trailing_trap(void **state)
{
    static const uint32_t counts[] = {61, 103, 121};
    uint32_t t[121];
    struct schedule s;
    struct unstir_error err;

    make(&s, "{\"timestep_spacing\":\"trailing\"}", METHOD_DDIM);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        uint32_t n = counts[i];
        assert_int_equal(schedule_timesteps(&s, n, t, &err), 0);
        assert_int_equal(t[0], 999);
        assert_int_equal(t[n - 1], (uint32_t)rint(1000.0 / n) - 1);
    }
    schedule_fini(&s);
}

static void test_leading_offset_past_end(void **state)
{
    static uint32_t t[1000];
    struct schedule s;
    struct unstir_error err = {0};

    make(&s, "{\"steps_offset\":1}", METHOD_DDIM);
    assert_int_equal(schedule_max_steps(&s), 999);
    assert_int_equal(schedule_timesteps(&s, 1000, t, &err), UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "steps");
    assert_non_null(strstr(err.detail, "999"));
    assert_int_equal(schedule_timesteps(&s, 999, t, &err), 0);
    assert_int_equal(t[0], 999);
    schedule_fini(&s);
}

static void test_steps_out_of_range(void **state)
{
    uint32_t t[1];
    struct schedule s;
    struct unstir_error err = {0};

    make(&s, "{}", METHOD_DDPM);
    assert_int_equal(schedule_timesteps(&s, 0, t, &err), UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "steps");
    assert_int_equal(schedule_timesteps(&s, 1001, t, &err), UNSTIR_ERR_ARG);
    schedule_fini(&s);
}

static void test_zero_snr(void **state)
{
    struct schedule s, plain;

    make(&s, "{\"rescale_betas_zero_snr\":true}", METHOD_DDIM);
    make(&plain, "{}", METHOD_DDIM);
    assert_true(s.abar[999] == 0);
    assert_true(fabs((double)s.abar[0] - (double)plain.abar[0]) < 1e-6);
    assert_true(s.abar[998] > 0);
    schedule_fini(&s);
    schedule_fini(&plain);
}

/* The authors' tables (align your steps, quickstart; the first ten of each are
 * diffusers' constants too), and what lies between: geometric means. */
static void test_align_your_steps(void **state)
{
    static const double tables[2][11] = {
        {14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152,
         0.029},
        {14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113,
         0.029},
    };
    double got[20];

    for (int xl = 0; xl < 2; xl++) {
        sigmas_align_your_steps(got, 10, xl);
        for (size_t i = 0; i < 10; i++)
            assert_true(fabs(got[i] - tables[xl][i]) <= 1e-14 * got[i]);
        sigmas_align_your_steps(got, 20, xl);
        for (size_t i = 0; i < 20; i++) {
            double a = tables[xl][i / 2], b = tables[xl][i / 2 + i % 2];
            if (!(fabs(got[i] - sqrt(a * b)) <= 1e-14 * got[i]))
                fail_msg("%d, level %zu of 20: got %.9g, wanted %.9g", xl, i,
                         got[i], sqrt(a * b));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_align_your_steps),
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_patched_defaults),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_from_other_class),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_count),
        cmocka_unit_test(test_trailing_trap),
        cmocka_unit_test(test_leading_offset_past_end),
        cmocka_unit_test(test_steps_out_of_range),
        cmocka_unit_test(test_zero_snr),
    };
    return cmocka_run_group_tests_name("t_schedule", tests, NULL, NULL);
}
