/* t_img2img.c - latent picture to picture and inpainting against the
 * reference's pipelines.
 *
 * Tiny models of SD 1.x, SD 2.x, SDXL and its refiner, LCM, with AutoencoderTiny,
 * and of networks that read the mask or the picture to be edited; pictures are
 * resized on both sides.  Tolerances are those of t_text_pipelines.c: latents after every evaluation within 1e-3 of the
 * largest value of the trajectory, 99 % of the picture's bytes within 1 level,
 * 3 at most.
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
#include "drawn_picture.h"
#include "format/json.h"
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "must.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir.h"

#define W 40
#define H 36

static uint8_t pixels[W * H * 3], mask_pixels[W * H];
static const struct unstir_image picture = {W, H, 3, pixels};
static const struct unstir_image mask = {W, H, 1, mask_pixels};

static float latent_values[4 * 8 * 8];
static const struct unstir_latents latents = {1, 4, 8, 8, latent_values};

/* Latents by the rule of make_img2img_pipelines.py, too. */
static int draw_pictures(void **state)
{
    drawn_picture(W, H, pixels, mask_pixels);
    for (int i = 0; i < 4 * 8 * 8; i++)
        latent_values[i] =
            (float)(1.5 * cos(37 * (i / 64) + 5 * (i / 8 % 8) + 1.7 * (i % 8)));
    return 0;
}

static void read_pair(const struct json *object, const char *key, uint32_t *a,
                      uint32_t *b)
{
    const struct json *pair = json_get(object, key);

    if (!pair)
        return;
    *a = (uint32_t)json_int(json_at(pair, 0));
    *b = (uint32_t)json_int(json_at(pair, 1));
}

static void read_micro(const struct json *o, struct unstir_micro *m)
{
    read_pair(o, "original", &m->original_width, &m->original_height);
    read_pair(o, "crop", &m->crop_left, &m->crop_top);
    read_pair(o, "target", &m->target_width, &m->target_height);
}

/* A part of the way, and what SDXL is told. */
static void read_told(const struct json *row, struct unstir_request *r)
{
    const struct {
        const char *key;
        double *place;
    } reals[] = {
        {"denoising_start", &r->denoising_start},
        {"denoising_end", &r->denoising_end},
        {"aesthetic_score", &r->aesthetic_score},
        {"negative_aesthetic_score", &r->negative_aesthetic_score},
    };

    for (size_t i = 0; i < ARRAY_LEN(reals); i++)
        if (json_get(row, reals[i].key))
            *reals[i].place = json_real(json_get(row, reals[i].key));
    read_micro(json_get(row, "micro"), &r->micro);
    read_micro(json_get(row, "negative_micro"), &r->negative_micro);
    if (json_get(row, "from_noise"))
        r->init_image = NULL;
    if (json_get(row, "latents")) {
        r->init_image = NULL;
        r->init_latents = &latents;
    }
}

static struct unstir_request request_of(const struct json *row, bool has_mask)
{
    const struct json *guidance = json_get(row, "guidance");
    const struct json *negative = json_get(row, "negative_prompt");
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.prompt = json_string(json_get(row, "prompt"));
    r.negative_prompt = negative ? json_string(negative) : NULL;
    r.steps = (uint32_t)json_int(json_get(row, "steps"));
    r.seed = (uint64_t)json_int(json_get(row, "seed"));
    if (json_get(row, "strength"))
        r.strength = json_real(json_get(row, "strength"));
    if (json_get(row, "image_guidance"))
        r.image_guidance = json_real(json_get(row, "image_guidance"));
    if (json_get(row, "rescale"))
        r.guidance_rescale = json_real(json_get(row, "rescale"));
    r.width = r.height = 32;
    r.init_image = &picture;
    r.mask = has_mask ? &mask : NULL;
    if (guidance)
        r.guidance = json_real(guidance);
    read_told(row, &r);
    return r;
}

/* The file has a row an evaluation; of PNDM the first step has two, of which
 * the second one counts. */
static void check_row(struct unstir_model *model, struct unstir_executor *x,
                      const struct weights *golden, const struct json *row,
                      size_t i, bool has_mask, const char *label)
{
    struct unstir_request r = request_of(row, has_mask);
    bool is_twice = json_get(row, "evaluations") != NULL;
    struct unstir_error err = {0};
    struct unstir_generation *g;
    double largest = 0, worst = 0;
    size_t n_all, n, n_image, extra;
    const float *want = golden_floats(golden, i, "steps", &n_all);
    const float *image = golden_floats(golden, i, "image", &n_image);

    for (size_t k = 0; k < n_all; k++)
        largest = fmax(largest, fabs((double)want[k]));
    must(unstir_generation_begin(&g, model, &r, &err), &err);
    (void)unstir_generation_sample(g, &n);
    uint32_t steps = unstir_generation_progress(g).steps;
    extra = n_all / n - steps;
    if (is_twice)
        assert_int_equal(n_all / n, 2 * steps - 1);
    else
        assert_true(extra <= 1);
    for (uint32_t step = 0; step < steps; step++) {
        must(unstir_generation_step(g, x, &err), &err);
        const float *got = unstir_generation_sample(g, &n);
        size_t at = !is_twice           ? step + extra
                    : step + 1 == steps ? 2 * step
                                        : 2 * step + 1;
        const float *to = want + at * n;
        for (size_t k = 0; k < n; k++)
            worst = fmax(worst, fabs((double)got[k] - (double)to[k]));
    }
    golden_check(label, worst / largest, 1e-3);
    golden_check_picture(label, g, image, n_image);
    unstir_generation_free(g);
}

