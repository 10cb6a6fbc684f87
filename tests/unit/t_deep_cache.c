/* t_deep_cache.c - runs that evaluate shallow layers between whole steps: the
 * same picture in any company and after a restore at any step.
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

#include "base/compiler.h"
#include "must.h"
#include "pipeline/deep.h"
#include "unstir.h"

#define TINY  "tests/data/models/tiny"
#define STEPS 7

static struct unstir_model *model;
static struct unstir_executor *exec;

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 2};
    struct unstir_error err;

    must(unstir_model_open(&model, TINY, NULL, &err), &err);
    must(unstir_executor_new(&exec, &o, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    unstir_model_close(model);
    return 0;
}

/* Runs of one model that differ in all that matters here. */
static const struct run {
    const char *sampler;
    uint32_t deep_cache;
    double guidance, start; /* guided from there to the end */
} runs[] = {
    {"ddim", 0, 3, 0},    {"ddim", 2, 3, 0}, {"ddim", 3, 1, 0},
    {"ddim", 3, 3, 0},    {"heun", 2, 3, 0}, {"dpmpp_2m", 5, 3, 0},
    {"ddim", 5, 3, 0.45}, /* the second picture begins between whole steps */
    {"ddim", 100, 3, 0},
};

static struct unstir_request request_of(const struct run *run)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.class_id = 5;
    r.seed = 11 + (uint64_t)(run - runs);
    r.sampler = run->sampler;
    r.schedule = "leading";
    r.steps = STEPS;
    r.guidance = run->guidance;
    r.guidance_start = run->start;
    r.guidance_end = 1;
    r.deep_cache = run->deep_cache;
    return r;
}

static struct unstir_generation *begin(const struct unstir_request *r)
{
    struct unstir_generation *gen;
    struct unstir_error err;

    must(unstir_generation_begin(&gen, model, r, &err), &err);
    return gen;
}

static void step(struct unstir_generation *gen, uint32_t n)
{
    struct unstir_error err;

    while (n-- && !unstir_generation_is_done(gen))
        must(unstir_generation_step(gen, exec, &err), &err);
}

struct png {
    unsigned char *bytes;
    size_t n;
};

/* Ends the generation. */
static struct png finish(struct unstir_generation *gen)
{
    struct unstir_error err;
    struct png png;

    step(gen, UINT32_MAX);
    must(unstir_generation_png(gen, NULL, &png.bytes, &png.n, &err), &err);
    unstir_generation_free(gen);
    return png;
}

static bool is_same(struct png a, struct png b)
{
    return a.n == b.n && memcmp(a.bytes, b.bytes, a.n) == 0;
}

static void test_company(void **state)
{
    struct unstir_generation *gens[ARRAY_LEN(runs)];
    struct unstir_error err;

    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        struct unstir_request r = request_of(&runs[i]);
        gens[i] = begin(&r);
    }
    for (uint32_t k = 0; k < STEPS; k++)
        must(unstir_step_many(gens, ARRAY_LEN(gens), exec, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        struct unstir_request r = request_of(&runs[i]);
        struct png alone = finish(begin(&r)), together = finish(gens[i]);

        if (!is_same(alone, together))
            fail_msg("run %zu is another picture in company", i);
        unstir_free(alone.bytes);
        unstir_free(together.bytes);
    }
}

static void test_restored(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        struct unstir_request r = request_of(&runs[i]);
        struct png whole = finish(begin(&r));

        for (uint32_t k = 0; k < STEPS; k++) {
            struct unstir_generation *gen = begin(&r), *again;
            struct unstir_error err;
            unsigned char *bytes;
            size_t n;

            step(gen, k);
            must(unstir_generation_save(gen, &bytes, &n, &err), &err);
            unstir_generation_free(gen);
            must(unstir_generation_restore(&again, model, bytes, n, &err),
                 &err);
            unstir_free(bytes);
            struct png png = finish(again);
            if (!is_same(png, whole))
                fail_msg("run %zu restored after step %u differs", i, k);
            unstir_free(png.bytes);
        }
        unstir_free(whole.bytes);
    }
}

