/* t_diffusers_folder.c - model folders in every layout, built in a temporary
 * folder.
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
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/mapfile.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "format/safetensors_write.h"
#include "format/weights.h"

#define PLAIN  "diffusion_pytorch_model.safetensors"
#define INDEX  "diffusion_pytorch_model.safetensors.index.json"
#define CONFIG "{\"_class_name\":\"UNet2DModel\",\"sample_size\":8}"
#define MODEL_INDEX                                              \
    "{\"_class_name\":\"DDPMPipeline\",\"unet\":[\"diffusers\"," \
    "\"UNet2DModel\"],\"scheduler\":[\"diffusers\",\"DDPMScheduler\"]}"

static char root[64];

static int set_up(void **state)
{
    strcpy(root, "/tmp/unstir-folder-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static int tear_down(void **state)
{
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    (void)mkdir(path, 0700);
    *slash = '/';
    assert_int_equal(mapfile_write(path, text, strlen(text), NULL), UNSTIR_OK);
}

static void put_tensors(const char *name,
                        const struct safetensors_entry *entries, size_t n)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    assert_int_equal(safetensors_write(path, entries, n, NULL, 0, NULL),
                     UNSTIR_OK);
}

static const float data[16];

static void put_one(const char *file, const char *tensor)
{
    struct safetensors_entry e = {tensor, DTYPE_F32, 1, {4}, data};
    put_tensors(file, &e, 1);
}

static void open_ok(struct diffusers_folder *f)
{
    struct unstir_error err = {0};
    if (diffusers_folder_open(f, root, false, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
}

static void expect_error(enum unstir_status status, const char *words)
{
    struct diffusers_folder f;
    struct unstir_error err = {0};
    enum unstir_status got = diffusers_folder_open(&f, root, false, &err);
    if (got != status || !strstr(err.detail, words))
        fail_msg("wanted %d \"%s\", got %d \"%s\"", status, words, got,
                 err.detail);
    assert_null(f.unet_weights);
}

static bool has_note(const struct diffusers_folder *f, const char *words)
{
    for (size_t i = 0; i < f->notes.n; i++)
        if (strstr(f->notes.texts[i], words))
            return true;
    return false;
}

static void test_subfolders(void **state)
{
    struct diffusers_folder f;
    put("model_index.json", MODEL_INDEX);
    put("unet/config.json", CONFIG);
    put("scheduler/scheduler_config.json",
        "{\"_class_name\":\"DDPMScheduler\"}");
    put("unstir.json", "{\"id\":\"x\"}");
    put_one("unet/" PLAIN, "conv_in.bias");
    open_ok(&f);
    assert_string_equal(f.pipeline_class, "DDPMPipeline");
    assert_int_equal(json_int(json_get(f.unet_config, "sample_size")), 8);
    assert_string_equal(
        json_string(json_get(f.scheduler_config, "_class_name")),
        "DDPMScheduler");
    assert_string_equal(json_string(json_get(f.unstir, "id")), "x");
    assert_non_null(weights_find(f.unet_weights, "conv_in.bias"));
    assert_int_equal(strlen(f.digest), 64);
    assert_true(f.weight_file_bytes > 16);
    assert_int_equal(f.notes.n, 0);
    diffusers_folder_close(&f);
}

/* As the reference does: the index's class is made of whatever file. */
static void test_class_of_the_index(void **state)
{
    struct diffusers_folder f;
    char alike[65];

    put("model_index.json",
        "{\"_class_name\":\"DDPMPipeline\",\"unet\":[\"diffusers\","
        "\"UNet2DModel\"],\"scheduler\":[\"diffusers\",\"DDIMScheduler\"]}");
    put("unet/config.json", "{\"sample_size\":8}");
    put("scheduler/scheduler_config.json",
        "{\"_class_name\":\"DDIMScheduler\",\"steps_offset\":1}");
    put_one("unet/" PLAIN, "conv_in.bias");
    open_ok(&f);
    assert_string_equal(json_string(json_get(f.unet_config, "_class_name")),
                        "UNet2DModel");
    assert_int_equal(f.notes.n, 0);
    memcpy(alike, f.digest, sizeof alike);
    diffusers_folder_close(&f);

    put("model_index.json",
        "{\"_class_name\":\"DDPMPipeline\",\"unet\":[\"diffusers\","
        "\"UNet2DModel\"],\"scheduler\":[\"diffusers\",\"DDPMScheduler\"]}");
    open_ok(&f);
    assert_string_equal(
        json_string(json_get(f.scheduler_config, "_class_name")),
        "DDPMScheduler");
    assert_int_equal(json_int(json_get(f.scheduler_config, "steps_offset")), 1);
    assert_true(has_note(&f, "scheduler is a DDPMScheduler"));
    assert_string_not_equal(f.digest, alike);
    diffusers_folder_close(&f);

    put("model_index.json",
        "{\"_class_name\":\"PNDMPipeline\",\"unet\":[\"diffusers\","
        "\"UNet2DModel\"],\"scheduler\":[\"diffusers\",\"DDPMScheduler\"]}");
    open_ok(&f);
    assert_string_equal(
        json_string(json_get(f.scheduler_config, "_class_name")),
        "PNDMScheduler");
    diffusers_folder_close(&f);
}

