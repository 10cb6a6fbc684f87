/* t_relay.c - one picture by a base and a refiner: as the reference's two
 * pipelines, as two runs by hand, through states, company and refusals.
 *
 * The models are those of t_img2img.c; tolerances are the same as there.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "drawn_picture.h"
#include "format/json.h"
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "must.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir.h"

#define FOLDER "img2img_pipelines"

#define W 40
#define H 36

static uint8_t pixels[W * H * 3], mask_pixels[W * H];
static const struct unstir_image picture = {W, H, 3, pixels};
static const struct unstir_image mask = {W, H, 1, mask_pixels};

static char folders[2][SCRATCH_PATH];
static struct unstir_model *base, *refiner;
static struct unstir_executor *executor;

static void write_folder(char *folder, const char *name)
{
    struct weights *golden = golden_open_named(FOLDER, name);
    struct text_folder f = text_folder_of(golden);

    scratch_make(folder);
    text_folder_write(folder, &f);
    weights_close(golden);
}

static void open_all(const char *rung)
{
    struct unstir_model_options m = {.isa = rung,
                                     .precision = UNSTIR_PRECISION_F32};
    struct unstir_executor_options x = {.n_threads = 2};
    struct unstir_error err = {0};

    must(unstir_model_open(&base, folders[0], &m, &err), &err);
    must(unstir_model_open(&refiner, folders[1], &m, &err), &err);
    must(unstir_executor_new(&executor, &x, &err), &err);
}

static void close_all(void)
{
    unstir_executor_free(executor);
    unstir_model_close(base);
    unstir_model_close(refiner);
}

static int set_up(void **state)
{
    drawn_picture(W, H, pixels, mask_pixels);
    write_folder(folders[0], "handover_base");
    write_folder(folders[1], "handover_refiner");
    open_all(NULL);
    return 0;
}

static int tear_down(void **state)
{
    close_all();
    scratch_remove(folders[0]);
    scratch_remove(folders[1]);
    return 0;
}

static struct unstir_request a_request(void)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.prompt = "a photo of a cat";
    r.negative_prompt = "dog";
    r.steps = 6;
    r.seed = 28;
    r.width = r.height = 32;
    r.denoising_end = 0.6;
    r.aesthetic_score = 7.5;
    r.micro = (struct unstir_micro){30, 51, 3, 7, 90, 80};
    return r;
}

static struct unstir_generation *begin(const struct unstir_request *r)
{
    const struct unstir_refiner who = {refiner, NULL};
    struct unstir_generation *g;
    struct unstir_error err = {0};

    must(unstir_generation_begin_refined(&g, base, &who, r, NULL, &err), &err);
    return g;
}

static void step(struct unstir_generation *g)
{
    struct unstir_error err = {0};

    must(unstir_generation_step(g, executor, &err), &err);
}

static void finish(struct unstir_generation *g)
{
    while (!unstir_generation_is_done(g))
        step(g);
}

static void assert_same_picture(const struct unstir_generation *a,
                                const struct unstir_generation *b)
{
    struct unstir_error err = {0};
    unsigned char *png[2];
    size_t n[2];

    must(unstir_generation_png(a, NULL, &png[0], &n[0], &err), &err);
    must(unstir_generation_png(b, NULL, &png[1], &n[1], &err), &err);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(png[0], png[1], n[0]);
    unstir_free(png[0]);
    unstir_free(png[1]);
}

/* -- the reference --------------------------------------------------------- */

static struct unstir_request request_of(const struct json *row)
{
    const struct json *micro = json_get(row, "micro");
    struct unstir_request r = a_request();

    r.prompt = json_string(json_get(row, "prompt"));
    r.negative_prompt = json_get(row, "negative_prompt")
                            ? json_string(json_get(row, "negative_prompt"))
                            : NULL;
    r.steps = (uint32_t)json_int(json_get(row, "steps"));
    r.seed = (uint64_t)json_int(json_get(row, "seed"));
    r.denoising_end = json_get(row, "border")
                          ? json_real(json_get(row, "border"))
                          : 0; /* 0.8 */
    if (json_get(row, "guidance"))
        r.guidance = json_real(json_get(row, "guidance"));
    if (json_get(row, "mask")) {
        r.init_image = &picture;
        r.mask = &mask;
        r.strength = 1;
    }
    if (!micro) {
        r.micro = (struct unstir_micro){0};
        r.aesthetic_score = UNSTIR_UNSET_F;
    }
    return r;
}

