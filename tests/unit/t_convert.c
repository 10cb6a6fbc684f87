/* t_convert.c - models rewritten: folder and single file, number formats,
 * LoRAs.
 *
 * The model has the smallest tensors that its configuration can be read off;
 * whole ones are in t_single_file.c.
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
#include "base/path.h"
#include "base/mapfile.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/single_file.h"
#include "format/weights.h"
#include "scratch.h"
#include "text/bpe.h"
#include "unstir.h"

#define MERGES "models/clip-bpe/merges.txt"
#define UNET   "model.diffusion_model."
#define TO_Q   "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"

static float numbers[64 * 12];

static const struct safetensors_entry tensors[] = {
#define ENTRY(text, a, b)                                                      \
    {                                                                          \
        .name = text, .dtype = DTYPE_F32, .rank = (b) ? 2 : 1, .dims = {a, b}, \
        .data = numbers                                                        \
    }
    ENTRY(UNET "input_blocks.0.0.weight", 8, 4),
    ENTRY(UNET "input_blocks.1.0.in_layers.2.weight", 8, 8),
    ENTRY(UNET "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight", 8, 8),
    ENTRY(UNET "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 8, 6),
    ENTRY(UNET "out.2.weight", 4, 8),
    ENTRY("first_stage_model.encoder.down.0.block.0.conv1.weight", 4, 3),
    ENTRY("cond_stage_model.transformer.text_model.embeddings."
          "token_embedding.weight",
          12, 64),
};

struct place {
    char folder[SCRATCH_PATH];
    char file[SCRATCH_PATH], out[SCRATCH_PATH], again[SCRATCH_PATH];
};

static void place_open(struct place *p)
{
    struct unstir_error err = {0};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        numbers[i] = (float)i / 7;
    scratch_make(p->folder);
    scratch_path(p->file, p->folder, "model.safetensors");
    scratch_path(p->out, p->folder, "out");
    scratch_path(p->again, p->folder, "again.safetensors");
    if (safetensors_write(p->file, tensors, ARRAY_LEN(tensors), NULL, 0, &err))
        fail_msg("%s", err.detail);
}

static void convert(const struct unstir_convert_options *o)
{
    struct unstir_error err = {0};
    struct json *parsed;
    char *json;

    if (unstir_convert(o, &json, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(json_parse(&parsed, json, strlen(json), NULL), UNSTIR_OK);
    assert_true(json_len(json_get(parsed, "parts")) >= 1);
    json_free(parsed);
    unstir_free(json);
}

static void refuse(const struct unstir_convert_options *o, const char *told)
{
    struct unstir_error err = {0};
    char *json;

    assert_int_not_equal(unstir_convert(o, &json, &err), UNSTIR_OK);
    assert_null(json);
    if (!strstr(err.detail, told))
        fail_msg("told \"%s\", wanted \"%s\"", err.detail, told);
}

static struct weights *open_part(const char *folder, const char *part,
                                 const char *stem)
{
    struct unstir_error err = {0};
    char path[SCRATCH_PATH];
    struct weights *w;

    scratch_path(path, folder, part);
    if (diffusers_folder_weights(&w, path, stem, &err))
        fail_msg("%s", err.detail);
    return w;
}

/* Same names, shapes and bytes. */
static void check_same(const struct weights *a, const struct weights *b)
{
    assert_int_equal(weights_len(a), weights_len(b));
    for (size_t i = 0; i < weights_len(a); i++) {
        const struct tensor_view *x = weights_at(a, i), *y = weights_at(b, i);

        assert_string_equal(x->name, y->name);
        assert_int_equal(x->dtype, y->dtype);
        assert_int_equal(x->rank, y->rank);
        assert_memory_equal(x->dims, y->dims, x->rank * sizeof x->dims[0]);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
}

static void check_folder_is_file(const char *folder, const char *path)
{
    struct unstir_error err = {0};
    struct single_file f;

    if (single_file_open(&f, path, NULL, &err))
        fail_msg("%s", err.detail);
    for (size_t i = 0; i <= SINGLE_FILE_TEXT; i++) {
        struct weights *w = open_part(
            folder, f.parts[i].folder,
            i == SINGLE_FILE_TEXT ? "model" : "diffusion_pytorch_model");

        check_same(w, f.parts[i].weights);
        weights_close(w);
    }
    single_file_close(&f);
}

/* File to folder and back: identical bytes on the way. */
static void test_there_and_back(void **state)
{
    struct place p;
    char tokenizer[SCRATCH_PATH];
    struct unstir_error err = {0};
    struct single_file f;
    struct bpe *b;

    place_open(&p);
    convert(&(struct unstir_convert_options){.input = p.file,
                                             .output = p.out,
                                             .prediction_type = "v_prediction",
                                             .merges_path = MERGES});
    check_folder_is_file(p.out, p.file);
    scratch_path(tokenizer, p.out, "tokenizer");
    if (bpe_open_folder(&b, tokenizer, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(bpe_info(b)->n_tokens, 49408);
    assert_int_equal(bpe_info(b)->max_length, 77);
    bpe_free(b);
    convert(
        &(struct unstir_convert_options){.input = p.out, .output = p.again});
    check_folder_is_file(p.out, p.again);
    /* What it predicts is not lost on the way. */
    if (single_file_open(&f, p.again, NULL, &err))
        fail_msg("%s", err.detail);
    assert_string_equal(f.prediction_type, "v_prediction");
    single_file_close(&f);
    scratch_remove(p.folder);
}

#define N_UNET 5 /* tensors; then the autoencoder's one, the encoder's one   */

static void write_some(char path[SCRATCH_PATH], const struct place *p,
                       const char *name, size_t first, size_t n)
{
    struct unstir_error err = {0};

    scratch_path(path, p->folder, name);
    if (safetensors_write(path, tensors + first, n, NULL, 0, &err))
        fail_msg("%s", err.detail);
}

/* Parts in three files become what the whole is, as a folder, as a file, and
 * when they join the folder of the network alone. */
static void test_parts(void **state)
{
    char unet[SCRATCH_PATH], vae[SCRATCH_PATH], text[SCRATCH_PATH];
    char bare[SCRATCH_PATH], joined[SCRATCH_PATH], index[SCRATCH_PATH];
    struct unstir_error err = {0};
    struct place p;
    char *words;
    size_t n;

    place_open(&p);
    write_some(unet, &p, "unet.safetensors", 0, N_UNET);
    write_some(vae, &p, "vae.safetensors", N_UNET, 1);
    write_some(text, &p, "text.safetensors", N_UNET + 1, 1);
    struct unstir_convert_options o = {.input = unet,
                                       .output = p.out,
                                       .merges_path = MERGES,
                                       .vae = vae,
                                       .text_encoders = {text, NULL}};
    convert(&o);
    check_folder_is_file(p.out, p.file);
    scratch_path(index, p.out, "model_index.json");
    if (mapfile_read(&words, &n, index, 1 << 20, &err))
        fail_msg("%s", err.detail);
    assert_non_null(strstr(words, "AutoencoderKL"));
    assert_non_null(strstr(words, "CLIPTextModel"));
    assert_non_null(strstr(words, "CLIPTokenizer"));
    alloc_free(words);
    o.output = p.again;
    convert(&o);
    check_folder_is_file(p.out, p.again);
    scratch_path(bare, p.folder, "bare");
    scratch_path(joined, p.folder, "joined");
    convert(&(struct unstir_convert_options){.input = unet, .output = bare});
    o.input = bare;
    o.output = joined;
    convert(&o);
    check_folder_is_file(joined, p.file);
    o.input = vae;
    o.output = "/nowhere/out";
    refuse(&o, "vae.safetensors");
    scratch_remove(p.folder);
}

static void write_words(char path[SCRATCH_PATH], const struct place *p,
                        const char *name, const char *words)
{
    struct unstir_error err = {0};

    scratch_path(path, p->folder, name);
    if (mapfile_write(path, words, strlen(words), &err))
        fail_msg("%s", err.detail);
}

static void check_words(const char *folder, const char *name, const char *want)
{
    struct unstir_error err = {0};
    char path[SCRATCH_PATH];
    char *words;
    size_t n;

    scratch_path(path, folder, name);
    if (mapfile_read(&words, &n, path, 1 << 20, &err))
        fail_msg("%s", err.detail);
    if (strcmp(words, want) != 0)
        fail_msg("%s is %s, wanted %s", name, words, want);
    alloc_free(words);
}

#define LABELS \
    "{\n  \"licence\": \"MIT\",\n  \"labels\": {\n    \"cat\": 3\n  }\n}"

/* unstir.json beside a network's file names its other parts and what it
 * predicts; the rest of it goes on with the model. */
static void test_companion(void **state)
{
    char unet[SCRATCH_PATH], path[SCRATCH_PATH];
    struct unstir_error err = {0};
    struct single_file f;
    struct place p;

    place_open(&p);
    write_some(unet, &p, "unet.safetensors", 0, N_UNET);
    write_some(path, &p, "vae.safetensors", N_UNET, 1);
    write_some(path, &p, "text.safetensors", N_UNET + 1, 1);
    write_words(path, &p, "unet.unstir.json",
                "{\"vae\":\"vae.safetensors\",\"licence\":\"MIT\","
                "\"text_encoders\":[\"text.safetensors\"],"
                "\"prediction_type\":\"v_prediction\","
                "\"labels\":{\"cat\":3}}");
    struct unstir_convert_options o = {
        .input = unet, .output = p.out, .merges_path = MERGES};
    convert(&o);
    check_folder_is_file(p.out, p.file);
    check_words(p.out, "unstir.json", LABELS "\n");
    o.input = p.out;
    o.output = p.again;
    convert(&o);
    check_folder_is_file(p.out, p.again);
    check_words(p.folder, "again.unstir.json", LABELS "\n");
    if (single_file_open(&f, p.again, NULL, &err))
        fail_msg("%s", err.detail);
    assert_string_equal(f.prediction_type, "v_prediction");
    single_file_close(&f);
    scratch_path(path, p.folder, "again.safetensors");
    assert_int_equal(remove(path), 0);
    refuse(&o, "again.unstir.json: is there already");
    scratch_remove(p.folder);
}

/* What is wrong in it is told with its path; options go before it. */
static void test_wrong_companion(void **state)
{
    static const struct {
        const char *words, *told;
    } rows[] = {
        {"{", "unet.unstir.json"},
        {"{\"vae\":3}", "unet.unstir.json: "},
        {"{\"vae\":\"none.safetensors\"}", "none.safetensors"},
        {"{\"text_encoders\":\"text.safetensors\"}",
         "unet.unstir.json: text_encoders must be a list"},
        {"{\"text_encoders\":[]}", "must be a list of 1 or 2"},
        {"{\"text_encoders\":[1]}", "must be a list of 1 or 2"},
        {"{\"prediction_type\":\"sample\"}", "supported: epsilon"},
    };
    char unet[SCRATCH_PATH], vae[SCRATCH_PATH], path[SCRATCH_PATH];
    struct place p;

    place_open(&p);
    write_some(unet, &p, "unet.safetensors", 0, N_UNET);
    write_some(vae, &p, "vae.safetensors", N_UNET, 1);
    struct unstir_convert_options o = {
        .input = unet, .output = p.out, .merges_path = MERGES};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_words(path, &p, "unet.unstir.json", rows[i].words);
        refuse(&o, rows[i].told);
    }
    write_words(path, &p, "unet.unstir.json", "{\"vae\":\"none.safetensors\"}");
    o.vae = vae;
    convert(&o);
    scratch_remove(p.folder);
}

/* A folder's configurations go through a single file, also where they are not
 * what its tensors and the rules tell; what it predicts can be told anew. */
static void test_configurations(void **state)
{
#define SCHEDULER(prediction)                                       \
    "{\n  \"_class_name\": \"EulerDiscreteScheduler\",\n"           \
    "  \"timestep_spacing\": \"trailing\",\n  \"beta_end\": 0.5,\n" \
    "  \"prediction_type\": \"" prediction "\"\n}\n"
#define VAE "{\n  \"_class_name\": \"AutoencoderKL\",\n  \"norm_eps\": 0.5\n}\n"
    char path[SCRATCH_PATH], third[SCRATCH_PATH];
    struct unstir_error err = {0};
    struct weights *file;
    struct place p;

    place_open(&p);
    struct unstir_convert_options o = {
        .input = p.file, .output = p.out, .merges_path = MERGES};
    convert(&o);
    write_words(path, &p, "out/scheduler/scheduler_config.json",
                SCHEDULER("epsilon"));
    write_words(path, &p, "out/vae/config.json", VAE);
    o.input = p.out;
    o.output = p.again;
    convert(&o);
    if (safetensors_open(&file, p.again, &err))
        fail_msg("%s", err.detail);
    assert_non_null(weights_find(file, UNET "input_blocks.0.0.weight"));
    weights_close(file);
    scratch_path(third, p.folder, "third");
    o.input = p.again;
    o.output = third;
    convert(&o);
    check_words(third, "scheduler/scheduler_config.json", SCHEDULER("epsilon"));
    check_words(third, "vae/config.json", VAE);
    scratch_path(third, p.folder, "fourth");
    o.prediction_type = "v_prediction";
    convert(&o);
    check_words(third, "scheduler/scheduler_config.json",
                SCHEDULER("v_prediction"));
    scratch_remove(p.folder);
}

/* A tensor that has no original name: all of them keep the folder's. */
static void test_no_original_name(void **state)
{
    static const struct safetensors_entry more[] = {
        ENTRY("unet.conv_in.weight", 8, 4),
        ENTRY("unet.down_blocks.0.resnets.0.conv1.weight", 8, 8),
        ENTRY("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1."
              "to_q.weight",
              8, 8),
        ENTRY("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2."
              "to_k.weight",
              8, 6),
        ENTRY("unet.a.tensor.of.its.own", 8, 6),
    };
    struct unstir_error err = {0};
    char path[SCRATCH_PATH];
    struct weights *file;
    struct place p;
    char *json;

    place_open(&p);
    scratch_path(path, p.folder, "own.safetensors");
    assert_int_equal(
        safetensors_write(path, more, ARRAY_LEN(more), NULL, 0, NULL),
        UNSTIR_OK);
    if (unstir_convert(
            &(struct unstir_convert_options){.input = path, .output = p.again},
            &json, &err))
        fail_msg("%s", err.detail);
    assert_non_null(strstr(json, "tensors have the folder's names"));
    unstir_free(json);
    if (safetensors_open(&file, p.again, &err))
        fail_msg("%s", err.detail);
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        assert_non_null(weights_find(file, more[i].name));
    weights_close(file);
    scratch_remove(p.folder);
}

/* The text encoders of OpenCLIP: q, k and v in one tensor, the projection
 * turned.  There and back, to the byte. */
static void test_open_clip(void **state)
{
#define G "conditioner.embedders.1.model."
#define L G "transformer.resblocks.0."
    static const struct safetensors_entry xl[] = {
        ENTRY(UNET "input_blocks.0.0.weight", 8, 4),
        ENTRY(UNET "input_blocks.1.0.in_layers.2.weight", 8, 8),
        ENTRY(UNET "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight", 8,
              8),
        ENTRY(UNET "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 8,
              6),
        ENTRY(UNET "label_emb.0.0.weight", 8, 8),
        ENTRY("conditioner.embedders.0.transformer.text_model.embeddings."
              "token_embedding.weight",
              12, 64),
        ENTRY(G "token_embedding.weight", 12, 64),
        ENTRY(G "ln_final.weight", 64, 0),
        ENTRY(G "text_projection", 64, 6),
        ENTRY(L "attn.in_proj_weight", 6, 64),
        ENTRY(L "attn.in_proj_bias", 9, 0),
        ENTRY(L "ln_1.weight", 64, 0),
    };
    struct unstir_error err = {0};
    struct weights *want, *got;
    struct place p;

    place_open(&p);
    assert_int_equal(remove(p.file), 0);
    assert_int_equal(
        safetensors_write(p.file, xl, ARRAY_LEN(xl), NULL, 0, NULL), UNSTIR_OK);
    struct unstir_convert_options o = {
        .input = p.file, .output = p.out, .merges_path = MERGES};
    convert(&o);
    o.input = p.out;
    o.output = p.again;
    convert(&o);
    if (safetensors_open(&want, p.file, &err) ||
        safetensors_open(&got, p.again, &err))
        fail_msg("%s", err.detail);
    check_same(got, want);
    weights_close(want);
    weights_close(got);
    scratch_remove(p.folder);
}

/* Components that no picture needs are left out and said; what a picture would
 * need but is not known is refused. */
static void test_index(void **state)
{
    struct unstir_error err = {0};
    char path[SCRATCH_PATH];
    struct place p;
    char *json;

    place_open(&p);
    struct unstir_convert_options o = {
        .input = p.file, .output = p.out, .merges_path = MERGES};
    convert(&o);
    write_words(path, &p, "out/model_index.json",
                "{\"_class_name\":\"StableDiffusionPipeline\","
                "\"safety_checker\":[\"stable_diffusion\",\"Checker\"],"
                "\"unet\":[\"diffusers\",\"UNet2DConditionModel\"]}");
    scratch_path(path, p.folder, "copy");
    o.input = p.out;
    o.output = path;
    if (unstir_convert(&o, &json, &err))
        fail_msg("%s", err.detail);
    assert_non_null(strstr(json, "safety_checker is left out"));
    unstir_free(json);
    check_words(path, "model_index.json",
                "{\n  \"_class_name\": \"StableDiffusionPipeline\",\n"
                "  \"safety_checker\": [\n    null,\n    null\n  ],\n"
                "  \"unet\": [\n    \"diffusers\",\n"
                "    \"UNet2DConditionModel\"\n  ]\n}\n");
    write_words(path, &p, "out/model_index.json",
                "{\"vqvae\":[\"diffusers\",\"VQModel\"]}");
    o.output = p.again;
    refuse(&o, "\"vqvae\" is no part that is rewritten");
    scratch_remove(p.folder);
}

static void test_formats(void **state)
{
    static const struct {
        const char *name;
        enum dtype dtype;
        double error; /* half a unit in the last place of 1 */
    } rows[] = {{"f16", DTYPE_F16, 0x1p-11}, {"bf16", DTYPE_BF16, 0x1p-8}};
    struct place p;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct tensor_view *t;
        float got[768];
        struct weights *w;

        place_open(&p);
        convert(&(struct unstir_convert_options){.input = p.file,
                                                 .output = p.out,
                                                 .dtype = rows[i].name,
                                                 .merges_path = MERGES});
        w = open_part(p.out, "text_encoder", "model");
        t = weights_at(w, 0);
        assert_int_equal(t->dtype, rows[i].dtype);
        dtype_load(got, t->data, t->dtype, 768);
        for (size_t k = 0; k < 768; k++) {
            double d = (double)got[k] - numbers[k];

            if (d > rows[i].error * numbers[k] ||
                -d > rows[i].error * numbers[k])
                fail_msg("%s [%zu]: %g, wanted %g", rows[i].name, k,
                         (double)got[k], (double)numbers[k]);
        }
        weights_close(w);
        scratch_remove(p.folder);
    }
}

static void write_lora(const char *path, const char *layer)
{
    static const float down[8] = {1, 0, 0, 0, 0, 0, 0, 2};
    static const float up[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    char names[2][200];
    struct safetensors_entry entries[] = {
        {.name = names[0],
         .dtype = DTYPE_F32,
         .rank = 2,
         .dims = {1, 8},
         .data = down},
        {.name = names[1],
         .dtype = DTYPE_F32,
         .rank = 2,
         .dims = {8, 1},
         .data = up},
    };

    snprintf(names[0], sizeof names[0], "unet.%s.lora_A.weight", layer);
    snprintf(names[1], sizeof names[1], "unet.%s.lora_B.weight", layer);
    assert_int_equal(safetensors_write(path, entries, 2, NULL, 0, NULL),
                     UNSTIR_OK);
}

static void test_lora(void **state)
{
    char path[SCRATCH_PATH];
    const char *files[1] = {path};
    static const double scales[1] = {0.5};
    const struct tensor_view *t;
    struct weights *w;
    struct place p;
    float got[64];

    place_open(&p);
    scratch_path(path, p.folder, "lora.safetensors");
    write_lora(path, TO_Q);
    struct unstir_convert_options o = {.input = p.file,
                                       .output = p.out,
                                       .merges_path = MERGES,
                                       .loras = files,
                                       .lora_scales = scales,
                                       .n_loras = 1};
    convert(&o);
    w = open_part(p.out, "unet", "diffusion_pytorch_model");
    t = weights_find(w, TO_Q ".weight");
    assert_non_null(t);
    dtype_load(got, t->data, t->dtype, 64);
    for (size_t i = 0; i < 64; i++) {
        float up = (float)(1 + i / 8);
        float want = numbers[i];

        want += i % 8 == 0 ? 0.5F * up : i % 8 == 7 ? up : 0;
        if (got[i] != want)
            fail_msg("[%zu]: %g, wanted %g", i, (double)got[i], (double)want);
    }
    weights_close(w);
    write_lora(path, "another.layer");
    o.output = p.again;
    refuse(&o, "touch no layer of this model");
    scratch_remove(p.folder);
}

struct wanted {
    const char *text;
    bool is_told;
};

static void listen(void *arg, const char *text)
{
    struct wanted *wanted = arg;

    wanted->is_told |= strstr(text, wanted->text) != NULL;
}

/* The notes of a conversion hold this text, told and in the report, or none of
 * them does. */
static void check_note(const struct unstir_convert_options *o, const char *text,
                       bool is_wanted)
{
    struct wanted wanted = {.text = text};
    struct unstir_convert_options with = *o;
    struct unstir_error err = {0};
    char *json;

    with.note = listen;
    with.note_arg = &wanted;
    if (unstir_convert(&with, &json, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(wanted.is_told, is_wanted);
    if ((strstr(json, text) != NULL) != is_wanted)
        fail_msg("%s: \"%s\" %s in %s", o->output, text,
                 is_wanted ? "is not" : "is", json);
    unstir_free(json);
}

/* Words of the model's own go into a folder; beside a file they stay where
 * they are, which is said where that is elsewhere. */
static void test_embeddings(void **state)
{
    struct place p;
    struct unstir_convert_options o = {.merges_path = MERGES};
    char path[SCRATCH_PATH], elsewhere[SCRATCH_PATH], *text;
    size_t n;

    place_open(&p);
    scratch_mkdir(p.folder, "embeddings");
    scratch_mkdir(p.folder, "other");
    scratch_write(p.folder, "embeddings/zorg.safetensors", "words", 5);
    scratch_write(p.folder, "embeddings/notes.txt", "x", 1);
    o.input = p.file;
    o.output = p.out;
    check_note(&o, "not copied", false);
    scratch_path(path, p.out, "embeddings/zorg.safetensors");
    assert_int_equal(mapfile_read(&text, &n, path, 0, NULL), UNSTIR_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(text, "words", 5);
    alloc_free(text);
    scratch_path(path, p.out, "embeddings/notes.txt");
    assert_false(path_exists(path));
    o.output = p.again;
    check_note(&o, "not copied", false);
    assert_int_equal(remove(p.again), 0);
    check_note(&o, "the text encoder knows 12", true);
    o.input = p.out;
    scratch_path(elsewhere, p.folder, "other/model.safetensors");
    o.output = elsewhere;
    check_note(&o, "is not copied (files: 1)", true);
    scratch_remove(p.folder);
}

/* What fails on the way leaves nothing. */
static void test_no_half(void **state)
{
    struct place p;
    struct unstir_convert_options o = {.merges_path = "/nowhere/merges.txt"};

    place_open(&p);
    o.input = p.file;
    o.output = p.out;
    refuse(&o, "/nowhere/merges.txt");
    assert_false(path_exists(p.out));
    o.merges_path = MERGES;
    convert(&o);
    assert_true(path_exists(p.out));
    scratch_remove(p.folder);
}

/* How far it is rises to the whole; who is told can end it. */
struct far {
    uint64_t done, total;
    size_t n, n_allowed; /* calls                                            */
};

static bool follow(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct far *far = arg;

    if (done_bytes < far->done || done_bytes > total_bytes)
        fail_msg(
            "%llu of %llu bytes after %llu", (unsigned long long)done_bytes,
            (unsigned long long)total_bytes, (unsigned long long)far->done);
    far->done = done_bytes;
    far->total = total_bytes;
    return far->n++ < far->n_allowed;
}

static void check_far(struct unstir_convert_options *o, uint64_t bytes)
{
    struct far far = {.n_allowed = SIZE_MAX};

    o->progress_arg = &far;
    convert(o);
    assert_int_equal(far.total, bytes);
    assert_int_equal(far.done, bytes);
    assert_int_equal(remove(o->output), 0);
    for (size_t n = far.n; n-- > 0;) {
        far = (struct far){.n_allowed = n};
        refuse(o, "stopped");
        assert_int_equal(far.n, n + 1);
        assert_false(path_exists(o->output));
    }
}

static void test_progress(void **state)
{
    struct place p;
    struct unstir_convert_options o = {.merges_path = MERGES,
                                       .progress = follow};
    uint64_t n = 0;

    place_open(&p);
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++)
        n +=
            tensors[i].dims[0] * (tensors[i].rank > 1 ? tensors[i].dims[1] : 1);
    o.input = p.file;
    o.output = p.again;
    check_far(&o, 4 * n);
    o.dtype = "f16";
    check_far(&o, 2 * n);
    scratch_remove(p.folder);
}

/* A network at the root, with its scheduler beside it, gets folders. */
static void test_root(void **state)
{
    static const char *const moved[][2] = {
        {"out/unet/config.json", "root/config.json"},
        {"out/unet/diffusion_pytorch_model.safetensors",
         "root/diffusion_pytorch_model.safetensors"},
        {"out/scheduler/scheduler_config.json", "root/scheduler_config.json"},
    };
    char root[SCRATCH_PATH], from[SCRATCH_PATH], to[SCRATCH_PATH];
    struct unstir_convert_options o = {.merges_path = MERGES};
    struct weights *a, *b;
    struct place p;

    place_open(&p);
    o.input = p.file;
    o.output = p.out;
    convert(&o);
    scratch_mkdir(p.folder, "root");
    for (size_t i = 0; i < ARRAY_LEN(moved); i++) {
        scratch_path(from, p.folder, moved[i][0]);
        scratch_path(to, p.folder, moved[i][1]);
        assert_int_equal(rename(from, to), 0);
    }
    scratch_path(root, p.folder, "root");
    scratch_path(to, p.folder, "next");
    o.input = root;
    o.output = to;
    convert(&o);
    a = open_part(p.folder, "root", "diffusion_pytorch_model");
    b = open_part(to, "unet", "diffusion_pytorch_model");
    check_same(a, b);
    weights_close(a);
    weights_close(b);
    scratch_path(from, p.folder, "next/scheduler/scheduler_config.json");
    assert_true(path_exists(from));
    scratch_write(p.folder, "root/config.json",
                  "{\"_class_name\":\"AutoencoderKL\"}", 31);
    o.output = p.again;
    refuse(&o, "no config.json of a UNet");
    scratch_remove(p.folder);
}

static void test_errors(void **state)
{
    struct place p;
    struct unstir_convert_options o = {.merges_path = MERGES};

    place_open(&p);
    o.input = p.file;
    o.output = p.file;
    refuse(&o, "is there already");
    o.output = p.out;
    o.dtype = "f8";
    refuse(&o, "allowed: f32, f16, bf16");
    o.dtype = NULL;
    o.prediction_type = "sample";
    refuse(&o, "supported: epsilon, v_prediction");
    o.prediction_type = NULL;
    o.input = p.folder;
    refuse(&o, "no unet/config.json");
    o.prediction_type = "epsilon";
    refuse(&o, "it is told for single files");
    o.prediction_type = NULL;
    o.input = MERGES;
    refuse(&o, MERGES);
    o.input = NULL;
    refuse(&o, "input and output are wanted");
    scratch_remove(p.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_lora),
        cmocka_unit_test(test_companion),
        cmocka_unit_test(test_wrong_companion),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_no_original_name),
        cmocka_unit_test(test_open_clip),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_no_half),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_root),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