static void test_text_of_another_class(void **state)
{
    put("model_index.json",
        "{\"_class_name\":\"StableDiffusionPipeline\",\"unet\":"
        "[\"diffusers\",\"UNet2DConditionModel\"],\"vae\":[null,null],"
        "\"text_encoder\":[\"transformers\",\"T5EncoderModel\"]}");
    put("unet/config.json", CONFIG);
    put("text_encoder/config.json", "{}");
    put_one("unet/" PLAIN, "conv_in.bias");
    put_one("text_encoder/model.safetensors", "a");
    expect_error(UNSTIR_ERR_UNSUPPORTED, "text_encoder class \"T5EncoderModel");
}

/* A text's pipeline may lack what can be given beside it. */
static void test_missing_parts(void **state)
{
    struct diffusers_folder f;

    put("model_index.json",
        "{\"_class_name\":\"StableDiffusionPipeline\",\"unet\":"
        "[\"diffusers\",\"UNet2DConditionModel\"],\"vae\":[null,null],"
        "\"text_encoder\":[null,null]}");
    put("unet/config.json", CONFIG);
    put("scheduler/scheduler_config.json",
        "{\"_class_name\":\"DDIMScheduler\"}");
    put_one("unet/" PLAIN, "conv_in.bias");
    open_ok(&f);
    assert_null(f.vae_config);
    assert_null(f.texts[0].config);
    diffusers_folder_close(&f);
}

static void test_root_layout(void **state)
{
    struct diffusers_folder f;
    put("config.json", CONFIG);
    put("scheduler_config.json", "{\"_class_name\":\"DDIMScheduler\"}");
    put_one(PLAIN, "a");
    open_ok(&f);
    assert_string_equal(f.pipeline_class, "");
    assert_non_null(f.scheduler_config);
    assert_null(f.index);
    assert_int_equal(weights_len(f.unet_weights), 1);
    diffusers_folder_close(&f);
}

static void test_missing_scheduler_is_noted(void **state)
{
    struct diffusers_folder f;
    put("config.json", CONFIG);
    put_one(PLAIN, "a");
    open_ok(&f);
    assert_null(f.scheduler_config);
    assert_true(has_note(&f, "scheduler_config.json"));
    diffusers_folder_close(&f);
}

