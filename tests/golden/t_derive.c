/* t_derive.c - models with LoRAs: the reference's pictures, the same as of
 * weights that were changed for good, and a base that stays what it was.
 *
 * The model is the tiny SD 1.x of tests/data/text_pipelines.  The LoRA made
 * here touches one of three joined products, one product alone, a convolution
 * and a layer of the text encoder; that of tests/data/lora (make_lora.py) more.
 *
 * Tolerances of the golden as in t_text_pipelines.c (REFERENCE 7.2): the last
 * latents within 1e-3 of their largest value, 99 % of the picture's bytes
 * within 1 level, 3 at most.
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
#include "base/rng.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "golden.h"
#include "json_file.h"
#include "must.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir.h"

#define RANK       2u
#define MAX_LAYERS 8

/* The first tensor of a part whose name ends so, and its name in a LoRA. */
static const struct {
    const char *part, *stem, *end;
} touched[] = {
    {"unet", "diffusion_pytorch_model", ".attn1.to_k.weight"},
    {"unet", "diffusion_pytorch_model", ".attn2.to_out.0.weight"},
    {"unet", "diffusion_pytorch_model", ".conv1.weight"},
    {"text_encoder", "model", ".self_attn.v_proj.weight"},
};

static char folder[SCRATCH_PATH], model_path[SCRATCH_PATH],
    lora_path[SCRATCH_PATH];

static const struct tensor_view *find(const struct weights *w, const char *end)
{
    size_t m = strlen(end);

    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *t = weights_at(w, i);
        size_t n = strlen(t->name);

        if (n > m && strcmp(t->name + n - m, end) == 0)
            return t;
    }
    fail_msg("no tensor %s", end);
    return NULL;
}

static void add_half(struct safetensors_entry *e, char name[300],
                     const char *part, const char *layer, const char *half,
                     uint64_t rows, uint64_t columns, struct rng *rng)
{
    float *x = malloc((size_t)(rows * columns) * sizeof *x);

    snprintf(name, 300, "%s.%.*s.lora_%s.weight", part,
             (int)(strlen(layer) - strlen(".weight")), layer, half);
    rng_normal_f32(rng, x, (size_t)(rows * columns));
    *e = (struct safetensors_entry){.name = name,
                                    .dtype = DTYPE_F32,
                                    .rank = 2,
                                    .dims = {rows, columns},
                                    .data = x};
}

static void write_lora(void)
{
    static char names[2 * MAX_LAYERS][300];
    struct safetensors_entry entries[2 * MAX_LAYERS];
    struct unstir_error err = {0};
    struct rng rng;
    size_t n = 0;

    rng_seed(&rng, 5);
    for (size_t i = 0; i < ARRAY_LEN(touched); i++) {
        char path[SCRATCH_PATH];
        const struct tensor_view *t;
        struct weights *w;

        scratch_path(path, model_path, touched[i].part);
        must(diffusers_folder_weights(&w, path, touched[i].stem, &err), &err);
        t = find(w, touched[i].end);
        add_half(&entries[n], names[n], touched[i].part, t->name, "A", RANK,
                 t->n / t->dims[0], &rng);
        n++;
        add_half(&entries[n], names[n], touched[i].part, t->name, "B",
                 t->dims[0], RANK, &rng);
        n++;
        weights_close(w);
    }
    must(safetensors_write(lora_path, entries, n, NULL, 0, &err), &err);
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)entries[i].data);
}

