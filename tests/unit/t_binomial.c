/* t_binomial.c - the chain of bits against exhaustive enumeration.
 *
 * For one bit every history x_0 .. x_T is counted with its probability; for
 * three bits every picture of the eight is followed through the whole chain,
 * forward and back, in double: nothing here knows the closed forms.
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
#include "ops/op.h"
#include "sample/binomial.h"
#include "sample/sampler.h"
#include "train/bit_loss.h"
#include "train/objective.h"

#define T      6
#define BITS   3
#define STATES 8

static void near(const char *what, double got, double wanted, double room)
{
    if (!(fabs(got - wanted) <= room))
        fail_msg("%s: wanted %.12g +- %.3g, got %.12g", what, wanted, room,
                 got);
}

/* -- one bit ----------------------------------------------------------------- */

/* P(x_t | x_{t-1}), t = 1 .. T: thrown anew with chance 1 / (T - t + 1). */
static double step_chance(int to, int from, int t)
{
    double beta = 1.0 / (T - t + 1);
    return (to == from) * (1 - beta) + beta / 2;
}

/* Sum over all histories from x_0 on with x_s and x_t as given. */
static double history(int x0, int s, int xs, int t, int xt)
{
    double sum = 0;
    for (int path = 0; path < 1 << T; path++) {
        double p = 1;
        int before = x0;
        for (int i = 1; i <= T; i++) {
            int now = path >> (i - 1) & 1;
            p *= step_chance(now, before, i);
            before = now;
        }
        bool fits = (s == 0 ? x0 == xs : (path >> (s - 1) & 1) == xs) &&
                    (path >> (t - 1) & 1) == xt;
        sum += fits ? p : 0;
    }
    return sum;
}

static void test_one_bit(void **state)
{
    (void)state;
    for (int t = 1; t <= T; t++)
        for (int s = 0; s < t; s++) {
            struct binomial_back b = binomial_back(T, t - 1, s - 1);
            double same = history(1, s, 1, t, 1),
                   other = history(1, s, 0, t, 0);
            double kept = same + history(1, s, 0, t, 1);
            double lost = other + history(1, s, 1, t, 0);
            near("q(x_t = x_0)", 0.5 * (1 + binomial_kept(T, t - 1)), kept,
                 1e-14);
            near("same", b.same, same / kept, 1e-14);
            near("other", b.other, other / lost, 1e-14);
            near("evidence", binomial_evidence(T, t - 1), log(kept / lost),
                 1e-13);
        }
}

/* -- three bits ------------------------------------------------------------------ */

/* Pictures that hang together: two bits agree, the third prefers to differ. */
static const double data[STATES] = {0.05, 0.4,  0.02, 0.03,
                                    0.03, 0.02, 0.35, 0.1};

static int bit(int state, int i)
{
    return state >> i & 1 ? 1 : -1;
}

/* q(x_t | x_0) of whole pictures. */
static double noisy(int xt, int x0, int t)
{
    double kept = 0.5 * (1 + binomial_kept(T, t)), p = 1;
    for (int i = 0; i < BITS; i++)
        p *= bit(xt, i) == bit(x0, i) ? kept : 1 - kept;
    return p;
}

/* The best head: log-odds of bit i of x_0 given all of x_t, less the bit's own
 * evidence. */
static double best_head(int xt, int i, int t)
{
    double on = 0, off = 0;
    for (int x0 = 0; x0 < STATES; x0++)
        *(bit(x0, i) > 0 ? &on : &off) += data[x0] * noisy(xt, x0, t);
    return log(on / off) - bit(xt, i) * binomial_evidence(T, t);
}

/* Chance that a step back from t keeps bit i, by this head. */
static double keep_chance(int xt, int i, int t, double head)
{
    struct binomial_back b = binomial_back(T, t, t - 1);
    double r = 1 / (1 + exp(-binomial_evidence(T, t) - bit(xt, i) * head));
    return r * b.same + (1 - r) * b.other;
}

/* p(x_{t-1} | x_t) of the learned step: bits drawn apart. */
static double back(int to, int xt, int t, bool is_best)
{
    double p = 1;
    for (int i = 0; i < BITS; i++) {
        double keep = keep_chance(xt, i, t, is_best ? best_head(xt, i, t) : 0);
        p *= bit(to, i) == bit(xt, i) ? keep : 1 - keep;
    }
    return p;
}

