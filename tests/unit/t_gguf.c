/* t_gguf.c - the GGUF reader: values of every type against the package "gguf"
 * (tools/goldens/make_gguf.py), whole models, hostile files.
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

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/gguf.h"
#include "format/json.h"
#include "format/single_file_names.h"
#include "format/weights_build.h"
#include "scratch.h"
#include "tensor/dtype.h"

#define DATA "tests/data/gguf/"

/* -- goldens ----------------------------------------------------------- */

static struct weights *open_file(const char *path)
{
    struct unstir_error err = {0};
    struct weights *w;

    if (weights_open(&w, path, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    return w;
}

/* Names, shapes and, as f32, bits. */
static void check_equal(const struct weights *got, const struct weights *want)
{
    assert_int_equal(weights_len(got), weights_len(want));
    for (size_t i = 0; i < weights_len(want); i++) {
        const struct tensor_view *x = weights_at(got, i);
        const struct tensor_view *y = weights_at(want, i);
        float *a = malloc(x->n * sizeof *a), *b = malloc(y->n * sizeof *b);

        assert_string_equal(x->name, y->name);
        assert_int_equal(x->rank, y->rank);
        assert_memory_equal(x->dims, y->dims, x->rank * sizeof x->dims[0]);
        assert_int_equal(x->n_bytes, dtype_bytes(x->dtype, x->n));
        dtype_load(a, x->data, x->dtype, x->n);
        dtype_load(b, y->data, y->dtype, y->n);
        for (size_t k = 0; k < x->n; k++)
            if (memcmp(&a[k], &b[k], sizeof *a) != 0)
                fail_msg("%s [%zu]: %.9g, wanted %.9g", x->name, k,
                         (double)a[k], (double)b[k]);
        free(a);
        free(b);
    }
}

static void test_every_type(void **state)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } rows[] = {
        {"f32", DTYPE_F32},   {"f16", DTYPE_F16},   {"bf16", DTYPE_BF16},
        {"q8_0", DTYPE_Q8_0}, {"q4_0", DTYPE_Q4_0}, {"q4_k", DTYPE_Q4_K},
        {"q4_1", DTYPE_Q4_1}, {"q5_0", DTYPE_Q5_0}, {"q5_1", DTYPE_Q5_1},
        {"q2_k", DTYPE_Q2_K}, {"q3_k", DTYPE_Q3_K}, {"q5_k", DTYPE_Q5_K},
        {"q6_k", DTYPE_Q6_K}};
    struct weights *got = open_file(DATA "types.gguf");
    struct weights *want = open_file(DATA "types.safetensors");

    check_equal(got, want);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(weights_find(got, rows[i].name)->dtype, rows[i].dtype);
    assert_string_equal(weights_metadata(got, "general.architecture"), "sd1");
    assert_string_equal(weights_metadata(got, "test.text"), "a text");
    assert_null(weights_metadata(got, "test.u8"));
    weights_close(got);
    weights_close(want);
}

static void check_model(const char *gguf, const char *original,
                        enum single_file_kind kind)
{
    struct unstir_error err = {0};
    struct single_file got, want;