static void check_row(const struct weights *golden, const struct json *row,
                      size_t i, const char *rung)
{
    struct unstir_request r = request_of(row);
    struct unstir_generation *g = begin(&r);
    size_t n_all, n, n_image, n_steps = 0;
    const float *want = golden_floats(golden, i, "steps", &n_all);
    const float *image = golden_floats(golden, i, "image", &n_image);
    double largest = 0, worst = 0;
    char label[64];

    for (size_t k = 0; k < n_all; k++)
        largest = fmax(largest, fabs((double)want[k]));
    for (; !unstir_generation_is_done(g); n_steps++) {
        step(g);
        const float *got = unstir_generation_sample(g, &n);
        for (size_t k = 0; k < n; k++)
            worst = fmax(worst,
                         fabs((double)got[k] - (double)want[n_steps * n + k]));
    }
    assert_int_equal(n_steps * n, n_all);
    snprintf(label, sizeof label, "both %zu %s", i, rung);
    golden_check(label, worst / largest, 1e-3);
    golden_check_picture(label, g, image, n_image);
    unstir_generation_free(g);
}

static void test_reference(void **state)
{
    struct weights *golden = golden_open_named(FOLDER, "handover_both");
    struct json *rows = json_text(weights_metadata(golden, "requests"));

    close_all();
    for (size_t k = 0; golden_rung(k); k++) {
        open_all(golden_rung(k));
        for (size_t i = 0; i < json_len(rows); i++)
            check_row(golden, json_at(rows, i), i, golden_rung(k));
        close_all();
    }
    open_all(NULL);
    json_free(rows);
    weights_close(golden);
}

/* -- by hand --------------------------------------------------------------- */

/* The base to its end, the refiner from there: the latents of the border in
 * `border`, the end in the generation that is returned. */
static struct unstir_generation *by_hand(struct unstir_request r, float *border)
{
    double score = r.aesthetic_score;
    struct unstir_latents latents = {.n = 1};
    struct unstir_generation *g;
    struct unstir_error err = {0};
    uint32_t shape[3];
    size_t n;

    r.aesthetic_score = UNSTIR_UNSET_F;
    must(unstir_generation_begin(&g, base, &r, &err), &err);
    finish(g);
    const float *result = unstir_generation_result(g, &n);
    memcpy(border, result, n * sizeof *border);
    unstir_generation_sample_shape(g, shape);
    unstir_generation_free(g);
    latents.channels = shape[0];
    latents.height = shape[1];
    latents.width = shape[2];
    latents.values = border;
    r.aesthetic_score = score;
    r.micro.target_width = r.micro.target_height = 0;
    r.init_latents = &latents;
    r.init_image = NULL;
    r.strength = UNSTIR_UNSET_F;
    r.denoising_start = r.denoising_end;
    r.denoising_end = 0;
    must(unstir_generation_begin(&g, refiner, &r, &err), &err);
    finish(g);
    return g;
}

static void check_by_hand(struct unstir_request r)
{
    float border[4 * 4 * 16];
    struct unstir_generation *hand = by_hand(r, border), *g = begin(&r);
    struct unstir_error err = {0};
    struct unstir_image image;
    bool has_border = false;
    float *planes[2];
    size_t n, m;

    for (uint32_t k = 0; !unstir_generation_is_done(g); k++) {
        struct unstir_progress at = unstir_generation_progress(g);
        assert_int_equal(at.step, k);
        must(unstir_generation_preview(g, UNSTIR_VIEW_ESTIMATE, &image, &err),
             &err);
        unstir_image_fini(&image);
        step(g);
        const float *sample = unstir_generation_sample(g, &n);
        assert_int_equal(n, ARRAY_LEN(border));
        has_border |= memcmp(sample, border, sizeof border) == 0;
        assert_int_equal(unstir_generation_progress(g).steps, at.steps);
    }
    assert_true(has_border);
    assert_memory_equal(unstir_generation_result(g, &n),
                        unstir_generation_result(hand, &m), sizeof border);
    must(unstir_generation_planes(g, &planes[0], &n, &err), &err);
    must(unstir_generation_planes(hand, &planes[1], &m, &err), &err);
    assert_int_equal(n, m);
    assert_memory_equal(planes[0], planes[1], n * sizeof(float));
    unstir_free(planes[0]);
    unstir_free(planes[1]);
    unstir_generation_free(g);
    unstir_generation_free(hand);
}

static void test_by_hand(void **state)
{
    static const char *const names[] = {NULL, "euler_a", "dpmpp_2m", "heun"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct unstir_request r = a_request();
        r.sampler = names[i];
        check_by_hand(r);
        r.init_image = &picture;
        r.strength = 0.9;
        check_by_hand(r);
        r.mask = &mask;
        check_by_hand(r);
    }
}

