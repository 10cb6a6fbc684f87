/* t_text_pipelines.c - text to picture against the reference's pipelines.
 *
 * Tiny models of SD 1.x, SD 2.x (v), SDXL (with AutoencoderTiny too, and with
 * latents_mean) and LCM, opened from folders with tokenizers of both kinds.  Tolerances (REFERENCE 7.2): latents after every
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

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/mapfile.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "must.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir.h"

static const char *const names[] = {
    "sd1", "sd2", "sdxl", "lcm", "sdxl_tiny", "sdxl_means", "sd1_short"};
#define N_MODELS 7

/* Written once for all tests. */
static char folders[N_MODELS][SCRATCH_PATH];
static struct weights *goldens[N_MODELS];

static int write_all(void **state)
{
    char path[128];

    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        snprintf(path, sizeof path, "tests/data/text_pipelines/%s.safetensors",
                 names[i]);
        goldens[i] = golden_open(path);
        scratch_make(folders[i]);
        struct text_folder f = text_folder_of(goldens[i]);
        text_folder_write(folders[i], &f);
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
    const float *want = golden_floats(goldens[m], i, "steps", &n_all);
    const float *image = golden_floats(goldens[m], i, "image", &n_image);
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
    golden_check_picture(label, g, image, n_image);
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

/* -- what may change no byte ------------------------------------------------ */

enum { SD1, SD2, SDXL, LCM };

static struct unstir_model *open_model(const char *path,
                                       enum unstir_precision precision)
{
    struct unstir_model_options options = {
        .precision = precision, .merges_path = "models/clip-bpe/merges.txt"};
    struct unstir_error err = {0};
    struct unstir_model *model;

    must(unstir_model_open(&model, path, &options, &err), &err);
    return model;
}

static struct unstir_generation *begin(const struct unstir_model *model,
                                       const struct unstir_request *r)
{
    struct unstir_generation *g;
    struct unstir_error err = {0};

    must(unstir_generation_begin(&g, model, r, &err), &err);
    return g;
}

static void finish(struct unstir_generation *g, struct unstir_executor *x)
{
    struct unstir_error err = {0};

    while (!unstir_generation_is_done(g))
        must(unstir_generation_step(g, x, &err), &err);
}

static void check_same(const struct unstir_generation *a,
                       const struct unstir_generation *b, const char *what)
{
    size_t n, m;
    const float *x = unstir_generation_sample(a, &n);
    const float *y = unstir_generation_sample(b, &m);
    struct unstir_error err = {0};
    struct unstir_image p, q;

    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&x[i], &y[i], sizeof *x) != 0)
            fail_msg("%s: number %zu is %g and %g", what, i, (double)x[i],
                     (double)y[i]);
    must(unstir_generation_image(a, &p, &err), &err);
    must(unstir_generation_image(b, &q, &err), &err);
    assert_memory_equal(p.pixels, q.pixels,
                        (size_t)p.width * p.height * p.channels);
    unstir_image_fini(&p);
    unstir_image_fini(&q);
}

/* All requests of a model at once on two threads: texts of one piece and of
 * two, guided and not, two sizes. */
static void test_company(void **state)
{
    size_t m = *(const size_t *)*state;
    struct json *rows = json_text(weights_metadata(goldens[m], "requests"));
    struct unstir_model *model = open_model(folders[m], UNSTIR_PRECISION_F32);
    struct unstir_executor *one = new_executor(1), *two = new_executor(2);
    struct unstir_generation *alone[8], *together[8];
    struct unstir_error err = {0};
    size_t n = json_len(rows);

    for (size_t i = 0; i < n; i++) {
        struct unstir_request r = request_of(json_at(rows, i));

        r.steps = 3;
        alone[i] = begin(model, &r);
        together[i] = begin(model, &r);
        finish(alone[i], one);
    }
    for (int k = 0; k < 3; k++)
        must(unstir_step_many(together, n, two, &err), &err);
    for (size_t i = 0; i < n; i++) {
        check_same(alone[i], together[i], names[m]);
        unstir_generation_free(alone[i]);
        unstir_generation_free(together[i]);
    }
    unstir_executor_free(one);
    unstir_executor_free(two);
    unstir_model_close(model);
    json_free(rows);
}

