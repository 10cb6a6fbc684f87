/* t_model_parts.c - parts of a model from elsewhere: the picture is that of
 * the same parts in one file.
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

#include "base/alloc.h"
#include "base/mapfile.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "golden.h"
#include "must.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir.h"

#define MAX_TENSORS 400
#define MERGES      "models/clip-bpe/merges.txt"

/* As the kind of a single file has it: 32 groups, 8 heads, the standard
 * vocabulary. */
static const struct text_folder whole_model = {
    .index = "{\"_class_name\":\"StableDiffusionPipeline\","
             "\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],"
             "\"vae\":[\"diffusers\",\"AutoencoderKL\"],"
             "\"text_encoder\":[\"transformers\",\"CLIPTextModel\"],"
             "\"tokenizer\":[\"transformers\",\"CLIPTokenizer\"]}",
    .scheduler = "{\"_class_name\":\"PNDMScheduler\",\"beta_start\":0.00085,"
                 "\"beta_end\":0.012,\"beta_schedule\":\"scaled_linear\","
                 "\"skip_prk_steps\":true}",
    .unet = "{\"_class_name\":\"UNet2DConditionModel\",\"sample_size\":8,"
            "\"block_out_channels\":[32,64],\"layers_per_block\":1,"
            "\"cross_attention_dim\":64,\"down_block_types\":"
            "[\"CrossAttnDownBlock2D\",\"DownBlock2D\"],\"up_block_types\":"
            "[\"UpBlock2D\",\"CrossAttnUpBlock2D\"]}",
    .vae = "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":[32,32],"
           "\"layers_per_block\":1,\"latent_channels\":4,\"down_block_types\":"
           "[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],"
           "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}",
    .text_encoder = "{\"hidden_size\":64,\"intermediate_size\":128,"
                    "\"num_attention_heads\":1,\"num_hidden_layers\":2,"
                    "\"vocab_size\":49408,\"hidden_act\":\"quick_gelu\"}",
    .seed = 3,
};

static char root[SCRATCH_PATH], folder[SCRATCH_PATH], whole[SCRATCH_PATH];
static char unet[SCRATCH_PATH], vae[SCRATCH_PATH], text[SCRATCH_PATH];
static char other_vae[SCRATCH_PATH], xl[SCRATCH_PATH];
static struct unstir_executor *exec;

/* A part of the folder as a file of its own: tensors without a prefix. */
static void write_part(const char *path, const char *name)
{
    char from[SCRATCH_PATH];
    struct unstir_error err;
    char *bytes;
    size_t n;

    scratch_path(from, folder, name);
    must(mapfile_read(&bytes, &n, from, 64 << 20, &err), &err);
    must(mapfile_write(path, bytes, n, &err), &err);
    alloc_free(bytes);
}

static void write_model(char path[SCRATCH_PATH], const char *name,
                        uint64_t seed)
{
    struct text_folder f = whole_model;

    f.seed = seed;
    scratch_mkdir(root, name);
    scratch_path(path, root, name);
    text_folder_write(path, &f);
}

static void convert(const char *in, const char *out)
{
    struct unstir_convert_options o = {
        .input = in, .output = out, .merges_path = MERGES};
    struct unstir_error err;
    char *json;

    must(unstir_convert(&o, &json, &err), &err);
    unstir_free(json);
}

