/* t_start.c - runs that begin from a picture: what is refused, what is kept,
 * how many steps are run, and that a saved one goes on.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "image/fit.h"
#include "must.h"
#include "pipeline/start.h"
#include "unstir.h"

#define TINY "tests/data/models/tiny"
#define SIDE 16

static struct unstir_model *model;
static struct unstir_executor *exec;
static uint8_t pixels[SIDE * SIDE], mask_pixels[SIDE * SIDE];
static const struct unstir_image picture = {SIDE, SIDE, 1, pixels};
static const struct unstir_image mask = {SIDE, SIDE, 1, mask_pixels};

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 1};
    struct unstir_error err;

    must(unstir_model_open(&model, TINY, NULL, &err), &err);
    must(unstir_executor_new(&exec, &o, &err), &err);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        pixels[i] = (uint8_t)(i * 7);
        mask_pixels[i] = i % SIDE < 5 ? 255 : i % 3 == 0 ? 127 : 0;
    }
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    unstir_model_close(model);
    return 0;
}

static struct unstir_request ask(const char *sampler, uint32_t steps)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.class_id = 3;
    r.seed = 11;
    r.sampler = sampler;
    r.steps = steps;
    r.init_image = &picture;
    return r;
}

static struct unstir_generation *begin(const struct unstir_request *r)
{
    struct unstir_generation *g;
    struct unstir_error err;

    must(unstir_generation_begin(&g, model, r, &err), &err);
    return g;
}

static void run(struct unstir_generation *g, uint32_t n)
{
    struct unstir_error err;

    while (n-- && !unstir_generation_is_done(g))
        must(unstir_generation_step(g, exec, &err), &err);
}

static void end(struct unstir_generation *g, struct unstir_image *out)
{
    struct unstir_error err;

    run(g, UINT32_MAX);
    must(unstir_generation_image(g, out, &err), &err);
    unstir_generation_free(g);
}

/* The product is cut as the reference cuts it, in f64. */
static void test_skipped(void **state)
{
    static const struct {
        uint32_t n;
        double strength;
        uint32_t run;
    } rows[] = {{50, 0.8, 40},   {50, 1, 50},  {10, 0.3, 3},
                {100, 0.29, 28}, {1, 0.99, 0}, {1000, 0.001, 1},
                {20, 0, 0},      {7, 0.5, 3},  {40, 0.9999, 39}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint32_t got = rows[i].n - start_skipped(rows[i].n, rows[i].strength);
        if (got != rows[i].run)
            fail_msg("%u steps of strength %g: %u are run, wanted %u",
                     rows[i].n, rows[i].strength, got, rows[i].run);
    }
}

struct heard {
    char fields[128], nearest[64];
};

static void hear(void *user, const char *field, const char *detail,
                 const char *nearest)
{
    struct heard *h = user;
    size_t used = strlen(h->fields);

    (void)detail;
    (void)snprintf(h->fields + used, sizeof h->fields - used, "%s ", field);
    (void)snprintf(h->nearest, sizeof h->nearest, "%s", nearest ? nearest : "");
}

