/* t_single_file.c - single-file checkpoints at full size, without weights.
 *
 * tests/data/single_file holds names and shapes of whole models and what the
 * reference's own conversion makes of each name.  The test writes a file of
 * that size whose data is a hole and checks that every part has exactly those
 * names, and that each tensor is those very bytes of the file: so a folder of
 * the same weights gives identical bytes.  Then the configurations.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/single_file.h"
#include "format/single_file_original.h"
#include "format/weights.h"
#include "json_file.h"
#include "scratch.h"

static const char *const folders[SINGLE_FILE_PARTS] = {
    "unet", "vae", "text_encoder", "text_encoder_2"};

/* -- a file without weights -------------------------------------------- */

static size_t elements(const struct json *shape)
{
    size_t n = 1;

    for (size_t i = 0; i < json_len(shape); i++)
        n *= (size_t)json_int(json_at(shape, i));
    return n;
}

static void put_entry(struct json_writer *w, const struct json *row,
                      size_t begin, size_t end)
{
    json_open_object(w, json_string(json_at(row, 0)));
    json_put_string(w, "dtype", "F8_E4M3");
    json_put_value(w, "shape", json_at(row, 1));
    json_open_array(w, "data_offsets");
    json_put_int(w, NULL, (int64_t)begin);
    json_put_int(w, NULL, (int64_t)end);
    json_close(w);
    json_close(w);
}

/* The file's data is never written: its blocks do not exist. */
static void write_hollow(const char *path, const struct json *tensors)
{
    struct json_writer *w;
    unsigned char length[8];
    size_t end = 0, n;
    char *header;
    int fd;

    assert_int_equal(json_writer_new(&w, NULL), UNSTIR_OK);
    json_open_object(w, NULL);
    for (size_t i = 0; i < json_len(tensors); i++) {
        size_t size = elements(json_at(json_at(tensors, i), 1));

        put_entry(w, json_at(tensors, i), end, end + size);
        end += size;
    }
    json_close(w);
    assert_int_equal(json_finish(&header, w, false, NULL), UNSTIR_OK);
    n = strlen(header);
    for (size_t i = 0; i < 8; i++)
        length[i] = (unsigned char)(n >> (8 * i));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, length, 8), 8);
    assert_int_equal(write(fd, header, n), (ssize_t)n);
    assert_int_equal(ftruncate(fd, (off_t)(8 + n + end)), 0);
    assert_int_equal(close(fd), 0);
    alloc_free(header);
}

/* -- tensors ----------------------------------------------------------- */

static const struct weights *part_named(const struct single_file *f,
                                        const char *folder)
{
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        if (strcmp(folders[i], folder) == 0)
            return f->parts[i].weights;
    fail_msg("no part %s", folder);
    return NULL;
}

/* The k-th of n tensors that a row becomes. */
static void check_tensor(const struct single_file *f, const struct json *row,
                         size_t k)
{
    const struct json *names = json_at(row, 3);
    const char *name = json_string(json_at(names, k));
    const struct tensor_view *from =
        weights_find(f->file, json_string(json_at(row, 0)));
    const struct tensor_view *to =
        weights_find(part_named(f, json_string(json_at(row, 2))), name);
    size_t part = from->n_bytes / json_len(names);

    if (!to)
        fail_msg("%s: no tensor %s", from->name, name);
    if (to->n_bytes != part || to->dtype != from->dtype)
        fail_msg("%s: %zu bytes, wanted %zu", name, to->n_bytes, part);
    if (strcmp(name, "text_projection.weight") != 0 &&
        to->data != (const unsigned char *)from->data + k * part)
        fail_msg("%s: not the bytes of %s", name, from->name);
    if (strstr(name, "attentions.0.to_") && strstr(name, "encoder.") == name &&
        strstr(name, "weight"))
        assert_int_equal(to->rank, 2);
}

static void check_tensors(const struct single_file *f,
                          const struct json *tensors)
{
    size_t n = 0, got = 0;

    for (size_t i = 0; i < json_len(tensors); i++) {
        const struct json *row = json_at(tensors, i);

        for (size_t k = 0; k < json_len(json_at(row, 3)); k++, n++)
            check_tensor(f, row, k);
    }
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        if (f->parts[i].weights)
            got += weights_len(f->parts[i].weights);
    if (got != n)
        fail_msg("%zu tensors in all parts, wanted %zu", got, n);
}

/* -- configurations ---------------------------------------------------- */

