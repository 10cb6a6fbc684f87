/* t_variation.c - pictures near another one: noise between two seeds'.
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
#include "base/rng.h"
#include "format/json.h"
#include "json_file.h"
#include "must.h"
#include "pipeline/generation.h"
#include "pipeline/request.h"
#include "unstir.h"

#define SIDE 16

static struct unstir_model *pixel, *latent;
static struct unstir_executor *exec;
static uint8_t pixels[SIDE * SIDE];
static const struct unstir_image picture = {SIDE, SIDE, 1, pixels};

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 1};
    struct unstir_error err;

    must(unstir_model_open(&pixel, "tests/data/models/tiny", NULL, &err), &err);
    must(unstir_model_open(&latent, "tests/data/models/tiny-text", NULL, &err),
         &err);
    must(unstir_executor_new(&exec, &o, &err), &err);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        pixels[i] = (uint8_t)(i * 7);
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    unstir_model_close(pixel);
    unstir_model_close(latent);
    return 0;
}

static struct unstir_request ask(uint64_t seed, uint64_t other, double strength)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.seed = seed;
    r.variation_seed = other;
    r.variation_strength = strength;
    r.sampler = "ddim";
    r.steps = 4;
    r.width = r.height = SIDE;
    return r;
}

static struct unstir_generation *begin(const struct unstir_model *model,
                                       const struct unstir_request *r)
{
    struct unstir_generation *g;
    struct unstir_error err;

    must(unstir_generation_begin(&g, model, r, &err), &err);
    return g;
}

static unsigned char *finish(struct unstir_generation *g, size_t *n)
{
    struct unstir_error err;
    unsigned char *png;

    while (!unstir_generation_is_done(g))
        must(unstir_generation_step(g, exec, &err), &err);
    must(unstir_generation_png(g, NULL, &png, n, &err), &err);
    unstir_generation_free(g);
    return png;
}

/* The weights of the two noises are rounded in f64 and the result to f32:
 * 2^-23 of the largest product, which is below 8. */
static void check_near(const char *what, size_t i, float got, float wanted)
{
    if (!(fabsf(got - wanted) <= 8 * 0x1p-23F))
        fail_msg("%s: number %zu is %.9g, wanted %.9g", what, i, (double)got,
                 (double)wanted);
}

static void draw(float *out, uint64_t seed, size_t n)
{
    struct rng rng;

    rng_seed(&rng, seed);
    rng_normal_f32(&rng, out, n);
}

static void test_golden(void **state)
{
    struct json *rows = json_file_open("tests/data/variations.json");
    char label[64];

    for (size_t i = 0; i < json_len(rows); i++) {
        const struct json *row = json_at(rows, i);
        size_t n = (size_t)json_int(json_get(row, "n"));
        float *a = calloc(n, sizeof *a), *b = calloc(n, sizeof *b), want[32];
        size_t n_want = json_floats(json_get(row, "noise"), want, 32);

        snprintf(label, sizeof label, "row %zu", i);
        draw(a, (uint64_t)json_int(json_get(row, "seed")), n);
        draw(b, (uint64_t)json_int(json_get(row, "variation_seed")), n);
        start_vary(a, b, json_real(json_get(row, "strength")), n);
        assert_true(n_want >= 16);
        for (size_t k = 0; k < n_want; k++)
            check_near(label, k, a[k * (n / 16)], want[k]);
        free(a);
        free(b);
    }
    json_free(rows);
}

/* Of pixel and of latent models, that noise is what a run begins with. */
static void test_first_noise(void **state)
{
    const struct unstir_model *const models[] = {pixel, latent};

    for (size_t m = 0; m < ARRAY_LEN(models); m++) {
        struct unstir_request r = ask(11, 12, 0.3);
        struct unstir_generation *g = begin(models[m], &r);
        size_t n;
        const float *got = unstir_generation_sample(g, &n);
        float *a = calloc(n, sizeof *a), *b = calloc(n, sizeof *b);

        draw(a, 11, n);
        draw(b, 12, n);
        start_vary(a, b, 0.3, n);
        assert_memory_equal(got, a, n * sizeof *a);
        unstir_generation_free(g);
        free(a);
        free(b);
    }
}

/* From a picture: the generator of the variation draws its noise alone,
 * whatever the seed's has drawn before. */
static void test_from_a_picture(void **state)
{
    const struct unstir_model *const models[] = {pixel, latent};

    for (size_t m = 0; m < ARRAY_LEN(models); m++) {
        struct unstir_request r = ask(11, 12, 0.3), plain = ask(11, 0, 0);
        struct unstir_error err;
        struct unstir_generation *g, *without;

        r.init_image = plain.init_image = &picture;
        r.strength = plain.strength = 0.5;
        g = begin(models[m], &r);
        without = begin(models[m], &plain);
        must(unstir_generation_step(g, exec, &err), &err);
        must(unstir_generation_step(without, exec, &err), &err);
        size_t n = generation_floats(g);
        float *b = calloc(n, sizeof *b);
        draw(b, 12, n);
        start_vary(without->start.noise, b, 0.3, n);
        assert_memory_equal(g->start.noise, without->start.noise,
                            n * sizeof *b);
        assert_memory_equal(g->start.known, without->start.known,
                            n * sizeof *b);
        unstir_generation_free(g);
        unstir_generation_free(without);
        free(b);
    }
}