/* Cancelled while texts are encoded, then saved and restored. */
static void test_states(void **state)
{
    size_t m = *(const size_t *)*state;
    struct json *rows = json_text(weights_metadata(goldens[m], "requests"));
    struct unstir_model *model = open_model(folders[m], UNSTIR_PRECISION_AUTO);
    struct unstir_executor *x = new_executor(1);
    struct unstir_request r = request_of(json_at(rows, 1));
    struct unstir_generation *whole = begin(model, &r), *g = begin(model, &r);
    struct unstir_generation *restored;
    struct unstir_error err = {0};
    unsigned char *bytes;
    size_t n;

    finish(whole, x);
    unstir_generation_cancel(g);
    assert_int_equal(unstir_generation_step(g, x, &err), UNSTIR_ERR_CANCELLED);
    unstir_generation_uncancel(g);
    must(unstir_generation_step(g, x, &err), &err);
    must(unstir_generation_save(g, &bytes, &n, &err), &err);
    must(unstir_generation_restore(&restored, model, bytes, n, &err), &err);
    unstir_free(bytes);
    unstir_generation_free(g);
    finish(restored, x);
    check_same(whole, restored, names[m]);
    unstir_generation_free(whole);
    unstir_generation_free(restored);
    unstir_executor_free(x);
    unstir_model_close(model);
    json_free(rows);
}

/* bf16 operands against own f32, by the largest value. */
static void test_bf16(void **state)
{
    size_t m = *(const size_t *)*state, n;
    struct json *rows = json_text(weights_metadata(goldens[m], "requests"));
    struct unstir_request r = request_of(json_at(rows, 0));
    struct unstir_executor *x = new_executor(2);
    struct unstir_model *models[] = {
        open_model(folders[m], UNSTIR_PRECISION_F32),
        open_model(folders[m], UNSTIR_PRECISION_BF16)};
    struct unstir_generation *g[2];
    double sum = 0, largest = 0, psnr;

    for (size_t i = 0; i < 2; i++) {
        g[i] = begin(models[i], &r);
        finish(g[i], x);
    }
    const float *a = unstir_generation_sample(g[0], &n);
    const float *b = unstir_generation_sample(g[1], &n);
    for (size_t i = 0; i < n; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        largest = fmax(largest, fabs((double)a[i]));
    }
    psnr = 20 * log10(largest / sqrt(sum / (double)n));
    printf("    %s: latents of bf16 at %.1f dB\n", names[m], psnr);
    if (!(psnr >= 40))
        fail_msg("%s: latents of bf16 at %.1f dB, wanted 40", names[m], psnr);
    for (size_t i = 0; i < 2; i++) {
        unstir_generation_free(g[i]);
        unstir_model_close(models[i]);
    }
    unstir_executor_free(x);
    json_free(rows);
}

/* -- folder and single file ------------------------------------------------- */

static void convert(const char *in, const char *out, const char *dtype)
{
    struct unstir_convert_options o = {.input = in,
                                       .output = out,
                                       .dtype = dtype,
                                       .merges_path =
                                           "models/clip-bpe/merges.txt"};
    struct unstir_error err = {0};
    char *json;

    must(unstir_convert(&o, &json, &err), &err);
    unstir_free(json);
}

/* What a single file does not say must be as its kind has it: 32 groups, 8
 * heads, the standard vocabulary. */
