/* t_safetensors.c - the format's rules, one hostile file a row, and the
 * writer.
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
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"

#define MAX_FILE 70000

/* A file of this header and n_data bytes; returns its length. */
static size_t make(unsigned char *file, const char *header, size_t n_data)
{
    size_t n = strlen(header);
    assert_true(8 + n + n_data <= MAX_FILE);
    memset(file, 0, 8);
    file[0] = (unsigned char)n;
    file[1] = (unsigned char)(n >> 8);
    file[2] = (unsigned char)(n >> 16);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, 0x3f, n_data);
    return 8 + n + n_data;
}

static void expect_refused(const unsigned char *file, size_t n,
                           const char *what, enum unstir_status status,
                           const char *words)
{
    struct weights *w;
    struct unstir_error err = {0};
    enum unstir_status got =
        safetensors_parse(&w, file, n, "model.safetensors", &err);
    if (got == UNSTIR_OK)
        fail_msg("%s: accepted", what);
    if (got != status || !strstr(err.detail, words) ||
        !strstr(err.detail, "model.safetensors"))
        fail_msg("%s: wanted %d \"%s\", got %d \"%s\"", what, status, words,
                 got, err.detail);
    assert_null(w);
    if (safetensors_parse(&w, file, n, "model.safetensors", NULL) != status)
        fail_msg("%s: another status where nobody asks for the text", what);
}

#define T(dtype, shape, offsets) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* PyTorch's own files, the archive of today and the form before it. */
static void test_pickle(void **state)
{
    static const struct {
        const char *bytes;
        enum unstir_status status;
    } rows[] = {
        {"PK\3\4\0\0\10\10archive/data.pkl", UNSTIR_ERR_UNSUPPORTED},
        {"\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P", UNSTIR_ERR_UNSUPPORTED},
        {"PK\1\2\0\0\10\10archive/data.pkl", UNSTIR_ERR_FORMAT},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct weights *w;

        assert_int_equal(
            safetensors_parse(&w, rows[i].bytes, 16, "a.ckpt", &err),
            rows[i].status);
        assert_null(w);
        assert_int_equal(strstr(err.detail, "a.ckpt: is a pickle file") != NULL,
                         rows[i].status == UNSTIR_ERR_UNSUPPORTED);
    }
}

static void test_hostile_headers(void **state)
{
    static const struct {
        const char *header;
        size_t n_data;
        const char *words;
    } rows[] = {
        {"", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{", 0, "not valid JSON"},
        {"{}x", 0, "not valid JSON"},
        {"{\"a\xff\":1}", 0, "decode byte"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{"
         "\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{"
         "\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{"
         "\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}}}}}}}}}}}}}}}}}"
         "}}}}}}}}}}",
         0, "deeper than 32"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]",
                                                        "[4,8]") "}",
         8, "duplicate"},
        {"{\"a\\u0000b\":" T("F32", "[1]", "[0,4]") "}", 4, "not valid JSON"},
        {"{\"\":" T("F32", "[1]", "[0,4]") "}", 4, "empty name"},
        {"{\"a\":7}", 0, "described by an object"},
        {"{\"a\":{}}", 0, "no \"dtype\""},
        {"{\"a\":{\"dtype\":3}}", 0, "no \"dtype\""},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
         "no \"shape\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "\"data_offsets\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],"
         "\"stride\":[1]}}",
         4, "unknown member \"stride\""},
        {"{\"a\":" T("F33", "[1]", "[0,4]") "}", 4, "unknown dtype \"F33\""},
        {"{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, "unknown dtype"},
        {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, "no whole number"},
        {"{\"a\":" T("F32", "[1.0]", "[0,4]") "}", 4, "no whole number"},
        {"{\"a\":" T("F32", "[\"1\"]", "[0,4]") "}", 4, "no whole number"},
        {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4,
         "more than 8"},
        {"{\"a\":" T("F32", "[4294967296,4294967296]", "[0,4]") "}", 4,
         "overflow"},
        {"{\"a\":" T("F32", "[4611686018427387904]", "[0,4]") "}", 4,
         "overflow"},
        {"{\"a\":" T("F32", "[99999999999999999999]", "[0,4]") "}", 4,
         "not valid JSON"},
        {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, "takes 4 bytes but"},
        {"{\"a\":" T("F16", "[1]", "[0,4]") "}", 4, "need 2"},
        {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, "ends before it begins"},
        {"{\"a\":" T("F32", "[1]", "[-4,0]") "}", 4, "\"data_offsets\""},
        {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, "\"data_offsets\""},
        {"{\"a\":" T("F32", "[1]", "[0,4,8]") "}", 4, "\"data_offsets\""},
        {"{\"a\":" T("F32", "[1]", "[0,4.0]") "}", 4, "\"data_offsets\""},
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 4,
         "\"a\" ends at byte 8 but the file has 4"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 8, "4 bytes of data behind"},
        {"{}", 1, "1 bytes of data behind"},
        {"{\"a\":" T("F32", "[1]", "[4,8]") "}", 8, "hole"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]",
                                                        "[8,12]") "}",
         12, "hole"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]",
                                                        "[0,4]") "}",
         4, "overlap"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[1]",
                                                        "[4,8]") "}",
         8, "overlap"},
        {"{\"__metadata__\":3}", 0, "__metadata__ must be an object"},
        {"{\"__metadata__\":{\"a\":3}}", 0, "must be a string"},
    };
    static unsigned char file[MAX_FILE];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = make(file, rows[i].header, rows[i].n_data);
        expect_refused(file, n, rows[i].header, UNSTIR_ERR_FORMAT,
                       rows[i].words);
    }
}

