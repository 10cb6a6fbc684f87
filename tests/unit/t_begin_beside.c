/* t_begin_beside.c - runs of one job share what is made of their pictures.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "must.h"
#include "pipeline/generation.h"
#include "unstir.h"

#define SIDE 16

static struct unstir_model *pixel, *latent;
static struct unstir_executor *exec;
static uint8_t pixels[SIDE * SIDE], mask_pixels[SIDE * SIDE];
static const struct unstir_image picture = {SIDE, SIDE, 1, pixels};
static const struct unstir_image mask = {SIDE, SIDE, 1, mask_pixels};

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 1};
    struct unstir_error err;

    must(unstir_model_open(&pixel, "tests/data/models/tiny", NULL, &err), &err);
    must(unstir_model_open(&latent, "tests/data/models/tiny-text", NULL, &err),
         &err);
    must(unstir_executor_new(&exec, &o, &err), &err);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        pixels[i] = (uint8_t)(i * 7);
        mask_pixels[i] = i % SIDE < 6 ? 255 : 0;
    }
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    unstir_model_close(pixel);
    unstir_model_close(latent);
    return 0;
}

static struct unstir_request ask(const char *sampler, bool has_mask)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.seed = 5;
    r.sampler = sampler;
    r.steps = 4;
    r.init_image = &picture;
    r.mask = has_mask ? &mask : NULL;
    r.strength = 0.75;
    return r;
}

static struct unstir_generation *begin(const struct unstir_model *model,
                                       const struct unstir_request *r,
                                       const struct unstir_generation *company)
{
    struct unstir_generation *g;
    struct unstir_error err;

    must(unstir_generation_begin_beside(&g, model, r, company, &err), &err);
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

/* Three of a job, the first of which ends before the others have begun: the
 * bytes of each alone, and one encoding. */
static void check_job(const struct unstir_model *model, const char *sampler,
                      bool has_mask)
{
    struct unstir_request r[3];
    struct unstir_generation *g[3];
    unsigned char *together, *alone;
    const float *moments = NULL;
    size_t n, m;

    for (uint32_t i = 0; i < 3; i++) {
        r[i] = ask(sampler, has_mask);
        unstir_request_picture(&r[i], i);
        g[i] = begin(model, &r[i], i ? g[0] : NULL);
        assert_ptr_equal(g[i]->start.common, g[0]->start.common);
    }
    assert_int_equal(g[0]->start.common->n_users, 3);
    for (uint32_t i = 0; i < 3; i++) {
        struct start_common *c = g[i]->start.common;

        if (i > 0 && model == latent)
            assert_ptr_equal(c->moments, moments);
        together = finish(g[i], &n);
        if (i < 2) {
            assert_int_equal(c->n_users, 2 - i);
            assert_null(c->pictures);
            moments = c->moments;
        }
        alone = finish(begin(model, &r[i], NULL), &m);
        assert_int_equal(n, m);
        assert_memory_equal(together, alone, n);
        unstir_free(together);
        unstir_free(alone);
    }
}

static void test_jobs(void **state)
{
    check_job(pixel, "ddim", false);
    check_job(pixel, "ddpm", true);
    check_job(latent, "euler", false);
    check_job(latent, "euler_a", true);
}

/* Another picture, mask, size or model is its own. */
static void test_others(void **state)
{
    struct unstir_request r = ask("ddim", true), other;
    struct unstir_generation *g = begin(latent, &r, NULL), *h;
    uint8_t changed[SIDE * SIDE];
    const struct unstir_image image = {SIDE, SIDE, 1, changed};

    memcpy(changed, pixels, sizeof changed);
    changed[7]++;
    for (int i = 0; i < 5; i++) {
        const struct unstir_model *model = i == 4 ? pixel : latent;

        other = r;
        if (i == 0)
            other.init_image = &image;
        else if (i == 1)
            other.mask = &image;
        else if (i == 2)
            other.mask = NULL;
        else if (i == 3)
            other.width = 2 * SIDE;
        h = begin(model, &other, g);
        assert_ptr_not_equal(h->start.common, g->start.common);
        unstir_generation_free(h);
    }
    other = r;
    other.init_image = other.mask = NULL;
    other.strength = UNSTIR_UNSET_F;
    h = begin(latent, &other, g);
    assert_null(h->start.common);
    unstir_generation_free(g);
    g = begin(latent, &r, h); /* company without a picture */
    assert_int_equal(g->start.common->n_users, 1);
    unstir_generation_free(g);
    unstir_generation_free(h);
}

/* Cancelled while it is encoded, the next step encodes. */
static void test_cancelled(void **state)
{
    struct unstir_request r = ask("ddim", false);
    struct unstir_generation *g = begin(latent, &r, NULL);
    struct unstir_generation *h = begin(latent, &r, g);
    unsigned char *png[2];
    struct unstir_error err;
    size_t n[2];

    unstir_generation_cancel(g);
    assert_int_equal(unstir_generation_step(g, exec, &err),
                     UNSTIR_ERR_CANCELLED);
    unstir_generation_uncancel(g);
    png[0] = finish(h, &n[0]);
    png[1] = finish(g, &n[1]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(png[0], png[1], n[0]);
    unstir_free(png[0]);
    unstir_free(png[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_cancelled),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