/* What the learned chain draws: p(x_0), by matrices. */
static void drawn(double p[STATES], bool is_best)
{
    for (int x = 0; x < STATES; x++)
        p[x] = 1.0 / STATES;
    for (int t = T - 1; t >= 0; t--) {
        double next[STATES] = {0};
        for (int x = 0; x < STATES; x++)
            for (int to = 0; to < STATES; to++)
                next[to] += p[x] * back(to, x, t, is_best);
        memcpy(p, next, sizeof next);
    }
}

/* The loss that training sees for one (x_0, x_t), of all bits together. */
static double loss_of(int x0, int xt, int t, bool is_best)
{
    float y[BITS], sample[BITS], target[BITS], dy[BITS], w[BIT_WEIGHTS], loss;
    struct op_ctx ctx = {0};
    for (int i = 0; i < BITS; i++) {
        y[i] = is_best ? (float)best_head(xt, i, t) : 0;
        sample[i] = (float)bit(xt, i);
        target[i] = (float)bit(x0, i);
    }
    objective_bit_weights(T, (uint32_t)t, w);
    struct bit_loss_args a = {1, BITS, y, sample, target, w, dy, &loss};
    bit_loss(&ctx, &a);
    return (double)loss * BITS / T;
}

/* Divergence of the true from the learned step, over all eight pictures. */
static double enumerated(int x0, int xt, int t, bool is_best)
{
    double sum = 0;
    for (int to = 0; to < STATES; to++) {
        double q = noisy(to, x0, t - 1);
        for (int i = 0; i < BITS; i++)
            q *= step_chance(bit(xt, i) > 0, bit(to, i) > 0, t + 1);
        q /= noisy(xt, x0, t);
        sum += q > 0 ? q * log(q / back(to, xt, t, is_best)) : 0;
    }
    return sum;
}

/* An f32 carries its loss to 2^-23, and its chances as much; T such steps. */
static void test_loss_is_the_divergence(void **state)
{
    (void)state;
    for (int is_best = 0; is_best < 2; is_best++)
        for (int t = 0; t < T; t++)
            for (int k = 0; k < STATES * STATES; k++)
                near("divergence", loss_of(k % STATES, k / STATES, t, is_best),
                     enumerated(k % STATES, k / STATES, t, is_best), 3e-6);
}

static double bound(bool is_best)
{
    double sum = 0;
    for (int t = 0; t < T; t++)
        for (int x0 = 0; x0 < STATES; x0++)
            for (int xt = 0; xt < STATES; xt++)
                sum -=
                    data[x0] * noisy(xt, x0, t) * loss_of(x0, xt, t, is_best);
    return sum / log(2);
}

/* A head that says nothing draws fair coins and is bounded by -1 bit a bit,
 * exactly; the best one draws pictures nearly as the data has them, its bound
 * is below its likelihood, and that below what there is to know. */
static void test_bound(void **state)
{
    double coins[STATES], p[STATES], likelihood = 0, known = 0;
    (void)state;
    drawn(coins, false);
    drawn(p, true);
    for (int x = 0; x < STATES; x++) {
        near("coins", coins[x], 1.0 / STATES, 1e-14);
        likelihood += data[x] * log2(p[x]);
        known += data[x] * log2(data[x]);
    }
    near("bound of coins", bound(false), -BITS, 1e-5);
    double best = bound(true);
    if (!(best <= likelihood && likelihood < known && best > known - 0.25))
        fail_msg("bound %.4f, likelihood %.4f, known %.4f bits", best,
                 likelihood, known);
}

/* Central differences of h = 1e-2 of a loss in f32: h^2 and 2^-24 / h. */
static void test_gradient(void **state)
{
    static const float heads[] = {-3, -0.5f, 0, 0.25f, 2};
    struct op_ctx ctx = {0};
    (void)state;
    for (uint32_t t = 0; t < T; t++)
        for (size_t k = 0; k < 20; k++) {
            float y = heads[k % 5], x = k % 2 ? 1 : -1, x0 = k < 10 ? 1 : -1;
            float w[BIT_WEIGHTS], dy, dummy, loss, up, down;
            float above = y + 0.01f, below = y - 0.01f;
            objective_bit_weights(T, t, w);
            struct bit_loss_args a = {1, 1, &y, &x, &x0, w, &dy, &loss};
            bit_loss(&ctx, &a);
            a.dy = &dummy;
            a.y = &above, a.loss = &up;
            bit_loss(&ctx, &a);
            a.y = &below, a.loss = &down;
            bit_loss(&ctx, &a);
            double slope =
                ((double)up - (double)down) / ((double)above - (double)below);
            near("slope", (double)dy, slope, 1e-3 * (1 + fabs(slope)));
        }
}