/* The digest follows the network and the schedule, not the titles. */
static void test_digest(void **state)
{
    struct diffusers_folder f;
    char first[65];
    put("config.json", CONFIG);
    put("scheduler_config.json", "{}");
    put_one(PLAIN, "a");
    open_ok(&f);
    memcpy(first, f.digest, 65);
    diffusers_folder_close(&f);
    put("unstir.json", "{\"title\":\"t\"}");
    open_ok(&f);
    assert_string_equal(f.digest, first);
    diffusers_folder_close(&f);
    put("scheduler_config.json", "{ }");
    open_ok(&f);
    assert_string_not_equal(f.digest, first);
    diffusers_folder_close(&f);
}

static void test_fp16_variant(void **state)
{
    struct diffusers_folder f;
    struct safetensors_entry e = {"a", DTYPE_F16, 1, {4}, data};
    put("config.json", CONFIG);
    put_tensors("diffusion_pytorch_model.fp16.safetensors", &e, 1);
    open_ok(&f);
    assert_int_equal(weights_at(f.unet_weights, 0)->dtype, DTYPE_F16);
    assert_true(has_note(&f, "fp16"));
    diffusers_folder_close(&f);
    put_one(PLAIN, "plain"); /* is preferred */
    open_ok(&f);
    assert_non_null(weights_find(f.unet_weights, "plain"));
    diffusers_folder_close(&f);
}

static void test_bf16_variant(void **state)
{
    struct diffusers_folder f;
    struct safetensors_entry e = {"a", DTYPE_BF16, 1, {4}, data};
    put("config.json", CONFIG);
    put_tensors("diffusion_pytorch_model.bf16.safetensors", &e, 1);
    open_ok(&f);
    assert_int_equal(weights_at(f.unet_weights, 0)->dtype, DTYPE_BF16);
    assert_true(has_note(&f, "bf16"));
    diffusers_folder_close(&f);
}

static void test_shards(void **state)
{
    struct diffusers_folder f;
    put("config.json", CONFIG);
    put_one("m-00001-of-00002.safetensors", "b");
    put_one("m-00002-of-00002.safetensors", "a");
    put(INDEX, "{\"metadata\":{\"total_size\":32},\"weight_map\":{"
               "\"b\":\"m-00001-of-00002.safetensors\","
               "\"a\":\"m-00002-of-00002.safetensors\"}}");
    open_ok(&f);
    assert_int_equal(weights_len(f.unet_weights), 2);
    assert_string_equal(weights_at(f.unet_weights, 0)->name, "a");
    diffusers_folder_close(&f);
}

/* The reference's order: networks by the index, text encoders by the file. */
static void test_index_and_plain_file(void **state)
{
    struct weights *text;
    struct diffusers_folder f;
    put("config.json", CONFIG);
    put_one(PLAIN, "plain");
    put_one("m-00001-of-00001.safetensors", "shard");
    put(INDEX, "{\"weight_map\":{\"shard\":\"m-00001-of-00001.safetensors\"}}");
    open_ok(&f);
    assert_non_null(weights_find(f.unet_weights, "shard"));
    diffusers_folder_close(&f);
    put_one("model.safetensors", "plain");
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"shard\":\"m-00001-of-00001.safetensors\"}}");
    assert_int_equal(diffusers_folder_weights(&text, root, "model", NULL),
                     UNSTIR_OK);
    assert_non_null(weights_find(text, "plain"));
    weights_close(text);
}

static void test_bad_shard_names(void **state)
{
    static const char *const names[] = {
        "../m.safetensors",
        "/etc/m.safetensors",
        "a/m.safetensors",
        "a\\\\m.safetensors",
        ".m.safetensors",
        "a..safetensors",
        "",
        "m.bin",
        "m.safetensors\\n",
    };
    put("config.json", CONFIG);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[200];
        snprintf(text, sizeof(text), "{\"weight_map\":{\"a\":\"%s\"}}",
                 names[i]);
        put(INDEX, text);
        expect_error(UNSTIR_ERR_FORMAT, "cannot be the name of a shard");
    }
    put(INDEX, "{\"weight_map\":{\"a\":7}}");
    expect_error(UNSTIR_ERR_FORMAT, "cannot be the name of a shard");
    put(INDEX, "{\"weight_map\":[]}");
    expect_error(UNSTIR_ERR_FORMAT, "weight_map");
}

