/* t_generation.c - the generation object: steps, cancel, save, early ends,
 * requests and their violations, what pictures say about themselves.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/json.h"
#include "json_file.h"
#include "kernels/kernels.h"
#include "must.h"
#include "pipeline/guidance.h"
#include "unstir.h"

#define MODELS "tests/data/models/"

static struct unstir_model *tiny, *rgb;
static struct unstir_executor *exec;

static struct unstir_generation *begin(const struct unstir_model *model,
                                       uint64_t seed, uint32_t steps)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *gen;
    struct unstir_error err;

    if (model == tiny)
        r.label = "sneaker";
    r.seed = seed;
    r.steps = steps;
    must(unstir_generation_begin(&gen, model, &r, &err), &err);
    return gen;
}

static void finish(struct unstir_generation *gen)
{
    struct unstir_error err;

    while (!unstir_generation_is_done(gen))
        must(unstir_generation_step(gen, exec, &err), &err);
}

/* The finished picture's PNG; unstir_free(). */
static unsigned char *png_of(struct unstir_generation *gen, size_t *n)
{
    struct unstir_error err;
    unsigned char *bytes;

    finish(gen);
    must(unstir_generation_png(gen, NULL, &bytes, n, &err), &err);
    return bytes;
}

static void assert_same_png(struct unstir_generation *a,
                            struct unstir_generation *b)
{
    size_t n_a, n_b;
    unsigned char *png_a = png_of(a, &n_a), *png_b = png_of(b, &n_b);

    assert_int_equal(n_a, n_b);
    assert_memory_equal(png_a, png_b, n_a);
    unstir_free(png_a);
    unstir_free(png_b);
}

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 2};
    struct unstir_error err;

    must(unstir_model_open(&tiny, MODELS "tiny", NULL, &err), &err);
    must(unstir_model_open(&rgb, MODELS "tiny-rgb/", NULL, &err), &err);
    must(unstir_executor_new(&exec, &o, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    unstir_model_close(tiny);
    unstir_model_close(rgb);
    return 0;
}

/* -- models ----------------------------------------------------------------- */

static void test_info(void **state)
{
    const struct unstir_model_info *info = unstir_model_info(tiny);

    assert_string_equal(info->id, "tiny");
    assert_string_equal(info->family, "UNet2DModel");
    assert_int_equal(strlen(info->digest), 64);
    assert_int_equal(info->channels, 1);
    assert_int_equal(info->default_width, 16);
    assert_int_equal(info->n_classes, 10);
    assert_int_equal(info->null_class, 10);
    assert_int_equal(info->n_labels, 10);
    assert_int_equal(info->default_steps, 4);
    assert_int_equal(info->n_train_timesteps, 1000);
    assert_string_equal(info->default_sampler, "ddim");
    assert_true(info->default_guidance == 1.5);
    assert_true(info->n_parameters > 1000 && info->weight_bytes > 4000);
    info = unstir_model_info(rgb);
    assert_int_equal(info->channels, 3);
    assert_int_equal(info->n_classes, 0);
    assert_int_equal(info->null_class, -1);
    assert_string_equal(info->default_sampler, "ddpm");
    assert_true(info->default_guidance == 1);
}

static void test_find_class(void **state)
{
    static const struct {
        const char *label;
        int64_t wanted; /* -1: refused */
        const char *said;
    } rows[] = {
        {"sneaker", 7, NULL},       {"  SNEAKER\n", 7, NULL},
        {"ankle boot", 9, NULL},    {"3", 3, NULL},
        {" 10 ", 10, NULL},         {"11", -1, "0 to 10"},
        {"sneeker", -1, "sneaker"}, {"-1", -1, "not a label"},
        {"", -1, "not a label"},    {"99999999999999999999", -1, "not a label"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        int64_t id;
        enum unstir_status st =
            unstir_model_find_class(tiny, rows[i].label, &id, &err);
        if (id != rows[i].wanted || (st == UNSTIR_OK) != (id >= 0))
            fail_msg("\"%s\": got %lld, wanted %lld", rows[i].label,
                     (long long)id, (long long)rows[i].wanted);
        if (rows[i].said && !strstr(err.detail, rows[i].said))
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", rows[i].label,
                     err.detail, rows[i].said);
    }
}

static void test_open_errors(void **state)
{
    struct unstir_model_options options = {.isa = "abacus"};
    struct unstir_model *model = tiny;
    struct unstir_error err = {0};

    assert_int_not_equal(unstir_model_open(&model, MODELS "none", NULL, &err),
                         0);
    assert_null(model);
    assert_non_null(strstr(err.detail, "none"));
    assert_int_equal(unstir_model_open(&model, "", NULL, &err), UNSTIR_ERR_ARG);
    assert_int_equal(unstir_model_open(&model, MODELS "tiny", &options, &err),
                     UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "abacus"));
    assert_int_not_equal(unstir_model_open(&model, MODELS "none", NULL, NULL),
                         0);
}