static int write_all(void **state)
{
    struct weights *golden =
        golden_open("tests/data/text_pipelines/sd1.safetensors");
    struct text_folder texts = text_folder_of(golden);

    (void)state;
    scratch_make(folder);
    scratch_path(model_path, folder, "sd1");
    scratch_mkdir(folder, "sd1");
    text_folder_write(model_path, &texts);
    weights_close(golden);
    scratch_path(lora_path, folder, "style.safetensors");
    write_lora();
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static struct unstir_model *open_in(const char *path,
                                    enum unstir_precision precision)
{
    struct unstir_model_options options = {.precision = precision};
    struct unstir_error err = {0};
    struct unstir_model *m;

    must(unstir_model_open(&m, path, &options, &err), &err);
    return m;
}

static struct unstir_model *open_path(const char *path)
{
    return open_in(path, UNSTIR_PRECISION_AUTO);
}

static struct unstir_model *derive(const struct unstir_model *base, double unet,
                                   double text)
{
    struct unstir_lora lora = {
        .path = lora_path, .unet_weight = unet, .text_weight = text};
    struct unstir_error err = {0};
    struct unstir_model *m;

    must(unstir_model_derive(&m, base, &lora, 1, &err), &err);
    return m;
}

struct painted {
    struct unstir_image image;
    unsigned char *png;
    size_t n;
    char *json;
};

static struct painted paint(const struct unstir_model *m, const char *prompt)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT, resolved;
    struct unstir_error err = {0};
    struct unstir_generation *g;
    struct unstir_executor *x;
    struct painted p;

    r.prompt = prompt;
    r.steps = 3;
    r.seed = 7;
    must(unstir_request_check(m, &r, &resolved, NULL, NULL, &err), &err);
    must(unstir_request_json(m, &resolved, &p.json, &err), &err);
    must(unstir_executor_new(&x, NULL, &err), &err);
    must(unstir_generation_begin(&g, m, &r, &err), &err);
    while (!unstir_generation_is_done(g))
        must(unstir_generation_step(g, x, &err), &err);
    must(unstir_generation_image(g, &p.image, &err), &err);
    must(unstir_generation_png(g, NULL, &p.png, &p.n, &err), &err);
    unstir_generation_free(g);
    unstir_executor_free(x);
    return p;
}

static void painted_fini(struct painted *p)
{
    unstir_image_fini(&p->image);
    unstir_free(p->png);
    unstir_free(p->json);
}

static bool has_same_pixels(const struct painted *a, const struct painted *b)
{
    size_t n = (size_t)a->image.width * a->image.height * a->image.channels;

    assert_int_equal(a->image.width, b->image.width);
    return memcmp(a->image.pixels, b->image.pixels, n) == 0;
}

static bool has_same_bytes(const struct painted *a, const struct painted *b)
{
    return a->n == b->n && memcmp(a->png, b->png, a->n) == 0;
}

/* What `unstir convert --lora` writes, opened with the same options. */
static void check_changed_for_good(const char *merged,
                                   const struct unstir_model_options *options)
{
    struct unstir_lora lora = {
        .path = lora_path, .unet_weight = 0.8, .text_weight = 0.8};
    struct unstir_model *base, *derived, *want;
    struct painted before, a, b, after;
    struct unstir_error err = {0};

    must(unstir_model_open(&base, model_path, options, &err), &err);
    before = paint(base, "a red cube");
    must(unstir_model_derive(&derived, base, &lora, 1, &err), &err);
    must(unstir_model_open(&want, merged, options, &err), &err);
    assert_string_equal(unstir_model_info(derived)->precision,
                        unstir_model_info(want)->precision);
    a = paint(derived, "a red cube");
    b = paint(want, "a red cube");
    assert_true(has_same_pixels(&a, &b));
    assert_false(has_same_pixels(&a, &before));
    unstir_model_close(derived);
    after = paint(base, "a red cube");
    assert_true(has_same_bytes(&before, &after));
    painted_fini(&before);
    painted_fini(&a);
    painted_fini(&b);
    painted_fini(&after);
    unstir_model_close(want);
    unstir_model_close(base);
}