static void test_index_and_shards_disagree(void **state)
{
    put("config.json", CONFIG);
    put_one("m1.safetensors", "a");
    put_one("m2.safetensors", "a");
    put(INDEX, "{\"weight_map\":{\"a\":\"m1.safetensors\","
               "\"b\":\"m1.safetensors\"}}");
    expect_error(UNSTIR_ERR_FORMAT, "\"b\" is not in m1.safetensors");
    put_one("m2.safetensors", "b");
    put(INDEX, "{\"weight_map\":{\"a\":\"m1.safetensors\","
               "\"b\":\"m3.safetensors\"}}");
    expect_error(UNSTIR_ERR_IO, "m3.safetensors");
    const struct safetensors_entry both[] = {{"a", DTYPE_F32, 1, {4}, data},
                                             {"b", DTYPE_F32, 1, {4}, data}};
    put_tensors("m2.safetensors", both, 2);
    put(INDEX, "{\"weight_map\":{\"a\":\"m1.safetensors\","
               "\"b\":\"m2.safetensors\"}}");
    expect_error(UNSTIR_ERR_FORMAT, "\"a\" stands twice");
}

static void test_old_attention_names(void **state)
{
#define B "down_blocks.1.attentions.0."
    static const struct {
        const char *old, *new;
        uint32_t rank;
    } rows[] = {
        {B "query.weight", B "to_q.weight", 4},
        {B "key.weight", B "to_k.weight", 2},
        {B "value.bias", B "to_v.bias", 1},
        {B "proj_attn.weight", B "to_out.0.weight", 4},
        {B "group_norm.weight", B "group_norm.weight", 1},
        {"conv_shortcut.weight", "conv_shortcut.weight", 4},
    };
    struct safetensors_entry entries[ARRAY_LEN(rows)];
    struct diffusers_folder f;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        entries[i] = (struct safetensors_entry){
            rows[i].old, DTYPE_F32, rows[i].rank, {2, 1, 1, 1}, data};
    put("config.json", CONFIG);
    put_tensors(PLAIN, entries, ARRAY_LEN(rows));
    open_ok(&f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct tensor_view *t = weights_find(f.unet_weights, rows[i].new);
        if (!t)
            fail_msg("%s did not become %s", rows[i].old, rows[i].new);
        bool is_attention = strstr(rows[i].new, ".to_") != NULL;
        uint32_t wanted = is_attention && rows[i].rank == 4 ? 2 : rows[i].rank;
        if (t->rank != wanted)
            fail_msg("%s: rank %u, wanted %u", t->name, t->rank, wanted);
    }
    assert_true(has_note(&f, "old names"));
    assert_true(has_note(&f, "1 x 1"));
    diffusers_folder_close(&f);
}

static void test_unused_tensors_are_dropped(void **state)
{
    static const char *const names[] = {
        "x.position_ids",         "time_proj.W",
        "pos_embed.pos_embed",    "model_ema.a",
        "bn.num_batches_tracked",
    };
    struct safetensors_entry entries[ARRAY_LEN(names) + 1];
    struct diffusers_folder f;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        entries[i] =
            (struct safetensors_entry){names[i], DTYPE_F32, 1, {1}, data};
    entries[ARRAY_LEN(names)] =
        (struct safetensors_entry){"kept", DTYPE_F32, 1, {1}, data};
    put("config.json", CONFIG);
    put_tensors(PLAIN, entries, ARRAY_LEN(entries));
    open_ok(&f);
    assert_int_equal(weights_len(f.unet_weights), 1);
    assert_non_null(weights_find(f.unet_weights, "kept"));
    assert_true(has_note(&f, "time_proj.W"));
    diffusers_folder_close(&f);
}