static void test_arena_bytes(void **state)
{
    struct unstir_error err;
    size_t small, large, none;

    must(unstir_model_arena_bytes(tiny, 16, 16, &small, &err), &err);
    must(unstir_model_arena_bytes(tiny, 64, 64, &large, &err), &err);
    assert_true(small > 0 && large > small);
    assert_int_equal(unstir_model_arena_bytes(tiny, 15, 16, &none, &err),
                     UNSTIR_ERR_ARG);
}

static void test_samplers(void **state)
{
    size_t n;
    const struct unstir_sampler_info *s = unstir_samplers(&n);

    assert_true(n > 2);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(unstir_sampler_find(s[i].name), i);
    assert_int_equal(unstir_sampler_find("DPM++ 2M Karras"),
                     unstir_sampler_find("dpmpp_2m"));
    assert_int_equal(unstir_sampler_find("DPM++ 2M Carrots"), -1);
    assert_string_equal(s[0].name, "ddim");
    assert_string_equal(s[1].name, "ddpm");
    assert_true(s[1].is_stochastic && !s[0].is_stochastic);
}

/* The public list names every rung of the ladder that runs here, best first. */
static void test_cpu_rungs(void **state)
{
    char wanted[128] = "";
    struct kernel_table table;

    for (size_t i = kernels_ladder_len; i-- > 0;) {
        size_t used = strlen(wanted);
        if (kernels_select(&table, kernels_ladder[i].isa))
            (void)snprintf(wanted + used, sizeof wanted - used, "%s%s",
                           used ? "," : "", kernels_ladder[i].isa);
    }
    assert_string_equal(unstir_cpu_rungs(), wanted);
}

/* -- requests --------------------------------------------------------------- */

struct heard {
    char fields[256];
    char nearest[64]; /* of the last */
    unsigned n;
};

static void hear(void *user, const char *field, const char *detail,
                 const char *nearest)
{
    struct heard *h = user;
    size_t used = strlen(h->fields);

    (void)snprintf(h->fields + used, sizeof h->fields - used, "%s ", field);
    (void)snprintf(h->nearest, sizeof h->nearest, "%s", nearest ? nearest : "");
    h->n++;
    if (!*detail)
        fail_msg("%s: no detail", field);
}

static struct unstir_request ask(const char *label, int64_t class_id,
                                 uint32_t steps, uint32_t width,
                                 uint32_t height, const char *sampler,
                                 double guidance, double eta)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.label = label;
    r.class_id = class_id;
    r.steps = steps;
    r.width = width;
    r.height = height;
    r.sampler = sampler;
    r.guidance = guidance;
    r.eta = eta;
    return r;
}

#define UNSET UNSTIR_UNSET_F

