/* t_langevin.c - annealed Langevin dynamics on a density whose score is known.
 *
 * Two Gaussians on a line, of weights 0.3 and 0.7 and standard deviation s,
 * ten s apart: with noise sigma the score has a closed form.  Every float of
 * the sample is a chain of its own, since nothing in the method joins them.
 *
 * What is wanted.  The means are the Gaussians' own.  The variance is not s^2:
 * the walks are of finite length, and within one Gaussian they are linear, so
 * the variance follows v' = (1 - a / (s^2 + sigma^2))^2 v + 2 a walk by walk,
 * and the last denoising multiplies it by (s^2 / (s^2 + sigma_min^2))^2.  That
 * is computed here, from the level on where the Gaussians are four deviations
 * apart; what was before is forgotten (the test shows that it is).  The
 * weights lag behind for the same reason: 200,000 chains simulated in numpy
 * end with 0.677 instead of 0.7.  Beyond that, N chains scatter: a share p by
 * sqrt(p (1 - p) / N), a mean by sqrt(v / n), a variance by v sqrt(2 / n), of
 * which five never happen.
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

#include "format/json.h"
#include "sample/sampler.h"

#define N     4096
#define STEPS 100
#define LAG   0.023

static const double weights[2] = {0.3, 0.7}, means[2] = {0.25, 0.75};
static const double spread = 0.05;

struct rig {
    struct schedule schedule;
    struct sampler_run run;
    struct sampler_state state;
    float sample[N], estimate[N], output[N], noise[N];
};

static enum unstir_status open_rig(struct rig *r, const char *text,
                                   uint32_t steps, struct unstir_error *err)
{
    struct sampler_run_options o = {.n_steps = steps, .n = N};
    struct json *config;
    memset(r, 0, sizeof *r);
    TRY(json_parse(&config, text, strlen(text), err));
    enum unstir_status st = sampler_schedule_init(&sampler_annealed_langevin,
                                                  &r->schedule, config, err);
    json_free(config);
    if (st == UNSTIR_OK)
        st = sampler_run_init(&r->run, &sampler_annealed_langevin, &r->schedule,
                              &o, err);
    r->state.sample = r->sample;
    r->state.estimate = r->estimate;
    rng_seed(&r->state.rng, 11);
    rng_normal_f32(&r->state.rng, r->sample, N);
    for (size_t i = 0; i < N; i++)
        r->sample[i] *= r->run.first_scale;
    return st;
}

static void close_rig(struct rig *r)
{
    sampler_run_fini(&r->run);
    schedule_fini(&r->schedule);
}

/* Gradient of the logarithm of the mixture with noise sigma. */
static double score_at(double x, double sigma)
{
    double v = spread * spread + sigma * sigma, d[2], p[2];
    for (int k = 0; k < 2; k++) {
        d[k] = x - means[k];
        p[k] = log(weights[k]) - d[k] * d[k] / (2 * v);
    }
    double share = 1 / (1 + exp(p[1] - p[0]));
    return -(share * d[0] + (1 - share) * d[1]) / v;
}

static void sample(struct rig *r)
{
    for (uint32_t k = 0; k < r->run.n_steps; k++)
        for (uint32_t e = 0; e < sampler_n_evals(&r->run, k); e++) {
            double sigma = sampler_timestep(&r->run, k, e);
            struct sampler_io io = {r->output, NULL, r->noise};
            for (size_t i = 0; i < N; i++)
                r->output[i] = (float)score_at((double)r->sample[i], sigma);
            sampler_advance(&r->run, k, e, &io, &r->state);
        }
}

/* The variance of one Gaussian at the end, if it was `first` times that of its
 * level where the two come apart. */
static double variance_at_end(const struct rig *r, double first)
{
    uint32_t walks = r->schedule.config.n_langevin;
    double square = spread * spread, v = 0, sigma = 0, share;
    for (uint32_t k = 0; k < STEPS; k++) {
        sigma = (double)r->run.sigmas[k];
        double a = (double)r->run.middle_sigmas[k],
               all = square + sigma * sigma;
        if (4 * sqrt(all) > means[1] - means[0])
            v = first * all;
        else
            for (uint32_t e = 0; e < walks; e++)
                v = (1 - a / all) * (1 - a / all) * v + 2 * a;
    }
    share = square / (square + sigma * sigma);
    return v * share * share;
}

/* Number, mean and variance of the estimates on one side of the middle. */
static size_t moments(const struct rig *r, int side, double *mean, double *var)
{
    size_t n = 0;
    *mean = *var = 0;
    for (size_t i = 0; i < N; i++)
        if ((r->estimate[i] > 0.5f) == side) {
            *mean += (double)r->estimate[i];
            n++;
        }
    *mean /= n ? (double)n : 1;
    for (size_t i = 0; i < N; i++)
        if ((r->estimate[i] > 0.5f) == side)
            *var += ((double)r->estimate[i] - *mean) *
                    ((double)r->estimate[i] - *mean) / (double)(n - 1);
    return n;
}

static void close_to(const char *what, double got, double wanted, double room)
{
    if (!(fabs(got - wanted) <= room))
        fail_msg("%s: wanted %g +- %g, got %g", what, wanted, room, got);
}

static void test_mixture(void **state)
{
    static struct rig r;
    struct unstir_error err;
    (void)state;
    if (open_rig(&r, "{\"sigma_min\":0.01,\"sigma_max\":2.0}", STEPS, &err))
        fail_msg("%s", err.detail);
    sample(&r);
    double wanted = variance_at_end(&r, 1);
    close_to("the past", variance_at_end(&r, 2), wanted, 1e-3 * wanted);
    for (int k = 0; k < 2; k++) {
        double mean, var, p = weights[k];
        double n = (double)moments(&r, k, &mean, &var);
        close_to("share", n / N, p, LAG + 5 * sqrt(p * (1 - p) / N));
        close_to("mean", mean, means[k], 5 * sqrt(wanted / n));
        close_to("variance", var, wanted, 5 * wanted * sqrt(2 / n));
    }
    assert_memory_equal(r.sample, r.estimate, sizeof r.sample);
    close_rig(&r);
}

/* Levels are geometric, the last evaluation is one more, and a step that is
 * said is what is walked: eps (sigma / sigma_min)^2. */
static void test_tables(void **state)
{
    static struct rig r;
    struct unstir_error err;
    (void)state;
    if (open_rig(&r,
                 "{\"sigma_min\":0.01,\"sigma_max\":1.0,"
                 "\"langevin_steps\":7,\"langevin_epsilon\":2e-5}",
                 3, &err))
        fail_msg("%s", err.detail);
    for (uint32_t i = 0; i < 3; i++) {
        double sigma = pow(0.1, (double)i); /* six digits of an f32 */
        close_to("level", sampler_timestep(&r.run, i, 0), sigma, 2e-6 * sigma);
        close_to("walk", (double)r.run.middle_sigmas[i],
                 2e-5 * sigma * sigma / 1e-4, 1e-5 * sigma * sigma);
        assert_int_equal(sampler_n_evals(&r.run, i), 7 + (i == 2));
    }
    close_rig(&r);
    assert_int_equal(open_rig(&r,
                              "{\"sigma_min\":0.01,\"sigma_max\":1.0,"
                              "\"langevin_epsilon\":2e-4}",
                              3, &err),
                     UNSTIR_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.detail, "langevin_epsilon"));
    close_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixture),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests_name("t_langevin", tests, NULL, NULL);
}