/* Steps of the refiner's own, whatever the base does. */
static void test_own(void **state)
{
    struct unstir_request r = a_request(), own = UNSTIR_REQUEST_INIT;
    const struct unstir_refiner who = {refiner, &own};
    struct unstir_request once[2], twice[2];
    struct unstir_error err = {0};

    own.steps = 10;
    own.sampler = "ddim";
    own.guidance = 2.5;
    must(unstir_request_check_refined(base, &who, &r, once, NULL, NULL, &err),
         &err);
    assert_int_equal(once[0].steps, 6);
    assert_int_equal(once[1].steps, 10);
    assert_string_equal(once[1].sampler, "ddim");
    assert_true(once[1].guidance == 2.5);
    assert_true(once[0].guidance != 2.5);
    assert_true(once[1].aesthetic_score == 7.5);
    const struct unstir_refiner again = {refiner, &once[1]};
    must(unstir_request_check_refined(base, &again, &once[0], twice, NULL, NULL,
                                      &err),
         &err);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(once[i].steps, twice[i].steps);
        assert_string_equal(once[i].sampler, twice[i].sampler);
        assert_true(once[i].guidance == twice[i].guidance);
        assert_true(once[i].denoising_start == twice[i].denoising_start);
        assert_true(once[i].denoising_end == twice[i].denoising_end);
        assert_memory_equal(&once[i].micro, &twice[i].micro,
                            sizeof once[i].micro);
        assert_memory_equal(&once[i].negative_micro, &twice[i].negative_micro,
                            sizeof once[i].micro);
    }
}

/* -- states, company, cancelling ------------------------------------------- */

/* Kept after any number of steps, and through the state's own kept state. */
static void check_states(struct unstir_request r)
{
    struct unstir_generation *whole = begin(&r), *g, *back;
    struct unstir_error err = {0};
    unsigned char *bytes, *again;
    size_t n, n_again;

    finish(whole);
    for (uint32_t k = r.init_image ? 1 : 0;
         k < unstir_generation_progress(whole).steps; k++) {
        g = begin(&r);
        for (uint32_t i = 0; i < k; i++)
            step(g);
        must(unstir_generation_save(g, &bytes, &n, &err), &err);
        must(unstir_generation_restore_refined(&back, base, refiner, bytes, n,
                                               &err),
             &err);
        must(unstir_generation_save(back, &again, &n_again, &err), &err);
        assert_int_equal(n, n_again);
        assert_memory_equal(bytes, again, n);
        assert_int_equal(unstir_generation_progress(back).step, k);
        finish(back);
        assert_same_picture(whole, back);
        unstir_generation_free(back);
        unstir_generation_free(g);
        unstir_free(bytes);
        unstir_free(again);
    }
    unstir_generation_free(whole);
}

static void test_states(void **state)
{
    struct unstir_request r = a_request();

    check_states(r);
    r.init_image = &picture;
    r.mask = &mask;
    check_states(r);
}

static void expect_mismatch(const struct unstir_model *first,
                            const struct unstir_model *second,
                            const unsigned char *bytes, size_t n,
                            const char *text)
{
    struct unstir_generation *g;
    struct unstir_error err = {0};

    assert_int_equal(second
                         ? unstir_generation_restore_refined(&g, first, second,
                                                             bytes, n, &err)
                         : unstir_generation_restore(&g, first, bytes, n, &err),
                     UNSTIR_ERR_MISMATCH);
    assert_null(g);
    assert_non_null(strstr(err.detail, text));
}

static void test_states_of_others(void **state)
{
    struct unstir_request r = a_request();
    struct unstir_generation *g = begin(&r);
    struct unstir_error err = {0};
    unsigned char *bytes;
    size_t n;

    must(unstir_generation_save(g, &bytes, &n, &err), &err);
    expect_mismatch(base, NULL, bytes, n, "no refiner is given");
    expect_mismatch(base, base, bytes, n, "refiner_digest");
    expect_mismatch(refiner, refiner, bytes, n, "model_digest");
    unstir_free(bytes);
    unstir_generation_free(g);
    r.aesthetic_score = UNSTIR_UNSET_F;
    must(unstir_generation_begin(&g, base, &r, &err), &err);
    must(unstir_generation_save(g, &bytes, &n, &err), &err);
    expect_mismatch(base, refiner, bytes, n, "it is of one model");
    unstir_free(bytes);
    unstir_generation_free(g);
}