static void test_violations(void **state)
{
    const struct {
        const struct unstir_model *model;
        struct unstir_request r;
        const char *fields, *nearest;
    } rows[] = {
        {tiny, ask("sneeker", 0, 0, 0, 0, NULL, UNSET, UNSET), "class ",
         "\"sneaker\""},
        {tiny, ask(NULL, 11, 0, 0, 0, NULL, UNSET, UNSET), "class ", "10"},
        {tiny, ask(NULL, -3, 0, 0, 0, NULL, UNSET, UNSET), "class ", "0"},
        {tiny, ask(NULL, 0, 1001, 0, 0, NULL, UNSET, UNSET), "steps ", "1000"},
        {tiny, ask(NULL, 0, 0, 17, 0, NULL, UNSET, UNSET), "width ", "18"},
        {tiny, ask(NULL, 0, 0, 0, 4, NULL, UNSET, UNSET), "height ", "8"},
        {tiny, ask(NULL, 0, 0, 0, 4000000000, NULL, UNSET, UNSET), "height ",
         "64"},
        {tiny, ask(NULL, 0, 0, 0, 0, "ddin", UNSET, UNSET), "sampler ",
         "\"ddim\""},
        {tiny, ask(NULL, 0, 0, 0, 0, NULL, 101, UNSET), "guidance_scale ",
         "100"},
        {tiny, ask(NULL, 0, 0, 0, 0, NULL, NAN, UNSET), "guidance_scale ", "1"},
        {tiny, ask(NULL, 0, 0, 0, 0, NULL, -1, UNSET), "guidance_scale ", "1"},
        {tiny, ask(NULL, 0, 0, 0, 0, NULL, UNSET, 1.5), "eta ", "1"},
        {tiny, ask(NULL, 0, 0, 0, 0, NULL, UNSET, NAN), "eta ", "0"},
        {tiny, ask(NULL, 0, 0, 0, 0, "ddpm", UNSET, 0.5), "eta ", "0"},
        {rgb, ask("sneaker", 0, 0, 0, 0, NULL, UNSET, UNSET), "class ", ""},
        {rgb, ask(NULL, 0, 0, 0, 0, NULL, UNSET, UNSET), "class ", ""},
        {tiny, ask("zzzzzzzz", 0, 5000, 1, 1, "ddim", 1e9, 2),
         "class steps width height guidance_scale eta ", "1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct heard h = {.n = 0};
        enum unstir_status st = unstir_request_check(rows[i].model, &rows[i].r,
                                                     NULL, hear, &h, &err);
        if (st != UNSTIR_ERR_ARG || strcmp(h.fields, rows[i].fields) != 0 ||
            strcmp(h.nearest, rows[i].nearest) != 0)
            fail_msg("row %zu: heard \"%s\" (%s), wanted \"%s\" (%s)", i,
                     h.fields, h.nearest, rows[i].fields, rows[i].nearest);
        if (strncmp(err.field, rows[i].fields, strlen(err.field)) ||
            !err.field[0])
            fail_msg("row %zu: error names field \"%s\"", i, err.field);
        if (h.n > 1 && !strstr(err.detail, "more)"))
            fail_msg("row %zu: \"%s\" does not count the rest", i, err.detail);
    }
}

static void test_resolved(void **state)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT, full, again;
    struct unstir_error err;

    must(unstir_request_check(tiny, &r, &full, NULL, NULL, &err), &err);
    assert_int_equal(full.class_id, UNSTIR_CLASS_NULL);
    assert_null(full.label);
    assert_int_equal(full.steps, 4);
    assert_int_equal(full.width, 16);
    assert_string_equal(full.sampler, "ddim");
    assert_true(full.guidance == 1 && full.eta == 0);
    r.label = " Sneaker ";
    must(unstir_request_check(tiny, &r, &full, NULL, NULL, &err), &err);
    assert_int_equal(full.class_id, 7);
    assert_string_equal(full.label, "sneaker");
    assert_true(full.guidance == 1.5);
    must(unstir_request_check(tiny, &full, &again, NULL, NULL, &err), &err);
    assert_int_equal(again.class_id, 7);
    assert_ptr_equal(again.label, full.label);
    r.label = "10"; /* the null class by its number */
    must(unstir_request_check(tiny, &r, &full, NULL, NULL, &err), &err);
    assert_int_equal(full.class_id, UNSTIR_CLASS_NULL);
    r.label = "  ";
    r.class_id = 2;
    must(unstir_request_check(tiny, &r, &full, NULL, NULL, &err), &err);
    assert_int_equal(full.class_id, 2);
}

