/* t_train_grow.c - a training that begins with a model's weights: the same
 * network, one that grew from it, one that has no room for them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "must.h"
#include "small_training.h"
#include "train/trainer.h"

/* The saved weights are the running mean, name by name, and `init` takes
 * them up again. */
static void test_init_from_model(void **state)
{
    char out[SCRATCH_PATH], next[SCRATCH_PATH];
    struct unstir_error err;
    struct unstir_train_options o = small_training(out, "a");
    (void)state;
    struct unstir_trainer *t = must_trainer(&o);
    must_step(t, 2);
    must(unstir_trainer_export(t, out, false, &err), &err);
    struct unstir_train_options o2 = small_training(next, "b");
    o2.init = out;
    struct unstir_trainer *u = must_trainer(&o2);
    assert_memory_equal(t->learner.params.ema, u->learner.params.p,
                        t->learner.params.n * sizeof(float));
    unstir_trainer_free(t);
    unstir_trainer_free(u);
}

/* A network with more layers, more attention or both starts as the very
 * function of the model that it grew from: same loss to the bit, over two
 * levels of different widths (whose upward blocks begin and end with layers
 * like no other).  What is new learns: no layer stays what it was.  In f32: a
 * layer that hands on what it gets rounds it where operands are bf16. */
static void test_init_grows(void **state)
{
    static const struct {
        uint32_t from_layers, from_attention, layers, attention;
    } rows[] = {{1, 2, 2, 2}, {2, 0, 4, 1}, {1, 2, 1, 3}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[SCRATCH_PATH], next[SCRATCH_PATH], name[32];
        struct unstir_error err;
        snprintf(name, sizeof name, "from%zu", i);
        struct unstir_train_options o = small_training(out, name);
        o.channels[1] = 24;
        o.precision = "f32";
        o.layers = rows[i].from_layers;
        o.attention_mask = rows[i].from_attention;
        struct unstir_trainer *t = must_trainer(&o);
        must_step(t, 3);
        must(unstir_trainer_export(t, out, false, &err), &err);
        unstir_trainer_free(t);

        o.init = out;
        small_training_path(next, "next");
        o.output = next;
        t = must_trainer(&o);
        double loss = must_step(t, 1).loss;
        unstir_trainer_free(t);
        o.layers = rows[i].layers;
        o.attention_mask = rows[i].attention;
        struct unstir_trainer *u = must_trainer(&o);
        double grown = must_step(u, 1).loss;
        if (grown != loss)
            fail_msg("row %zu: a loss of %.9g became %.9g", i, loss, grown);
        must_step(u, 1);
        struct params *s = &u->learner.params;
        for (param_id p = 0; p < s->n_params; p++) {
            size_t n = graph_param_at(u->learner.graph, p)->n, k = 0;
            while (k < n && s->v[s->offset[p] + k] == 0)
                k++;
            if (k == n)
                fail_msg("row %zu: %s does not learn", i,
                         graph_param_at(u->learner.graph, p)->name);
        }
        unstir_trainer_free(u);
    }
}

/* A network with less than the model has takes no part of it in silence. */
static void test_init_never_shrinks(void **state)
{
    char out[SCRATCH_PATH], next[SCRATCH_PATH];
    struct unstir_error err;
    struct unstir_train_options o = small_training(out, "deep");
    struct unstir_trainer *t;
    (void)state;
    o.layers = 2;
    t = must_trainer(&o);
    must(unstir_trainer_export(t, out, false, &err), &err);
    unstir_trainer_free(t);
    for (int i = 0; i < 2; i++) {
        struct unstir_train_options less = small_training(next, "less");
        less.init = out;
        less.layers = i == 0 ? 1 : 2;
        less.attention_mask = i == 0 ? 2 : 0;
        assert_int_equal(unstir_trainer_new(&t, &less, &err),
                         UNSTIR_ERR_FORMAT);
        assert_non_null(strstr(err.detail, i == 0 ? "resnets" : "attentions"));
        assert_non_null(strstr(err.detail, "has no place in the network"));
    }
}

#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, small_training_begin, small_training_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_init_from_model),
        TEST(test_init_grows),
        TEST(test_init_never_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