    if (single_file_open(&got, gguf, NULL, &err) ||
        single_file_open(&want, original, NULL, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(got.kind, kind);
    assert_int_equal(want.kind, kind);
    for (size_t i = 0; i < SINGLE_FILE_PARTS; i++) {
        assert_int_equal(!got.parts[i].weights, !want.parts[i].weights);
        if (want.parts[i].weights)
            check_equal(got.parts[i].weights, want.parts[i].weights);
    }
    single_file_close(&got);
    single_file_close(&want);
}

static void test_whole_models(void **state)
{
    check_model(DATA "sd1.gguf", DATA "sd1.safetensors", SINGLE_FILE_SD1);
    check_model(DATA "sdxl.gguf", DATA "sdxl.safetensors", SINGLE_FILE_SDXL);
}

/* SD 2.x: the last layer's output is not read, so it is none of the model's. */
static void test_last_layer(void **state)
{
    static const char prefix[] =
        "cond_stage_model.transformer.text_model.encoder.layers.";
    static const struct {
        enum single_file_kind kind;
        const char *layer;
        bool is_used;
    } rows[] = {{SINGLE_FILE_SD2, "22", true},
                {SINGLE_FILE_SD2, "23", false},
                {SINGLE_FILE_SDXL, "23", true}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct single_file_layout layout = {.kind = rows[i].kind};
        struct single_file_target t;
        char name[128];

        snprintf(name, sizeof name, "%s%s.mlp.fc1.weight", prefix,
                 rows[i].layer);
        assert_int_equal(single_file_target(&t, name, &layout),
                         rows[i].is_used);
    }
}

/* Quantised numbers are written in half precision unless told otherwise. */
static void test_convert(void **state)
{
    static const char *const dtypes[] = {NULL, "f32"};
    static const enum dtype stored[] = {DTYPE_F16, DTYPE_F32};

    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++) {
        char folder[SCRATCH_PATH], out[SCRATCH_PATH], *json;
        struct unstir_convert_options o = {
            .input = DATA "sd1.gguf", .output = out, .dtype = dtypes[i]};
        struct unstir_error err = {0};
        struct weights *w;
        const struct tensor_view *t;

        scratch_make(folder);
        scratch_path(out, folder, "out.safetensors");
        if (unstir_convert(&o, &json, &err))
            fail_msg("%s", err.detail);
        unstir_free(json);
        w = open_file(out);
        t = weights_find(w, "cond_stage_model.transformer.text_model."
                            "embeddings.token_embedding.weight");
        assert_non_null(t);
        assert_int_equal(t->dtype, stored[i]);
        weights_close(w);
        if (stored[i] == DTYPE_F32)
            check_model(DATA "sd1.gguf", out, SINGLE_FILE_SD1);
        scratch_remove(folder);
    }
}

/* -- hostile files ----------------------------------------------------- */

struct file {
    unsigned char bytes[4096];
    size_t n;
};

static void put(struct file *f, uint64_t x, size_t n)
{
    assert_true(f->n + n <= sizeof f->bytes);
    for (size_t i = 0; i < n; i++)
        f->bytes[f->n++] = (unsigned char)(x >> 8 * i);
}

static void put_text(struct file *f, const char *text)
{
    put(f, strlen(text), 8);
    for (; *text != '\0'; text++)
        put(f, (unsigned char)*text, 1);
}

static void begin(struct file *f, uint32_t version, uint64_t n_tensors,
                  uint64_t n_keys)
{
    *f = (struct file){.n = 0};
    put(f, 0x46554747, 4);
    put(f, version, 4);
    put(f, n_tensors, 8);
    put(f, n_keys, 8);
}

static void put_key(struct file *f, const char *name, uint32_t type)
{
    put_text(f, name);
    put(f, type, 4);
}

static void put_tensor(struct file *f, const char *name, uint64_t d0,
                       uint64_t d1, uint32_t type, uint64_t offset)
{
    put_text(f, name);
    put(f, d1 ? 2 : 1, 4);
    put(f, d0, 8);
    if (d1)
        put(f, d1, 8);
    put(f, type, 4);
    put(f, offset, 8);
}

/* Padding to the data and n bytes of it. */
static void put_data(struct file *f, size_t n)
{
    while (f->n % 32 != 0)
        put(f, 0, 1);
    while (n-- > 0)
        put(f, 0x11, 1);
}

static void expect_refused(const struct file *f, enum unstir_status status,
                           const char *words)
{
    struct unstir_error err = {0};
    struct weights *w;
    enum unstir_status got =
        weights_parse_as(&w, f->bytes, f->n, "model.gguf", gguf_read, &err);

    if (got != status || !strstr(err.detail, words) ||
        !strstr(err.detail, "model.gguf"))
        fail_msg("wanted %d \"%s\", got %d \"%s\"", status, words, got,
                 err.detail);
    assert_null(w);
}

static void expect_accepted(const struct file *f, size_t n_tensors)
{
    struct unstir_error err = {0};
    struct weights *w;

    if (weights_parse_as(&w, f->bytes, f->n, "model.gguf", gguf_read, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(weights_len(w), n_tensors);
    weights_close(w);
}

static void test_heads(void **state)
{
    static const struct {
        uint32_t version;
        uint64_t n_tensors, n_keys;
        enum unstir_status status;
        const char *words;
    } rows[] = {
        {1, 0, 0, UNSTIR_ERR_UNSUPPORTED, "version 1; supported: 2 and 3"},
        {4, 0, 0, UNSTIR_ERR_UNSUPPORTED, "version 4; supported: 2 and 3"},
        {3u << 24, 0, 0, UNSTIR_ERR_UNSUPPORTED, "big-endian"},
        {3, 100001, 0, UNSTIR_ERR_FORMAT, "at most 100000"},
        {3, 0, UINT64_MAX, UNSTIR_ERR_FORMAT, "at most 100000 and 65536"},
        {3, 1, 0, UNSTIR_ERR_FORMAT, "within the name of a tensor"},
        {3, 0, 1, UNSTIR_ERR_FORMAT, "within the name of a key"},
    };
    struct file f;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        begin(&f, rows[i].version, rows[i].n_tensors, rows[i].n_keys);
        expect_refused(&f, rows[i].status, rows[i].words);
    }
    begin(&f, 2, 0, 0);
    expect_accepted(&f, 0);
    f.n--;
    expect_refused(&f, UNSTIR_ERR_FORMAT, "within the head");
    f.bytes[0] = 'g';
    expect_refused(&f, UNSTIR_ERR_FORMAT, "does not begin with \"GGUF\"");
}

static void test_keys(void **state)
{
    struct file f;

    begin(&f, 3, 0, 1);
    put_key(&f, "k", 13);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "\"k\" has a value of unknown type");
    begin(&f, 3, 0, 1);
    put_key(&f, "", 0);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "of 0 bytes; allowed are 1 to 512");
    begin(&f, 3, 0, 1);
    put_key(&f, "a\nb", 0);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "control character in byte 1");
    begin(&f, 3, 0, 1);
    put_key(&f, "k", 7);
    put(&f, 2, 1);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "truth value");
    begin(&f, 3, 0, 1);
    put_key(&f, "k", 8);
    put(&f, UINT64_MAX, 8);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "within a text value");
    begin(&f, 3, 0, 1);
    put_key(&f, "k", 9);
    put(&f, 12, 4);
    put(&f, UINT64_C(1) << 61, 8); /* times 8 is 0 */
    expect_refused(&f, UNSTIR_ERR_FORMAT, "longer than the file");
    begin(&f, 3, 0, 1);
    put_key(&f, "k", 9);
    for (int i = 0; i < 6; i++) {
        put(&f, 9, 4);
        put(&f, 1, 8);
    }
    put_data(&f, 64);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "nested deeper than 4");
    begin(&f, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_key(&f, "twin", 0);
        put(&f, 1, 1);
    }
    expect_refused(&f, UNSTIR_ERR_FORMAT, "\"twin\" stands twice");
}