static void test_request_json(void **state)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT, full;
    struct unstir_error err;
    char *json;

    r.label = "sneaker";
    r.seed = UINT64_MAX;
    must(unstir_request_check(tiny, &r, &full, NULL, NULL, &err), &err);
    must(unstir_request_json(tiny, &full, &json, &err), &err);
    struct json *o = json_text(json);
    assert_int_equal(json_len(o), 9);
    assert_string_equal(json_string(json_get(o, "model")), "tiny");
    assert_int_equal(json_int(json_get(o, "class")), 7);
    assert_string_equal(json_string(json_get(o, "seed")),
                        "18446744073709551615");
    assert_true(json_real(json_get(o, "guidance_scale")) == 1.5);
    json_free(o);
    unstir_free(json);
}

/* -- steps ------------------------------------------------------------------ */

static void test_progress(void **state)
{
    struct unstir_generation *gen = begin(tiny, 1, 3);
    struct unstir_image image;
    struct unstir_error err;

    for (uint32_t k = 0; k < 3; k++) {
        struct unstir_progress p = unstir_generation_progress(gen);
        assert_int_equal(p.step, k);
        assert_int_equal(p.steps, 3);
        assert_true(!unstir_generation_is_done(gen));
        assert_int_equal(unstir_generation_image(gen, &image, &err),
                         UNSTIR_ERR_ARG);
        assert_null(image.pixels);
        must(unstir_generation_step(gen, exec, &err), &err);
    }
    assert_true(unstir_generation_is_done(gen));
    assert_int_equal(unstir_generation_progress(gen).step, 3);
    assert_int_equal(unstir_generation_step(gen, exec, &err), UNSTIR_ERR_ARG);
    assert_int_equal(unstir_generation_progress(gen).step, 3);
    unstir_generation_free(gen);
}

static void test_seeds(void **state)
{
    struct unstir_generation *a = begin(rgb, 5, 3), *b = begin(rgb, 5, 3);
    struct unstir_generation *c = begin(rgb, 6, 3);
    struct unstir_image x, y;
    struct unstir_error err;

    assert_same_png(a, b);
    finish(c);
    must(unstir_generation_image(a, &x, &err), &err);
    must(unstir_generation_image(c, &y, &err), &err);
    assert_memory_not_equal(x.pixels, y.pixels, 16 * 16 * 3);
    unstir_image_fini(&x);
    unstir_image_fini(&y);
    unstir_generation_free(a);
    unstir_generation_free(b);
    unstir_generation_free(c);
}

static void test_previews(void **state)
{
    struct unstir_generation *gen = begin(rgb, 2, 5);
    struct unstir_image sample, estimate, last;
    struct unstir_error err;

    for (uint32_t k = 0; k <= 5; k++) {
        must(unstir_generation_preview(gen, UNSTIR_VIEW_SAMPLE, &sample, &err),
             &err);
        must(unstir_generation_preview(gen, UNSTIR_VIEW_ESTIMATE, &estimate,
                                       &err),
             &err);
        assert_int_equal(sample.width, 16);
        assert_int_equal(estimate.channels, 3);
        bool is_same = !memcmp(sample.pixels, estimate.pixels, 16 * 16 * 3);
        if (is_same != (k == 0 || k == 5))
            fail_msg("step %u: sample and estimate are %s", k,
                     is_same ? "equal" : "different");
        if (k < 5)
            must(unstir_generation_step(gen, exec, &err), &err);
        else
            must(unstir_generation_image(gen, &last, &err), &err);
        if (k == 5) {
            assert_memory_equal(last.pixels, sample.pixels, 16 * 16 * 3);
            unstir_image_fini(&last);
        }
        unstir_image_fini(&sample);
        unstir_image_fini(&estimate);
    }
    unstir_generation_free(gen);
}