/* -- drawing ------------------------------------------------------------------ */

#define N 6000 /* pictures of three bits */

struct rig {
    struct schedule schedule;
    struct sampler_run run;
    struct sampler_state state;
    float sample[N * BITS], estimate[N * BITS], output[N * BITS],
        noise[N * BITS], input[N * BITS];
};

static void open_rig(struct rig *r, uint32_t steps)
{
    static const char text[] = "{\"num_train_timesteps\":6}";
    struct sampler_run_options o = {.n_steps = steps, .n = N * BITS};
    struct unstir_error err;
    struct json *config;
    memset(r, 0, sizeof *r);
    if (json_parse(&config, text, strlen(text), &err) ||
        sampler_schedule_init(&sampler_binomial, &r->schedule, config, &err) ||
        sampler_run_init(&r->run, &sampler_binomial, &r->schedule, &o, &err))
        fail_msg("%s", err.detail);
    json_free(config);
    r->state.sample = r->sample;
    r->state.estimate = r->estimate;
    rng_seed(&r->state.rng, 4);
    rng_normal_f32(&r->state.rng, r->sample, N * BITS);
}

static void close_rig(struct rig *r)
{
    sampler_run_fini(&r->run);
    schedule_fini(&r->schedule);
}

static int picture(const float *x)
{
    int state = 0;
    for (int i = 0; i < BITS; i++)
        state |= (x[i] > 0) << i;
    return state;
}

/* Of N pictures drawn with the best head, each of the eight comes as often as
 * the matrices say: a share scatters by sqrt(p (1 - p) / N), five never. */
static void test_drawing(void **state)
{
    static struct rig r;
    double p[STATES];
    int count[STATES] = {0};
    (void)state;
    open_rig(&r, T);
    for (uint32_t k = 0; k < T; k++) {
        struct sampler_io io = {r.output, NULL, r.noise};
        const float *x = sampler_scale_input(&r.run, k, 0, r.sample, r.input);
        int t = (int)sampler_timestep(&r.run, k, 0);
        for (size_t j = 0; j < N * BITS; j++)
            r.output[j] = (float)best_head(picture(x + j / BITS * BITS),
                                           (int)(j % BITS), t);
        sampler_advance(&r.run, k, 0, &io, &r.state);
    }
    for (size_t j = 0; j < N; j++)
        count[picture(r.sample + j * BITS)]++;
    drawn(p, true);
    for (int x = 0; x < STATES; x++)
        near("share", (double)count[x] / N, p[x],
             5 * sqrt(p[x] * (1 - p[x]) / N));
    close_rig(&r);
}

/* A run from a picture begins with the chain's own noise. */
static void test_picture_to_noise(void **state)
{
    static struct rig r;
    static float picture_of_ones[N * BITS];
    (void)state;
    open_rig(&r, 3);
    for (size_t i = 0; i < N * BITS; i++)
        picture_of_ones[i] = 1;
    for (uint32_t k = 0; k < 3; k++) {
        int64_t t = (int64_t)sampler_timestep(&r.run, k, 0);
        double wanted = 0.5 * (1 + binomial_kept(T, t)), kept = 0;
        rng_normal_f32(&r.state.rng, r.noise, N * BITS);
        sampler_add_noise(&r.run, k, picture_of_ones, r.noise, r.sample);
        for (size_t i = 0; i < N * BITS; i++)
            kept += (r.sample[i] > 0) / (double)(N * BITS);
        near("kept", kept, wanted,
             5 * sqrt(wanted * (1 - wanted) / (N * BITS)));
    }
    assert_true(sampler_timestep(&r.run, 0, 0) == T - 1);
    close_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_bit),
        cmocka_unit_test(test_loss_is_the_divergence),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_drawing),
        cmocka_unit_test(test_picture_to_noise),
    };
    return cmocka_run_group_tests_name("t_binomial", tests, NULL, NULL);
}