static const struct text_folder whole_model = {
    .index = "{\"_class_name\":\"StableDiffusionPipeline\","
             "\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],"
             "\"vae\":[\"diffusers\",\"AutoencoderKL\"],"
             "\"text_encoder\":[\"transformers\",\"CLIPTextModel\"],"
             "\"tokenizer\":[\"transformers\",\"CLIPTokenizer\"]}",
    .scheduler = "{\"_class_name\":\"PNDMScheduler\","
                 "\"beta_start\":0.00085,\"beta_end\":0.012,"
                 "\"beta_schedule\":\"scaled_linear\","
                 "\"skip_prk_steps\":true}",
    .unet = "{\"_class_name\":\"UNet2DConditionModel\","
            "\"sample_size\":8,\"block_out_channels\":[32,64],"
            "\"layers_per_block\":1,\"cross_attention_dim\":64,"
            "\"down_block_types\":[\"CrossAttnDownBlock2D\","
            "\"DownBlock2D\"],\"up_block_types\":[\"UpBlock2D\","
            "\"CrossAttnUpBlock2D\"]}",
    .vae = "{\"_class_name\":\"AutoencoderKL\","
           "\"block_out_channels\":[32,32],\"layers_per_block\":1,"
           "\"latent_channels\":4,\"down_block_types\":"
           "[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],"
           "\"up_block_types\":[\"UpDecoderBlock2D\","
           "\"UpDecoderBlock2D\"]}",
    .text_encoder = "{\"hidden_size\":64,\"intermediate_size\":128,"
                    "\"num_attention_heads\":1,\"num_hidden_layers\":2,"
                    "\"vocab_size\":49408,\"hidden_act\":\"quick_gelu\"}",
    .seed = 3,
};

static void test_single_file(void **state)
{
    const char *dtype = *state;
    char root[SCRATCH_PATH], paths[3][SCRATCH_PATH];
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_executor *x = new_executor(2);
    struct unstir_model *models[2];
    struct unstir_generation *g[2];

    scratch_make(root);
    scratch_mkdir(root, "first");
    scratch_path(paths[0], root, "first");
    scratch_path(paths[1], root, "one.safetensors");
    scratch_path(paths[2], root, "second");
    text_folder_write(paths[0], &whole_model);
    convert(paths[0], paths[1], dtype);
    convert(paths[1], paths[2], NULL);
    r.prompt = "an astronaut riding a (horse:1.2) on mars, oil painting";
    r.negative_prompt = "blurry";
    r.seed = 5;
    r.steps = 3;
    r.width = r.height = 16;
    for (size_t i = 0; i < 2; i++) {
        models[i] = open_model(paths[i + 1], UNSTIR_PRECISION_AUTO);
        g[i] = begin(models[i], &r);
        finish(g[i], x);
    }
    assert_string_equal(unstir_model_info(models[0])->id, "one");
    check_same(g[0], g[1], "folder and single file");
    for (size_t i = 0; i < 2; i++) {
        unstir_generation_free(g[i]);
        unstir_model_close(models[i]);
    }
    unstir_executor_free(x);
    scratch_remove(root);
}

/* -- no memory --------------------------------------------------------------- */

/* The k-th allocation of beginning and the first step fails: that is told, and
 * the next try goes well.  Beyond the first 40 every 17th k. */
static void test_no_memory(void **state)
{
    struct unstir_model *model =
        open_model(folders[SDXL], UNSTIR_PRECISION_F32);
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_executor *x = new_executor(1);
    enum unstir_status status = UNSTIR_ERR_NOMEM;
    long k = 0;

    (void)state;
    r.prompt = "a (red:1.2) cat BREAK dog";
    r.negative_prompt = "photo";
    r.steps = 2;
    r.width = r.height = 16;
    while (status == UNSTIR_ERR_NOMEM) {
        struct unstir_generation *g;
        struct unstir_error err = {0};

        k += k < 40 ? 1 : 17;
        alloc_test_fail_after(k);
        status = unstir_generation_begin(&g, model, &r, &err);
        if (status == UNSTIR_OK)
            status = unstir_generation_step(g, x, &err);
        alloc_test_fail_after(0);
        if (status != UNSTIR_OK && status != UNSTIR_ERR_NOMEM)
            fail_msg("allocation %ld: %s", k, err.detail);
        unstir_generation_free(g);
    }
    assert_int_equal(status, UNSTIR_OK);
    printf("    %ld allocations\n", k);
    unstir_executor_free(x);
    unstir_model_close(model);
}

/* -- textual inversion ------------------------------------------------------ */

#define CAT \
    513 /* of the tiny vocabulary: 512 bytes, "at", "cat"              */