static void test_finish_early(void **state)
{
    struct unstir_generation *gen = begin(tiny, 3, 6);
    struct unstir_image estimate, image;
    struct unstir_error err;

    must(unstir_generation_step(gen, exec, &err), &err);
    must(unstir_generation_step(gen, exec, &err), &err);
    must(unstir_generation_preview(gen, UNSTIR_VIEW_ESTIMATE, &estimate, &err),
         &err);
    must(unstir_generation_finish_early(gen, &err), &err);
    assert_true(unstir_generation_is_done(gen));
    assert_int_equal(unstir_generation_progress(gen).step, 2);
    must(unstir_generation_image(gen, &image, &err), &err);
    assert_memory_equal(image.pixels, estimate.pixels, 16 * 16);
    assert_int_equal(unstir_generation_step(gen, exec, &err), UNSTIR_ERR_ARG);
    assert_int_equal(unstir_generation_finish_early(gen, &err), UNSTIR_ERR_ARG);
    unstir_image_fini(&image);
    unstir_image_fini(&estimate);
    unstir_generation_free(gen);
}

static void test_batch_refusals(void **state)
{
    struct unstir_generation *a = begin(tiny, 1, 2), *b = begin(tiny, 2, 1);
    struct unstir_generation *twice[] = {a, b, a}, *both[] = {a, b};
    struct unstir_error err;

    assert_int_equal(unstir_step_many(twice, 3, exec, &err), UNSTIR_ERR_ARG);
    must(unstir_step_many(both, 2, exec, &err), &err);
    assert_int_equal(unstir_step_many(both, 2, exec, &err), UNSTIR_ERR_ARG);
    assert_int_equal(unstir_generation_progress(a).step, 1);
    must(unstir_step_many(both, 0, exec, &err), &err);
    unstir_generation_free(a);
    unstir_generation_free(b);
}