/* Saved after its first step and restored, a run ends the same. */
static void check_state(struct unstir_model *model, struct unstir_executor *x,
                        const struct json *row, bool has_mask)
{
    struct unstir_request r = request_of(row, has_mask);
    struct unstir_generation *g[2];
    unsigned char *bytes, *png[2];
    struct unstir_error err = {0};
    size_t n, n_png[2];

    must(unstir_generation_begin(&g[0], model, &r, &err), &err);
    if (r.init_image) /* which is not encoded yet */
        assert_int_equal(unstir_generation_save(g[0], &bytes, &n, &err),
                         UNSTIR_ERR_UNSUPPORTED);
    must(unstir_generation_step(g[0], x, &err), &err);
    must(unstir_generation_save(g[0], &bytes, &n, &err), &err);
    must(unstir_generation_restore(&g[1], model, bytes, n, &err), &err);
    for (int i = 0; i < 2; i++) {
        while (!unstir_generation_is_done(g[i]))
            must(unstir_generation_step(g[i], x, &err), &err);
        must(unstir_generation_png(g[i], NULL, &png[i], &n_png[i], &err), &err);
        unstir_generation_free(g[i]);
    }
    assert_int_equal(n_png[0], n_png[1]);
    assert_memory_equal(png[0], png[1], n_png[0]);
    unstir_free(png[0]);
    unstir_free(png[1]);
    unstir_free(bytes);
}

/* A network that reads the mask cannot do without. */
static void check_needs(const struct unstir_model *model,
                        const struct json *row)
{
    struct unstir_request r = request_of(row, false);
    struct unstir_error err = {0};

    assert_int_equal(unstir_request_check(model, &r, NULL, NULL, NULL, &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "mask");
}

struct wrong {
    const char *field;
    bool lacks_picture, has_mask;
    double strength, image_guidance;
    const char *sampler;
};

/* A network that edits needs a picture, and takes no other part of it. */
static void check_edits(const struct unstir_model *model,
                        const struct json *row)
{
    static const struct wrong rows[] = {
        {"init_image", true, false, UNSTIR_UNSET_F, UNSTIR_UNSET_F, NULL},
        {"mask", false, true, UNSTIR_UNSET_F, UNSTIR_UNSET_F, NULL},
        {"strength", false, false, 0.5, UNSTIR_UNSET_F, NULL},
        {"image_guidance_scale", false, false, UNSTIR_UNSET_F, 0.9, NULL},
        {"image_guidance_scale", false, false, UNSTIR_UNSET_F, 101, NULL},
        {"sampler", false, false, UNSTIR_UNSET_F, UNSTIR_UNSET_F,
         "ddim_inverse"},
    };
    struct unstir_request r, resolved;
    struct unstir_error err = {0};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        r = request_of(row, rows[i].has_mask);
        r.strength = rows[i].strength;
        r.image_guidance = rows[i].image_guidance;
        r.sampler = rows[i].sampler;
        if (rows[i].lacks_picture)
            r.init_image = NULL;
        assert_int_equal(
            unstir_request_check(model, &r, NULL, NULL, NULL, &err),
            UNSTIR_ERR_ARG);
        assert_string_equal(err.field, rows[i].field);
    }
    r = request_of(row, false);
    r.strength = 1;
    must(unstir_request_check(model, &r, &resolved, NULL, NULL, &err), &err);
    assert_true(resolved.image_guidance == 1.5);
    assert_int_equal(unstir_request_steps(model, &resolved), r.steps);
    r.guidance = 1; /* without guidance, none of either kind */
    r.image_guidance = 3;
    must(unstir_request_check(model, &r, &resolved, NULL, NULL, &err), &err);
    assert_true(resolved.image_guidance == 1);
}