/* A file of one tensor, 4 rows of 256 numbers in Q8_0, and the shape that it
 * had. */
static void put_reshaped(struct file *f, uint32_t type, const uint32_t *dims,
                         uint64_t rank)
{
    begin(f, 3, 1, 1);
    put_key(f, "comfy.gguf.orig_shape.conv.weight", 9);
    put(f, type, 4);
    put(f, rank, 8);
    for (uint64_t i = 0; i < rank; i++)
        put(f, dims[i], 4);
    put_tensor(f, "conv.weight", 256, 4, 8, 0);
    put_data(f, 4 * 8 * 34);
}

static void test_original_shape(void **state)
{
    static const struct {
        uint32_t type;
        uint64_t rank;
        uint32_t dims[5];
    } bad[] = {{5, 4, {8, 16, 3, 3}},    {5, 4, {8, 16, 8, 0}},
               {5, 5, {8, 16, 2, 2, 2}}, {5, 0, {0}},
               {4, 4, {8, 16, 4, 2}},    {5, 2, {0xffffffff, 0xffffffff}}};
    static const uint32_t good[] = {8, 16, 4, 2};
    const struct tensor_view *t;
    struct unstir_error err = {0};
    struct weights *w;
    struct file f;

    put_reshaped(&f, 5, good, 4);
    if (weights_parse_as(&w, f.bytes, f.n, "model.gguf", gguf_read, &err))
        fail_msg("%s", err.detail);
    t = weights_find(w, "conv.weight");
    assert_int_equal(t->rank, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(t->dims[i], good[i]);
    weights_close(w);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        put_reshaped(&f, bad[i].type, bad[i].dims, bad[i].rank);
        expect_refused(&f, UNSTIR_ERR_FORMAT, "orig_shape.conv.weight");
    }
}

static void test_alignment(void **state)
{
    static const uint32_t bad[] = {0, 4, 48, 1u << 21};
    struct file f;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        begin(&f, 3, 0, 1);
        put_key(&f, "general.alignment", 4);
        put(&f, bad[i], 4);
        expect_refused(&f, UNSTIR_ERR_FORMAT, "power of two, 8 to 1048576");
    }
    begin(&f, 3, 0, 1);
    put_key(&f, "general.alignment", 10);
    put(&f, 32, 8);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "must be of type u32");
}