/* Two models in one call. */
static void test_batch_of_models(void **state)
{
    struct unstir_generation *mixed[] = {begin(tiny, 4, 2), begin(rgb, 4, 2)};
    struct unstir_generation *alone[] = {begin(tiny, 4, 2), begin(rgb, 4, 2)};
    struct unstir_error err;

    must(unstir_step_many(mixed, 2, exec, &err), &err);
    must(unstir_step_many(mixed, 2, exec, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        assert_same_png(mixed[i], alone[i]);
        unstir_generation_free(mixed[i]);
        unstir_generation_free(alone[i]);
    }
}

/* After the first step nothing is allocated any more. */
static void test_steps_do_not_allocate(void **state)
{
    static const char *const names[] = {"ddim", "ddpm"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct unstir_request r = UNSTIR_REQUEST_INIT;
        struct unstir_generation *gen;
        struct unstir_error err;

        r.class_id = 1;
        r.steps = 6;
        r.sampler = names[i];
        must(unstir_generation_begin(&gen, tiny, &r, &err), &err);
        must(unstir_generation_step(gen, exec, &err), &err);
        uint64_t before = alloc_test_count();
        finish(gen);
        if (alloc_test_count() != before)
            fail_msg("%s: %llu allocations in 5 steps", names[i],
                     (unsigned long long)(alloc_test_count() - before));
        unstir_generation_free(gen);
    }
}

/* The k-th allocation of begin, step and PNG fails: an error, no leak (the
 * sanitizers look), and the next try works. */
static void test_no_memory(void **state)
{
    unsigned n_failed = 0;

    for (long k = 1; k < 200; k++) {
        struct unstir_request r = UNSTIR_REQUEST_INIT;
        struct unstir_generation *gen = NULL;
        unsigned char *bytes = NULL, *saved = NULL;
        size_t n;
        alloc_test_fail_after(k);
        enum unstir_status st = unstir_generation_begin(&gen, rgb, &r, NULL);
        while (!st && !unstir_generation_is_done(gen))
            st = unstir_generation_step(gen, exec, NULL);
        if (!st)
            st = unstir_generation_save(gen, &saved, &n, NULL);
        if (!st)
            st = unstir_generation_png(gen, NULL, &bytes, &n, NULL);
        alloc_test_fail_after(0);
        unstir_free(bytes);
        unstir_free(saved);
        unstir_generation_free(gen);
        if (!st)
            break;
        if (st != UNSTIR_ERR_NOMEM)
            fail_msg("allocation %ld failed: %s, wanted out of memory", k,
                     unstir_status_name(st));
        n_failed++;
    }
    if (n_failed < 5 || n_failed > 190)
        fail_msg("%u allocations could fail", n_failed);
}

/* -- cancel ----------------------------------------------------------------- */

static void test_cancel_before_step(void **state)
{
    struct unstir_generation *gen = begin(tiny, 8, 4), *other;
    struct unstir_generation *both[2];
    struct unstir_error err;

    other = begin(tiny, 9, 4);
    unstir_generation_cancel(gen);
    assert_int_equal(unstir_generation_step(gen, exec, &err),
                     UNSTIR_ERR_CANCELLED);
    both[0] = other;
    both[1] = gen;
    assert_int_equal(unstir_step_many(both, 2, exec, &err),
                     UNSTIR_ERR_CANCELLED);
    assert_int_equal(unstir_generation_progress(other).step, 0);
    must(unstir_generation_step(other, exec, &err), &err);
    unstir_generation_uncancel(gen);
    must(unstir_step_many(both, 2, exec, &err), &err);
    assert_int_equal(unstir_generation_progress(gen).step, 1);
    assert_int_equal(unstir_generation_progress(other).step, 2);
    unstir_generation_free(gen);
    unstir_generation_free(other);
}

struct canceller {
    struct unstir_generation *gen;
    atomic_bool is_stopping;
};

/* Raises the flag again and again until told to stop, so that steps are hit at
 * arbitrary places. */
static void *cancel_often(void *arg)
{
    struct canceller *c = arg;

    while (!atomic_load(&c->is_stopping))
        unstir_generation_cancel(c->gen);
    return NULL;
}

/* A second thread cancels in the middle of steps.  A cancelled step leaves the
 * sample as it was, and going on ends with the same bytes. */
static void test_cancel_in_step(void **state)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct canceller c = {.gen = NULL};
    struct unstir_generation *plain;
    struct unstir_error err;
    unsigned n_cancelled = 0;
    pthread_t thread;
    float before[64 * 64];
    size_t n;

    r.class_id = 4;
    r.seed = 21;
    r.steps = 3;
    r.sampler = "ddpm";
    r.width = r.height = 64;
    must(unstir_generation_begin(&c.gen, tiny, &r, &err), &err);
    must(unstir_generation_begin(&plain, tiny, &r, &err), &err);
    atomic_init(&c.is_stopping, false);
    assert_int_equal(pthread_create(&thread, NULL, cancel_often, &c), 0);
    for (unsigned i = 0; i < 50 && !unstir_generation_is_done(c.gen); i++) {
        const float *x = unstir_generation_sample(c.gen, &n);
        memcpy(before, x, n * sizeof *x);
        unstir_generation_uncancel(c.gen);
        enum unstir_status st = unstir_generation_step(c.gen, exec, &err);
        if (st == UNSTIR_OK)
            continue;
        assert_int_equal(st, UNSTIR_ERR_CANCELLED);
        assert_memory_equal(unstir_generation_sample(c.gen, &n), before,
                            n * sizeof *x);
        n_cancelled++;
    }
    atomic_store(&c.is_stopping, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(n_cancelled > 0);
    unstir_generation_uncancel(c.gen);
    assert_same_png(c.gen, plain);
    unstir_generation_free(c.gen);
    unstir_generation_free(plain);
}

/* -- two workers, one model ------------------------------------------------- */

struct worker {
    uint64_t seed;
    unsigned char *png;
    size_t n;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct unstir_executor_options o = {.n_threads = 2};
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *gen = NULL;
    struct unstir_executor *own = NULL;
    enum unstir_status st;

    r.label = "bag";
    r.seed = w->seed;
    st = unstir_executor_new(&own, &o, NULL);
    if (!st)
        st = unstir_generation_begin(&gen, tiny, &r, NULL);
    while (!st && !unstir_generation_is_done(gen))
        st = unstir_generation_step(gen, own, NULL);
    if (!st)
        (void)unstir_generation_png(gen, NULL, &w->png, &w->n, NULL);
    unstir_generation_free(gen);
    unstir_executor_free(own);
    return NULL;
}

static void test_two_workers(void **state)
{
    struct worker workers[] = {{.seed = 1}, {.seed = 2}}, alone;
    pthread_t threads[2];

    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]),
                         0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        alone = (struct worker){.seed = workers[i].seed};
        (void)work(&alone);
        assert_non_null(alone.png);
        assert_int_equal(workers[i].n, alone.n);
        assert_memory_equal(workers[i].png, alone.png, alone.n);
        unstir_free(alone.png);
        unstir_free(workers[i].png);
    }
}

