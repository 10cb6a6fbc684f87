/* t_lora.c - LoRA files: where their layers belong, and what they do.
 *
 * tests/data/lora_names.json holds layers of SD 1.x and SDXL by kohya's names
 * and where the reference's own conversion puts them.
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
#include "format/json.h"
#include "format/lora.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "json_file.h"
#include "model/lora_derive.h"
#include "scratch.h"

#define MAX_ENTRIES 4000

struct file {
    struct safetensors_entry entries[MAX_ENTRIES];
    char names[MAX_ENTRIES][200];
    size_t n;
    struct safetensors_meta meta[2];
    size_t n_meta;
    unsigned char *bytes;
};

static const float ones[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

static void put(struct file *f, const char *name, const char *suffix,
                uint32_t rank, uint64_t a, uint64_t b, const float *data)
{
    assert_true(f->n < MAX_ENTRIES);
    snprintf(f->names[f->n], sizeof f->names[0], "%s%s", name, suffix);
    f->entries[f->n] = (struct safetensors_entry){.name = f->names[f->n],
                                                  .dtype = DTYPE_F32,
                                                  .rank = rank,
                                                  .dims = {a, b, 1, 1},
                                                  .data = data};
    f->n++;
}

static struct weights *weights_of(struct file *f)
{
    struct unstir_error err = {0};
    struct weights *w;
    size_t n;

    alloc_free(f->bytes);
    if (safetensors_build(&f->bytes, &n, f->entries, f->n, f->meta, f->n_meta,
                          &err) ||
        safetensors_parse(&w, f->bytes, n, "file", &err))
        fail_msg("%s", err.detail);
    return w;
}

static struct file *file_new(void)
{
    void *f;

    assert_int_equal(alloc_zero(&f, 1, sizeof(struct file), NULL), UNSTIR_OK);
    return f;
}

static void file_free(struct file *f)
{
    alloc_free(f->bytes);
    alloc_free(f);
}

static struct lora open_lora(struct file *f)
{
    struct unstir_error err = {0};
    struct lora lora;

    if (lora_from_weights(&lora, weights_of(f), &err))
        fail_msg("%s", err.detail);
    return lora;
}

static enum single_file_part_id part_of(const char *name)
{
    if (strcmp(name, "unet") == 0)
        return SINGLE_FILE_UNET;
    return strcmp(name, "text_encoder") == 0 ? SINGLE_FILE_TEXT
                                             : SINGLE_FILE_TEXT_2;
}

/* One kind's names do not meet another's: each layer in a file of its own. */
static void check_kohya(const struct json *row)
{
    const char *kohya = json_string(json_at(row, 0));
    const char *layer = json_string(json_at(row, 2));
    enum single_file_part_id part = part_of(json_string(json_at(row, 1)));
    struct file *f = file_new();
    struct lora lora;
    char weight[300];

    put(f, kohya, ".lora_down.weight", 2, 1, 1, ones);
    put(f, kohya, ".lora_up.weight", 2, 1, 1, ones);
    put(f, kohya, ".alpha", 0, 0, 0, ones);
    lora = open_lora(f);
    snprintf(weight, sizeof weight, "%s.weight", layer);
    if (!lora_find(&lora, part, weight))
        fail_msg("%s: not found as %s, it is %s", kohya, layer,
                 lora.layers[0].name);
    snprintf(weight, sizeof weight, "%sx.weight", layer);
    assert_null(lora_find(&lora, part, weight));
    lora_close(&lora);
    file_free(f);
}

static void test_kohya_names(void **state)
{
    struct json *data = json_file_open("tests/data/lora_names.json");
    const struct json *layers = json_get(data, "layers");

    assert_true(json_len(layers) > 150);
    for (size_t i = 0; i < json_len(layers); i++)
        check_kohya(json_at(layers, i));
    json_free(data);
}

