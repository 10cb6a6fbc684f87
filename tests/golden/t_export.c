/* t_export.c - a model that `unstir train` exported and the reference sampled.
 *
 * tests/python/reference_export.py made the folder and, with the reference
 * implementation, its samples: the reference loads our layout, and we make
 * its pictures.  Tolerance: t_trajectories.c's, of 10 to 50 steps; here 6.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format/weights.h"
#include "golden.h"
#include "unstir.h"

#define TOLERANCE 1e-3
#define FOLDER    "tests/data/export/"

struct row {
    const char *name;
    int64_t class_id;
};

static const struct row rows[] = {
    {"lying", 0},
    {"upright", 1},
    {"none", UNSTIR_CLASS_NULL},
};

static void check(const struct unstir_model *model,
                  struct unstir_executor *exec, const struct row *row,
                  const struct tensor_view *wanted)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *gen;
    struct unstir_error err;
    size_t n;
    r.class_id = row->class_id;
    r.seed = 3;
    r.steps = 6;
    r.guidance = 1;
    if (unstir_generation_begin(&gen, model, &r, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    while (!unstir_generation_is_done(gen))
        if (unstir_generation_step(gen, exec, &err) != UNSTIR_OK)
            fail_msg("%s", err.detail);
    const float *got = unstir_generation_sample(gen, &n);
    assert_int_equal(n, wanted->n);
    golden_check(row->name, golden_max_error(got, wanted->data, n), TOLERANCE);
    unstir_generation_free(gen);
}

static void test_reference_made_the_same(void **state)
{
    struct unstir_executor *exec;
    struct unstir_model *model;
    struct unstir_error err;
    (void)state;
    struct weights *golden = golden_open(FOLDER "samples.safetensors");
    if (unstir_executor_new(&exec, NULL, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    for (size_t i = 0; golden_rung(i); i++) {
        struct unstir_model_options o = {.isa = golden_rung(i),
                                         .precision = UNSTIR_PRECISION_F32};
        if (unstir_model_open(&model, FOLDER "bars", &o, &err) != UNSTIR_OK)
            fail_msg("%s", err.detail);
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            check(model, exec, &rows[k], weights_find(golden, rows[k].name));
        unstir_model_close(model);
    }
    unstir_executor_free(exec);
    weights_close(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_made_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