/* Other models take no such scale. */
static void check_takes_none(const struct unstir_model *model,
                             const struct json *row)
{
    struct unstir_request r = request_of(row, false);
    struct unstir_error err = {0};

    r.image_guidance = 1.5;
    assert_int_equal(unstir_request_check(model, &r, NULL, NULL, NULL, &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "image_guidance_scale");
}

/* Three evaluations a picture, in company: as alone. */
static void check_company(struct unstir_model *model, struct unstir_executor *x,
                          const struct json *rows, bool has_mask)
{
    struct unstir_generation *together[4], *alone;
    struct unstir_error err = {0};
    size_t n = json_len(rows), n_floats, m;

    for (size_t i = 0; i < n; i++) {
        struct unstir_request r = request_of(json_at(rows, i), has_mask);
        must(unstir_generation_begin(&together[i], model, &r, &err), &err);
    }
    for (int k = 0; k < 2; k++)
        must(unstir_step_many(together, n, x, &err), &err);
    for (size_t i = 0; i < n; i++) {
        struct unstir_request r = request_of(json_at(rows, i), has_mask);
        must(unstir_generation_begin(&alone, model, &r, &err), &err);
        for (int k = 0; k < 2; k++)
            must(unstir_generation_step(alone, x, &err), &err);
        const float *a = unstir_generation_sample(alone, &n_floats);
        const float *b = unstir_generation_sample(together[i], &m);
        assert_memory_equal(a, b, n_floats * sizeof *a);
        unstir_generation_free(alone);
        unstir_generation_free(together[i]);
    }
}

static void test_pipeline(void **state)
{
    const char *name = *state;
    bool has_mask = strncmp(name, "inpaint", 7) == 0;
    char folder[SCRATCH_PATH], path[128], label[64];

    snprintf(path, sizeof path, "tests/data/img2img_pipelines/%s.safetensors",
             name);
    struct weights *golden = golden_open(path);
    struct json *rows = json_text(weights_metadata(golden, "requests"));
    scratch_make(folder);
    struct text_folder f = text_folder_of(golden);
    text_folder_write(folder, &f);
    for (size_t k = 0; golden_rung(k); k++) {
        struct unstir_model_options options = {
            .isa = golden_rung(k), .precision = UNSTIR_PRECISION_F32};
        struct unstir_executor_options o = {.n_threads = 2};
        struct unstir_error err = {0};
        struct unstir_executor *x;
        struct unstir_model *model;

        must(unstir_executor_new(&x, &o, &err), &err);
        must(unstir_model_open(&model, folder, &options, &err), &err);
        for (size_t i = 0; i < json_len(rows); i++) {
            snprintf(label, sizeof label, "%s %zu %s", name, i, golden_rung(k));
            check_row(model, x, golden, json_at(rows, i), i, has_mask, label);
        }
        check_state(model, x, json_at(rows, 0), has_mask);
        if (strcmp(name, "inpaint9") == 0)
            check_needs(model, json_at(rows, 0));
        if (strcmp(name, "edit") == 0) {
            check_edits(model, json_at(rows, 0));
            check_company(model, x, rows, has_mask);
        }
        if (strcmp(name, "sd1") == 0)
            check_takes_none(model, json_at(rows, 0));
        unstir_executor_free(x);
        unstir_model_close(model);
    }
    scratch_remove(folder);
    json_free(rows);
    weights_close(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"sd1", test_pipeline, NULL, NULL, "sd1"},
        {"sd2", test_pipeline, NULL, NULL, "sd2"},
        {"sdxl", test_pipeline, NULL, NULL, "sdxl"},
        {"refiner", test_pipeline, NULL, NULL, "refiner"},
        {"refiner_narrow", test_pipeline, NULL, NULL, "refiner_narrow"},
        {"means", test_pipeline, NULL, NULL, "means"},
        {"tiny", test_pipeline, NULL, NULL, "tiny"},
        {"lcm", test_pipeline, NULL, NULL, "lcm"},
        {"inpaint4", test_pipeline, NULL, NULL, "inpaint4"},
        {"inpaint_means", test_pipeline, NULL, NULL, "inpaint_means"},
        {"inpaint_a", test_pipeline, NULL, NULL, "inpaint_a"},
        {"inpaint9", test_pipeline, NULL, NULL, "inpaint9"},
        {"handover_base", test_pipeline, NULL, NULL, "handover_base"},
        {"handover_refiner", test_pipeline, NULL, NULL, "handover_refiner"},
        {"handover_heun", test_pipeline, NULL, NULL, "handover_heun"},
        {"handover_pndm", test_pipeline, NULL, NULL, "handover_pndm"},
        {"inpaint_part", test_pipeline, NULL, NULL, "inpaint_part"},
        {"inpaint9_part", test_pipeline, NULL, NULL, "inpaint9_part"},
        {"edit", test_pipeline, NULL, NULL, "edit"},
        {"edit_xl", test_pipeline, NULL, NULL, "edit_xl"},
        {"edit_cosxl", test_pipeline, NULL, NULL, "edit_cosxl"},
    };

    return cmocka_run_group_tests(tests, draw_pictures, NULL);
}