static void test_other_names(void **state)
{
    static const struct {
        const char *name, *down, *up;
        enum single_file_part_id part;
        const char *weight;
    } rows[] = {
        {"unet.mid_block.attentions.0.proj_in", ".lora_A.weight",
         ".lora_B.weight", SINGLE_FILE_UNET,
         "mid_block.attentions.0.proj_in.weight"},
        {"base_model.model.conv_in", ".lora_A.weight", ".lora_B.weight",
         SINGLE_FILE_UNET, "conv_in.weight"},
        {"base_model.model.text_model.encoder.layers.0.mlp.fc1",
         ".lora_A.weight", ".lora_B.weight", SINGLE_FILE_TEXT,
         "encoder.layers.0.mlp.fc1.weight"},
        {"base_model.model.encoder.layers.0.mlp.fc1", ".lora_A.weight",
         ".lora_B.weight", SINGLE_FILE_TEXT,
         "text_model.encoder.layers.0.mlp.fc1.weight"},
        {"up_blocks.1.attn1.processor.to_q", "_lora.down.weight",
         "_lora.up.weight", SINGLE_FILE_UNET, "up_blocks.1.attn1.to_q.weight"},
        {"unet.conv_in", ".lora_A.default.weight", ".lora_B.default.weight",
         SINGLE_FILE_UNET, "conv_in.weight"},
        {"unet.conv_in", ".lora.down.weight", ".lora.up.weight",
         SINGLE_FILE_UNET, "conv_in.weight"},
        {"unet.x.attn1.processor.to_q", "_lora.down.weight", "_lora.up.weight",
         SINGLE_FILE_UNET, "x.attn1.to_q.weight"},
        {"unet.x.attn1.processor.to_out", "_lora.down.weight",
         "_lora.up.weight", SINGLE_FILE_UNET, "x.attn1.to_out.0.weight"},
        {"text_encoder.text_model.encoder.layers.0.mlp.fc1",
         ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight",
         SINGLE_FILE_TEXT, "encoder.layers.0.mlp.fc1.weight"},
        {"text_encoder.text_model.encoder.layers.0.self_attn.to_out",
         "_lora.down.weight", "_lora.up.weight", SINGLE_FILE_TEXT,
         "encoder.layers.0.self_attn.out_proj.weight"},
        {"text_encoder_2.text_model.encoder.layers.0.mlp.fc1", ".lora_A.weight",
         ".lora_B.weight", SINGLE_FILE_TEXT_2,
         "text_model.encoder.layers.0.mlp.fc1.weight"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct file *f = file_new();
        struct lora lora;

        put(f, rows[i].name, rows[i].down, 2, 2, 1, ones);
        put(f, rows[i].name, rows[i].up, 2, 1, 2, ones);
        lora = open_lora(f);
        assert_int_equal(lora.n, 1);
        if (!lora_find(&lora, rows[i].part, rows[i].weight))
            fail_msg("%s: not found as %s, it is %s", rows[i].name,
                     rows[i].weight, lora.layers[0].name);
        assert_true(lora.layers[0].factor == 1);
        lora_close(&lora);
        file_free(f);
    }
}

/* The layers conv_in, of rank 2, and mid.to_q, of rank 4, in a file with such
 * metadata. */
static void put_alpha_file(struct file *f, const char *key, const char *value)
{
    put(f, "unet.conv_in", ".lora_A.weight", 2, 2, 3, ones);
    put(f, "unet.conv_in", ".lora_B.weight", 2, 4, 2, ones);
    put(f, "unet.mid.to_q", ".lora_A.weight", 2, 4, 3, ones);
    put(f, "unet.mid.to_q", ".lora_B.weight", 2, 4, 4, ones);
    f->meta[0] = (struct safetensors_meta){key, value};
    f->n_meta = key ? 1 : 0;
}

static void check_factors(size_t row, const struct lora *lora, float want,
                          float want_mid)
{
    if (lora->layers[0].factor != want || lora->layers[1].factor != want_mid)
        fail_msg("row %zu: alpha / rank is %g, %g, wanted %g, %g", row,
                 (double)lora->layers[0].factor, (double)lora->layers[1].factor,
                 (double)want, (double)want_mid);
}

/* alpha / rank of conv_in and mid.to_q from a tensor of the former, from
 * metadata, or 1. */
static void test_alpha(void **state)
{
#define ADAPTER "lora_adapter_metadata"
    static const float four = 4;
    static const struct {
        bool has_tensor;
        const char *key, *value;
        float want, want_mid;
    } rows[] = {
        {false, NULL, NULL, 1, 1},
        {true, NULL, NULL, 2, 1},
        {true, "ss_network_alpha", "1", 2, 0.25F},
        {false, "ss_network_alpha", "16.0", 8, 4},
        {false, "ss_network_alpha", "None", 1, 1},
        {false, ADAPTER, "{\"unet.lora_alpha\": 1}", 0.5F, 0.25F},
        {false, ADAPTER, "{\"text_encoder.lora_alpha\": 1}", 1, 1},
        {false, ADAPTER, "{\"lora_alpha\": 3.0}", 1.5F, 0.75F},
        {true, ADAPTER, "{\"lora_alpha\": 3.0}", 2, 0.75F},
        {false, ADAPTER, "{\"unet.lora_alpha\":8,\"unet.use_rslora\":true}",
         5.656854249F, 4},
        {false, ADAPTER,
         "{\"unet.lora_alpha\":1,\"unet.alpha_pattern\":{\"to_q\":8}}", 0.5F,
         2},
        {false, ADAPTER, "{\"unet.alpha_pattern\":{\"to_q\":8,\"mid.to_q\":9}}",
         1, 2},
        {false, ADAPTER, "{\"unet.alpha_pattern\":{\"o_q\":8,\"^to_q\":9}}", 1,
         1},
        {false, ADAPTER, "{\"unet.alpha_pattern\":{\"^mid.to_q\":6}}", 1, 1.5F},
        {false, ADAPTER, "{\"unet.use_dora\":false,\"unet.r\":2}", 1, 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct file *f = file_new();
        struct lora lora;

        put_alpha_file(f, rows[i].key, rows[i].value);
        if (rows[i].has_tensor)
            put(f, "unet.conv_in", ".alpha", 0, 0, 0, &four);
        lora = open_lora(f);
        assert_int_equal(lora.n, 2);
        check_factors(i, &lora, rows[i].want, rows[i].want_mid);
        lora_close(&lora);
        file_free(f);
    }
}

static void test_bad_metadata(void **state)
{
    static const struct {
        const char *value, *told;
    } rows[] = {
        {"{", ADAPTER},
        {"{\"unet.lora_alpha\":\"8\"}", "lora_alpha must be a number"},
        {"{\"unet.use_dora\":true}", "DoRA is not supported"},
        {"{\"unet.use_rslora\":1}", "use_rslora must be true or false"},
        {"{\"unet.alpha_pattern\":[1]}", "must be an object"},
        {"{\"unet.alpha_pattern\":{\"x\":\"y\"}}", "must be a number"},
        {"{\"unet.alpha_pattern\":{\".*to_q\":1}}", "regular expression"},
        {"{\"unet.lora_alpha\":1e300}", "alpha is 1e+300"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct file *f = file_new();
        struct unstir_error err = {0};
        struct lora lora;

        put_alpha_file(f, ADAPTER, rows[i].value);
        assert_int_not_equal(lora_from_weights(&lora, weights_of(f), &err),
                             UNSTIR_OK);
        if (!strstr(err.detail, rows[i].told))
            fail_msg("row %zu: told \"%s\", wanted \"%s\"", i, err.detail,
                     rows[i].told);
        file_free(f);
    }
}

/* PEFT's folder: its numbers stand in a file beside the tensors, and count in
 * the digest. */
static void test_adapter(void **state)
{
    static const struct {
        const char *config;
        const char *told; /* NULL: it opens                                 */
        float want, want_mid;
    } rows[] = {
        {NULL, NULL, 1, 1},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":3}", NULL, 1.5F,
         0.75F},
        {"{\"lora_alpha\":8,\"use_rslora\":true}", NULL, 5.656854249F, 4},
        {"{\"lora_alpha\":1,\"alpha_pattern\":{\"mid.to_q\":6},"
         "\"rank_pattern\":{\"mid.to_q\":4}}",
         NULL, 0.5F, 1.5F},
        {"{\"init_lora_weights\":false,\"use_dora\":false}", NULL, 1, 1},
        {"{\"init_lora_weights\":\"gaussian\"}", NULL, 1, 1},
        {"{\"peft_type\":\"IA3\"}", "peft_type \"IA3\" is not", 0, 0},
        {"{\"init_lora_weights\":\"pissa_niter_4\"}", "own weights too", 0, 0},
        {"{\"use_dora\":true}", "adapter_config.json: use_dora", 0, 0},
        {"[]", "adapter_config.json: must be a JSON object", 0, 0},
        {"{", "adapter_config.json: ", 0, 0},
    };
    char folder[SCRATCH_PATH], first[65] = "", digest[65];
    struct file *f = file_new();
    size_t n;

    put_alpha_file(f, NULL, NULL);
    assert_int_equal(
        safetensors_build(&f->bytes, &n, f->entries, f->n, NULL, 0, NULL),
        UNSTIR_OK);
    scratch_make(folder);
    scratch_write(folder, "adapter_model.safetensors", f->bytes, n);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        enum unstir_status status;
        struct lora lora;

        if (rows[i].config)
            scratch_write(folder, "adapter_config.json", rows[i].config,
                          strlen(rows[i].config));
        status = lora_open(&lora, folder, "style", 0, &err);
        if ((status == UNSTIR_OK) != !rows[i].told ||
            (rows[i].told && (!strstr(err.detail, rows[i].told) ||
                              !strstr(err.detail, "style"))))
            fail_msg("row %zu: told \"%s\", wanted \"%s\"", i, err.detail,
                     rows[i].told ? rows[i].told : "nothing");
        if (rows[i].told)
            continue;
        check_factors(i, &lora, rows[i].want, rows[i].want_mid);
        assert_int_equal(lora_digest(digest, &lora, NULL), UNSTIR_OK);
        if (i == 0)
            memcpy(first, digest, sizeof first);
        else
            assert_string_not_equal(digest, first);
        lora_close(&lora);
    }
    scratch_remove(folder);
    file_free(f);
}

static void test_no_adapter(void **state)
{
    struct unstir_error err = {0};
    char folder[SCRATCH_PATH];
    struct lora lora;

    scratch_make(folder);
    assert_int_equal(lora_open(&lora, folder, "style", 0, &err), UNSTIR_ERR_IO);
    if (!strstr(err.detail, "neither adapter_model.safetensors nor"))
        fail_msg("told \"%s\"", err.detail);
    scratch_remove(folder);
}

/* -- what it does ------------------------------------------------------ */

static const float base_data[6] = {1, 2, 3, 4, 5, 6};
static const float down[6] = {1, 0, 2, 0, 1, 1}; /* [2][3] */
static const float up[4] = {1, 2, 3, 4};         /* [2][2] */
static const float product[6] = {1, 2, 4, 3, 4, 10};

static struct weights *base_weights(struct file *f)
{
    put(f, "a.weight", "", 2, 2, 3, base_data);
    put(f, "b.weight", "", 2, 2, 3, base_data);
    f->entries[f->n - 1].dtype = DTYPE_F16;
    put(f, "a.bias", "", 1, 2, 0, base_data);
    return weights_of(f);
}

static void check_values(const struct weights *w, const char *name,
                         double scale)
{
    const struct tensor_view *t = weights_find(w, name);
    float got[6];

    assert_non_null(t);
    dtype_load(got, t->data, t->dtype, 6);
    for (size_t i = 0; i < 6; i++)
        if (got[i] != (float)(base_data[i] + scale * product[i]))
            fail_msg("%s[%zu]: %g, wanted %g", name, i, (double)got[i],
                     base_data[i] + scale * product[i]);
}

static void test_derive(void **state)
{
    struct file *f = file_new(), *g = file_new();
    struct weights *base = base_weights(f), *out;
    struct unstir_error err = {0};
    struct lora lora;
    size_t n;

    put(g, "unet.b", ".lora_A.weight", 2, 2, 3, down);
    put(g, "unet.b", ".lora_B.weight", 2, 2, 2, up);
    lora = open_lora(g);
    const struct lora_use uses[] = {{.lora = &lora, .scale = 0.5},
                                    {.lora = &lora, .scale = -0.25}};
    struct lora_task task = {
        .part = SINGLE_FILE_UNET, .uses = uses, .n_uses = 2};

    if (lora_derive(&out, base, &task, &n, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(n, 1);
    check_values(out, "b.weight", 0.25);
    check_values(out, "a.weight", 0);
    check_values(base, "b.weight", 0); /* and so it is taken away exactly */
    assert_ptr_equal(weights_find(out, "a.weight")->data,
                     weights_find(base, "a.weight")->data);
    weights_close(out);
    task.part = SINGLE_FILE_TEXT;
    if (lora_derive(&out, base, &task, &n, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(n, 0);
    weights_close(out);
    lora_close(&lora);
    weights_close(base);
    file_free(f);
    file_free(g);
}

static void test_misfit(void **state)
{
    struct file *f = file_new(), *g = file_new();
    struct weights *base = base_weights(f), *out;
    struct unstir_error err = {0};
    struct lora lora;
    size_t n;

    put(g, "unet.a", ".lora_A.weight", 2, 2, 4, ones);
    put(g, "unet.a", ".lora_B.weight", 2, 2, 2, ones);
    lora = open_lora(g);
    const struct lora_use use = {.lora = &lora, .scale = 1};
    const struct lora_task task = {
        .part = SINGLE_FILE_UNET, .uses = &use, .n_uses = 1};

    assert_int_equal(lora_derive(&out, base, &task, &n, &err),
                     UNSTIR_ERR_FORMAT);
    assert_null(out);
    assert_non_null(strstr(err.detail, "layer a is 2 x 4"));
    lora_close(&lora);
    g->meta[0] =
        (struct safetensors_meta){"ss_base_model_version", "sdxl_base_v1-0"};
    g->n_meta = 1;
    lora = open_lora(g);
    assert_int_equal(lora_derive(&out, base, &task, &n, &err),
                     UNSTIR_ERR_FORMAT);
    if (!strstr(err.detail, ": it was made for Stable Diffusion XL"))
        fail_msg("told \"%s\"", err.detail);
    lora_close(&lora);
    weights_close(base);
    file_free(f);
    file_free(g);
}

static void test_damage(void **state)
{
    static const struct {
        const char *a, *b, *told;
        uint64_t a0, a1, b0, b1;
    } rows[] = {
        {"unet.x.lora_A.weight", "unet.x.weight", "no name of a LoRA", 1, 1, 1,
         1},
        {"x.lora_A.weight", "unet.x.lora_B.weight", "no name of a LoRA", 1, 1,
         1, 1},
        {"unet.x.lora_A.weight", "unet.y.lora_B.weight", "has no", 1, 1, 1, 1},
        {"unet.x.lora_A.weight", "unet.x.lora.down.weight", "stands twice", 1,
         1, 1, 1},
        {"unet.x.lora_A.weight", "unet.x.dora_scale", "of DoRA, which", 1, 1, 1,
         1},
        {"unet.x.lora_A.weight", "unet.x.lora_magnitude_vector.weight",
         "of DoRA, which", 1, 1, 1, 1},
        {"lora_unet_double_blocks_0_img.lora_down.weight", "unet.y.alpha",
         "is of a LoRA for Flux", 1, 1, 1, 1},
        {"transformer.x.lora_A.weight", "unet.y.alpha",
         "is of a LoRA for a diffusion transformer", 1, 1, 1, 1},
        {"unet.x.lora_A.weight", "lora_unet_x.hada_w1_a", "of LoHa, which", 1,
         1, 1, 1},
        {"unet.x.lora_A.weight", "unet.x.alpha", "wanted: one number", 1, 1, 2,
         1},
        {"unet.x.lora_A.weight", "unet.x.lora_B.weight", "wanted: one rank", 2,
         2, 2, 3},
        {"unet.x.lora_A.weight", "unet.x.lora_B.weight", "wanted: one rank", 0,
         2, 2, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct file *f = file_new();
        struct unstir_error err = {0};
        struct lora lora;

        put(f, rows[i].a, "", 2, rows[i].a0, rows[i].a1, ones);
        put(f, rows[i].b, "", 2, rows[i].b0, rows[i].b1, ones);
        assert_int_not_equal(lora_from_weights(&lora, weights_of(f), &err),
                             UNSTIR_OK);
        if (!strstr(err.detail, rows[i].told))
            fail_msg("row %zu: told \"%s\", wanted \"%s\"", i, err.detail,
                     rows[i].told);
        assert_null(lora.layers);
        file_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kohya_names),  cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_alpha),        cmocka_unit_test(test_derive),
        cmocka_unit_test(test_misfit),       cmocka_unit_test(test_damage),
        cmocka_unit_test(test_bad_metadata), cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_no_adapter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
