/* t_preview_decoders.c - previews of latents by matrix, tiny and full decoder.
 *
 * The decoders themselves are held to the reference by t_families.c; here it is
 * to be the right one, of the right numbers.
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
#include "format/weights.h"
#include "golden.h"
#include "model/network.h"
#include "must.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"
#include "pipeline/latent.h"
#include "pipeline/picture.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir.h"

/* Stable Diffusion with AutoencoderKL, and with AutoencoderTiny alone. */
static char sd[SCRATCH_PATH], tiny[SCRATCH_PATH], beside[SCRATCH_PATH];
static char tiny_vae[SCRATCH_PATH], kl_vae[SCRATCH_PATH];
static struct unstir_executor *exec;

static void write_model(char path[SCRATCH_PATH], const char *name)
{
    struct weights *golden = golden_open_named("img2img_pipelines", name);
    struct text_folder f = text_folder_of(golden);

    scratch_make(path);
    text_folder_write(path, &f);
    weights_close(golden);
}

static void copy_file(const char *to, const char *from, const char *name)
{
    char path[SCRATCH_PATH];
    static char bytes[1 << 20];
    FILE *f;
    size_t n;

    scratch_path(path, from, name);
    f = fopen(path, "rb");
    assert_non_null(f);
    n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    scratch_write(to, name, bytes, n);
}

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 1};
    struct unstir_error err;

    write_model(sd, "sd1");
    write_model(tiny, "tiny");
    write_model(beside, "sd1");
    scratch_path(tiny_vae, tiny, "vae");
    scratch_path(kl_vae, sd, "vae");
    scratch_mkdir(beside, "vae_tiny");
    char to[SCRATCH_PATH];
    scratch_path(to, beside, "vae_tiny");
    copy_file(to, tiny_vae, "config.json");
    copy_file(to, tiny_vae, "diffusion_pytorch_model.safetensors");
    must(unstir_executor_new(&exec, &o, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    scratch_remove(sd);
    scratch_remove(tiny);
    scratch_remove(beside);
    return 0;
}

static struct unstir_model *open_model(const char *path, const char *decoder)
{
    struct unstir_model_options o = {.precision = UNSTIR_PRECISION_F32,
                                     .tiny_decoder = decoder};
    struct unstir_error err = {0};
    struct unstir_model *m;

    must(unstir_model_open(&m, path, &o, &err), &err);
    return m;
}

static struct unstir_generation *begin(const struct unstir_model *model)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *g;
    struct unstir_error err;

    r.seed = 3;
    r.steps = 3;
    r.sampler = "ddim";
    if (unstir_model_info(model)->takes_text) {
        r.prompt = "a red cat";
        r.width = r.height = 32;
    }
    must(unstir_generation_begin(&g, model, &r, &err), &err);
    return g;
}

static void check_view(const struct unstir_generation *g, enum unstir_view view,
                       enum unstir_preview_decoder decoder,
                       const struct unstir_image *wanted, const char *what)
{
    struct unstir_executor *const executors[] = {exec, NULL};
    struct unstir_error err = {0};
    struct unstir_image got;

    for (size_t i = 0; i < ARRAY_LEN(executors); i++) {
        must(unstir_generation_preview_by(g, view, decoder, executors[i], &got,
                                          &err),
             &err);
        assert_int_equal(got.width, wanted->width);
        assert_int_equal(got.channels, wanted->channels);
        size_t n = (size_t)got.width * got.height * got.channels;
        if (memcmp(got.pixels, wanted->pixels, n) != 0)
            fail_msg("%s: another picture than wanted", what);
        unstir_image_fini(&got);
    }
}

/* What the decoder of `other` makes of the estimate, or of the sample in its
 * own range. */
static struct unstir_image decoded(const struct unstir_generation *g,
                                   enum unstir_view view,
                                   const struct unstir_model *other)
{
    bool is_estimate = view == UNSTIR_VIEW_ESTIMATE;
    const float *from = is_estimate ? g->now.estimate : g->now.sample;
    float scale = is_estimate ? 1 : sampler_view_scale(&g->run, g->step);
    size_t n = g->run.n, n_picture = latent_picture_floats(other, 32, 32);
    float *x = calloc(n, sizeof *x), *planes = calloc(n_picture, sizeof *x);
    struct unstir_error err = {0};
    struct unstir_image image;

    for (size_t i = 0; i < n; i++)
        x[i] = from[i] * scale;
    must(latent_decode(other, exec->inner, x, 32, 32, planes, NULL, &err),
         &err);
    must(picture_from_planes(&image, planes, 32, 32, 3, &err), &err);
    free(x);
    free(planes);
    return image;
}