static char *text_of(const struct json *v)
{
    struct json_writer *w;
    char *text;

    assert_int_equal(json_writer_new(&w, NULL), UNSTIR_OK);
    json_put_value(w, NULL, v);
    assert_int_equal(json_finish(&text, w, false, NULL), UNSTIR_OK);
    return text;
}

static void check_configs(const struct single_file *f,
                          const struct json *configs)
{
    for (size_t p = 0; p < SINGLE_FILE_PARTS; p++) {
        const struct json *wanted = json_get(configs, folders[p]), *value;
        const char *key;

        assert_int_equal(wanted != NULL, f->parts[p].weights != NULL);
        for (size_t i = 0; json_each(wanted, &i, &key, &value);) {
            char *want = text_of(value);
            char *got = text_of(json_get(f->parts[p].config, key));

            if (strcmp(want, got) != 0)
                fail_msg("%s: %s is %s, wanted %s", folders[p], key, got, want);
            alloc_free(want);
            alloc_free(got);
        }
    }
}

static const struct kind {
    const char *name;
    enum single_file_kind kind;
    const char *pipeline, *prediction;
} kinds[] = {
    {"sd1", SINGLE_FILE_SD1, "StableDiffusionPipeline", "epsilon"},
    {"sd2_inpaint", SINGLE_FILE_SD2, "StableDiffusionInpaintPipeline",
     "v_prediction"},
    {"sdxl", SINGLE_FILE_SDXL, "StableDiffusionXLPipeline", "epsilon"},
    {"refiner", SINGLE_FILE_REFINER, "StableDiffusionXLImg2ImgPipeline",
     "epsilon"},
};

static void check_index(const struct single_file *f, const struct kind *kind)
{
    assert_int_equal(f->kind, kind->kind);
    assert_string_equal(json_string(json_get(f->index, "_class_name")),
                        kind->pipeline);
    /* It reads five numbers beside the text, others six. */
    assert_int_equal(json_bool(json_get(f->index, "requires_aesthetics_score")),
                     kind->kind == SINGLE_FILE_REFINER);
    assert_string_equal(
        json_string(json_get(f->scheduler_config, "prediction_type")),
        kind->prediction);
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        assert_int_equal(json_len(json_get(f->index, folders[i])),
                         f->parts[i].weights ? 2 : 0);
}

/* -- the way back ------------------------------------------------------ */

/* A tensor that some part has is again what it was in the file. */
static void check_original(const struct weights *got,
                           const struct tensor_view *want)
{
    const struct tensor_view *t = weights_find(got, want->name);

    if (!t)
        fail_msg("%s: not among the original names", want->name);
    assert_int_equal(t->dtype, want->dtype);
    assert_int_equal(t->n_bytes, want->n_bytes);
    if (t->rank != want->rank ||
        memcmp(t->dims, want->dims, t->rank * sizeof t->dims[0]) != 0)
        fail_msg("%s: another shape", want->name);
    if (!strstr(t->name, "attn.in_proj_") &&
        !strstr(t->name, "text_projection") && t->data != want->data)
        fail_msg("%s: other bytes", want->name);
}

static void check_way_back(const struct single_file *f,
                           const struct json *tensors)
{
    const struct weights *parts[SINGLE_FILE_PARTS];
    struct unstir_error err = {0};
    struct weights *got;
    bool is_original;
    size_t n = 0;

    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++)
        parts[i] = f->parts[i].weights;
    if (single_file_assemble(&got, &is_original, parts, f->kind, &err))
        fail_msg("%s", err.detail);
    assert_true(is_original);
    for (size_t i = 0; i < json_len(tensors); i++) {
        const struct json *row = json_at(tensors, i);

        if (json_len(json_at(row, 3)) == 0)
            continue;
        check_original(got,
                       weights_find(f->file, json_string(json_at(row, 0))));
        n++;
    }
    assert_int_equal(weights_len(got), n);
    weights_close(got);
}