/* A word with the vector of another is that other one. */
static void test_inversion(void **state)
{
    char path[SCRATCH_PATH], file[SCRATCH_PATH];
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_executor *x = new_executor(1);
    struct unstir_model *plain, *inverted;
    struct unstir_generation *a, *b;
    struct unstir_error err = {0};
    const struct tensor_view *table;
    struct weights *w;

    (void)state;
    plain = open_model(folders[SD1], UNSTIR_PRECISION_AUTO);
    scratch_path(file, folders[SD1], "text_encoder/model.safetensors");
    must(safetensors_open(&w, file, &err), &err);
    table = weights_find(w, "text_model.embeddings.token_embedding.weight");
    assert_non_null(table);
    struct unstir_tensor row = {.name = "emb_params",
                                .data = (const float *)table->data +
                                        CAT * table->dims[1],
                                .rank = 2,
                                .dims = {1, (size_t)table->dims[1]}};
    scratch_mkdir(folders[SD1], "embeddings");
    scratch_path(path, folders[SD1], "embeddings");
    scratch_path(file, path, "zebra.safetensors");
    must(unstir_tensors_write(file, &row, 1, NULL, 0, &err), &err);
    weights_close(w);
    inverted = open_model(folders[SD1], UNSTIR_PRECISION_AUTO);
    assert_string_not_equal(unstir_model_info(plain)->digest,
                            unstir_model_info(inverted)->digest);
    r.steps = 2;
    r.width = r.height = 32;
    r.prompt = "a photo of a (cat:1.2)";
    a = begin(plain, &r);
    r.prompt = "a photo of a (Zebra:1.2)";
    b = begin(inverted, &r);
    finish(a, x);
    finish(b, x);
    check_same(a, b, "cat and zebra");
    unstir_generation_free(a);
    unstir_generation_free(b);
    unstir_model_close(plain);
    unstir_model_close(inverted);
    unstir_executor_free(x);
    scratch_path(file, path, "okapi.pt");
    must(mapfile_write(file, "PK", 2, &err), &err);
    assert_int_equal(unstir_model_open(&inverted, folders[SD1], NULL, &err),
                     UNSTIR_ERR_UNSUPPORTED);
    if (!strstr(err.detail, "okapi.pt: is a pickle file"))
        fail_msg("told: %s", err.detail);
    scratch_remove(path);
}

/* -- requests --------------------------------------------------------------- */

struct seen {
    char fields[256];
};

static void note_field(void *user, const char *field, const char *detail,
                       const char *nearest)
{
    struct seen *s = user;
    size_t n = strlen(s->fields);

    (void)detail;
    (void)nearest;
    snprintf(s->fields + n, sizeof s->fields - n, "%s ", field);
}

static void test_requests(void **state)
{
    static const struct {
        size_t model;
        const char *prompt, *negative, *syntax, *label;
        uint32_t clip_skip;
        double guidance;
        const char *fields, *json; /* of violations; else in the canonical   */
    } rows[] = {
        {SD1, "cat", NULL, NULL, NULL, 0, 7, "", "\"prompt\":\"cat\",\"seed\""},
        {SD1, NULL, "", NULL, NULL, 1, 7, "", "\"prompt\":\"\",\"seed\""},
        {SD1, "cat", "dog", "plain", NULL, 3, 7, "",
         "\"prompt\":\"cat\",\"negative_prompt\":\"dog\",\"clip_skip\":3,"
         "\"prompt_syntax\":\"plain\",\"seed\""},
        {SD1, "cat", "dog", "weighted", NULL, 1, 1, "",
         "\"prompt\":\"cat\",\"seed\""},
        {SD1, "cat", NULL, NULL, NULL, 5, 7, "clip_skip ", NULL},
        {SDXL, "cat", NULL, NULL, NULL, 4, 7, "clip_skip ", NULL},
        {SDXL, "cat", "", NULL, NULL, 2, 7, "",
         "\"negative_prompt\":\"\",\"clip_skip\":2"},
        {SD1, "cat", NULL, "webui", NULL, 0, 7, "prompt_syntax ", NULL},
        {SD1, "cat", NULL, NULL, "dog", 0, 7, "class ", NULL},
        {SD1, "<lora:x:1> cat", NULL, NULL, NULL, 0, 7, "prompt ", NULL},
        {LCM, "cat", "dog", NULL, NULL, 0, 3, "negative_prompt ", NULL},
        {LCM, "cat", NULL, NULL, NULL, 0, 3, "", "\"guidance_scale\":3.0"},
        {SD1, "\xff", "\xff", NULL, NULL, 0, 7, "prompt negative_prompt ",
         NULL},
    };
    struct unstir_model *models[N_MODELS];

    (void)state;
    for (size_t i = 0; i < N_MODELS; i++)
        models[i] = open_model(folders[i], UNSTIR_PRECISION_AUTO);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_model *m = models[rows[i].model];
        struct unstir_request r = UNSTIR_REQUEST_INIT, full;
        struct unstir_error err = {0};
        struct seen seen = {""};
        char *json;

        r.prompt = rows[i].prompt;
        r.negative_prompt = rows[i].negative;
        r.prompt_syntax = rows[i].syntax;
        r.label = rows[i].label;
        r.clip_skip = rows[i].clip_skip;
        r.guidance = rows[i].guidance;
        (void)unstir_request_check(m, &r, &full, note_field, &seen, &err);
        if (strcmp(seen.fields, rows[i].fields) != 0)
            fail_msg("row %zu: wanted \"%s\", got \"%s\" (%s)", i,
                     rows[i].fields, seen.fields, err.detail);
        if (!rows[i].json)
            continue;
        must(unstir_request_json(m, &full, &json, &err), &err);
        if (!strstr(json, rows[i].json))
            fail_msg("row %zu: no %s in %s", i, rows[i].json, json);
        unstir_free(json);
    }
    for (size_t i = 0; i < N_MODELS; i++)
        unstir_model_close(models[i]);
}