/* -- what a picture says ---------------------------------------------------- */

static const unsigned char *find(const unsigned char *bytes, size_t n,
                                 const char *text)
{
    size_t length = strlen(text);

    for (size_t i = 0; i + length <= n; i++)
        if (!memcmp(bytes + i, text, length))
            return bytes + i;
    return NULL;
}

static void test_png_metadata(void **state)
{
    static const char *const full[] = {
        "parameters",
        "sneaker\nSteps: 4, Sampler: DDIM, CFG scale: 1.5, "
        "Seed: 12, Size: 16x16",
        "Version: unstir " UNSTIR_VERSION,
        "{\"model\":\"tiny\",\"class\":7,\"seed\":12,\"steps\":4,"
        "\"sampler\":\"ddim\"",
        "unstir-origin",
        "\"steps_taken\":4"};
    struct unstir_png_options brief = {.level = -1, .no_metadata = true};
    struct unstir_generation *gen = begin(tiny, 12, 4);
    struct unstir_error err;
    unsigned char *bytes;
    size_t n;

    bytes = png_of(gen, &n);
    for (size_t i = 0; i < ARRAY_LEN(full); i++)
        if (!find(bytes, n, full[i]))
            fail_msg("the PNG does not hold \"%s\"", full[i]);
    assert_non_null(find(bytes, n, "trainedAlgorithmicMedia"));
    unstir_free(bytes);
    must(unstir_generation_png(gen, &brief, &bytes, &n, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(full); i++)
        if (find(bytes, n, full[i]))
            fail_msg("the PNG still holds \"%s\"", full[i]);
    assert_non_null(find(bytes, n, "trainedAlgorithmicMedia"));
    unstir_free(bytes);
    unstir_generation_free(gen);
}

static void test_png_says_early(void **state)
{
    struct unstir_generation *gen = begin(tiny, 12, 4);
    struct unstir_error err;
    unsigned char *bytes;
    size_t n;

    must(unstir_generation_step(gen, exec, &err), &err);
    must(unstir_generation_finish_early(gen, &err), &err);
    bytes = png_of(gen, &n);
    assert_non_null(find(bytes, n, "Finished after: 1"));
    assert_non_null(find(bytes, n, "\"steps_taken\":1"));
    unstir_free(bytes);
    unstir_generation_free(gen);
}

/* The canonical request asks for the same picture, byte for byte. */
static void test_request_repeats_picture(void **state)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *first, *second;
    struct unstir_error err;

    r.label = "7";
    r.seed = 99;
    r.sampler = "DDIM";
    must(unstir_generation_begin(&first, tiny, &r, &err), &err);
    r = *unstir_generation_request(first);
    must(unstir_generation_begin(&second, tiny, &r, &err), &err);
    assert_same_png(first, second);
    unstir_generation_free(first);
    unstir_generation_free(second);
}

/* -- the forward process ---------------------------------------------------- */

static void test_forward(void **state)
{
    uint8_t pixels[2 * 3 * 3];
    struct unstir_image in = {2, 3, 3, pixels}, out, again;
    struct unstir_forward f = {
        .schedule = "cosine", .seed = 4, .n_timesteps = 100};
    struct unstir_error err;

    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 15);
    must(unstir_forward_image(&f, &in, -1, &out, &err), &err);
    assert_memory_equal(out.pixels, pixels, sizeof pixels);
    unstir_image_fini(&out);
    must(unstir_forward_image(&f, &in, 50, &out, &err), &err);
    must(unstir_forward_image(&f, &in, 50, &again, &err), &err);
    assert_memory_equal(out.pixels, again.pixels, sizeof pixels);
    assert_memory_not_equal(out.pixels, pixels, sizeof pixels);
    unstir_image_fini(&out);
    unstir_image_fini(&again);
    assert_int_equal(unstir_forward_image(&f, &in, 100, &out, &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "t");
    assert_int_equal(unstir_forward_image(&f, &in, -2, &out, &err),
                     UNSTIR_ERR_ARG);
    f.schedule = "cosinus";
    assert_int_equal(unstir_forward_image(&f, &in, 5, &out, &err),
                     UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "cosine"));
    f.model = rgb;
    must(unstir_forward_image(&f, &in, 999, &out, &err), &err);
    unstir_image_fini(&out);
    in.channels = 2;
    assert_int_equal(unstir_forward_image(&f, &in, 5, &out, &err),
                     UNSTIR_ERR_ARG);
}

