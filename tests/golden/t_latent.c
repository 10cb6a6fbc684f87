/* t_latent.c - whole pictures of latent pipelines against the reference's.
 *
 * LDM (an unconditional UNet2DModel, VQModel) and DiT (class and guidance,
 * AutoencoderKL), with weights drawn by rule.  Tolerance: >= 99 % of the bytes
 * within 1 level, 3 at most (REFERENCE 7.2).
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
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "must.h"
#include "pipeline/checkpoint.h"
#include "unstir.h"

/* A model of drawn weights and the picture that it should paint. */
struct latent_case {
    struct weights *golden;
    struct json *net, *vae, *scheduler;
    struct unstir_model *model;
    struct golden_tensor want;
};

static long number(const struct latent_case *c, const char *key)
{
    return strtol(weights_metadata(c->golden, key), NULL, 10);
}

static struct latent_case case_open_in(const char *name, const char *isa,
                                       enum unstir_precision precision)
{
    bool is_dit = strcmp(name, "dit") == 0;
    struct unstir_model_options options = {.isa = isa, .precision = precision};
    struct unstir_error err = {0};
    struct latent_case c;
    char path[128];

    snprintf(path, sizeof path, "tests/data/latent/%s.safetensors", name);
    c.golden = golden_open(path);
    c.net = json_text(weights_metadata(c.golden, "net"));
    c.vae = json_text(weights_metadata(c.golden, "vae"));
    c.scheduler = json_text(weights_metadata(c.golden, "scheduler"));
    struct checkpoint_parts parts = {
        .name = name,
        .digest = "d",
        .pipeline = is_dit ? "DiTPipeline" : "LDMPipeline",
        .unet_config = c.net,
        .vae_config = c.vae,
        .scheduler_config = c.scheduler,
        .seed = (uint64_t)number(&c, "weight_seed"),
    };
    if (checkpoint_new(&c.model, &parts, &options, &err))
        fail_msg("%s: %s", name, err.detail);
    c.want = golden_get(c.golden, "image");
    return c;
}

static struct latent_case case_open(const char *name, const char *isa)
{
    return case_open_in(name, isa, UNSTIR_PRECISION_AUTO);
}

static void case_close(struct latent_case *c)
{
    golden_tensor_fini(&c->want);
    checkpoint_free(c->model);
    json_free(c->net);
    json_free(c->vae);
    json_free(c->scheduler);
    weights_close(c->golden);
}

static struct unstir_request request_of(const struct latent_case *c)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.seed = (uint64_t)number(c, "seed");
    r.steps = (uint32_t)number(c, "steps");
    r.guidance = (double)number(c, "guidance");
    r.eta = 0;
    r.sampler = "ddim";
    if (number(c, "class") >= 0)
        r.class_id = number(c, "class");
    return r;
}

static struct unstir_executor *new_executor(unsigned n_threads)
{
    struct unstir_executor_options options = {.n_threads = n_threads};
    struct unstir_executor *x;

    assert_int_equal(unstir_executor_new(&x, &options, NULL), UNSTIR_OK);
    return x;
}

/* Operands of bf16 leave 40 dB of a picture, or more. */
static void check_bf16(const struct unstir_image *image,
                       const struct golden_tensor *want, const char *what)
{
    float *got = malloc(want->n_floats * sizeof *got);
    double db;

    for (size_t i = 0; i < want->n_floats; i++)
        got[i] = image->pixels[i];
    db = golden_psnr(got, want->data, want->n_floats);
    free(got);
    printf("    %s: %.1f dB\n", what, db);
    if (!(db >= 40))
        fail_msg("%s: %.1f dB, wanted 40", what, db);
}

static void check_picture(const struct latent_case *c,
                          const struct unstir_image *image, const char *what)
{
    const struct golden_tensor *want = &c->want;
    struct golden_bytes bytes = {0};

    assert_int_equal(image->width, want->w);
    assert_int_equal(image->height, want->h);
    assert_int_equal(image->channels, want->c);
    if (strcmp(unstir_model_info(c->model)->precision, "bf16") == 0) {
        check_bf16(image, want, what);
        return;
    }
    for (size_t i = 0; i < want->n_floats; i++)
        golden_count_byte(&bytes, image->pixels[i], (int)lrintf(want->data[i]));
    golden_check_bytes(what, &bytes);
}

static void test_pictures(void **state)
{
    const char *name = *state;

    for (size_t i = 0; golden_rung(i); i++) {
        struct latent_case c = case_open(name, golden_rung(i));
        struct unstir_request r = request_of(&c);
        struct unstir_executor *x = new_executor(2);
        struct unstir_error err = {0};
        struct unstir_generation *g;
        struct unstir_image image;
        char what[64];

        must(unstir_generation_begin(&g, c.model, &r, &err), &err);
        while (!unstir_generation_is_done(g))
            must(unstir_generation_step(g, x, &err), &err);
        must(unstir_generation_image(g, &image, &err), &err);
        snprintf(what, sizeof what, "%s %s", name, golden_rung(i));
        check_picture(&c, &image, what);
        unstir_image_fini(&image);
        unstir_generation_free(g);
        unstir_executor_free(x);
        case_close(&c);
    }
}