/* 1 is off and stands in no metadata; 2 is another picture. */
static void test_off(void **state)
{
    struct unstir_request r = request_of(&runs[0]);
    struct png unset = finish(begin(&r));

    r.deep_cache = 1;
    struct png off = finish(begin(&r));
    assert_true(is_same(unset, off));
    r.deep_cache = 2;
    struct png on = finish(begin(&r));
    assert_false(is_same(unset, on));
    unstir_free(unset.bytes);
    unstir_free(off.bytes);
    unstir_free(on.bytes);
}

static void test_refused(void **state)
{
    struct unstir_request r = request_of(&runs[3]), resolved;
    struct unstir_generation *gen = begin(&r), *again;
    struct unstir_error err = {0};
    unsigned char *bytes;
    size_t n;

    r.deep_cache = 101;
    assert_int_equal(
        unstir_request_check(model, &r, &resolved, NULL, NULL, &err),
        UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "deep_cache");
    step(gen, 2);
    must(unstir_generation_save(gen, &bytes, &n, &err), &err);
    unstir_generation_free(gen);
    for (size_t i = 0; i + 6 < n; i++)
        if (memcmp(bytes + i, "\"deep\"", 6) == 0)
            memcpy(bytes + i, "\"dxep\"", 6);
    assert_int_equal(unstir_generation_restore(&again, model, bytes, n, &err),
                     UNSTIR_ERR_FORMAT);
    if (!strstr(err.detail, "deep"))
        fail_msg("\"%s\" does not name the tensor", err.detail);
    unstir_free(bytes);
}

/* What is told before a run is what the run then does. */
static void test_effort(void **state)
{
    double whole = 0, shallow = 0;

    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        struct unstir_request r = request_of(&runs[i]), resolved;
        struct unstir_generation *gen = begin(&r);
        struct unstir_error err;
        double told, done;

        must(unstir_request_check(model, &r, &resolved, NULL, NULL, &err),
             &err);
        told = unstir_request_evaluations(model, &resolved);
        step(gen, UINT32_MAX);
        done = unstir_generation_times(gen).evaluations;
        if (!(told > done - 1e-9 && told < done + 1e-9))
            fail_msg("run %zu: told %.6f evaluations, did %.6f", i, told, done);
        whole = i == 0 ? told : whole;
        shallow = i == 7 ? told : shallow;
        unstir_generation_free(gen);
    }
    assert_true(whole == 2 * STEPS);
    if (!(shallow > 2.1 && shallow < 0.8 * whole))
        fail_msg("one whole step of %d: %.3f evaluations", STEPS, shallow);
}

/* Which steps are whole. */
static void test_plan(void **state)
{
    static const enum deep_mode want[] = {
        DEEP_WHOLE, DEEP_SHALLOW, DEEP_SHALLOW, /* 1 picture */
        DEEP_WHOLE, DEEP_WHOLE,   DEEP_SHALLOW, /* then 2    */
        DEEP_WHOLE,
    };
    struct deep_cache d = {.every = 3}, off = {.every = 1};

    assert_int_equal(deep_mode_at(&off, 0, 1), DEEP_OFF);
    for (uint32_t k = 0; k < ARRAY_LEN(want); k++) {
        size_t n_images = k < 4 ? 1 : 2;
        enum deep_mode got = deep_mode_at(&d, k, n_images);

        if (got != want[k])
            fail_msg("step %u: got %d, wanted %d", k, got, want[k]);
        deep_begin(&d);
        if (got == DEEP_WHOLE)
            d.n_fresh = (uint32_t)n_images;
        deep_commit(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),    cmocka_unit_test(test_off),
        cmocka_unit_test(test_company), cmocka_unit_test(test_restored),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_effort),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
