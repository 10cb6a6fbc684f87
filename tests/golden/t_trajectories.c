/* t_trajectories.c - whole sampling runs against the reference, step by step,
 * on every rung of the instruction-set ladder.
 *
 * score_ve is a small NCSN++ with predictor and corrector; its norms of score and
 * noise depend on every number of a sample.
 *
 * The noise is not stored: a generator with the run's seed draws it again, bit
 * for bit.  Tolerance: 1e-3 of the largest value of a step.  An untrained
 * network of f32 drifts from its double by 2e-4 in 20 and in 50 steps; five
 * times that leaves room for another order of summation.
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
#include "base/cpu.h"
#include "format/json.h"
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "kernels/kernels.h"
#include "pipeline/checkpoint.h"

#define FOLDER       "tests/data/traj/"
#define TOLERANCE    1e-3
#define MAX_FLOATS   192
#define WEIGHTS_SEED 3 /* of score_ve, whose weights are drawn */

struct run {
    const char *name, *isa;
};

static const struct run runs[] = {
    {"ddpm_20", "scalar"},      {"ddpm_20", "portable"},
    {"ddpm_20", "avx2"},        {"ddim_20", "scalar"},
    {"ddim_20", "portable"},    {"ddim_20", "avx2"},
    {"ddim_50_eta0", "scalar"}, {"ddim_50_eta0", "portable"},
    {"ddim_50_eta0", "avx2"},   {"score_ve", "scalar"},
    {"score_ve", "portable"},   {"score_ve", "avx2"},
};

/* Largest |got - wanted| as a share of the largest |wanted|. */
static double distance(const struct weights *known, const char *name,
                       const float *got, size_t n)
{
    const struct tensor_view *v = weights_find(known, name);
    double largest = 0, worst = 0;
    float wanted[MAX_FLOATS];

    assert_non_null(v);
    assert_int_equal(v->n, n);
    dtype_load(wanted, v->data, v->dtype, n);
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)wanted[i]);
        largest = fmax(largest, fabs((double)wanted[i]));
        worst = isnan(d) ? INFINITY : fmax(worst, d);
    }
    return worst / largest;
}

static double follow(struct unstir_generation *gen, const struct run *run,
                     const struct weights *known)
{
    struct unstir_executor_options options = {.n_threads = 1};
    struct unstir_executor *exec;
    struct unstir_error err;
    double worst = 0;
    char name[16];
    size_t n;

    assert_int_equal(unstir_executor_new(&exec, &options, &err), 0);
    const float *x = unstir_generation_sample(gen, &n);
    if (distance(known, "x_init", x, n) != 0)
        fail_msg("%s: the first noise differs", run->name);
    for (unsigned k = 0; !unstir_generation_is_done(gen); k++) {
        if (unstir_generation_step(gen, exec, &err))
            fail_msg("%s step %u: %s", run->name, k, err.detail);
        (void)snprintf(name, sizeof name, "x.%02u", k);
        double d = distance(known, name, unstir_generation_sample(gen, &n), n);
        if (!(d <= TOLERANCE))
            fail_msg("%s on %s, step %u: %.3g of the largest value away, "
                     "allowed %.3g",
                     run->name, run->isa, k, d, TOLERANCE);
        worst = fmax(worst, d);
    }
    unstir_executor_free(exec);
    return worst;
}

static void test_run(void **state)
{
    const struct run *run = *state;
    struct unstir_model_options options = {.isa = run->isa};
    struct unstir_request request = UNSTIR_REQUEST_INIT;
    struct unstir_generation *gen;
    struct unstir_model *model;
    struct kernel_table table;
    struct unstir_error err;

    if (!kernels_select(&table, run->isa)) {
        printf("SKIP %s: this CPU cannot run %s\n", run->name, run->isa);
        skip();
    }
    struct weights *weights = golden_open_named("traj", "weights");
    struct weights *known = golden_open_named("traj", run->name);
    const char *own = weights_metadata(known, "unet"); /* weights by rule */
    struct json *unet =
        own ? json_text(own) : json_file_open(FOLDER "unet.json");
    struct json *scheduler = json_text(weights_metadata(known, "scheduler"));
    struct checkpoint_parts parts = {
        .name = "traj",
        .digest = "0",
        .unet_config = unet,
        .scheduler_config = scheduler,
        .weights = own ? NULL : weights,
        .seed = WEIGHTS_SEED,
    };
    if (checkpoint_new(&model, &parts, &options, &err))
        fail_msg("%s", err.detail);
    request.seed = strtoull(weights_metadata(known, "seed"), NULL, 10);
    request.steps =
        (uint32_t)strtoul(weights_metadata(known, "steps"), NULL, 10);
    if (unstir_generation_begin(&gen, model, &request, &err))
        fail_msg("%s", err.detail);
    printf("%s on %s: at most %.2e of the largest value away\n", run->name,
           run->isa, follow(gen, run, known));
    unstir_generation_free(gen);
    checkpoint_free(model);
    json_free(unet);
    json_free(scheduler);
    weights_close(known);
    weights_close(weights);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(runs)];
    char names[ARRAY_LEN(runs)][48];

    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        (void)snprintf(names[i], sizeof names[i], "%s on %s", runs[i].name,
                       runs[i].isa);
        tests[i] = (struct CMUnitTest){
            .name = names[i],
            .test_func = test_run,
            .initial_state = (void *)&runs[i],
        };
    }
    return cmocka_run_group_tests_name("t_trajectories", tests, NULL, NULL);
}