/* Previews have the picture's size; finishing early decodes the estimate; a
 * saved state goes on to the same picture. */
static void test_previews_and_states(void **state)
{
    struct latent_case c = case_open(*state, NULL);
    struct unstir_request r = request_of(&c);
    struct unstir_executor *x = new_executor(1);
    struct unstir_error err = {0};
    struct unstir_generation *g, *again;
    struct unstir_image image, other;
    unsigned char *bytes;
    size_t n_bytes;

    must(unstir_generation_begin(&g, c.model, &r, &err), &err);
    must(unstir_generation_step(g, x, &err), &err);
    must(unstir_generation_preview(g, UNSTIR_VIEW_ESTIMATE, &image, &err),
         &err);
    assert_int_equal(image.width, c.want.w);
    assert_int_equal(image.channels, c.want.c);
    unstir_image_fini(&image);
    must(unstir_generation_save(g, &bytes, &n_bytes, &err), &err);
    must(unstir_generation_restore(&again, c.model, bytes, n_bytes, &err),
         &err);
    unstir_free(bytes);
    while (!unstir_generation_is_done(again))
        must(unstir_generation_step(again, x, &err), &err);
    must(unstir_generation_image(again, &image, &err), &err);
    check_picture(&c, &image, "restored");
    must(unstir_generation_save(again, &bytes, &n_bytes, &err), &err);
    unstir_generation_free(again);
    must(unstir_generation_restore(&again, c.model, bytes, n_bytes, &err),
         &err);
    must(unstir_generation_image(again, &other, &err), &err);
    assert_memory_equal(image.pixels, other.pixels, c.want.n_floats);
    unstir_image_fini(&image);
    unstir_image_fini(&other);
    must(unstir_generation_finish_early(g, &err), &err);
    must(unstir_generation_image(g, &image, &err), &err);
    assert_int_equal(image.height, c.want.h);
    unstir_image_fini(&image);
    unstir_free(bytes);
    unstir_generation_free(again);
    unstir_generation_free(g);
    unstir_executor_free(x);
    case_close(&c);
}

/* Not said, eta is what the reference's pipeline passes on: 0 in LDMPipeline,
 * nothing in DiTPipeline, where TCD's own 0.3 counts. */
static void test_eta(void **state)
{
    static const struct {
        const char *name;
        double eta;
    } rows[] = {{"ldm", 0}, {"dit", 0.3}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct latent_case c = case_open(rows[i].name, NULL);
        struct unstir_request r = request_of(&c), full;
        struct unstir_error err = {0};

        r.sampler = "tcd";
        r.eta = UNSTIR_UNSET_F;
        must(unstir_request_check(c.model, &r, &full, NULL, NULL, &err), &err);
        if (full.eta != rows[i].eta)
            fail_msg("%s: eta of tcd is %g, wanted %g", rows[i].name, full.eta,
                     rows[i].eta);
        case_close(&c);
    }
}

static void test_facts(void **state)
{
    struct latent_case c = case_open("dit", NULL);
    const struct unstir_model_info *info = unstir_model_info(c.model);

    (void)state;
    assert_int_equal(info->channels, 3);
    assert_int_equal(info->default_width, 32);
    assert_int_equal(info->size_multiple, 8);
    assert_int_equal(info->n_classes, 10);
    assert_int_equal(info->null_class, 10);
    case_close(&c);
}

/* A transformer's samples with 8-bit linear layers against those with f32: at
 * least 30 dB, the peak being the range of the f32 sample. */
static void test_int8_samples(void **state)
{
    static const enum unstir_precision precisions[] = {UNSTIR_PRECISION_F32,
                                                       UNSTIR_PRECISION_INT8};
    struct unstir_executor *x = new_executor(1);
    struct unstir_generation *g[2];
    struct latent_case c[2];
    const float *sample[2];
    size_t n;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct unstir_error err = {0};
        struct unstir_request r;

        c[i] = case_open_in("dit", NULL, precisions[i]);
        r = request_of(&c[i]);
        must(unstir_generation_begin(&g[i], c[i].model, &r, &err), &err);
        while (!unstir_generation_is_done(g[i]))
            must(unstir_generation_step(g[i], x, &err), &err);
        sample[i] = unstir_generation_sample(g[i], &n);
    }
    assert_string_equal(unstir_model_info(c[1].model)->precision, "int8");
    assert_memory_not_equal(sample[0], sample[1], n * sizeof(float));
    printf("    %.1f dB\n", golden_psnr(sample[1], sample[0], n));
    assert_true(golden_psnr(sample[1], sample[0], n) >= 30);
    for (size_t i = 0; i < 2; i++) {
        unstir_generation_free(g[i]);
        case_close(&c[i]);
    }
    unstir_executor_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"ldm", test_pictures, NULL, NULL, (void *)"ldm"},
        {"dit", test_pictures, NULL, NULL, (void *)"dit"},
        {"ldm states", test_previews_and_states, NULL, NULL, (void *)"ldm"},
        {"dit states", test_previews_and_states, NULL, NULL, (void *)"dit"},
        cmocka_unit_test(test_eta),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_int8_samples),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
