/* t_text_pipelines.c - text to picture against the reference's pipelines.
 *
 * Tiny models of SD 1.x, SD 2.x (v), SDXL and LCM, opened from folders with
 * tokenizers of both kinds.  Tolerances (REFERENCE 7.2): latents after every
 * step within 1e-3 of the largest value of the trajectory; 99 % of the
 * picture's bytes within 1 level, 3 at most; with bf16 operands latents of
 * 40 dB and more against own f32.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir.h"

#define MAX_FLOATS 1024 /* of a latent                                       */

static const char *const names[] = {"sd1", "sd2", "sdxl", "lcm"};
#define N_MODELS 4

/* Written once for all tests. */
static char folders[N_MODELS][SCRATCH_PATH];
static struct weights *goldens[N_MODELS];

static void must(enum unstir_status status, const struct unstir_error *err)
{
    if (status)
        fail_msg("%s", err->detail);
}

static int write_all(void **state)
{
    char path[128];

    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        snprintf(path, sizeof path, "tests/data/text_pipelines/%s.safetensors",
                 names[i]);
        goldens[i] = golden_open(path);
        scratch_make(folders[i]);
        text_folder_write(folders[i], goldens[i]);
    }
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        scratch_remove(folders[i]);
        weights_close(goldens[i]);
    }
    return 0;
}

static struct unstir_executor *new_executor(unsigned n_threads)
{
    struct unstir_executor_options options = {.n_threads = n_threads};
    struct unstir_executor *x;

    assert_int_equal(unstir_executor_new(&x, &options, NULL), UNSTIR_OK);
    return x;
}

static const char *string_or_null(const struct json *row, const char *key)
{
    const struct json *v = json_get(row, key);

    return v ? json_string(v) : NULL;
}

static uint32_t u32_or(const struct json *row, const char *key,
                       uint32_t fallback)
{
    const struct json *v = json_get(row, key);

    return v ? (uint32_t)json_int(v) : fallback;
}

static struct unstir_request request_of(const struct json *row)
{
    const struct json *guidance = json_get(row, "guidance");
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.prompt = string_or_null(row, "prompt");
    r.negative_prompt = string_or_null(row, "negative_prompt");
    r.prompt_syntax = string_or_null(row, "syntax");
    r.clip_skip = u32_or(row, "clip_skip", 0);
    r.steps = u32_or(row, "steps", 0);
    r.seed = u32_or(row, "seed", 0);
    r.width = u32_or(row, "width", 32);
    r.height = u32_or(row, "height", 32);
    if (guidance)
        r.guidance = json_real(guidance);
    return r;
}

/* NCHW, as the file has it. */
static const float *floats_of(size_t m, size_t row, const char *what, size_t *n)
{
    const struct tensor_view *v;
    char name[32];

    snprintf(name, sizeof name, "%zu.%s", row, what);
    v = weights_find(goldens[m], name);
    if (!v)
        fail_msg("%s: no %s", names[m], name);
    *n = v->n;
    return v->data;
}

static void check_picture(const struct unstir_generation *g, const char *label,
                          const float *want, size_t n)
{
    struct unstir_error err = {0};
    struct unstir_image image;
    size_t off = 0, worst = 0, hw;

    must(unstir_generation_image(g, &image, &err), &err);
    hw = (size_t)image.width * image.height;
    assert_int_equal(hw * image.channels, n);
    for (size_t i = 0; i < n; i++) {
        int got = image.pixels[i % hw * image.channels + i / hw];
        size_t d = (size_t)abs(got - (int)lrintf(want[i]));

        off += d > 1;
        worst = d > worst ? d : worst;
    }
    unstir_image_fini(&image);
    if (worst > 3 || 100 * off > n)
        fail_msg("%s: %zu of %zu bytes off by more than 1, worst %zu", label,
                 off, n, worst);
}

/* A row of the golden, step by step. */
static void check_row(struct unstir_model *model, struct unstir_executor *x,
                      const struct json *row, size_t m, size_t i,
                      const char *isa)
{
    struct unstir_request r = request_of(row);
    struct unstir_error err = {0};
    struct unstir_generation *g;
    double largest = 0, worst = 0;
    size_t n_all, n, n_image;
    const float *want = floats_of(m, i, "steps", &n_all);
    const float *image = floats_of(m, i, "image", &n_image);
    char label[64];

    snprintf(label, sizeof label, "%s %zu %s", names[m], i, isa);
    for (size_t k = 0; k < n_all; k++)
        largest = fmax(largest, fabs((double)want[k]));
    must(unstir_generation_begin(&g, model, &r, &err), &err);
    for (uint32_t step = 0; step < r.steps; step++) {
        must(unstir_generation_step(g, x, &err), &err);
        const float *got = unstir_generation_sample(g, &n);
        assert_int_equal(n * r.steps, n_all);
        for (size_t k = 0; k < n; k++)
            worst = fmax(worst, fabs((double)got[k] - want[step * n + k]));
    }
    golden_check(label, worst / largest, 1e-3);
    check_picture(g, label, image, n_image);
    unstir_generation_free(g);
}

static void test_trajectories(void **state)
{
    size_t m = (size_t)(const char *const *)*state - (size_t)names;
    struct json *rows;

    m /= sizeof *names;
    rows = json_text(weights_metadata(goldens[m], "requests"));
    for (size_t k = 0; golden_rung(k); k++) {
        struct unstir_model_options options = {
            .isa = golden_rung(k), .precision = UNSTIR_PRECISION_F32};
        struct unstir_error err = {0};
        struct unstir_executor *x = new_executor(2);
        struct unstir_model *model;

        must(unstir_model_open(&model, folders[m], &options, &err), &err);
        for (size_t i = 0; i < json_len(rows); i++)
            check_row(model, x, json_at(rows, i), m, i, golden_rung(k));
        unstir_executor_free(x);
        unstir_model_close(model);
    }
    json_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"sd1", test_trajectories, NULL, NULL, (void *)&names[0]},
        {"sd2", test_trajectories, NULL, NULL, (void *)&names[1]},
        {"sdxl", test_trajectories, NULL, NULL, (void *)&names[2]},
        {"lcm", test_trajectories, NULL, NULL, (void *)&names[3]},
    };

    return cmocka_run_group_tests(tests, write_all, remove_all);
}