/* Not said, eta is what the reference's pipelines pass on: 0, also to TCD,
 * whose scheduler alone would take 0.3. */
static void test_eta(void **state)
{
    struct unstir_model *model =
        open_model(folders[SD1], UNSTIR_PRECISION_AUTO);
    struct unstir_request r = UNSTIR_REQUEST_INIT, full;
    struct unstir_error err = {0};

    (void)state;
    r.sampler = "tcd";
    r.steps = 4;
    must(unstir_request_check(model, &r, &full, NULL, NULL, &err), &err);
    if (full.eta != 0)
        fail_msg("eta of tcd: got %g, wanted 0", full.eta);
    r.eta = 0.25;
    must(unstir_request_check(model, &r, &full, NULL, NULL, &err), &err);
    if (full.eta != 0.25)
        fail_msg("eta of tcd: got %g, wanted 0.25", full.eta);
    unstir_model_close(model);
}

static size_t numbers[] = {SD1, SD2, SDXL, LCM};

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"sd1", test_trajectories, NULL, NULL, (void *)&names[0]},
        {"sd2", test_trajectories, NULL, NULL, (void *)&names[1]},
        {"sdxl", test_trajectories, NULL, NULL, (void *)&names[2]},
        {"lcm", test_trajectories, NULL, NULL, (void *)&names[3]},
        {"sdxl_tiny", test_trajectories, NULL, NULL, (void *)&names[4]},
        {"sdxl_means", test_trajectories, NULL, NULL, (void *)&names[5]},
        {"sd1_short", test_trajectories, NULL, NULL, (void *)&names[6]},
        {"sd1 company", test_company, NULL, NULL, &numbers[SD1]},
        {"sdxl company", test_company, NULL, NULL, &numbers[SDXL]},
        {"lcm company", test_company, NULL, NULL, &numbers[LCM]},
        {"sd1 states", test_states, NULL, NULL, &numbers[SD1]},
        {"sdxl states", test_states, NULL, NULL, &numbers[SDXL]},
        {"sd1 bf16", test_bf16, NULL, NULL, &numbers[SD1]},
        {"sd2 bf16", test_bf16, NULL, NULL, &numbers[SD2]},
        {"sdxl bf16", test_bf16, NULL, NULL, &numbers[SDXL]},
        {"single file f32", test_single_file, NULL, NULL, NULL},
        {"single file f16", test_single_file, NULL, NULL, (void *)"f16"},
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_inversion),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_eta),
    };

    return cmocka_run_group_tests(tests, write_all, remove_all);
}
