/* t_model_unload.c - models without their weights: described, checked against,
 * not painted with.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "unstir.h"

#define MODEL "tests/data/models/tiny"

static struct unstir_model *open_model(bool without_weights)
{
    struct unstir_model_options options = {.without_weights = without_weights};
    struct unstir_error err = {0};
    struct unstir_model *model;

    if (unstir_model_open(&model, MODEL, &options, &err))
        fail_msg("%s", err.detail);
    return model;
}

/* Everything but what depends on bytes that were packed. */
static void check_same(const struct unstir_model *a,
                       const struct unstir_model *b)
{
    const struct unstir_model_info *x = unstir_model_info(a);
    const struct unstir_model_info *y = unstir_model_info(b);

    assert_string_equal(x->id, y->id);
    assert_string_equal(x->digest, y->digest);
    assert_string_equal(x->fingerprint, y->fingerprint);
    assert_string_equal(x->default_sampler, y->default_sampler);
    assert_int_equal(x->n_parameters, y->n_parameters);
    assert_int_equal(x->n_labels, y->n_labels);
    assert_int_equal(x->max_steps, y->max_steps);
    assert_int_equal(x->null_class, y->null_class);
}

static enum unstir_status paint(const struct unstir_model *model,
                                unsigned char **png, size_t *n,
                                struct unstir_error *err)
{
    struct unstir_request request = UNSTIR_REQUEST_INIT;
    struct unstir_generation *generation = NULL;
    struct unstir_executor *executor;
    enum unstir_status status;

    request.label = "bag";
    request.steps = 2;
    assert_int_equal(unstir_executor_new(&executor, NULL, err), UNSTIR_OK);
    status = unstir_generation_begin(&generation, model, &request, err);
    while (status == UNSTIR_OK && !unstir_generation_is_done(generation))
        status = unstir_generation_step(generation, executor, err);
    if (status == UNSTIR_OK)
        status = unstir_generation_png(generation, NULL, png, n, err);
    unstir_generation_free(generation);
    unstir_executor_free(executor);
    return status;
}

static void refuses_to_paint(const struct unstir_model *model)
{
    struct unstir_error err = {0};
    unsigned char *png;
    size_t n;

    assert_int_equal(paint(model, &png, &n, &err), UNSTIR_ERR_ARG);
    if (!strstr(err.detail, "without its weights"))
        fail_msg("told \"%s\"", err.detail);
}

static void test_described(void **state)
{
    struct unstir_request wrong = UNSTIR_REQUEST_INIT;
    struct unstir_request right = UNSTIR_REQUEST_INIT;
    struct unstir_model *full = open_model(false);
    struct unstir_model *bare = open_model(true);
    uint64_t is, predicted;
    size_t bytes;

    check_same(full, bare);
    is = unstir_model_info(full)->weight_bytes;
    predicted = unstir_model_info(bare)->weight_bytes;
    /* Biases of an f32 file are read in place and not counted: predicted they
     * are, as nothing was read.  They are less than the packs. */
    if (predicted < is || predicted > 2 * is)
        fail_msg("predicted %llu bytes, it takes %llu",
                 (unsigned long long)predicted, (unsigned long long)is);
    wrong.steps = 100000;
    right.label = "sneaker";
    assert_int_equal(unstir_request_check(bare, &wrong, NULL, NULL, NULL, NULL),
                     UNSTIR_ERR_ARG);
    assert_int_equal(unstir_request_check(bare, &right, NULL, NULL, NULL, NULL),
                     UNSTIR_OK);
    assert_int_equal(unstir_model_arena_bytes(bare, 16, 16, &bytes, NULL),
                     UNSTIR_ERR_ARG);
    refuses_to_paint(bare);
    unstir_model_close(full);
    unstir_model_close(bare);
}

static void test_unloaded(void **state)
{
    struct unstir_model *model = open_model(false), *again = open_model(false);
    struct unstir_error err = {0};
    unsigned char *before, *after;
    size_t n_before, n_after;

    assert_int_equal(paint(model, &before, &n_before, &err), UNSTIR_OK);
    unstir_model_unload(model);
    check_same(model, again);
    refuses_to_paint(model);
    unstir_model_unload(model); /* twice is allowed */
    unstir_model_close(model);
    assert_int_equal(paint(again, &after, &n_after, &err), UNSTIR_OK);
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before);
    unstir_free(before);
    unstir_free(after);
    unstir_model_close(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_described),
        cmocka_unit_test(test_unloaded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