static void test_refusals(void **state)
{
    static const struct unstir_image flat = {0, 5, 1, NULL};
    static const struct unstir_image four = {5, 5, 4, NULL};
    static const struct {
        const char *sampler;
        uint32_t steps;
        const struct unstir_image *init, *mask;
        double strength;
        const char *fields, *nearest;
    } rows[] = {
        {"ddim", 10, NULL, &mask, UNSTIR_UNSET_F, "mask ", ""},
        {"ddim", 10, NULL, NULL, 0.5, "strength ", ""},
        {"ddim", 10, &picture, NULL, 1.1, "strength ", "1"},
        {"ddim", 10, &picture, NULL, -1, "strength ", "0.8"},
        {"ddim", 10, &picture, NULL, 0.05, "strength ", "0.1"},
        {"ddim", 49, &picture, NULL, 0.02, "strength ", "0.0205"},
        {"ddim", 10, &flat, NULL, 0.5, "init_image ", ""},
        {"ddim", 10, &picture, &four, 0.5, "mask ", ""},
        {"ddim_inverse", 10, NULL, NULL, UNSTIR_UNSET_F, "sampler ", ""},
        {"ddim_inverse", 10, &picture, &mask, 1, "mask ", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_request r = ask(rows[i].sampler, rows[i].steps);
        struct heard h = {"", ""};
        r.init_image = rows[i].init;
        r.mask = rows[i].mask;
        r.strength = rows[i].strength;
        enum unstir_status st =
            unstir_request_check(model, &r, NULL, hear, &h, NULL);
        if (st != UNSTIR_ERR_ARG || strcmp(h.fields, rows[i].fields) != 0 ||
            strcmp(h.nearest, rows[i].nearest) != 0)
            fail_msg("row %zu: %s, heard \"%s\" (%s), wanted \"%s\" (%s)", i,
                     unstir_status_name(st), h.fields, h.nearest,
                     rows[i].fields, rows[i].nearest);
    }
}

static void test_defaults(void **state)
{
    static const struct {
        uint32_t w, h, asked, wanted_w, wanted_h; /* the tiny model: 8 to 64 */
    } rows[] = {{16, 16, 0, 16, 16},
                {21, 33, 0, 20, 32},
                {3, 5000, 0, 8, 64},
                {40, 20, 24, 24, 20}};
    struct unstir_request r = ask("ddim", 10), resolved;
    struct unstir_error err;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_image shape = {rows[i].w, rows[i].h, 3, NULL};
        r.init_image = &shape;
        r.width = rows[i].asked;
        must(unstir_request_check(model, &r, &resolved, NULL, NULL, &err),
             &err);
        assert_int_equal(resolved.width, rows[i].wanted_w);
        assert_int_equal(resolved.height, rows[i].wanted_h);
    }
    r = ask("ddim", 10);
    must(unstir_request_check(model, &r, &resolved, NULL, NULL, &err), &err);
    assert_true(resolved.strength == 0.8);
    assert_int_equal(unstir_request_steps(model, &resolved), 8);
    r.mask = &mask;
    must(unstir_request_check(model, &r, &resolved, NULL, NULL, &err), &err);
    assert_true(resolved.strength == 1);
    r.init_image = r.mask = NULL;
    must(unstir_request_check(model, &r, &resolved, NULL, NULL, &err), &err);
    assert_int_equal(unstir_request_steps(model, &resolved), 10);
}

static void test_progress(void **state)
{
    struct unstir_request r = ask("heun", 10);
    r.strength = 0.35;
    struct unstir_generation *g = begin(&r);
    struct unstir_progress p = unstir_generation_progress(g);

    assert_int_equal(p.step, 0);
    assert_int_equal(p.steps, 3);
    run(g, 2);
    assert_int_equal(unstir_generation_progress(g).step, 2);
    run(g, 1);
    assert_true(unstir_generation_is_done(g));
    unstir_generation_free(g);
}

/* With nearly no noise the picture comes back nearly; the stronger, the less
 * of it is left. */
static void test_strength(void **state)
{
    double errors[3] = {0};
    static const double strengths[] = {0.02, 0.3, 1};

    for (size_t k = 0; k < 3; k++) {
        struct unstir_request r = ask("ddim", 50);
        struct unstir_image out;
        r.strength = strengths[k];
        end(begin(&r), &out);
        for (size_t i = 0; i < SIDE * SIDE; i++)
            errors[k] += abs(out.pixels[i] - pixels[i]);
        unstir_image_fini(&out);
    }
    if (!(errors[0] < errors[1] && errors[1] < errors[2]))
        fail_msg("errors %g, %g, %g do not rise", errors[0], errors[1],
                 errors[2]);
}