static void test_as_changed_for_good(void **state)
{
    static const double weight = 0.8;
    static const struct unstir_model_options rows[] = {
        {.precision = UNSTIR_PRECISION_AUTO},
        {.precision = UNSTIR_PRECISION_INT8},
        {.precision = UNSTIR_PRECISION_F32, .low_memory = true},
        {.isa = "scalar", .precision = UNSTIR_PRECISION_INT8},
    };
    const char *const files[] = {lora_path};
    char merged[SCRATCH_PATH], *json;
    struct unstir_convert_options o = {.input = model_path,
                                       .output = merged,
                                       .loras = files,
                                       .lora_scales = &weight,
                                       .n_loras = 1};
    struct unstir_error err = {0};

    (void)state;
    scratch_path(merged, folder, "merged");
    must(unstir_convert(&o, &json, &err), &err);
    unstir_free(json);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_changed_for_good(merged, &rows[i]);
}

/* In which order they are given changes nothing, not even the digest. */
static void test_order(void **state)
{
    struct unstir_lora loras[] = {
        {.path = lora_path, .name = "one", .unet_weight = 0.3},
        {.path = "tests/data/lora/style.safetensors",
         .name = "two",
         .unet_weight = 0.7,
         .text_weight = 0.1}};
    struct unstir_lora turned[] = {loras[1], loras[0]};
    struct unstir_model *base = open_path(model_path), *one, *other;
    struct unstir_error err = {0};
    struct painted a, b;

    (void)state;
    must(unstir_model_derive(&one, base, loras, 2, &err), &err);
    must(unstir_model_derive(&other, base, turned, 2, &err), &err);
    assert_string_equal(unstir_model_info(one)->digest,
                        unstir_model_info(other)->digest);
    a = paint(one, "a red cube");
    b = paint(other, "a red cube");
    assert_true(has_same_bytes(&a, &b));
    assert_string_equal(a.json, b.json);
    painted_fini(&a);
    painted_fini(&b);
    unstir_model_close(one);
    unstir_model_close(other);
    unstir_model_close(base);
}

struct patience {
    size_t n_asked, most;
};

static bool is_out(void *user)
{
    struct patience *p = user;

    return p->n_asked++ == p->most;
}

/* Given up before the first tensor, in the middle and before the last one. */
static void test_canceled(void **state)
{
    struct unstir_lora lora = {
        .path = lora_path, .unet_weight = 0.8, .text_weight = 0.5};
    struct unstir_model *base = open_path(model_path), *m;
    struct patience all = {.most = SIZE_MAX};
    struct unstir_error err = {0};

    (void)state;
    must(unstir_model_derive_cancelable(&m, base, &lora, 1, is_out, &all, &err),
         &err);
    unstir_model_close(m);
    assert_true(all.n_asked > 2);
    for (size_t i = 0; i < 3; i++) {
        struct patience p = {.most = i * (all.n_asked - 1) / 2};

        assert_int_equal(unstir_model_derive_cancelable(&m, base, &lora, 1,
                                                        is_out, &p, &err),
                         UNSTIR_ERR_CANCELLED);
        assert_null(m);
        assert_int_equal(p.n_asked, p.most + 1);
    }
    unstir_model_close(base);
}

static void write_request(const struct unstir_model *m, char **json)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT, resolved;
    struct unstir_error err = {0};

    r.prompt = "x <lora:style:0.8>";
    must(unstir_request_check(m, &r, &resolved, NULL, NULL, &err), &err);
    must(unstir_request_json(m, &resolved, json, &err), &err);
}

