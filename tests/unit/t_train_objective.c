/* t_train_objective.c - targets and weights against the formulas, in double.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sample/schedule.h"
#include "train/objective.h"

#define M 5

static const enum beta_schedule schedules[] = {BETA_LINEAR, BETA_COSINE,
                                               BETA_SCALED_LINEAR};

static void open_schedule(struct schedule *s, enum beta_schedule b)
{
    struct schedule_config c;
    struct unstir_error err;
    schedule_config_defaults(&c, METHOD_DDPM);
    c.beta_schedule = b;
    if (schedule_init(s, &c, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
}

static void near(const char *what, double got, double wanted, double rel)
{
    if (!(fabs(got - wanted) <= rel * (fabs(wanted) + 1)))
        fail_msg("%s: wanted %.9g, got %.9g", what, wanted, got);
}

static const float x0[M] = {-1, -0.5f, 0, 0.25f, 1};
static const float e[M] = {0.3f, -1.2f, 2, 0, -0.1f};

static void test_targets(void **state)
{
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct schedule s;
        open_schedule(&s, schedules[k]);
        for (uint32_t t = 0; t < 1000; t += 111) {
            double a = sqrt((double)s.abar[t]),
                   sd = sqrt(1 - (double)s.abar[t]);
            for (int o = 0; o < OBJECTIVE_SCORE; o++) {
                float x[M], y[M];
                objective_apply(o, &s, t, x0, e, M, x, y);
                for (int i = 0; i < M; i++) {
                    double v = a * (double)e[i] - sd * (double)x0[i];
                    double wanted =
                        o == OBJECTIVE_V ? v
                        : o == OBJECTIVE_X0 || o == OBJECTIVE_ORIGIN_X0
                            ? (double)x0[i]
                            : (double)e[i];
                    near("sample", (double)x[i],
                         a * (double)x0[i] + sd * (double)e[i], 3e-7);
                    near(objective_names[o], (double)y[i], wanted, 3e-7);
                }
            }
        }
        schedule_fini(&s);
    }
}

/* In place, as the trainer calls it. */
static void test_in_place(void **state)
{
    struct schedule s;
    float a[M], b[M], x[M], y[M];
    (void)state;
    open_schedule(&s, BETA_COSINE);
    for (int i = 0; i < M; i++) {
        a[i] = x0[i];
        b[i] = e[i];
    }
    objective_apply(OBJECTIVE_V, &s, 321, x0, e, M, x, y);
    objective_apply(OBJECTIVE_V, &s, 321, a, b, M, a, b);
    assert_memory_equal(a, x, sizeof a);
    assert_memory_equal(b, y, sizeof b);
    schedule_fini(&s);
}

/* mean of q(x_{t-1} | x_t, x_0), written out */
static double posterior_mean(const struct schedule *s, uint32_t t, double xt,
                             double x)
{
    double before = t ? (double)s->abar[t - 1] : 1;
    double now = (double)s->abar[t], beta = (double)s->beta[t];
    return sqrt(before) * beta / (1 - now) * x +
           sqrt(1 - beta) * (1 - before) / (1 - now) * xt;
}

/* The origin's loss computed the long way, for both heads, equals weight
 * times squared error of the head. */
static void test_origin_is_the_mean(void **state)
{
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct schedule s;
        open_schedule(&s, schedules[k]);
        for (uint32_t t = 0; t < 990; t += 90) {
            double a = sqrt((double)s.abar[t]),
                   sd = sqrt(1 - (double)s.abar[t]);
            double x = 0.4, noise = -0.7, xt = a * x + sd * noise;
            double says_e = -0.2, says_x = 0.1;
            double mean = posterior_mean(&s, t, xt, x);
            double by_e = posterior_mean(&s, t, xt, (xt - sd * says_e) / a);
            double by_x = posterior_mean(&s, t, xt, says_x);
            double scale = 1 / (2 * (double)s.beta[t]);
            near("epsilon head",
                 (double)objective_weight(OBJECTIVE_ORIGIN, &s, t) *
                     (says_e - noise) * (says_e - noise),
                 scale * (by_e - mean) * (by_e - mean), 1e-5);
            near("x0 head",
                 (double)objective_weight(OBJECTIVE_ORIGIN_X0, &s, t) *
                     (says_x - x) * (says_x - x),
                 scale * (by_x - mean) * (by_x - mean), 1e-5);
        }
        schedule_fini(&s);
    }
}

/* log N(x; x0, sigma^2) up to a constant */
static double log_density(double x, double mean, double sigma)
{
    return -(x - mean) * (x - mean) / (2 * sigma * sigma);
}

/* The target is the slope of the noisy density, by central differences of
 * step h = sigma / 100.  They are exact for a parabola; what is left is the
 * sample's rounding, 6e-8 of 1 + sigma |e|, over sigma^2, and the target's. */
static void test_score_is_the_slope(void **state)
{
    (void)state;
    near("least", objective_sigma(0.01, 50, 1000, 0), 0.01, 0);
    near("most", objective_sigma(0.01, 50, 1000, 999), 50, 1e-12);
    near("ratio",
         objective_sigma(0.01, 50, 10, 4) / objective_sigma(0.01, 50, 10, 3),
         objective_sigma(0.01, 50, 10, 9) / objective_sigma(0.01, 50, 10, 8),
         1e-12);
    for (uint32_t t = 0; t < 10; t++) {
        double sigma = objective_sigma(0.01, 50, 10, t), h = sigma / 100;
        float x[M], y[M];
        objective_apply_score(sigma, x0, e, M, x, y);
        for (int i = 0; i < M; i++) {
            double mean = 0.5 * ((double)x0[i] + 1), at = (double)x[i];
            double slope = (log_density(at + h, mean, sigma) -
                            log_density(at - h, mean, sigma)) /
                           (2 * h);
            double slack =
                2e-7 * (1 + sigma * fabs((double)e[i])) / (sigma * sigma) +
                2e-7 * fabs(slope);
            if (!(fabs((double)y[i] - slope) <= slack))
                fail_msg("sigma %g: wanted %.9g, got %.9g", sigma, slope,
                         (double)y[i]);
        }
    }
}

static void test_names(void **state)
{
    enum objective o;
    (void)state;
    for (int i = 0; i < OBJECTIVE_COUNT; i++) {
        assert_true(objective_parse(&o, objective_names[i]));
        assert_int_equal(o, i);
    }
    assert_false(objective_parse(&o, "scores"));
    assert_string_equal(objective_prediction(OBJECTIVE_EPSILON), "epsilon");
    assert_string_equal(objective_prediction(OBJECTIVE_ORIGIN), "epsilon");
    assert_string_equal(objective_prediction(OBJECTIVE_X0), "sample");
    assert_string_equal(objective_prediction(OBJECTIVE_ORIGIN_X0), "sample");
    assert_string_equal(objective_prediction(OBJECTIVE_V), "v_prediction");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_origin_is_the_mean),
        cmocka_unit_test(test_score_is_the_slope),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