static void test_tensors(void **state)
{
    static const struct {
        uint64_t d0, d1;
        uint32_t type;
        uint64_t offset;
        size_t n_data;
        enum unstir_status status;
        const char *words;
    } rows[] = {
        {4, 0, 0, 0, 15, UNSTIR_ERR_FORMAT, "ends at byte 16"},
        {4, 0, 0, 0, 17, UNSTIR_ERR_FORMAT, "1 bytes of data behind"},
        {4, 0, 0, 32, 48, UNSTIR_ERR_FORMAT, "must be 0 (hole)"},
        {4, 0, 0, 8, 48, UNSTIR_ERR_FORMAT, "must be a multiple of 32"},
        {4, 0, 0, UINT64_MAX - 31, 16, UNSTIR_ERR_FORMAT, "incomplete"},
        {0, 0, 0, 0, 16, UNSTIR_ERR_FORMAT, "dimension of 0"},
        {UINT64_MAX, 2, 0, 0, 16, UNSTIR_ERR_FORMAT, "larger than memory"},
        {UINT64_C(1) << 62, 0, 0, 0, 16, UNSTIR_ERR_FORMAT,
         "larger than memory"},
        {UINT64_C(1) << 32, 1u << 31, 8, 0, 16, UNSTIR_ERR_FORMAT,
         "incomplete"},
        {4, 0, 4, 0, 16, UNSTIR_ERR_FORMAT, "unknown type 4"},
        {4, 0, UINT32_MAX, 0, 16, UNSTIR_ERR_FORMAT, "unknown type 4294967295"},
        {32, 0, 20, 0, 16, UNSTIR_ERR_UNSUPPORTED, "\"x\" is of type IQ4_NL"},
        {256, 0, 16, 0, 16, UNSTIR_ERR_UNSUPPORTED, "\"x\" is of type IQ2_XXS"},
        {16, 2, 8, 0, 34, UNSTIR_ERR_FORMAT, "multiples of 32"},
        {128, 2, 12, 0, 144, UNSTIR_ERR_FORMAT, "multiples of 256"},
    };
    struct file f;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        begin(&f, 3, 1, 0);
        put_tensor(&f, "x", rows[i].d0, rows[i].d1, rows[i].type,
                   rows[i].offset);
        put_data(&f, rows[i].n_data);
        expect_refused(&f, rows[i].status, rows[i].words);
    }
    begin(&f, 3, 1, 0);
    put_tensor(&f, "x", 4, 0, 0, 0);
    put_data(&f, 16);
    expect_accepted(&f, 1);
    put_data(&f, 0); /* padding to the end is allowed */
    expect_accepted(&f, 1);
    begin(&f, 3, 1, 0);
    put_text(&f, "x");
    put(&f, 5, 4);
    expect_refused(&f, UNSTIR_ERR_FORMAT, "more than 4 dimensions");
}

static void test_pairs(void **state)
{
    static const struct {
        const char *names[2];
        uint64_t offsets[2];
        const char *words; /* NULL: accepted */
    } rows[] = {
        {{"x", "y"}, {0, 32}, NULL},
        {{"x", "y"}, {32, 0}, NULL},
        {{"x", "y"}, {0, 0}, "must be 32 (overlap)"},
        {{"x", "y"}, {0, 64}, "must be 32 (hole)"},
        {{"x", "x"}, {0, 32}, "\"x\" stands twice"},
    };
    struct file f;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        begin(&f, 3, 2, 0);
        for (int k = 0; k < 2; k++)
            put_tensor(&f, rows[i].names[k], 4, 0, 0, rows[i].offsets[k]);
        put_data(&f, rows[i].offsets[1] == 64 ? 80 : 48);
        if (!rows[i].words)
            expect_accepted(&f, 2);
        else if (strstr(rows[i].words, "twice")) /* known when sealed */
            assert_int_equal(weights_parse_as(&(struct weights *){NULL},
                                              f.bytes, f.n, "model.gguf",
                                              gguf_read, NULL),
                             UNSTIR_ERR_FORMAT);
        else
            expect_refused(&f, UNSTIR_ERR_FORMAT, rows[i].words);
    }
}

/* Cut anywhere, a good file is refused and nothing leaks. */
static void test_every_cut(void **state)
{
    struct unstir_error err;
    struct weights *w;
    struct file f;

    begin(&f, 3, 2, 2);
    put_key(&f, "general.architecture", 8);
    put_text(&f, "sd1");
    put_key(&f, "numbers", 9);
    put(&f, 5, 4);
    put(&f, 2, 8);
    put(&f, 7, 8);
    put_tensor(&f, "x", 32, 2, 8, 0);
    put_tensor(&f, "y", 4, 0, 0, 96);
    put_data(&f, 112);
    expect_accepted(&f, 2);
    for (size_t n = 0; n < f.n; n++) {
        unsigned char *cut = malloc(n + 1); /* exact: for the sanitizer */

        memcpy(cut + 1, f.bytes, n);
        if (weights_parse_as(&w, cut + 1, n, "cut", gguf_read, &err) ==
            UNSTIR_OK)
            fail_msg("%zu of %zu bytes are accepted", n, f.n);
        assert_null(w);
        free(cut);
    }
}

static void test_no_memory(void **state)
{
    struct unstir_error err;
    struct weights *w;
    long k = 1;

    for (;; k++) {
        enum unstir_status status;

        alloc_test_fail_after(k);
        status = weights_open(&w, DATA "types.gguf", &err);
        alloc_test_fail_after(0);
        if (status == UNSTIR_OK)
            break;
        assert_int_equal(status, UNSTIR_ERR_NOMEM);
        assert_null(w);
    }
    weights_close(w);
    assert_true(k > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_whole_models),
        cmocka_unit_test(test_last_layer),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_original_shape),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