/* What will be is known beforehand: also of a base without its weights. */
static void test_described(void **state)
{
    static const struct unstir_model_options bare = {.without_weights = true};
    struct unstir_lora lora = {
        .path = lora_path, .unet_weight = 0.8, .text_weight = 0.5};
    struct unstir_model *base = open_path(model_path), *model, *described, *m;
    struct unstir_lora_details details;
    struct unstir_error err = {0};
    char *want, *got;
    size_t n, n_bytes, n_bare, n_peak;

    (void)state;
    must(unstir_lora_inspect(&details, lora_path, NULL, 0, &err), &err);
    must(unstir_model_derive(&model, base, &lora, 1, &err), &err);
    assert_string_equal(details.digest,
                        unstir_model_info(model)->loras[0].digest);
    must(unstir_model_derive_bytes(base, &lora, 1, &n_bytes, &n_peak, &err),
         &err);
    /* It stands beside the file, and not twice. */
    assert_in_range(n_peak, n_bytes + details.n_bytes,
                    2 * n_bytes + 2 * details.n_bytes);
    must(unstir_model_open(&m, model_path, &bare, &err), &err);
    must(unstir_model_derive_bytes(m, &lora, 1, &n_bare, &n_peak, &err), &err);
    /* Without weights what an f32 file has in place is counted as well. */
    n = (size_t)unstir_model_info(model)->weight_bytes;
    if (n > n_bytes || n_bytes > n_bare || n_bare > n + n / 10)
        fail_msg("it takes %zu bytes; predicted were %zu and %zu", n, n_bytes,
                 n_bare);
    lora.digest = details.digest;
    lora.path = NULL;
    lora.name = "style";
    must(unstir_model_describe_derived(&described, m, &lora, 1, &err), &err);
    assert_string_equal(unstir_model_info(described)->digest,
                        unstir_model_info(model)->digest);
    write_request(model, &want);
    write_request(described, &got);
    assert_string_equal(got, want);
    unstir_free(want);
    unstir_free(got);
    unstir_model_close(described);
    unstir_model_close(model);
    unstir_model_close(m);
    unstir_model_close(base);
}

static void test_details(void **state)
{
    struct unstir_lora_details d;
    struct unstir_error err = {0};

    (void)state;
    must(unstir_lora_inspect(&d, lora_path, "mine", 0, &err), &err);
    assert_string_equal(d.kind, "peft");
    assert_null(d.family); /* of this tiny width */
    assert_int_equal(d.n_layers, ARRAY_LEN(touched));
    assert_true(d.has_unet && d.has_text);
    assert_int_equal(d.min_rank, RANK);
    assert_int_equal(d.max_rank, RANK);
    assert_true(d.min_alpha == RANK && d.max_alpha == RANK);
    assert_int_equal(unstir_lora_inspect(&d, lora_path, "mine", 100, &err),
                     UNSTIR_ERR_LIMIT);
    assert_int_equal(
        unstir_lora_inspect(&d, "tests/data/lora_names.json", "mine", 0, &err),
        UNSTIR_ERR_FORMAT);
    if (strncmp(err.detail, "mine: ", 6) != 0)
        fail_msg("told \"%s\"", err.detail);
}

/* The base paints the same bytes before, beside and after. */
static void test_base_stays(void **state)
{
    struct unstir_model *base = open_path(model_path), *derived;
    const struct unstir_model_info *info;
    struct painted before, with, after, none;

    (void)state;
    before = paint(base, "a red cube");
    derived = derive(base, 0.8, 0.5);
    info = unstir_model_info(derived);
    assert_string_not_equal(info->digest, unstir_model_info(base)->digest);
    assert_true(info->weight_bytes > 0);
    assert_true(info->weight_bytes < unstir_model_info(base)->weight_bytes);
    with = paint(derived, "a red cube <lora:style:0.5:0.8>");
    assert_false(has_same_pixels(&before, &with));
    if (!strstr(with.json, "\"loras\"") || !strstr(with.json, "\"style\"") ||
        !strstr(with.json, info->loras[0].digest))
        fail_msg("%s", with.json);
    unstir_model_close(derived);
    after = paint(base, "a red cube");
    assert_true(has_same_bytes(&before, &after));
    derived = derive(base, 0, 0);
    none = paint(derived, "a red cube");
    assert_true(has_same_bytes(&before, &none));
    unstir_model_close(derived);
    painted_fini(&before);
    painted_fini(&with);
    painted_fini(&after);
    painted_fini(&none);
    unstir_model_close(base);
}