static void test_foreign_types_are_unsupported(void **state)
{
    static const char *const types[] = {"F4", "F6_E2M3", "F8_E8M0",
                                        "F8_E4M3FNUZ"};
    static unsigned char file[MAX_FILE];
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        char header[200];
        snprintf(header, sizeof(header),
                 "{\"layer.w\":{\"dtype\":\"%s\",\"shape\":[1],"
                 "\"data_offsets\":[0,4]}}",
                 types[i]);
        size_t n = make(file, header, 4);
        expect_refused(file, n, types[i], UNSTIR_ERR_UNSUPPORTED, types[i]);
        expect_refused(file, n, types[i], UNSTIR_ERR_UNSUPPORTED, "layer.w");
    }
}

/* Masks and counters beside weights take their place and are left out; what
 * their bytes must be is checked all the same. */
static void test_other_numbers_are_left_out(void **state)
{
    static const struct {
        const char *type;
        unsigned size;
    } types[] = {{"BOOL", 1}, {"I16", 2}, {"U16", 2},
                 {"U32", 4},  {"U64", 8}, {"C64", 8}};
    static unsigned char file[MAX_FILE];
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct unstir_error err = {0};
        struct weights *w;
        char header[300];
        unsigned end = 3 * types[i].size;
        snprintf(header, sizeof(header),
                 "{\"flag\":{\"dtype\":\"%s\",\"shape\":[3],"
                 "\"data_offsets\":[0,%u]},\"w\":{\"dtype\":\"U8\","
                 "\"shape\":[2],\"data_offsets\":[%u,%u]}}",
                 types[i].type, end, end, end + 2);
        size_t n = make(file, header, end + 2);
        if (safetensors_parse(&w, file, n, "file", &err) != UNSTIR_OK)
            fail_msg("%s: %s", types[i].type, err.detail);
        assert_int_equal(weights_len(w), 1);
        assert_ptr_equal(weights_find(w, "w")->data, file + n - 2);
        weights_close(w);
        snprintf(header, sizeof(header),
                 "{\"flag\":{\"dtype\":\"%s\",\"shape\":[3],"
                 "\"data_offsets\":[0,%u]}}",
                 types[i].type, end + 1);
        n = make(file, header, end + 1);
        expect_refused(file, n, types[i].type, UNSTIR_ERR_FORMAT, "flag");
    }
}

