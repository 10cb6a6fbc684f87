/* block.c - a graph with the weights of a golden.
 *
 * SPDX-License-Identifier: MIT
 */
#include "block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/weights.h"
#include "golden.h"
#include "ops/lower.h"
#include "ops/plan.h"

#define MAX_PARAMS 64

/* Operands of bf16, in the L2 norm: each is off by 1.1e-3 in the mean square,
 * and the errors of a block's few products add up in squares. */
#define BF16_TOLERANCE 5e-3

/* Weights of the golden by parameter, as the files hold them. */
static void bind_params(const struct graph *g, const struct weights *golden,
                        const float **params)
{
    assert_true(graph_n_params(g) <= MAX_PARAMS);
    for (size_t i = 0; i < graph_n_params(g); i++) {
        const struct graph_param *p = graph_param_at(g, (param_id)i);
        const struct tensor_view *t = weights_find(golden, p->name);
        void *copy;

        if (!t)
            fail_msg("the golden lacks %s", p->name);
        assert_int_equal(t->n, p->n);
        assert_int_equal(alloc_aligned(&copy, t->n, sizeof(float), NULL),
                         UNSTIR_OK);
        dtype_load(copy, t->data, t->dtype, t->n);
        params[i] = copy;
    }
}

static void run_plan(const struct plan *plan, const struct graph *g,
                     float *const *inputs, float *y)
{
    void *externals[BLOCK_MAX_INPUTS + 1];
    struct unstir_error err = {0};
    void *arena;
    size_t n = 0;

    assert_true(graph_n_inputs(g) <= BLOCK_MAX_INPUTS);
    for (; n < graph_n_inputs(g); n++)
        externals[n] = inputs[n];
    externals[n] = y;
    assert_int_equal(alloc_aligned(&arena, plan_arena_bytes(plan), 1, NULL),
                     UNSTIR_OK);
    if (plan_run(plan, NULL, arena, externals, NULL, &err))
        fail_msg("%s", err.detail);
    alloc_free(arena);
}

static void check_lowering(const char *name, const struct graph *g,
                           const float *const *params, const char *isa,
                           enum lower_mode mode, float *const *inputs,
                           const float *want, size_t n_want, double tolerance)
{
    struct unstir_error err = {0};
    struct kernel_table table;
    struct packs *packs;
    struct plan *plan;
    char what[96];
    void *y;

    assert_true(kernels_select(&table, isa));
    struct packs_params source = {.values = params};
    if (packs_new(&packs, g, &table, mode, &source, &err) ||
        lower_inference(&plan, g, packs, 1, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(alloc_aligned(&y, n_want, sizeof(float), NULL), UNSTIR_OK);
    run_plan(plan, g, inputs, y);
    snprintf(what, sizeof what, "%s %s %s", name, isa,
             mode == LOWER_FUSED ? "fused" : "plain");
    if (table.gemm.is_bf16)
        golden_check(what, golden_l2_error(y, want, n_want), BF16_TOLERANCE);
    else
        golden_check(what, golden_max_error(y, want, n_want), tolerance);
    alloc_free(y);
    plan_free(plan);
    packs_free(packs);
}

void block_check(const char *name, const struct graph *g,
                 const struct weights *golden, float *const *inputs,
                 const float *want, size_t n_want, double tolerance)
{
    static const enum lower_mode modes[] = {LOWER_REFERENCE, LOWER_FUSED};
    const float *params[MAX_PARAMS];
    struct unstir_error err = {0};

    if (graph_status(g, &err))
        fail_msg("%s", err.detail);
    bind_params(g, golden, params);
    for (size_t i = 0; golden_rung(i); i++)
        for (size_t m = 0; m < 2; m++)
            check_lowering(name, g, params, golden_rung(i), modes[m], inputs,
                           want, n_want, tolerance);
    for (size_t i = 0; i < graph_n_params(g); i++)
        alloc_free((void *)params[i]);
}