static void check_all(const char *path, const char *decoder)
{
    struct unstir_model *model = open_model(path, decoder);
    struct unstir_model *small = open_model(tiny, NULL);
    struct unstir_generation *g = begin(model);
    struct unstir_error err = {0};
    struct unstir_image image;

    assert_true(unstir_model_info(model)->has_tiny_decoder);
    for (int step = 0; step <= 3; step++) {
        for (int view = 0; view < 2; view++) {
            enum unstir_view v = (enum unstir_view)view;
            image = decoded(g, v, small);
            check_view(g, v, UNSTIR_PREVIEW_TINY, &image, "tiny");
            unstir_image_fini(&image);
            image = decoded(g, v, model);
            check_view(g, v, UNSTIR_PREVIEW_FULL, &image, "full");
            unstir_image_fini(&image);
            must(unstir_generation_preview(g, v, &image, &err), &err);
            check_view(g, v, UNSTIR_PREVIEW_MATRIX, &image, "matrix");
            unstir_image_fini(&image);
        }
        if (step < 3)
            must(unstir_generation_step(g, exec, &err), &err);
    }
    must(unstir_generation_image(g, &image, &err), &err);
    check_view(g, UNSTIR_VIEW_SAMPLE, UNSTIR_PREVIEW_FULL, &image, "result");
    unstir_image_fini(&image);
    unstir_generation_free(g);
    unstir_model_close(model);
    unstir_model_close(small);
}

static void test_told_and_beside(void **state)
{
    check_all(sd, tiny_vae);
    check_all(beside, NULL);
    check_all(tiny, NULL); /* its own one is tiny */
}

/* Whatever is asked for of a pixel model is the picture. */
static void test_pixels(void **state)
{
    struct unstir_model *model =
        open_model("tests/data/models/tiny", "no such folder");
    struct unstir_generation *g = begin(model);
    struct unstir_error err = {0};
    struct unstir_image image;

    must(unstir_generation_step(g, exec, &err), &err);
    must(unstir_generation_preview(g, UNSTIR_VIEW_ESTIMATE, &image, &err),
         &err);
    for (int k = 0; k < UNSTIR_N_PREVIEW_DECODERS; k++)
        check_view(g, UNSTIR_VIEW_ESTIMATE, (enum unstir_preview_decoder)k,
                   &image, "pixels");
    unstir_image_fini(&image);
    unstir_generation_free(g);
    unstir_model_close(model);
}

static void refuse(const char *folder, enum unstir_status status,
                   const char *words)
{
    struct unstir_model_options o = {.tiny_decoder = folder};
    struct unstir_error err = {0};
    struct unstir_model *m;

    assert_int_equal(unstir_model_open(&m, sd, &o, &err), status);
    if (!strstr(err.detail, words))
        fail_msg("\"%s\" does not say \"%s\"", err.detail, words);
}

static void test_refusals(void **state)
{
    struct unstir_model *model = open_model(sd, NULL);
    struct unstir_generation *g = begin(model);
    struct unstir_error err = {0};
    struct unstir_image image;

    assert_false(unstir_model_info(model)->has_tiny_decoder);
    assert_int_equal(unstir_generation_preview_by(g, UNSTIR_VIEW_ESTIMATE,
                                                  UNSTIR_PREVIEW_TINY, exec,
                                                  &image, &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "preview.decoder");
    assert_null(image.pixels);
    assert_int_equal(unstir_generation_preview_by(
                         g, UNSTIR_VIEW_ESTIMATE,
                         (enum unstir_preview_decoder)7, exec, &image, &err),
                     UNSTIR_ERR_ARG);
    unstir_generation_cancel(g);
    assert_int_equal(unstir_generation_preview_by(g, UNSTIR_VIEW_ESTIMATE,
                                                  UNSTIR_PREVIEW_FULL, exec,
                                                  &image, &err),
                     UNSTIR_ERR_CANCELLED);
    unstir_generation_free(g);
    unstir_model_close(model);
    refuse("no such folder", UNSTIR_ERR_IO, "the tiny decoder: ");
    refuse(kl_vae, UNSTIR_ERR_UNSUPPORTED, "not \"AutoencoderTiny\"");
    refuse("tests/data/vae_tiny", UNSTIR_ERR_UNSUPPORTED, "2 times as large");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_and_beside),
        cmocka_unit_test(test_pixels),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
