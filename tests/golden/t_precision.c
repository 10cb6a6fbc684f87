/* t_precision.c - whole pictures of the shipped model with bf16 operands, and
 * with 8-bit linear layers, against those with f32: DDIM of 25 and of 50 steps,
 * the worst of all seeds.
 *
 * PSNR of the final sample, its peak the range of the f32 sample; at least
 * 40 dB of bf16 and 30 dB of int8.  Operands rounded to bf16 have the numerics of the CPUs that multiply
 * bf16, so this is measured on any.  The suite takes few seeds;
 * UNSTIR_TEST_SEEDS=100 takes as many as the figure in the documents.
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

#include "golden.h"
#include "unstir.h"

#define BATCH 10

static struct unstir_model *open_model(enum unstir_precision precision)
{
    struct unstir_model_options options = {.precision = precision};
    struct unstir_model *model;
    struct unstir_error err;

    if (unstir_model_open(&model, "models/fashion", &options, &err))
        fail_msg("%s", err.detail);
    return model;
}

/* n pictures from `seed` on, each of another class, to the last step. */
static void paint(const struct unstir_model *model,
                  struct unstir_executor *exec, uint64_t seed, size_t n,
                  uint32_t steps, struct unstir_generation **gens)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_error err;

    for (size_t i = 0; i < n; i++) {
        r.seed = seed + i;
        r.class_id = (int64_t)(r.seed % 10);
        r.steps = steps;
        r.sampler = "ddim";
        if (unstir_generation_begin(&gens[i], model, &r, &err))
            fail_msg("%s", err.detail);
    }
    while (!unstir_generation_is_done(gens[0]))
        if (unstir_step_many(gens, n, exec, &err))
            fail_msg("%s", err.detail);
}

static void compare(enum unstir_precision precision, double least_db,
                    uint32_t steps, uint64_t n_seeds)
{
    struct unstir_model *f32 = open_model(UNSTIR_PRECISION_F32);
    struct unstir_model *coarse = open_model(precision);
    struct unstir_executor_options options = {.n_threads = 1};
    struct unstir_generation *a[BATCH], *b[BATCH];
    struct unstir_executor *exec;
    double worst = INFINITY, sum = 0;
    uint64_t worst_seed = 0;

    assert_int_equal(unstir_executor_new(&exec, &options, NULL), 0);
    for (uint64_t seed = 0, n; seed < n_seeds; seed += n) {
        n = n_seeds - seed < BATCH ? n_seeds - seed : BATCH;
        paint(f32, exec, seed, n, steps, a);
        paint(coarse, exec, seed, n, steps, b);
        for (size_t i = 0; i < n; i++) {
            size_t n_floats;
            const float *wanted = unstir_generation_sample(a[i], &n_floats);
            const float *got = unstir_generation_sample(b[i], &n_floats);
            double db = golden_psnr(got, wanted, n_floats);
            sum += db;
            if (!(db >= worst)) {
                worst = db;
                worst_seed = seed + i;
            }
            unstir_generation_free(a[i]);
            unstir_generation_free(b[i]);
        }
    }
    printf("%s, %u steps, %llu seeds: worst %.1f dB (seed %llu), mean %.1f "
           "dB\n",
           unstir_model_info(coarse)->precision, steps,
           (unsigned long long)n_seeds, worst, (unsigned long long)worst_seed,
           sum / (double)n_seeds);
    assert_string_not_equal(unstir_model_info(coarse)->precision, "f32");
    unstir_executor_free(exec);
    unstir_model_close(f32);
    unstir_model_close(coarse);
    if (!(worst >= least_db))
        fail_msg("wanted %.1f dB, got %.1f of seed %llu", least_db, worst,
                 (unsigned long long)worst_seed);
}

static uint64_t seeds(void)
{
    const char *text = getenv("UNSTIR_TEST_SEEDS");

    return text ? strtoull(text, NULL, 10) : 3;
}

static void test_25_steps(void **state)
{
    (void)state;
    compare(UNSTIR_PRECISION_BF16, 40, 25, seeds());
}

static void test_50_steps(void **state)
{
    (void)state;
    compare(UNSTIR_PRECISION_BF16, 40, 50, seeds());
}

static void test_int8(void **state)
{
    (void)state;
    compare(UNSTIR_PRECISION_INT8, 30, 25, seeds());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_25_steps),
        cmocka_unit_test(test_50_steps),
        cmocka_unit_test(test_int8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