/* One part alone; twice half is once whole, but for the last bits of sums: in
 * f32, because such a bit turns roundings to bf16 further on. */
static void test_parts(void **state)
{
    struct unstir_lora halves[] = {
        {.path = lora_path, .name = "one", .unet_weight = 0.25},
        {.path = lora_path, .name = "two", .unet_weight = 0.25}};
    struct unstir_model *base = open_in(model_path, UNSTIR_PRECISION_F32);
    struct unstir_model *two, *text, *unet;
    struct unstir_error err = {0};
    struct painted a, b, c;

    (void)state;
    must(unstir_model_derive(&two, base, halves, 2, &err), &err);
    assert_int_equal(unstir_model_info(two)->n_loras, 2);
    unet = derive(base, 0.5, 0);
    text = derive(base, 0, 0.5);
    a = paint(two, "a red cube");
    b = paint(unet, "a red cube");
    c = paint(text, "a red cube");
    for (size_t i = 0; i < (size_t)a.image.width * a.image.height * 3; i++)
        if (abs(a.image.pixels[i] - b.image.pixels[i]) > 1)
            fail_msg("pixel byte %zu: %d, wanted %d", i, a.image.pixels[i],
                     b.image.pixels[i]);
    assert_false(has_same_pixels(&b, &c));
    painted_fini(&a);
    painted_fini(&b);
    painted_fini(&c);
    unstir_model_close(two);
    unstir_model_close(text);
    unstir_model_close(unet);
    unstir_model_close(base);
}

static void refuse_lora(const struct unstir_model *base,
                        struct unstir_lora lora, const char *told)
{
    struct unstir_error err = {0};
    struct unstir_model *m;

    assert_int_not_equal(unstir_model_derive(&m, base, &lora, 1, &err),
                         UNSTIR_OK);
    assert_null(m);
    if (!strstr(err.detail, told))
        fail_msg("told \"%s\", wanted \"%s\"", err.detail, told);
}

static void refuse(const struct unstir_model *base, const char *path,
                   double weight, const char *told)
{
    struct unstir_lora lora = {
        .path = path, .unet_weight = weight, .text_weight = weight};

    refuse_lora(base, lora, told);
}

static void test_refusals(void **state)
{
    struct unstir_model *base = open_path(model_path), *derived;
    struct unstir_model *other = open_path("tests/data/models/tiny");
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_lora_tag tags[UNSTIR_MAX_LORAS];
    struct unstir_error err = {0};
    size_t n;

    (void)state;
    refuse(base, "/nowhere.safetensors", 1, "/nowhere.safetensors");
    refuse(base, lora_path, 1e9, "weights are -100 to 100");
    refuse(other, lora_path, 1, "style.safetensors: layer"); /* another shape */
    refuse_lora(base,
                (struct unstir_lora){.path = lora_path,
                                     .name = "mine",
                                     .unet_weight = 1,
                                     .digest = "0123"},
                "LoRA mine: the file has changed");
    refuse_lora(base,
                (struct unstir_lora){
                    .path = lora_path, .unet_weight = 1, .max_bytes = 99},
                "at most 99 are allowed");
    derived = derive(base, 1, 1);
    refuse(derived, lora_path, 1, "has none");
    r.prompt = "x <lora:unknown:1>";
    assert_int_equal(unstir_request_check(derived, &r, NULL, NULL, NULL, &err),
                     UNSTIR_ERR_ARG);
    if (!strstr(err.detail, "\"unknown\" is not in use"))
        fail_msg("told \"%s\"", err.detail);
    must(unstir_prompt_loras("a <lora:b:0.5> <lora:c:1:2>", tags, &n, &err),
         &err);
    assert_int_equal(n, 2);
    assert_string_equal(tags[1].name, "c");
    assert_true(tags[0].unet_weight == 0.5 && tags[0].text_weight == 0.5);
    assert_true(tags[1].text_weight == 1 && tags[1].unet_weight == 2);
    must(unstir_prompt_loras("<lora:b:0.5> <lora:b:0.25:1>", tags, &n, &err),
         &err);
    assert_int_equal(n, 1);
    assert_true(tags[0].text_weight == 0.75 && tags[0].unet_weight == 1.5);
    unstir_model_close(derived);
    unstir_model_close(other);
    unstir_model_close(base);
}