/* The tensors of a file alone: what else a model is must be found out. */
static void drop_metadata(const char *path, const char *from)
{
    struct safetensors_entry entries[MAX_TENSORS];
    struct unstir_error err;
    struct weights *w;

    must(weights_open(&w, from, &err), &err);
    assert_true(weights_len(w) <= MAX_TENSORS);
    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *t = weights_at(w, i);

        assert_int_equal(t->dtype, DTYPE_F32);
        entries[i] = (struct safetensors_entry){.name = t->name,
                                                .dtype = DTYPE_F32,
                                                .rank = t->rank,
                                                .data = t->data};
        memcpy(entries[i].dims, t->dims, sizeof t->dims);
    }
    must(safetensors_write(path, entries, weights_len(w), NULL, 0, &err), &err);
    weights_close(w);
}

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 2};
    struct weights *golden =
        golden_open("tests/data/text_pipelines/sdxl.safetensors");
    struct text_folder f = text_folder_of(golden);
    char converted[SCRATCH_PATH];
    struct unstir_error err;

    must(unstir_executor_new(&exec, &o, &err), &err);
    scratch_make(root);
    scratch_path(whole, root, "whole.safetensors");
    scratch_path(unet, root, "unet.safetensors");
    scratch_path(vae, root, "vae.safetensors");
    scratch_path(text, root, "text.safetensors");
    write_model(other_vae, "other", 4);
    write_model(folder, "first", 3);
    scratch_path(converted, root, "converted.safetensors");
    convert(folder, converted);
    drop_metadata(whole, converted);
    scratch_path(folder, root, "again"); /* with the standard tokenizer */
    convert(whole, folder);
    write_part(unet, "unet/diffusion_pytorch_model.safetensors");
    write_part(vae, "vae/diffusion_pytorch_model.safetensors");
    write_part(text, "text_encoder/model.safetensors");
    scratch_mkdir(root, "xl");
    scratch_path(xl, root, "xl");
    text_folder_write(xl, &f);
    weights_close(golden);
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    scratch_remove(root);
    return 0;
}

static struct unstir_model *open_with(const char *path, const char *with_vae,
                                      const char *text_1, const char *text_2)
{
    struct unstir_model_options o = {.merges_path = MERGES,
                                     .vae = with_vae,
                                     .text_encoders = {text_1, text_2}};
    struct unstir_model *model;
    struct unstir_error err;

    must(unstir_model_open(&model, path, &o, &err), &err);
    return model;
}

/* Ends the model. */
static struct unstir_image paint(struct unstir_model *model)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *g;
    struct unstir_image image;
    struct unstir_error err;

    r.prompt = "a horse";
    r.seed = 5;
    r.guidance = 3;
    r.steps = 2;
    r.width = r.height = 16;
    must(unstir_generation_begin(&g, model, &r, &err), &err);
    while (!unstir_generation_is_done(g))
        must(unstir_generation_step(g, exec, &err), &err);
    must(unstir_generation_image(g, &image, &err), &err);
    unstir_generation_free(g);
    unstir_model_close(model);
    return image;
}

static bool is_same(struct unstir_image a, struct unstir_image b)
{
    assert_int_equal(a.width, b.width);
    assert_int_equal(a.channels, b.channels);
    return memcmp(a.pixels, b.pixels,
                  (size_t)a.width * a.height * a.channels) == 0;
}

static void check_same(struct unstir_model *got, struct unstir_model *want,
                       const char *what)
{
    struct unstir_image a = paint(got), b = paint(want);

    if (!is_same(a, b))
        fail_msg("%s: another picture", what);
    unstir_image_fini(&a);
    unstir_image_fini(&b);
}

static void refuse(const char *path, const char *with_vae, const char *text_1,
                   const char *text_2, const char *const *words)
{
    struct unstir_model_options o = {.merges_path = MERGES,
                                     .vae = with_vae,
                                     .text_encoders = {text_1, text_2}};
    struct unstir_error err = {0};
    struct unstir_model *model;

    assert_int_not_equal(unstir_model_open(&model, path, &o, &err), UNSTIR_OK);
    for (; *words; words++)
        if (!strstr(err.detail, *words))
            fail_msg("\"%s\" lacks \"%s\"", err.detail, *words);
}

static void test_unet_alone(void **state)
{
    static const char *const both[] = {"lacks its text encoder and its auto",
                                       "--vae", "--text-encoder",
                                       "text_encoders", NULL};
    static const char *const one[] = {"lacks its autoencoder", "--vae PATH,",
                                      NULL};

    refuse(unet, NULL, NULL, NULL, both);
    refuse(unet, NULL, text, NULL, one);
    check_same(open_with(unet, vae, text, NULL),
               open_with(whole, NULL, NULL, NULL), "three files");
    check_same(open_with(unet, whole, whole, NULL),
               open_with(whole, NULL, NULL, NULL), "out of a whole file");
    check_same(open_with(unet, folder, folder, NULL),
               open_with(whole, NULL, NULL, NULL), "out of a folder");
}