static void test_full_size(void **state)
{
    const struct kind *kind = *state;
    char folder[SCRATCH_PATH], path[SCRATCH_PATH], golden[100];
    struct unstir_error err = {0};
    struct single_file f;
    struct json *data;

    snprintf(golden, sizeof golden, "tests/data/single_file/%s.json",
             kind->name);
    data = json_file_open(golden);
    scratch_make(folder);
    scratch_path(path, folder, "model.safetensors");
    write_hollow(path, json_get(data, "tensors"));
    if (single_file_open(&f, path, NULL, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    check_tensors(&f, json_get(data, "tensors"));
    check_configs(&f, json_get(data, "configs"));
    check_index(&f, kind);
    check_way_back(&f, json_get(data, "tensors"));
    single_file_close(&f);
    scratch_remove(folder);
    json_free(data);
}

/* -- small files ------------------------------------------------------- */

#define MAX_ENTRIES 32

struct small {
    struct safetensors_entry entries[MAX_ENTRIES];
    size_t n;
    struct safetensors_meta meta;
};

static const float zeros[64 * 64];

static void put(struct small *s, const char *name, uint64_t a, uint64_t b)
{
    struct safetensors_entry *e = &s->entries[s->n++];

    assert_true(s->n < MAX_ENTRIES);
    *e = (struct safetensors_entry){.name = name,
                                    .dtype = DTYPE_F16,
                                    .rank = b ? 2 : 1,
                                    .dims = {a, b},
                                    .data = zeros};
}

/* A UNet of one level in the original names. */
static void put_unet(struct small *s)
{
#define M "model.diffusion_model."
    put(s, M "input_blocks.0.0.weight", 8, 4);
    put(s, M "input_blocks.1.0.in_layers.2.weight", 8, 8);
    put(s, M "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight", 8, 8);
    put(s, M "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 8, 6);
    put(s, M "middle_block.0.in_layers.2.weight", 8, 8);
    put(s, M "out.2.weight", 4, 8);
}

static enum unstir_status
open_small(struct single_file *f, const struct small *s, const char *prediction,
           unsigned char **bytes, struct unstir_error *err)
{
    struct weights *w;
    size_t n;

    if (safetensors_build(bytes, &n, s->entries, s->n, &s->meta,
                          s->meta.key ? 1 : 0, err) ||
        safetensors_parse(&w, *bytes, n, "small", err))
        fail_msg("%s", err->detail);
    return single_file_from_weights(f, w, prediction, err);
}

static void check_prediction(const struct small *s, const char *told,
                             const char *want, size_t n_notes)
{
    struct unstir_error err = {0};
    struct single_file f;
    unsigned char *bytes;

    if (open_small(&f, s, told, &bytes, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_string_equal(f.prediction_type, want);
    assert_int_equal(f.notes.n, n_notes);
    single_file_close(&f);
    alloc_free(bytes);
}

static void test_prediction(void **state)
{
    static const int64_t base = 875000;
    struct small s = {.n = 0};

    put_unet(&s);
    check_prediction(&s, NULL, "epsilon", 0);
    check_prediction(&s, "v_prediction", "v_prediction", 0);
    s.meta = (struct safetensors_meta){"modelspec.prediction_type", "v"};
    check_prediction(&s, NULL, "v_prediction", 0);
    check_prediction(&s, "epsilon", "epsilon", 0);
    s.meta.key = NULL;
    put(&s, "v_pred", 0, 0);
    check_prediction(&s, NULL, "v_prediction", 1); /* a tensor is not used */
    s.entries[3].dims[1] = 1024;                   /* now it is an SD 2.x */
    s.n--;
    s.entries[3].dims[0] = 4;
    check_prediction(&s, NULL, "v_prediction", 1); /* a guess */
    s.entries[s.n++] = (struct safetensors_entry){
        .name = "global_step", .dtype = DTYPE_I64, .data = &base};
    check_prediction(&s, NULL, "epsilon", 1);
}

/* Networks that read more than the sample are known by their channels. */
static void test_channels(void **state)
{
    static const struct {
        uint64_t channels, context;
        const char *pipeline;
    } rows[] = {
        {4, 768, "StableDiffusionPipeline"},
        {9, 768, "StableDiffusionInpaintPipeline"},
        {8, 768, "StableDiffusionInstructPix2PixPipeline"},
        {8, 1024, "StableDiffusionInstructPix2PixPipeline"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct small s = {.n = 0};
        struct unstir_error err = {0};
        struct single_file f;
        unsigned char *bytes;

        put_unet(&s);
        s.entries[0].dims[1] = rows[i].channels;
        s.entries[3].dims[0] = 4;
        s.entries[3].dims[1] = rows[i].context;
        if (open_small(&f, &s, "epsilon", &bytes, &err) != UNSTIR_OK)
            fail_msg("%s", err.detail);
        assert_string_equal(json_string(json_get(f.index, "_class_name")),
                            rows[i].pipeline);
        assert_int_equal(
            json_int(json_get(f.parts[SINGLE_FILE_UNET].config, "in_channels")),
            rows[i].channels);
        single_file_close(&f);
        alloc_free(bytes);
    }
}

/* What a title or a tensor says of the steps. */
static void test_few_steps(void **state)
{
    static const struct {
        const char *title, *extra, *class_name, *spacing;
        bool is_few_step;
    } rows[] = {
        {NULL, NULL, "PNDMScheduler", "leading", false},
        {"Stable Diffusion v1-5", NULL, "PNDMScheduler", "leading", false},
        {"My SD Turbo", NULL, "EulerDiscreteScheduler", "trailing", true},
        {NULL, M "time_embed.cond_proj.weight", "LCMScheduler", "leading",
         false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct small s = {.n = 0};
        struct unstir_error err = {0};
        struct single_file f;
        unsigned char *bytes;

        put_unet(&s);
        if (rows[i].title)
            s.meta =
                (struct safetensors_meta){"modelspec.title", rows[i].title};
        if (rows[i].extra)
            put(&s, rows[i].extra, 8, 20);
        if (open_small(&f, &s, NULL, &bytes, &err) != UNSTIR_OK)
            fail_msg("%s", err.detail);
        assert_int_equal(f.is_few_step, rows[i].is_few_step);
        assert_string_equal(
            json_string(json_get(f.scheduler_config, "_class_name")),
            rows[i].class_name);
        assert_string_equal(
            json_string(json_get(f.scheduler_config, "timestep_spacing")),
            rows[i].spacing);
        assert_int_equal(json_int(json_get(f.parts[SINGLE_FILE_UNET].config,
                                           "time_cond_proj_dim")),
                         rows[i].extra ? 20 : 0);
        single_file_close(&f);
        alloc_free(bytes);
    }
}

/* A UNet alone, with and without its prefix, is the same. */
static void test_bare_unet(void **state)
{
    struct small with = {.n = 0}, without;
    struct unstir_error err = {0};
    struct single_file f[2];
    unsigned char *bytes[2];

    put_unet(&with);
    without = with;
    for (size_t i = 0; i < without.n; i++)
        without.entries[i].name += sizeof M - 1;
    if (open_small(&f[0], &with, NULL, &bytes[0], &err) ||
        open_small(&f[1], &without, NULL, &bytes[1], &err))
        fail_msg("%s", err.detail);
    assert_int_equal(f[1].kind, f[0].kind);
    assert_int_equal(weights_len(f[1].parts[SINGLE_FILE_UNET].weights), with.n);
    for (size_t i = 0; i < with.n; i++)
        assert_string_equal(
            weights_at(f[1].parts[SINGLE_FILE_UNET].weights, i)->name,
            weights_at(f[0].parts[SINGLE_FILE_UNET].weights, i)->name);
    assert_null(f[1].parts[SINGLE_FILE_VAE].weights);
    for (size_t i = 0; i < 2; i++) {
        single_file_close(&f[i]);
        alloc_free(bytes[i]);
    }
}

/* The projection is turned, the rest is where it was. */
static void test_turned(void **state)
{
    static const float rows[6] = {1, 2, 3, 4, 5, 6};
    static const float turned[6] = {1, 4, 2, 5, 3, 6};
    struct small s = {.n = 0};
    struct unstir_error err = {0};
    const struct tensor_view *t;
    struct single_file f;
    unsigned char *bytes;
    float got[6];

    put_unet(&s);
    put(&s, "conditioner.embedders.1.model.ln_final.weight", 64, 0);
    put(&s, "conditioner.embedders.1.model.token_embedding.weight", 9, 64);
    put(&s, "conditioner.embedders.1.model.text_projection", 2, 3);
    s.entries[s.n - 1].data = rows;
    if (open_small(&f, &s, NULL, &bytes, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    t = weights_find(f.parts[SINGLE_FILE_TEXT_2].weights,
                     "text_projection.weight");
    assert_non_null(t);
    assert_int_equal(t->dims[0], 3);
    assert_int_equal(t->dims[1], 2);
    dtype_load(got, t->data, t->dtype, 6);
    assert_memory_equal(got, turned, sizeof got);
    single_file_close(&f);
    alloc_free(bytes);
}

/* The reference's names with the folder's name in front. */
static void test_diffusers_names(void **state)
{
    struct small s = {.n = 0};
    struct unstir_error err = {0};
    struct single_file f;
    unsigned char *bytes;

    put(&s, "unet.conv_in.weight", 8, 4);
    put(&s, "unet.conv_out.weight", 4, 8);
    put(&s, "unet.down_blocks.0.resnets.0.conv1.weight", 8, 8);
    put(&s,
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q."
        "weight",
        8, 8);
    put(&s,
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k."
        "weight",
        8, 6);
    put(&s, "vae.encoder.down_blocks.0.resnets.0.conv1.weight", 8, 8);
    put(&s, "vae.decoder.mid_block.attentions.0.proj_attn.weight", 8, 8);
    put(&s, "vae.decoder.mid_block.attentions.0.to_q.weight", 8, 8);
    put(&s, "text_encoder.text_model.embeddings.token_embedding.weight", 9, 64);
    if (open_small(&f, &s, NULL, &bytes, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(f.kind, SINGLE_FILE_SD1);
    assert_int_equal(f.notes.n, 0);
    assert_non_null(weights_find(f.parts[SINGLE_FILE_UNET].weights,
                                 "down_blocks.0.resnets.0.conv1.weight"));
    assert_non_null(
        weights_find(f.parts[SINGLE_FILE_VAE].weights,
                     "decoder.mid_block.attentions.0.to_out.0.weight"));
    assert_non_null(weights_find(f.parts[SINGLE_FILE_VAE].weights,
                                 "decoder.mid_block.attentions.0.to_q.weight"));
    assert_int_equal(json_int(json_get(f.parts[SINGLE_FILE_UNET].config,
                                       "cross_attention_dim")),
                     6);
    single_file_close(&f);
    alloc_free(bytes);
}

static void check_refused(const struct small *s, const char *prediction,
                          const char *told)
{
    struct unstir_error err = {0};
    struct single_file f;
    unsigned char *bytes;

    assert_int_not_equal(open_small(&f, s, prediction, &bytes, &err),
                         UNSTIR_OK);
    if (!strstr(err.detail, told))
        fail_msg("told \"%s\", wanted \"%s\"", err.detail, told);
    assert_null(f.file);
    alloc_free(bytes);
}

static void test_damage(void **state)
{
    struct small s = {.n = 0}, whole;

    put(&s, "x", 1, 1);
    check_refused(&s, NULL, "supported: Stable Diffusion");
    s.n = 0;
    put_unet(&s);
    whole = s;
    check_refused(&s, "sample", "prediction type \"sample\"; supported");
    s.entries[1].name = M "input_blocks.1.0.in_layers.9.weight";
    check_refused(&s, NULL, "the unet of the file is incomplete");
    s = whole;
    s.entries[3].name = M "input_blocks.1.1.transformer_blocks.0.x";
    check_refused(&s, NULL, "no attention to a text");
    s = whole;
    put(&s, "first_stage_model.x", 1, 1);
    put(&s, "first_stage_model.quant_conv.weight", 1, 1);
    check_refused(&s, NULL, "the vae of the file is incomplete");
    s = whole;
    put(&s, "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias",
        4, 0);
    check_refused(&s, NULL, "its rows must be those of q, k and v");
    s = whole;
    put(&s, "cond_stage_model.transformer.text_model.x", 1, 1);
    check_refused(&s, NULL, "token_embedding.weight must have channels");
}

/* A file that is no model is told what it is. */
static void test_other_files(void **state)
{
    static const struct {
        const char *tensor, *told;
    } rows[] = {
        {"lora_unet_x.lora_down.weight", "it is a LoRA, which is added"},
        {"unet.x.lora_A.weight", "it is a LoRA, which is added"},
        {"unet.x.processor.to_q_lora.down.weight", "it is a LoRA"},
        {"emb_params", "it is a textual inversion"},
        {"first_stage_model.decoder.conv_in.weight", "--vae FILE"},
        {"decoder.conv_in.weight", "--vae FILE"},
        {"text_model.encoder.layers.0.mlp.fc1.weight", "--text-encoder FILE"},
        {"double_blocks.0.img_attn.proj.weight", "network of Flux"},
        {"control_model.input_blocks.0.0.weight", "it is a ControlNet"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct small s = {.n = 0};

        put(&s, rows[i].tensor, 1, 1);
        check_refused(&s, NULL, rows[i].told);
    }
}

/* Weights of 8 bits with a scale beside them are other weights. */
static void test_scales(void **state)
{
    struct small s = {.n = 0};

    put_unet(&s);
    put(&s, M "out.2.scale_weight", 1, 0);
    check_refused(&s, NULL, "weights with scales beside them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"full size, sd1", test_full_size, NULL, NULL, (void *)&kinds[0]},
        {"full size, sd2", test_full_size, NULL, NULL, (void *)&kinds[1]},
        {"full size, sdxl", test_full_size, NULL, NULL, (void *)&kinds[2]},
        {"full size, refiner", test_full_size, NULL, NULL, (void *)&kinds[3]},
        cmocka_unit_test(test_prediction),
        cmocka_unit_test(test_few_steps),
        cmocka_unit_test(test_bare_unet),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_turned),
        cmocka_unit_test(test_diffusers_names),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_scales),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