/* -- the reference ----------------------------------------------------- */

static void check_latents(const struct unstir_generation *g,
                          const struct weights *golden, size_t i)
{
    const struct tensor_view *t;
    float want[4096], largest = 0;
    const float *got;
    char name[32];
    size_t n, at;

    snprintf(name, sizeof name, "%zu.steps", i);
    t = weights_find(golden, name);
    got = unstir_generation_sample(g, &n);
    at = t->n - n; /* of the last step */
    assert_true(t->n <= ARRAY_LEN(want));
    dtype_load(want, t->data, t->dtype, t->n);
    for (size_t k = 0; k < t->n; k++)
        largest = fmaxf(largest, fabsf(want[k]));
    for (size_t k = 0; k < n; k++)
        if (!(fabsf(got[k] - want[at + k]) <= 1e-3F * largest))
            fail_msg("%s [%zu]: %g, wanted %g", name, k, (double)got[k],
                     (double)want[at + k]);
}

static void check_reference(const struct unstir_model *base,
                            const struct weights *golden,
                            const struct json *row, size_t i)
{
    const struct json *guidance = json_get(row, "guidance");
    double weight = json_real(json_get(row, "weight"));
    struct unstir_lora lora = {.path = "tests/data/lora/style.safetensors",
                               .unet_weight = weight,
                               .text_weight = weight};
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_error err = {0};
    struct unstir_generation *g;
    struct unstir_executor *x;
    struct unstir_model *m;
    const float *image;
    char label[32];
    size_t n;

    must(unstir_model_derive(&m, base, &lora, 1, &err), &err);
    r.prompt = json_string(json_get(row, "prompt"));
    if (json_get(row, "negative_prompt"))
        r.negative_prompt = json_string(json_get(row, "negative_prompt"));
    if (guidance)
        r.guidance = json_real(guidance);
    r.steps = (uint32_t)json_int(json_get(row, "steps"));
    r.seed = (uint64_t)json_int(json_get(row, "seed"));
    r.width = r.height = 32;
    must(unstir_executor_new(&x, NULL, &err), &err);
    must(unstir_generation_begin(&g, m, &r, &err), &err);
    while (!unstir_generation_is_done(g))
        must(unstir_generation_step(g, x, &err), &err);
    check_latents(g, golden, i);
    image = golden_floats(golden, i, "image", &n);
    snprintf(label, sizeof label, "row %zu", i);
    golden_check_picture(label, g, image, n);
    unstir_generation_free(g);
    unstir_executor_free(x);
    unstir_model_close(m);
}

static void test_reference(void **state)
{
    struct weights *golden = golden_open("tests/data/lora/sd1.safetensors");
    struct json *requests = json_text(weights_metadata(golden, "requests"));
    struct unstir_model_options options = {.precision = UNSTIR_PRECISION_F32};
    struct unstir_error err = {0};
    struct unstir_model *base;

    (void)state;
    must(unstir_model_open(&base, model_path, &options, &err), &err);
    for (size_t i = 0; i < json_len(requests); i++)
        check_reference(base, golden, json_at(requests, i), i);
    unstir_model_close(base);
    json_free(requests);
    weights_close(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_as_changed_for_good),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_canceled),
        cmocka_unit_test(test_described),
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_base_stays),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, write_all, remove_all);
}
