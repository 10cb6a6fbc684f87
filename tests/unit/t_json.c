/* t_json.c - reading and writing JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/json.h"

static struct json *parse(const char *text)
{
    struct json *root;
    struct unstir_error err = {0};
    if (json_parse(&root, text, strlen(text), &err) != UNSTIR_OK)
        fail_msg("%s: %s", text, err.detail);
    return root;
}

static void test_values(void **state)
{
    struct json *r = parse("{\"a\":null,\"b\":true,\"c\":-7,\"d\":2.5,"
                           "\"e\":\"\\u20ac\",\"f\":[1,2,3],\"g\":{}}");
    static const enum json_type wanted[] = {JSON_NULL,  JSON_BOOL,   JSON_INT,
                                            JSON_REAL,  JSON_STRING, JSON_ARRAY,
                                            JSON_OBJECT};
    size_t cursor = 0, n = 0;
    const char *key;
    const struct json *v;
    while (json_each(r, &cursor, &key, &v)) {
        assert_int_equal(key[0], 'a' + (int)n);
        assert_int_equal(json_type(v), wanted[n]);
        n++;
    }
    assert_int_equal(n, ARRAY_LEN(wanted));
    assert_true(json_bool(json_get(r, "b")));
    assert_int_equal(json_int(json_get(r, "c")), -7);
    assert_true(json_real(json_get(r, "d")) == 2.5);
    assert_true(json_real(json_get(r, "c")) == -7.0);
    assert_string_equal(json_string(json_get(r, "e")), "\xe2\x82\xac");
    assert_int_equal(json_len(json_get(r, "f")), 3);
    assert_int_equal(json_int(json_at(json_get(r, "f"), 2)), 3);
    assert_null(json_at(json_get(r, "f"), 3));
    assert_null(json_get(r, "h"));
    assert_string_equal(json_string(json_get(r, "c")), "");
    json_free(r);
}

static void test_empty_object_iterates_nothing(void **state)
{
    struct json *r = parse("{}");
    size_t cursor = 0;
    const char *key;
    const struct json *v;
    assert_false(json_each(r, &cursor, &key, &v));
    assert_false(json_each(r, &cursor, &key, &v));
    json_free(r);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"", "not valid JSON"},
        {"{\"a\":1", "not valid JSON"},
        {"{\"a\":1} x", "not valid JSON"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":NaN}", "not valid JSON"},
        {"[01]", "not valid JSON"},
        {"[1,]", "not valid JSON"},
        {"{'a':1}", "not valid JSON"},
        {"\"\xc3\x28\"", "decode byte"},
        {"\"\xed\xa0\x80\"", "decode byte"},
        {"\"\\ud800\"", "not valid JSON"},
        {"\"a\\u0000b\"", "not valid JSON"},
        {"[99999999999999999999]", "not valid JSON"},
        {"[1e999]", "not valid JSON"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
         "deeper than 32"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *root;
        struct unstir_error err = {0};
        enum unstir_status got =
            json_parse(&root, rows[i].text, strlen(rows[i].text), &err);
        if (got != UNSTIR_ERR_FORMAT || !strstr(err.detail, rows[i].words))
            fail_msg("%s: wanted \"%s\", got %d %s", rows[i].text,
                     rows[i].words, got, err.detail);
        assert_null(root);
    }
}

/* 32 levels pass; brackets inside of strings do not count. */
static void test_depth_limit(void **state)
{
    char text[200] = "";
    for (int i = 0; i < 32; i++)
        text[i] = '[';
    for (int i = 0; i < 32; i++)
        text[32 + i] = ']';
    json_free(parse(text));
    json_free(parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"]"));
}

static void test_many_values_are_refused(void **state)
{
    size_t n = 2100000;
    char *text = malloc(2 * n + 3);
    struct json *root;
    struct unstir_error err = {0};
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < n; i++)
        memcpy(text + 1 + 2 * i, "0,", 2);
    memcpy(text + 1 + 2 * n, "0]", 2);
    assert_int_equal(json_parse(&root, text, 2 * n + 3, &err),
                     UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "values"));
    free(text);
}