/* Each at another place of its way, in one batch: as alone. */
static void test_company(void **state)
{
    static const double borders[] = {0.3, 0.6, 0};
    struct unstir_generation *all[3], *left[3];
    struct unstir_error err = {0};
    size_t n = 3;

    for (size_t i = 0; i < n; i++) {
        struct unstir_request r = a_request();
        r.denoising_end = borders[i];
        r.seed += i;
        all[i] = begin(&r);
    }
    while (n > 0) {
        n = 0;
        for (size_t i = 0; i < 3; i++)
            if (!unstir_generation_is_done(all[i]))
                left[n++] = all[i];
        must(unstir_step_many(left, n, executor, &err), &err);
    }
    for (size_t i = 0; i < 3; i++) {
        struct unstir_request r = a_request();
        r.denoising_end = borders[i];
        r.seed += i;
        struct unstir_generation *alone = begin(&r);
        finish(alone);
        assert_same_picture(all[i], alone);
        unstir_generation_free(alone);
        unstir_generation_free(all[i]);
    }
}

/* In every step; what was cancelled goes on as if it had not been. */
static void test_cancel(void **state)
{
    struct unstir_request r = a_request();
    struct unstir_generation *whole = begin(&r), *g = begin(&r);
    struct unstir_error err = {0};

    finish(whole);
    while (!unstir_generation_is_done(g)) {
        uint32_t at = unstir_generation_progress(g).step;
        unstir_generation_cancel(g);
        assert_int_equal(unstir_generation_step(g, executor, &err),
                         UNSTIR_ERR_CANCELLED);
        assert_int_equal(unstir_generation_progress(g).step, at);
        unstir_generation_uncancel(g);
        step(g);
    }
    assert_same_picture(whole, g);
    unstir_generation_free(g);
    unstir_generation_free(whole);
}

/* Before the border and behind it the estimate is a picture. */
static void test_finish_early(void **state)
{
    struct unstir_request r = a_request();
    struct unstir_error err = {0};

    for (uint32_t k = 1; k < 6; k++) {
        struct unstir_generation *g = begin(&r);
        unsigned char *png;
        char *json;
        size_t n;
        for (uint32_t i = 0; i < k; i++)
            step(g);
        must(unstir_generation_finish_early(g, &err), &err);
        assert_true(unstir_generation_is_done(g));
        must(unstir_generation_png(g, NULL, &png, &n, &err), &err);
        must(unstir_generation_json(g, &json, &err), &err);
        assert_non_null(strstr(json, "\"refiner\":{\"model\":"));
        unstir_free(json);
        unstir_free(png);
        unstir_generation_free(g);
    }
}

/* -- refusals -------------------------------------------------------------- */

struct told {
    char field[64];
    unsigned n;
};

static void note(void *user, const char *field, const char *detail,
                 const char *nearest)
{
    struct told *t = user;

    snprintf(t->field, sizeof t->field, "%s", field);
    t->n++;
}

static void expect_refusal(const struct unstir_model *second,
                           const struct unstir_request *r,
                           const struct unstir_request *own, const char *field,
                           const char *text)
{
    const struct unstir_refiner who = {second, own};
    struct unstir_generation *g;
    struct unstir_error err = {0};
    struct told told = {0};

    assert_int_equal(
        unstir_request_check_refined(base, &who, r, NULL, note, &told, &err),
        UNSTIR_ERR_ARG);
    assert_string_equal(told.field, field);
    if (!strstr(err.detail, text))
        fail_msg("\"%s\" has no \"%s\"", err.detail, text);
    assert_int_equal(
        unstir_generation_begin_refined(&g, base, &who, r, NULL, &err),
        UNSTIR_ERR_ARG);
    assert_null(g);
}

static void test_refusals(void **state)
{
    struct unstir_request r = a_request(), own = UNSTIR_REQUEST_INIT;
    struct unstir_error err = {0};
    struct unstir_model *fashion;

    r.denoising_end = 1;
    expect_refusal(refiner, &r, NULL, "denoising_end",
                   "nothing to the refiner");
    r = a_request();
    r.steps = 100000;
    expect_refusal(refiner, &r, NULL, "steps", "must be 1 to");
    r = a_request();
    own.steps = 100000;
    expect_refusal(refiner, &r, &own, "refiner.steps", "must be 1 to");
    own = (struct unstir_request)UNSTIR_REQUEST_INIT;
    own.sampler = "eulr";
    expect_refusal(refiner, &r, &own, "refiner.sampler", "did you mean");
    r.denoising_end = 0.9999;
    expect_refusal(refiner, &r, NULL, "refiner.denoising_start", "none of 6");
    r = a_request();
    must(unstir_model_open(&fashion, "models/fashion", NULL, &err), &err);
    expect_refusal(fashion, &r, NULL, "refiner", "works on pixels");
    unstir_model_close(fashion);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_states_of_others),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_finish_early),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