/* At the ends: the seed's own bytes, and the first noise of the other seed. */
static void test_ends(void **state)
{
    struct unstir_request none = ask(3, 0, 0), off = ask(3, 99, 0);
    struct unstir_request same = ask(3, 3, 0.7);
    struct unstir_request whole = ask(3, 4, 1), other = ask(4, 0, 0);
    struct unstir_generation *g[2];
    size_t n[2];
    unsigned char *png[] = {finish(begin(pixel, &none), &n[0]),
                            finish(begin(pixel, &off), &n[1])};

    assert_int_equal(n[0], n[1]);
    assert_memory_equal(png[0], png[1], n[0]);
    unstir_free(png[0]);
    unstir_free(png[1]);
    g[0] = begin(pixel, &none);
    g[1] = begin(pixel, &same);
    assert_memory_equal(unstir_generation_sample(g[0], &n[0]),
                        unstir_generation_sample(g[1], &n[1]), n[0] * 4);
    unstir_generation_free(g[0]);
    unstir_generation_free(g[1]);
    g[0] = begin(pixel, &whole);
    g[1] = begin(pixel, &other);
    assert_memory_equal(unstir_generation_sample(g[0], &n[0]),
                        unstir_generation_sample(g[1], &n[1]), n[0] * 4);
    unstir_generation_free(g[0]);
    unstir_generation_free(g[1]);
}

/* Saved and restored, also before the first step. */
static void test_state(void **state)
{
    for (uint32_t k = 0; k < 3; k++) {
        struct unstir_request r = ask(UINT64_MAX, UINT64_MAX - 1, 0.25);
        struct unstir_generation *g[2];
        struct unstir_error err;
        unsigned char *saved, *png[2];
        size_t n, n_png[2];

        r.sampler = "ddpm";
        g[0] = begin(pixel, &r);
        for (uint32_t i = 0; i < k; i++)
            must(unstir_generation_step(g[0], exec, &err), &err);
        must(unstir_generation_save(g[0], &saved, &n, &err), &err);
        must(unstir_generation_restore(&g[1], pixel, saved, n, &err), &err);
        for (size_t i = 0; i < 2; i++)
            png[i] = finish(g[i], &n_png[i]);
        assert_int_equal(n_png[0], n_png[1]);
        assert_memory_equal(png[0], png[1], n_png[0]);
        unstir_free(png[0]);
        unstir_free(png[1]);
        unstir_free(saved);
    }
}

static void hear(void *user, const char *field, const char *detail,
                 const char *nearest)
{
    char *heard = user;

    (void)detail;
    snprintf(heard, 64, "%s %s", field, nearest ? nearest : "");
}

static void test_refusals(void **state)
{
    static const struct {
        double strength;
        const char *sampler, *wanted;
    } rows[] = {{1.5, "ddim", "variation_strength 1"},
                {-0.1, "ddim", "variation_strength 0"},
                {NAN, "ddim", "variation_strength 0"},
                {0.5, "ddim_inverse", "variation_strength 0"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_request r = ask(1, 2, rows[i].strength);
        char heard[64] = "";

        r.sampler = rows[i].sampler;
        r.init_image = &picture;
        assert_int_equal(
            unstir_request_check(pixel, &r, NULL, hear, heard, NULL),
            UNSTIR_ERR_ARG);
        assert_string_equal(heard, rows[i].wanted);
    }
}

static void test_json(void **state)
{
    struct unstir_request r = ask(1, UINT64_MAX, 0.25), resolved;
    struct unstir_error err;
    char *json;

    must(unstir_request_check(pixel, &r, &resolved, NULL, NULL, &err), &err);
    must(unstir_request_json(pixel, &resolved, &json, &err), &err);
    assert_non_null(strstr(json, "\"seed\":1,\"variation_seed\":"
                                 "\"18446744073709551615\","
                                 "\"variation_strength\":0.25,\"steps\":4,"));
    unstir_free(json);
    r.variation_strength = 0;
    must(unstir_request_check(pixel, &r, &resolved, NULL, NULL, &err), &err);
    assert_true(resolved.variation_seed == 0);
    must(unstir_request_json(pixel, &resolved, &json, &err), &err);
    assert_null(strstr(json, "variation"));
    unstir_free(json);
}

/* Of a job: seeds follow each other, of variations those of the variation. */
static void test_pictures_of_a_job(void **state)
{
    struct unstir_request r = ask(5, 8, 0);

    unstir_request_picture(&r, 3);
    assert_true(r.seed == 8 && r.variation_seed == 8);
    r.variation_strength = 0.1;
    unstir_request_picture(&r, 3);
    assert_true(r.seed == 8 && r.variation_seed == 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_first_noise),
        cmocka_unit_test(test_from_a_picture),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_pictures_of_a_job),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