/* The sample at the end of 4 steps of tiny with guidance 3. */
static void guided(double rescale, double start, double end, double guidance,
                   float *out)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *gen;
    struct unstir_error err;
    size_t n;

    r.class_id = 5;
    r.steps = 4;
    r.width = r.height = 16;
    r.guidance = guidance;
    r.guidance_rescale = rescale;
    r.guidance_start = start;
    r.guidance_end = end;
    must(unstir_generation_begin(&gen, tiny, &r, &err), &err);
    while (!unstir_generation_is_done(gen))
        must(unstir_generation_step(gen, exec, &err), &err);
    const float *x = unstir_generation_sample(gen, &n);
    assert_int_equal(n, 256);
    memcpy(out, x, n * sizeof *x);
    unstir_generation_free(gen);
}

/* An interval without steps is no guidance, the whole one is guidance. */
static void test_guidance_interval(void **state)
{
    float plain[256], full[256], got[256];

    guided(UNSTIR_UNSET_F, UNSTIR_UNSET_F, UNSTIR_UNSET_F, 1, plain);
    guided(UNSTIR_UNSET_F, UNSTIR_UNSET_F, UNSTIR_UNSET_F, 3, full);
    guided(0, 0.5, 0.5, 3, got);
    assert_memory_equal(got, plain, sizeof got);
    guided(0, 0, 1, 3, got);
    assert_memory_equal(got, full, sizeof got);
    guided(0, 0.25, 0.75, 3, got);
    assert_memory_not_equal(got, full, sizeof got);
    assert_memory_not_equal(got, plain, sizeof got);
    guided(0.7, 0, 1, 3, got);
    assert_memory_not_equal(got, full, sizeof got);
}

/* Rescaled by a whole share, outputs have the wanted deviation. */
static void test_guidance_rescale(void **state)
{
    const float x[] = {1, 2, 4, -3, 0.5f, 7};
    float y[6], z[6];

    memcpy(y, x, sizeof y);
    memcpy(z, x, sizeof z);
    guidance_rescale(y, 1.25f, 1, 6);
    if (!(fabsf(guidance_deviation(y, 6) - 1.25f) <= 1e-6f))
        fail_msg("got %g, wanted 1.25", (double)guidance_deviation(y, 6));
    guidance_rescale(z, 1.25f, 0.5f, 6);
    for (size_t i = 0; i < 6; i++)
        if (!(fabsf(z[i] - (x[i] + y[i]) / 2) <= 1e-6f))
            fail_msg("[%zu]: got %g, wanted %g", i, (double)z[i],
                     (double)(x[i] + y[i]) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guidance_interval),
        cmocka_unit_test(test_guidance_rescale),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_find_class),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_arena_bytes),
        cmocka_unit_test(test_samplers),
        cmocka_unit_test(test_cpu_rungs),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_resolved),
        cmocka_unit_test(test_request_json),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_previews),
        cmocka_unit_test(test_finish_early),
        cmocka_unit_test(test_batch_refusals),
        cmocka_unit_test(test_batch_of_models),
        cmocka_unit_test(test_steps_do_not_allocate),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_cancel_before_step),
        cmocka_unit_test(test_cancel_in_step),
        cmocka_unit_test(test_two_workers),
        cmocka_unit_test(test_png_metadata),
        cmocka_unit_test(test_png_says_early),
        cmocka_unit_test(test_request_repeats_picture),
        cmocka_unit_test(test_forward),
    };
    return cmocka_run_group_tests_name("t_generation", tests, setup, teardown);
}