static void test_bad_lengths(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *words;
    } rows[] = {
        {"", 0, "too short"},
        {"\x02\0\0\0\0\0\0", 7, "too short"},
        {"\x03\0\0\0\0\0\0\0{}", 10, "incomplete"},
        {"\x01\xe1\xf5\x05\0\0\0\0{}", 10, "at most 100000000"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "hardly a safetensors"},
        {"PK\x03\x04\0\0\0\0{}", 10, "incomplete"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_refused((const unsigned char *)rows[i].bytes, rows[i].n,
                       rows[i].words, UNSTIR_ERR_FORMAT, rows[i].words);
}

static void test_long_name_is_refused(void **state)
{
    static unsigned char file[MAX_FILE];
    char header[800], name[514];
    memset(name, 'n', 513);
    name[513] = '\0';
    snprintf(header, sizeof(header), "{\"%s\":" T("F32", "[1]", "[0,4]") "}",
             name);
    size_t n = make(file, header, 4);
    expect_refused(file, n, "513 letters", UNSTIR_ERR_FORMAT, "512 bytes");
    snprintf(header, sizeof(header), "{\"%s\":" T("F32", "[1]", "[0,4]") "}",
             name + 1);
    struct weights *w;
    assert_int_equal(
        safetensors_parse(&w, file, make(file, header, 4), "m", NULL),
        UNSTIR_OK);
    weights_close(w);
}

/* A name that an error text cuts inside of a character, or that is long:
 * the text stays UTF-8, because it goes into JSON answers. */
static void test_error_text_is_utf8(void **state)
{
    static unsigned char file[MAX_FILE];
    char header[800], name[400] = "";
    struct unstir_error err = {0};
    struct weights *w;
    struct json *root;
    for (int shift = 0; shift < 3; shift++) {
        memset(name, 'n', (size_t)shift);
        for (int i = 0; i < 100; i++)
            memcpy(name + shift + 3 * i, "\xe2\x82\xac", 4);
        snprintf(header, sizeof(header), "{\"%s\":" T("F33", "[]", "[0,4]") "}",
                 name);
        size_t n = make(file, header, 4);
        assert_int_equal(safetensors_parse(&w, file, n, "m\xff", &err),
                         UNSTIR_ERR_FORMAT);
        char quoted[600];
        for (char *p = err.detail; *p; p++)
            if (*p == '"' || *p == '\\')
                *p = ' ';
        snprintf(quoted, sizeof(quoted), "\"%s\"", err.detail);
        if (json_parse(&root, quoted, strlen(quoted), &err) != UNSTIR_OK)
            fail_msg("not UTF-8: %s", quoted);
        json_free(root);
    }
}

static void test_too_many_tensors(void **state)
{
    size_t count = 100001, size = count * 64 + 16;
    unsigned char *file = malloc(size);
    char *p = (char *)file + 8;
    assert_non_null(file);
    *p++ = '{';
    for (size_t i = 0; i < count; i++)
        p += sprintf(p, "%s\"%zx\":" T("I8", "[0]", "[0,0]"), i ? "," : "", i);
    *p++ = '}';
    size_t n = (size_t)(p - (char *)file) - 8;
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(n >> 8 * i);
    expect_refused(file, n + 8, "100001 tensors", UNSTIR_ERR_FORMAT,
                   "at most 100000");
    free(file);
}

/* Every prefix of a good file is refused, none crashes. */
static void test_every_truncation(void **state)
{
    static const float x[6] = {1, 2, 3, 4, 5, 6};
    const struct safetensors_entry entries[] = {
        {"a", DTYPE_F32, 2, {2, 3}, x},
        {"b", DTYPE_BF16, 1, {6}, x},
    };
    unsigned char *bytes;
    size_t n;
    assert_int_equal(safetensors_build(&bytes, &n, entries, 2, NULL, 0, NULL),
                     UNSTIR_OK);
    for (size_t k = 0; k < n; k++) {
        unsigned char *part = malloc(k + 1); /* ASan sees reads behind it */
        struct weights *w;
        memcpy(part, bytes, k);
        assert_int_equal(safetensors_parse(&w, part, k, "m", NULL),
                         UNSTIR_ERR_FORMAT);
        free(part);
    }
    alloc_free(bytes);
}

static void test_legal_oddities(void **state)
{
    static unsigned char file[MAX_FILE];
    struct weights *w;
    struct unstir_error err = {0};
    /* Scalars, empty tensors, any order, spaces behind. */
    size_t n = make(file,
                    "{\"z\":" T("F32", "[]", "[2,6]") ",\"e\":" T(
                        "F32", "[3,0]",
                        "[2,2]") ",\"a\":" T("F16", "[1]",
                                             "[0,2]") ",\"__metadata__\":{"
                                                      "\"format\":\"pt\"}}   ",
                    6);
    if (safetensors_parse(&w, file, n, "m", &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(weights_len(w), 3);
    assert_int_equal(weights_find(w, "z")->n, 1);
    assert_int_equal(weights_find(w, "z")->rank, 0);
    assert_int_equal(weights_find(w, "e")->n, 0);
    assert_null(weights_find(w, "__metadata__"));
    assert_string_equal(weights_metadata(w, "format"), "pt");
    assert_null(weights_metadata(w, "other"));
    weights_close(w);
    n = make(file, "{}", 0);
    assert_int_equal(safetensors_parse(&w, file, n, "m", &err), UNSTIR_OK);
    assert_int_equal(weights_len(w), 0);
    assert_null(weights_find(w, "a"));
    weights_close(w);
}

static void test_round_trip(void **state)
{
    static const float x[4] = {1.0f, -2.5f, 0x1.000002p0f, 65504.0f};
    static const int64_t counts[2] = {-1, INT64_MAX};
    const struct safetensors_entry entries[] = {
        {"half", DTYPE_F16, 1, {4}, x},
        {"brain", DTYPE_BF16, 2, {2, 2}, x},
        {"full", DTYPE_F32, 3, {1, 4, 1}, x},
        {"n\"\\x", DTYPE_I64, 1, {2}, counts},
    };
    const struct safetensors_meta meta[] = {{"step", "7"}};
    unsigned char *bytes;
    size_t n;
    struct weights *w;
    struct unstir_error err = {0};
    if (safetensors_build(&bytes, &n, entries, 4, meta, 1, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(bytes[0] % 8, 0); /* data begin 8-aligned */
    if (safetensors_parse(&w, bytes, n, "m", &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_string_equal(weights_metadata(w, "step"), "7");
    const struct tensor_view *full = weights_find(w, "full");
    assert_int_equal(full->rank, 3);
    assert_int_equal(full->dims[1], 4);
    assert_memory_equal(full->data, x, sizeof(x));
    assert_memory_equal(weights_find(w, "n\"\\x")->data, counts, 16);
    float back[4];
    dtype_load(back, weights_find(w, "half")->data, DTYPE_F16, 4);
    assert_true(back[1] == -2.5f && back[2] == 1.0f && back[3] == 65504.0f);
    dtype_load(back, weights_find(w, "brain")->data, DTYPE_BF16, 4);
    assert_true(back[0] == 1.0f && back[1] == -2.5f && back[2] == 1.0f);
    weights_close(w);
    alloc_free(bytes);
}

/* Widest type first, then names: every tensor lies on its own alignment. */
static void test_writer_sorts_and_aligns(void **state)
{
    static const float x[3] = {1, 2, 3};
    const struct safetensors_entry entries[] = {
        {"a", DTYPE_F16, 1, {3}, x},
        {"z", DTYPE_F32, 1, {3}, x},
        {"b", DTYPE_F32, 1, {3}, x},
    };
    unsigned char *bytes;
    size_t n;
    struct weights *w;
    assert_int_equal(safetensors_build(&bytes, &n, entries, 3, NULL, 0, NULL),
                     UNSTIR_OK);
    assert_int_equal(safetensors_parse(&w, bytes, n, "m", NULL), UNSTIR_OK);
    const char *a = weights_find(w, "a")->data;
    const char *b = weights_find(w, "b")->data;
    const char *z = weights_find(w, "z")->data;
    assert_true(b < z && z < a);
    assert_int_equal((uintptr_t)b % 8, 0);
    weights_close(w);
    alloc_free(bytes);
}

static void test_writer_refuses_bad_names(void **state)
{
    static const char *const names[] = {"", "__metadata__"};
    static const float x[1] = {0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct safetensors_entry e = {names[i], DTYPE_F32, 1, {1}, x};
        unsigned char *bytes;
        size_t n;
        assert_int_equal(safetensors_build(&bytes, &n, &e, 1, NULL, 0, NULL),
                         UNSTIR_ERR_ARG);
        assert_null(bytes);
    }
}

/* Each allocation of a reading fails once: no leak, no crash. */
static void test_failed_memory(void **state)
{
    static unsigned char file[MAX_FILE];
    struct weights *w = NULL;
    size_t n = make(file, "{\"a\":" T("F32", "[1]", "[0,4]") "}", 4);
    long k = 1;
    for (;; k++) {
        alloc_test_fail_after(k);
        enum unstir_status status = safetensors_parse(&w, file, n, "m", NULL);
        alloc_test_fail_after(0);
        if (status == UNSTIR_OK)
            break;
        assert_int_equal(status, UNSTIR_ERR_NOMEM);
        assert_null(w);
    }
    assert_true(k >= 4);
    weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pickle),
        cmocka_unit_test(test_hostile_headers),
        cmocka_unit_test(test_foreign_types_are_unsupported),
        cmocka_unit_test(test_other_numbers_are_left_out),
        cmocka_unit_test(test_bad_lengths),
        cmocka_unit_test(test_long_name_is_refused),
        cmocka_unit_test(test_error_text_is_utf8),
        cmocka_unit_test(test_too_many_tensors),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_legal_oddities),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_writer_sorts_and_aligns),
        cmocka_unit_test(test_writer_refuses_bad_names),
        cmocka_unit_test(test_failed_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
