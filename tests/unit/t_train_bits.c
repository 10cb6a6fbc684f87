/* t_train_bits.c - training of bits, and the bound on bits a value that a
 * training can tell: for continuous data and for bits.
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

#include "base/alloc.h"
#include "base/mapfile.h"
#include "must.h"
#include "sample/binomial.h"
#include "small_training.h"
#include "train/trainer.h"

/* -- the bound --------------------------------------------------------------- */

/* An untrained head says 0 for the noise, so every divergence is known: the
 * step's two means differ by c0 s/a e.  The trainer's average over 4096 points
 * of two dimensions, spread evenly over nine times, has the variance that is
 * summed here beside it; five deviations never happen. */
static double untrained_bits(const struct unstir_trainer *t, double *deviation)
{
    const struct schedule *s = &t->schedule;
    uint32_t n = t->options.n_timesteps;
    double sum = 0, square = 0, m2 = 0, log2pi = log(2 * acos(-1.0));
    for (uint32_t i = 1; i < n; i++) {
        double a = (double)s->abar[i], b = (double)s->abar[i - 1];
        double beta = (double)s->beta[i];
        double c0 = sqrt(b) * beta / (1 - a), v = beta * (1 - b) / (1 - a);
        double kl = c0 * c0 * (1 - a) / a / (2 * v);
        sum += kl;
        square += kl * kl * 2 / (4096.0 / (n - 1) * 2);
    }
    for (uint32_t i = 0; i < 2 * t->data.n; i++) {
        double x = t->data.pixels[i] / 127.5 - 1;
        m2 += (x * x + 1 / (12 * 127.5 * 127.5)) / (2.0 * t->data.n);
    }
    double end = (double)s->abar[n - 1], first = (double)s->beta[0];
    *deviation = sqrt(square) / log(2);
    return (-sum + 0.5 * log(1 - end) - 0.5 * log(first) - 0.5 * log2pi -
            0.5 * (end * m2 + 1 - end) + 0.5 * first * (1 - m2)) /
           log(2);
}

static void test_bound(void **state)
{
    char out[SCRATCH_PATH];
    struct unstir_train_options o = small_training(out, "a");
    struct unstir_train_bound b;
    struct unstir_error err;
    double deviation;
    (void)state;
    o.data = "swiss-roll";
    o.objective = "origin";
    o.noise_schedule = "linear";
    o.n_timesteps = 10;
    o.n_levels = 1;
    o.attention_mask = 0;
    o.batch = 256;
    o.accumulate = 2;
    struct unstir_trainer *t = must_trainer(&o), *other;
    must(unstir_trainer_bound(t, &b, &err), &err);
    double wanted = untrained_bits(t, &deviation);
    if (!(fabs(b.bits - wanted) < 5 * deviation))
        fail_msg("untrained: wanted %.4f +- %.4f bits, got %.4f", wanted,
                 deviation, b.bits);
    if (!(b.bits < b.known_bits && b.null_bits < b.known_bits))
        fail_msg("nothing surpasses %.3f: bound %.3f, gaussian %.3f",
                 b.known_bits, b.bits, b.null_bits);
    /* It leaves no trace: the next steps are those of a trainer unasked. */
    other = must_trainer(&o);
    must_step(t, 2);
    must_step(other, 2);
    assert_memory_equal(t->learner.params.p, other->learner.params.p,
                        t->learner.params.n * sizeof(float));
    unstir_trainer_free(t);
    unstir_trainer_free(other);
}

/* -- bits ------------------------------------------------------------------ */

/* A sanitizer needs to see the code run, not what is learnt: that takes it
 * minutes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { BEAT_TIMES = 4, BEAT_STEPS = 10, BEAT_IS_LEARNT = 0 };
#else
enum { BEAT_TIMES = 20, BEAT_STEPS = 150, BEAT_IS_LEARNT = 1 };
#endif

static struct unstir_train_options small_bits(char out[SCRATCH_PATH],
                                              const char *name)
{
    struct unstir_train_options o = small_training(out, name);
    o.data = "heartbeat-bits";
    o.objective = "origin-bits";
    o.n_timesteps = BEAT_TIMES;
    o.n_levels = 1;
    o.channels[0] = 32;
    o.attention_mask = 0;
    o.batch = 64;
    o.accumulate = 2;
    o.lr = 3e-3;
    o.ema = 0.97;
    o.warmup = 10;
    o.steps = BEAT_STEPS;
    return o;
}

/* Deviation of the trainer's average for a head that says 0: over times and
 * over kept and turned bits, 4096 rows of 20. */