static void test_getters(void **state)
{
    struct json *r =
        parse("{\"n\":5,\"w\":4.0,\"x\":1.5,\"s\":\"t\",\"b\":true,"
              "\"z\":null}");
    struct unstir_error err = {0};
    int64_t n;
    double x;
    bool b;
    const char *s;
    assert_int_equal(json_get_int(r, "n", 0, 1, 9, &n, &err), UNSTIR_OK);
    assert_int_equal(n, 5);
    assert_int_equal(json_get_int(r, "w", 0, 1, 9, &n, &err), UNSTIR_OK);
    assert_int_equal(n, 4);
    assert_int_equal(json_get_int(r, "z", 8, 1, 9, &n, &err), UNSTIR_OK);
    assert_int_equal(n, 8);
    assert_int_equal(json_get_int(r, "n", 0, 6, 9, &n, &err),
                     UNSTIR_ERR_FORMAT);
    assert_string_equal(err.detail, "\"n\" is 5, must be 6..9");
    assert_int_equal(json_get_int(r, "x", 0, 1, 9, &n, &err),
                     UNSTIR_ERR_FORMAT);
    assert_int_equal(json_get_real(r, "n", 0, &x, &err), UNSTIR_OK);
    assert_true(x == 5.0);
    assert_int_equal(json_get_real(r, "s", 0, &x, &err), UNSTIR_ERR_FORMAT);
    assert_string_equal(err.detail, "\"s\" is a string, must be a number");
    assert_int_equal(json_get_bool(r, "b", false, &b, &err), UNSTIR_OK);
    assert_true(b);
    assert_int_equal(json_get_bool(r, "n", false, &b, &err), UNSTIR_ERR_FORMAT);
    assert_int_equal(json_get_string(r, "s", "", &s, &err), UNSTIR_OK);
    assert_string_equal(s, "t");
    assert_int_equal(json_get_string(r, "b", "", &s, &err), UNSTIR_ERR_FORMAT);
    json_free(r);
}

static struct json_writer *sample_writer(void)
{
    struct json_writer *w;
    assert_int_equal(json_writer_new(&w, NULL), UNSTIR_OK);
    json_open_object(w, NULL);
    json_put_string(w, "s", "a\"\\\n\x01\xe2\x82\xac");
    json_open_array(w, "a");
    json_put_real(w, NULL, 0.1);
    json_put_real(w, NULL, 1.0);
    json_put_real(w, NULL, 1e300);
    json_close(w);
    json_open_object(w, "o");
    json_close(w);
    json_put_u64(w, "u", 9007199254740991u);
    json_put_u64(w, "v", UINT64_MAX);
    json_put_bool(w, "b", false);
    json_put_null(w, "n");
    json_close(w);
    return w;
}

static void test_writing(void **state)
{
    char *text;
    assert_int_equal(json_finish(&text, sample_writer(), false, NULL),
                     UNSTIR_OK);
    assert_string_equal(
        text,
        "{\"s\":\"a\\\"\\\\\\n\\u0001\xe2\x82\xac\",\"a\":[0.1,1.0,1e+300]"
        ",\"o\":{},\"u\":9007199254740991,"
        "\"v\":\"18446744073709551615\",\"b\":false,\"n\":null}");
    alloc_free(text);
    assert_int_equal(json_finish(&text, sample_writer(), true, NULL),
                     UNSTIR_OK);
    assert_non_null(strstr(text, "  \"a\": [\n    0.1,\n"));
    assert_non_null(strstr(text, "\"o\": {},\n"));
    json_free(parse(text));
    alloc_free(text);
}

/* What is copied value by value reads back the same. */
static void test_copy_of_a_document(void **state)
{
    const char *text = "{\"a\":[1,-2.5,true,null,\"x\"],\"b\":{\"c\":{}}}";
    struct json *r = parse(text);
    struct json_writer *w;
    char *copy;
    assert_int_equal(json_writer_new(&w, NULL), UNSTIR_OK);
    json_put_value(w, NULL, r);
    assert_int_equal(json_finish(&copy, w, false, NULL), UNSTIR_OK);
    assert_string_equal(copy, text);
    alloc_free(copy);
    json_free(r);
}