/* Every sampler that the model can run keeps the pixels outside of the mask to
 * the byte, and 127 of 255 is outside. */
static void test_kept_pixels(void **state)
{
    size_t n, n_run = 0;
    const struct unstir_sampler_info *s = unstir_samplers(&n);

    for (size_t k = 0; k < n; k++)
        for (int pure = 0; pure < 2; pure++) {
            struct unstir_request r = ask(s[k].name, 5);
            struct unstir_image out;
            size_t changed = 0;
            r.mask = &mask;
            r.strength = pure ? 1 : 0.6;
            if (unstir_request_check(model, &r, NULL, NULL, NULL, NULL))
                continue;
            end(begin(&r), &out);
            for (size_t i = 0; i < SIDE * SIDE; i++) {
                if (mask_pixels[i] < 128 && out.pixels[i] != pixels[i])
                    fail_msg("%s: pixel %zu is %d, was %d", s[k].name, i,
                             out.pixels[i], pixels[i]);
                changed += out.pixels[i] != pixels[i];
            }
            assert_true(changed > 20);
            n_run++;
            unstir_image_fini(&out);
        }
    assert_true(n_run > 20);
}

/* Finished early: what is kept is kept in the estimate, too. */
static void test_kept_early(void **state)
{
    struct unstir_request r = ask("ddim", 8);
    struct unstir_image out;
    struct unstir_error err;
    r.mask = &mask;
    struct unstir_generation *g = begin(&r);

    run(g, 3);
    must(unstir_generation_finish_early(g, &err), &err);
    end(g, &out);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        if (mask_pixels[i] < 128)
            assert_int_equal(out.pixels[i], pixels[i]);
    unstir_image_fini(&out);
}