static void test_pickle_is_refused_with_advice(void **state)
{
    put("config.json", CONFIG);
    put("diffusion_pytorch_model.bin", "\x80\x02}q");
    expect_error(UNSTIR_ERR_UNSUPPORTED, "pickle");
    expect_error(UNSTIR_ERR_UNSUPPORTED, "save_file");
}

static void test_missing_weights(void **state)
{
    struct diffusers_folder f;
    put("config.json", CONFIG);
    expect_error(UNSTIR_ERR_IO, "no weights");
    assert_int_equal(diffusers_folder_open(&f, root, true, NULL), UNSTIR_OK);
    assert_null(f.unet_weights);
    diffusers_folder_close(&f);
}

static void test_bad_configurations(void **state)
{
    static const struct {
        const char *file, *text;
        enum unstir_status status;
        const char *words;
    } rows[] = {
        {"model_index.json", "{", UNSTIR_ERR_FORMAT, "not valid JSON"},
        {"model_index.json", "[]", UNSTIR_ERR_FORMAT, "JSON object"},
        {"model_index.json", "{\"_class_name\":3}", UNSTIR_ERR_FORMAT,
         "must be a string"},
        {"model_index.json", "{\"_class_name\":\"StableDiffusion3Pipeline\"}",
         UNSTIR_ERR_UNSUPPORTED, "StableDiffusion3Pipeline"},
        {"model_index.json", "{\"_class_name\":\"DDPMPipeline\"}",
         UNSTIR_ERR_FORMAT, "unet"},
        {"model_index.json",
         "{\"_class_name\":\"DDPMPipeline\",\"unet\":[null,null]}",
         UNSTIR_ERR_FORMAT, "unet"},
        {"model_index.json",
         "{\"_class_name\":\"DDPMPipeline\",\"unet\":[\"diffusers\","
         "\"UNet2DConditionModel\"]}",
         UNSTIR_ERR_UNSUPPORTED, "UNet2DConditionModel"},
        {"model_index.json", MODEL_INDEX, UNSTIR_ERR_IO, "config.json"},
        {"config.json", "3", UNSTIR_ERR_FORMAT, "JSON object"},
        {"config.json", CONFIG, UNSTIR_ERR_IO, "no weights"},
        {"unstir.json", "{\"a\":1,\"a\":2}", UNSTIR_ERR_FORMAT, "duplicate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        put(rows[i].file, rows[i].text);
        expect_error(rows[i].status, rows[i].words);
    }
}

static void test_no_folder(void **state)
{
    struct diffusers_folder f;
    struct unstir_error err = {0};
    assert_int_equal(
        diffusers_folder_open(&f, "/nonexistent/model", false, &err),
        UNSTIR_ERR_IO);
    assert_non_null(strstr(err.detail, "/nonexistent/model"));
    put("model.safetensors", "x");
    char path[200];
    snprintf(path, sizeof(path), "%s/model.safetensors", root);
    assert_int_equal(diffusers_folder_open(&f, path, false, &err),
                     UNSTIR_ERR_UNSUPPORTED);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_subfolders),
        IN_FOLDER(test_class_of_the_index),
        IN_FOLDER(test_text_of_another_class),
        IN_FOLDER(test_missing_parts),
        IN_FOLDER(test_root_layout),
        IN_FOLDER(test_missing_scheduler_is_noted),
        IN_FOLDER(test_digest),
        IN_FOLDER(test_fp16_variant),
        IN_FOLDER(test_bf16_variant),
        IN_FOLDER(test_shards),
        IN_FOLDER(test_index_and_plain_file),
        IN_FOLDER(test_bad_shard_names),
        IN_FOLDER(test_index_and_shards_disagree),
        IN_FOLDER(test_old_attention_names),
        IN_FOLDER(test_unused_tensors_are_dropped),
        IN_FOLDER(test_pickle_is_refused_with_advice),
        IN_FOLDER(test_missing_weights),
        IN_FOLDER(test_bad_configurations),
        IN_FOLDER(test_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