static double coin_deviation(uint32_t n)
{
    double sum = 0, square = 0;
    for (uint32_t t = 0; t < n; t++)
        for (int is_kept = 0; is_kept < 2; is_kept++) {
            struct binomial_back b = binomial_back(n, t, (int64_t)t - 1);
            double kept = 0.5 * (1 + binomial_kept(n, t));
            double p = (is_kept ? kept : 1 - kept) / n;
            double u = kept * b.same + (1 - kept) * b.other;
            double w = is_kept ? b.same : b.other;
            double kl = (w > 0 ? w * log2(w / u) : 0) +
                        (w < 1 ? (1 - w) * log2((1 - w) / (1 - u)) : 0);
            sum += p * n * kl;
            square += p * n * kl * n * kl;
        }
    return sqrt((square - sum * sum) / (4096 * 20));
}

/* A head that says 0 stands for fair coins, -1 bit; a short training comes
 * near to what a beat holds, log2(5) bits in twenty, and not above it. */
static void test_heartbeat(void **state)
{
    char out[SCRATCH_PATH], path[SCRATCH_PATH], *text;
    struct unstir_train_options o = small_bits(out, "beat");
    struct unstir_train_bound b;
    struct unstir_error err;
    double room = 5 * coin_deviation(o.n_timesteps);
    size_t n;
    (void)state;
    struct unstir_trainer *t = must_trainer(&o);
    must(unstir_trainer_bound(t, &b, &err), &err);
    if (!(fabs(b.bits + 1) < room))
        fail_msg("untrained: wanted -1 +- %.4f bits, got %.4f", room, b.bits);
    assert_true(b.null_bits == -1);
    assert_true(fabs(b.known_bits + log2(5) / 20) < 1e-12);
    must_step(t, (int)o.steps);
    must(unstir_trainer_bound(t, &b, &err), &err);
    if (BEAT_IS_LEARNT &&
        !(b.bits < b.known_bits + room && b.bits > b.known_bits - 0.12))
        fail_msg("trained: wanted %.4f and at most 0.12 less, got %.4f",
                 b.known_bits, b.bits);
    must(unstir_trainer_report(t, true, &err), &err);
    scratch_path(path, out, "scheduler/scheduler_config.json");
    must(mapfile_read(&text, &n, path, 1 << 20, &err), &err);
    assert_non_null(strstr(text, "BinomialDiffusionScheduler"));
    alloc_free(text);
    unstir_trainer_free(t);
}

static bool is_paper(const struct unstir_image *im, uint32_t x, uint32_t y)
{
    const uint8_t *p = im->pixels + ((size_t)y * im->width + x) * 3;
    return p[0] > 240 && p[1] > 240 && p[2] > 240;
}

/* Panels are 188 pixels wide, the first of the first row from (10, 36) on: a
 * point in the middle is four pixels of ink there, a row of bits a cell each
 * of a quarter of it. */
static void test_plot_chain(void **state)
{
    float points[2] = {0, 0}, bits[4] = {-1, 1, -1, -1};
    struct unstir_error err;
    (void)state;
    for (int is_bits = 0; is_bits < 2; is_bits++) {
        struct plot_chain c = {.n = 1, .m = is_bits ? 4 : 2};
        struct unstir_image im;
        int n_ink = 0;
        for (size_t k = 0; k < PLOT_PANELS; k++)
            c.forward[k] = c.back[k] = is_bits ? bits : points;
        must(plot_chain(&im, &c, &err), &err);
        assert_int_equal(im.width, 1000);
        for (uint32_t y = 36; y < 36 + 188; y++)
            for (uint32_t x = 10; x < 10 + 188; x++)
                n_ink += !is_paper(&im, x, y);
        assert_int_equal(n_ink, is_bits ? 46 * 46 : 4);
        assert_false(is_paper(&im, is_bits ? 10 + 47 + 20 : 10 + 93,
                              36 + 93 - (is_bits ? 70 : 0)));
        assert_true(is_paper(&im, 12, 36 + 93));
        unstir_image_fini(&im);
    }
}

static void test_bits_are_black_and_white(void **state)
{
    char out[SCRATCH_PATH];
    struct unstir_train_options o = small_training(out, "a");
    struct unstir_trainer *t;
    struct unstir_error err;
    (void)state;
    o.objective = "origin-bits";
    assert_int_equal(unstir_trainer_new(&t, &o, &err), UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "grey of 20"));
}

#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, small_training_begin, small_training_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bound),
        TEST(test_heartbeat),
        TEST(test_bits_are_black_and_white),
        TEST(test_plot_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