/* A batch gives what each gives alone, whatever each begins with. */
static void test_batch(void **state)
{
    struct unstir_request r[3] = {ask("ddim", 6), ask("ddim", 6),
                                  ask("euler", 6)};
    struct unstir_generation *g[3];
    struct unstir_image alone, out;
    struct unstir_error err;

    r[0].strength = 0.5;
    r[1].mask = &mask;
    r[2].init_image = NULL;
    r[2].width = r[2].height = SIDE;
    for (size_t i = 0; i < 3; i++)
        g[i] = begin(&r[i]);
    for (int k = 0; k < 3; k++)
        must(unstir_step_many(g, 3, exec, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        end(g[i], &out);
        end(begin(&r[i]), &alone);
        assert_memory_equal(out.pixels, alone.pixels, SIDE * SIDE);
        unstir_image_fini(&out);
        unstir_image_fini(&alone);
    }
}

/* From a picture to noise and back: exact but for the size of the steps. */
static void test_inversion(void **state)
{
    struct unstir_request r = ask("ddim_inverse", 20);
    struct unstir_generation *g = begin(&r);
    size_t n;
    const float *x = unstir_generation_sample(g, &n);

    assert_int_equal(n, SIDE * SIDE);
    for (size_t i = 0; i < n; i++) /* nothing drawn: the picture itself */
        assert_true(x[i] == 2 * (pixels[i] / 255.0F) - 1);
    assert_int_equal(unstir_generation_progress(g).steps, 20);
    run(g, 20);
    assert_true(unstir_generation_is_done(g));
    unstir_generation_free(g);
    r.strength = 0.25;
    g = begin(&r);
    assert_int_equal(unstir_generation_progress(g).steps, 5);
    unstir_generation_free(g);
}

static void test_json(void **state)
{
    struct unstir_request r = ask("ddim", 10);
    struct unstir_error err;
    char *json, *again;
    char hex[65];

    r.mask = &mask;
    r.strength = 0.5;
    must(unstir_request_json(model, &r, &json, &err), &err);
    assert_non_null(strstr(json, "\"height\":16,\"strength\":0.5,"
                                 "\"init_image_sha256\":\""));
    must(start_digest(&picture, hex, &err), &err);
    assert_non_null(strstr(json, hex));
    must(start_digest(&mask, hex, &err), &err);
    assert_non_null(strstr(json, hex));
    r.init_image = r.mask = NULL;
    r.strength = UNSTIR_UNSET_F;
    must(unstir_request_json(model, &r, &again, &err), &err);
    assert_null(strstr(again, "strength"));
    unstir_free(json);
    unstir_free(again);
}

/* Saved after every step and restored, it ends the same, metadata included. */
static void test_state(void **state)
{
    for (int kind = 0; kind < 3; kind++)
        for (uint32_t k = 0; k <= 3; k++) {
            struct unstir_request r =
                ask(kind == 2 ? "ddim_inverse" : "ddpm", 6);
            struct unstir_error err;
            unsigned char *saved, *png[2];
            size_t n, n_png[2];
            struct unstir_generation *g[2];
            r.strength = 0.5;
            r.mask = kind == 1 ? &mask : NULL;
            g[0] = begin(&r);
            run(g[0], k);
            must(unstir_generation_save(g[0], &saved, &n, &err), &err);
            must(unstir_generation_restore(&g[1], model, saved, n, &err), &err);
            assert_int_equal(unstir_generation_progress(g[1]).step, k);
            for (int i = 0; i < 2; i++) {
                run(g[i], 9);
                must(
                    unstir_generation_png(g[i], NULL, &png[i], &n_png[i], &err),
                    &err);
                unstir_generation_free(g[i]);
            }
            assert_int_equal(n_png[0], n_png[1]);
            assert_memory_equal(png[0], png[1], n_png[0]);
            unstir_free(png[0]);
            unstir_free(png[1]);
            unstir_free(saved);
        }
}

/* Made with Pillow 13: the picture of 16 x 16 above by LANCZOS; 15 x 2 are
 * one of the sizes that it makes columns first for. */
static void test_fit(void **state)
{
    static const uint8_t wanted_5x3[] = {127, 128, 122, 116, 118, 133, 122, 127,
                                         133, 127, 133, 142, 134, 133, 122};
    static const uint8_t wanted_15x2[] = {
        118, 126, 131, 130, 127, 109, 120, 124, 137, 119,
        111, 125, 135, 115, 119, 129, 138, 140, 121, 132,
        146, 135, 120, 132, 136, 147, 127, 127, 125, 130};
    static const uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 90, 200};
    static const uint8_t grey[] = {76, 150, 29, 78};
    const struct unstir_image colours = {4, 1, 3, (uint8_t *)rgb};
    struct unstir_image out;
    struct unstir_error err;

    must(image_fit(&picture, 5, 3, 1, &out, &err), &err);
    assert_memory_equal(out.pixels, wanted_5x3, sizeof wanted_5x3);
    unstir_image_fini(&out);
    must(image_fit(&picture, 15, 2, 1, &out, &err), &err);
    assert_memory_equal(out.pixels, wanted_15x2, sizeof wanted_15x2);
    unstir_image_fini(&out);
    must(image_fit(&colours, 4, 1, 1, &out, &err), &err);
    assert_memory_equal(out.pixels, grey, sizeof grey);
    unstir_image_fini(&out);
    must(image_fit(&picture, 40, 24, 3, &out, &err), &err);
    assert_int_equal(out.channels, 3);
    unsigned sum = 0;
    for (size_t i = 0; i < 40 * 24 * 3; i++)
        sum = sum * 31 + out.pixels[i];
    assert_int_equal(sum, 2674703406u);
    unstir_image_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skipped),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_progress),
        cmocka_unit_test(test_strength),   cmocka_unit_test(test_kept_pixels),
        cmocka_unit_test(test_kept_early), cmocka_unit_test(test_batch),
        cmocka_unit_test(test_inversion),  cmocka_unit_test(test_json),
        cmocka_unit_test(test_state),      cmocka_unit_test(test_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