/* To look at it is no error: it says what is missing. */
static void test_inspected(void **state)
{
    struct unstir_model_options o = {.merges_path = MERGES};
    struct unstir_error err;
    char *json;

    must(unstir_inspect(unet, &o, false, &json, &err), &err);
    if (!strstr(json, "\"can_run\": false") || !strstr(json, "why_not") ||
        !strstr(json, "lacks its text encoder"))
        fail_msg("%s", json);
    unstir_free(json);
    o.vae = vae;
    o.text_encoders[0] = text;
    must(unstir_inspect(unet, &o, false, &json, &err), &err);
    if (!strstr(json, "\"can_run\": true") || strstr(json, "why_not"))
        fail_msg("%s", json);
    unstir_free(json);
}

static void test_replaced(void **state)
{
    struct unstir_model *own = open_with(whole, NULL, NULL, NULL);
    struct unstir_model *other = open_with(whole, other_vae, NULL, NULL);
    struct unstir_image a, b, c;

    assert_string_not_equal(unstir_model_info(own)->digest,
                            unstir_model_info(other)->digest);
    a = paint(own);
    b = paint(other);
    c = paint(open_with(folder, other_vae, NULL, NULL));
    assert_false(is_same(a, b));
    assert_true(is_same(b, c));
    unstir_image_fini(&a);
    unstir_image_fini(&b);
    unstir_image_fini(&c);
}

/* Beside the file, with paths from there. */
static void test_unstir_json(void **state)
{
    static const char json[] =
        "{\"id\":\"mine\",\"title\":\"My model\",\"vae\":\"vae.safetensors\","
        "\"text_encoders\":[\"text.safetensors\"],"
        "\"defaults\":{\"steps\":7,\"guidance_scale\":2}}";
    const struct unstir_model_info *info;
    struct unstir_model *model;

    scratch_write(root, "unet.unstir.json", json, sizeof json - 1);
    model = open_with(unet, NULL, NULL, NULL);
    info = unstir_model_info(model);
    assert_string_equal(info->id, "mine");
    assert_string_equal(info->title, "My model");
    assert_int_equal(info->default_steps, 7);
    assert_true(info->default_guidance == 2);
    assert_int_equal(info->n_notes, 0);
    check_same(model, open_with(whole, NULL, NULL, NULL), "by unstir.json");
}

static void test_bad_json(void **state)
{
    static const struct {
        const char *json;
        const char *words[3];
    } rows[] = {
        {"{\"vae\":7}", {"unstir.json", "vae", NULL}},
        {"{\"text_encoders\":\"x\"}", {"unstir.json", "list of 1 or 2", NULL}},
        {"{\"text_encoders\":[]}", {"unstir.json", "list of 1 or 2", NULL}},
        {"{\"vae\":\"none.safetensors\"}", {"none.safetensors", NULL}},
        {"{\"prediction_type\":\"x\"}", {"prediction type \"x\"", NULL}},
        {"{", {"unet.unstir.json", NULL}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        scratch_write(root, "unet.unstir.json", rows[i].json,
                      strlen(rows[i].json));
        refuse(unet, NULL, NULL, NULL, rows[i].words);
    }
}

/* Two encoders find their places whatever their order. */
static void test_places(void **state)
{
    static const char *const one[] = {"two text encoders are given", NULL};
    char first[SCRATCH_PATH], second[SCRATCH_PATH];

    scratch_path(first, xl, "text_encoder");
    scratch_path(second, xl, "text_encoder_2");
    check_same(open_with(xl, NULL, first, second),
               open_with(xl, NULL, NULL, NULL), "in order");
    check_same(open_with(xl, NULL, second, first),
               open_with(xl, NULL, NULL, NULL), "turned round");
    check_same(open_with(xl, NULL, second, NULL),
               open_with(xl, NULL, NULL, NULL), "the second alone");
    refuse(whole, NULL, text, text, one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unet_alone), cmocka_unit_test(test_inspected),
        cmocka_unit_test(test_replaced),   cmocka_unit_test(test_unstir_json),
        cmocka_unit_test(test_bad_json),   cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
