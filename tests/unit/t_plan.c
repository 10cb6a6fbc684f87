/* t_plan.c - placement of buffers, patched pointers, cancelling, errors.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/pool.h"
#include "ops/plan.h"

#define N_FLOATS 100

/* y = x + add, over N_FLOATS. */
struct add_args {
    float add;
    const float *x;
    float *y;
};

static void add(const struct op_ctx *ctx, const void *args)
{
    const struct add_args *a = args;

    (void)ctx;
    for (int i = 0; i < N_FLOATS; i++)
        a->y[i] = a->x[i] + a->add;
}

static void add_step(struct plan_builder *b, float by, buffer_id x, buffer_id y)
{
    struct add_args args = {by, NULL, NULL};
    struct plan_slot slots[] = {
        {offsetof(struct add_args, x), x, PLAN_READ, 0},
        {offsetof(struct add_args, y), y, PLAN_WRITE, 0},
    };

    plan_add(b, "add", add, &args, sizeof args, 0, slots, 2);
}

static struct plan_builder *new_builder(void)
{
    struct plan_builder *b;

    assert_int_equal(plan_builder_new(&b, NULL, 1, NULL), UNSTIR_OK);
    return b;
}

static struct plan *finish(struct plan_builder *b)
{
    struct unstir_error err = {0};
    struct plan *plan;

    if (plan_finish(&plan, b, &err))
        fail_msg("%s", err.detail);
    return plan;
}

/* in -> a -> b -> ... -> out, each one more than the one before. */
static struct plan *chain(int n_steps)
{
    struct plan_builder *b = new_builder();
    buffer_id x = plan_external(b), out = plan_external(b);

    for (int i = 0; i < n_steps; i++) {
        buffer_id y =
            i + 1 == n_steps ? out : plan_buffer(b, N_FLOATS * sizeof(float));

        add_step(b, 1, x, y);
        x = y;
    }
    return finish(b);
}

static void run(const struct plan *plan, float *in, float *out)
{
    void *externals[] = {in, out};
    void *arena;

    assert_int_equal(alloc_aligned(&arena, plan_arena_bytes(plan), 1, NULL),
                     UNSTIR_OK);
    assert_int_equal(plan_run(plan, NULL, arena, externals, NULL, NULL),
                     UNSTIR_OK);
    alloc_free(arena);
}

static void test_chain_runs_in_two_buffers(void **state)
{
    struct plan *plan = chain(9);
    float in[N_FLOATS], out[N_FLOATS] = {0};

    (void)state;
    for (int i = 0; i < N_FLOATS; i++)
        in[i] = (float)i;
    run(plan, in, out);
    for (int i = 0; i < N_FLOATS; i++)
        assert_true(out[i] == (float)(i + 9));
    /* 400 bytes are 448 with alignment; two of them live at once. */
    assert_int_equal(plan_arena_bytes(plan), 2 * 448);
    assert_int_equal(plan_n_steps(plan), 9);
    assert_string_equal(plan_step_name(plan, 3), "add");
    plan_free(plan);
}

static void test_run_allocates_nothing(void **state)
{
    struct plan *plan = chain(5);
    float in[N_FLOATS] = {0}, out[N_FLOATS];
    void *externals[] = {in, out}, *arena;
    uint64_t before;

    (void)state;
    assert_int_equal(alloc_aligned(&arena, plan_arena_bytes(plan), 1, NULL),
                     UNSTIR_OK);
    before = alloc_test_count();
    assert_int_equal(plan_run(plan, NULL, arena, externals, NULL, NULL),
                     UNSTIR_OK);
    assert_int_equal(alloc_test_count(), before);
    alloc_free(arena);
    plan_free(plan);
}

static void test_cancel_stops_before_a_step(void **state)
{
    struct plan *plan = chain(2);
    struct cancel cancel = {.next = NULL};
    struct unstir_error err = {0};
    float in[N_FLOATS] = {0}, out[N_FLOATS] = {0};
    void *externals[] = {in, out}, *arena;

    (void)state;
    cancel_set(&cancel, true);
    assert_int_equal(alloc_aligned(&arena, plan_arena_bytes(plan), 1, NULL),
                     UNSTIR_OK);
    assert_int_equal(plan_run(plan, NULL, arena, externals, &cancel, &err),
                     UNSTIR_ERR_CANCELLED);
    assert_true(out[0] == 0);
    alloc_free(arena);
    plan_free(plan);
}