static void test_writer_reports_failed_memory(void **state)
{
    struct json_writer *w;
    char *text;
    struct unstir_error err = {0};
    assert_int_equal(json_writer_new(&w, NULL), UNSTIR_OK);
    alloc_test_fail_after(1);
    json_put_string(w, NULL, "x");
    alloc_test_fail_after(0);
    assert_int_equal(json_finish(&text, w, false, &err), UNSTIR_ERR_NOMEM);
    assert_null(text);
}

/* What Python writes for infinities is null; strings are left alone. */
static void test_infinities(void **state)
{
    char text[] = "{\"a\":-Infinity,\"b\":[Infinity ,1],"
                  "\"-Infinity\":\"\\\"Infinity\"}";
    struct json *o;
    struct unstir_error err;

    assert_int_equal(json_parse(&o, text, strlen(text), &err),
                     UNSTIR_ERR_FORMAT);
    json_blank_infinities(text, strlen(text));
    if (json_parse(&o, text, strlen(text), &err))
        fail_msg("%s", err.detail);
    assert_int_equal(json_type(json_get(o, "a")), JSON_NULL);
    assert_int_equal(json_type(json_at(json_get(o, "b"), 0)), JSON_NULL);
    assert_string_equal(json_string(json_get(o, "-Infinity")), "\"Infinity");
    json_free(o);
    json_blank_infinities(text, 0);
}

static void test_wide_integers(void **state)
{
    char text[] = "{\"a\":1000000000000000019884624838656,\"b\":-"
                  "123456789012345678901,\"c\":123456789012345678,\"d\":[1.5"
                  "000000000000000000000,7],\"9999999999999999999\":\"\\\"99"
                  "999999999999999999\"}";
    struct json *o;
    struct unstir_error err;

    json_widen_integers(text, strlen(text));
    if (json_parse(&o, text, strlen(text), &err))
        fail_msg("%s", err.detail);
    assert_float_equal(json_real(json_get(o, "a")) / 1e30, 1, 1e-12);
    assert_float_equal(json_real(json_get(o, "b")) / -123456789012345678e3, 1,
                       1e-12);
    assert_int_equal(json_int(json_get(o, "c")), 123456789012345678);
    assert_float_equal(json_real(json_at(json_get(o, "d"), 0)), 1.5, 0);
    assert_int_equal(json_int(json_at(json_get(o, "d"), 1)), 7);
    assert_string_equal(json_string(json_get(o, "9999999999999999999")),
                        "\"99999999999999999999");
    json_free(o);
    json_widen_integers(text, 0);
}

/* Of a file: errors name it, and a ceiling is a ceiling. */
static void test_reading_a_file(void **state)
{
    char path[] = "/tmp/unstir-json-XXXXXX";
    struct unstir_error err = {0};
    struct json *root;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"a\":7}", 7), 7);
    assert_int_equal(json_read(&root, path, 7, &err), UNSTIR_OK);
    assert_int_equal(json_int(json_get(root, "a")), 7);
    json_free(root);
    assert_int_equal(json_read(&root, path, 6, &err), UNSTIR_ERR_LIMIT);
    assert_null(root);
    assert_int_equal(write(fd, "}", 1), 1);
    assert_int_equal(json_read(&root, path, 8, &err), UNSTIR_ERR_FORMAT);
    assert_null(root);
    assert_memory_equal(err.detail, path, strlen(path));
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading_a_file),
        cmocka_unit_test(test_infinities),
        cmocka_unit_test(test_wide_integers),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_empty_object_iterates_nothing),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth_limit),
        cmocka_unit_test(test_many_values_are_refused),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_copy_of_a_document),
        cmocka_unit_test(test_writer_reports_failed_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