/* A linear generator: the test must not depend on anything else. */
static uint32_t next(uint32_t *x)
{
    *x = *x * 1664525 + 1013904223;
    return *x >> 8;
}

struct life {
    size_t first, last, bytes, at;
};

/* Random graphs: buffers that live together must not overlap. */
static void test_living_buffers_do_not_overlap(void **state)
{
    enum { N = 60 };
    uint32_t seed = 5;

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct plan_builder *b = new_builder();
        struct life lives[N];
        buffer_id ids[N];
        struct plan *plan;

        for (int i = 0; i < N; i++) {
            lives[i].bytes = 1 + next(&seed) % 5000;
            lives[i].first = (size_t)i;
            ids[i] = plan_buffer(b, lives[i].bytes);
        }
        for (int i = 0; i < N; i++) {
            int x = (int)(next(&seed) % (uint32_t)(i + 1));

            add_step(b, 0, ids[x], ids[i]);
            lives[i].last = (size_t)i;
            lives[x].last = (size_t)i;
        }
        plan = finish(b);
        for (int i = 0; i < N; i++)
            lives[i].at = plan_buffer_offset(plan, ids[i]);
        for (int i = 0; i < N; i++) {
            assert_true(lives[i].at % 64 == 0);
            assert_true(lives[i].at + lives[i].bytes <= plan_arena_bytes(plan));
            for (int j = 0; j < i; j++) {
                struct life *p = &lives[i], *q = &lives[j];
                bool in_time = p->first <= q->last && q->first <= p->last;
                bool in_space =
                    p->at < q->at + q->bytes && q->at < p->at + p->bytes;

                if (in_time && in_space)
                    fail_msg("round %d: buffers %d and %d share bytes", round,
                             i, j);
            }
        }
        plan_free(plan);
    }
}

static void test_wrong_slots_are_told(void **state)
{
    struct add_args args = {0, NULL, NULL};
    struct plan_slot beyond = {sizeof args, 0, PLAN_READ, 0};
    struct plan_slot unknown = {offsetof(struct add_args, x), 7, PLAN_READ, 0};
    const struct plan_slot *slots[] = {&beyond, &unknown};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct plan_builder *b = new_builder();
        struct unstir_error err = {0};
        struct plan *plan;

        (void)plan_buffer(b, 4);
        plan_add(b, "add", add, &args, sizeof args, 0, slots[i], 1);
        assert_int_equal(plan_finish(&plan, b, &err), UNSTIR_ERR_INTERNAL);
        assert_null(plan);
    }
}

static void test_more_threads_than_planned_are_refused(void **state)
{
    struct unstir_error err = {0};
    struct plan *plan = chain(1); /* for one thread */
    struct pool *pool;

    (void)state;
    assert_int_equal(pool_new(&pool, 2, 0, NULL), UNSTIR_OK);
    assert_int_equal(plan_run(plan, pool, NULL, NULL, NULL, &err),
                     UNSTIR_ERR_INTERNAL);
    assert_non_null(strstr(err.detail, "made for 1 threads, run with 2"));
    pool_free(pool);
    plan_free(plan);
}

/* Every allocation of building may fail. */
static void test_no_memory_is_told(void **state)
{
    bool is_done = false;

    (void)state;
    for (long k = 1; !is_done && k < 100; k++) {
        struct unstir_error err = {0};
        struct plan_builder *b = NULL;
        struct plan *plan = NULL;
        enum unstir_status status;

        alloc_test_fail_after(k);
        status = plan_builder_new(&b, NULL, 1, &err);
        if (status == UNSTIR_OK) {
            add_step(b, 1, plan_external(b), plan_buffer(b, 400));
            status = plan_finish(&plan, b, &err);
        }
        alloc_test_fail_after(0);
        is_done = status == UNSTIR_OK;
        if (!is_done)
            assert_int_equal(status, UNSTIR_ERR_NOMEM);
        plan_free(plan);
    }
    assert_true(is_done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_runs_in_two_buffers),
        cmocka_unit_test(test_run_allocates_nothing),
        cmocka_unit_test(test_cancel_stops_before_a_step),
        cmocka_unit_test(test_living_buffers_do_not_overlap),
        cmocka_unit_test(test_wrong_slots_are_told),
        cmocka_unit_test(test_more_threads_than_planned_are_refused),
        cmocka_unit_test(test_no_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
