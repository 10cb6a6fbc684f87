/* t_jdoc.c - strict JSON in, all violations at once; JSON out; problems.
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

#include "json.h"

struct inner {
    int64_t every;
    bool keep;
};

struct item {
    const char *name;
    double scale;
    bool has_scale;
};

struct made {
    const char *prompt;
    int64_t steps;
    uint64_t seed;
    double eta;
    bool fast;
    const char *label;
    const char *mode;
    struct inner preview;
    struct json_list items;
    bool has_steps;
    bool has_seed;
};

#define AT(name) offsetof(struct made, name)
static const struct json_field inner_fields[] = {
    {"every", NULL, JSON_KIND_INT, offsetof(struct inner, every),
     JSON_NO_PRESENT, 1, 100, 0, NULL, NULL, NULL, 0, 0},
    {"keep", NULL, JSON_KIND_BOOL, offsetof(struct inner, keep),
     JSON_NO_PRESENT, 0, 0, 0, NULL, NULL, NULL, 0, 0},
    JSON_FIELD_END};
static const struct json_field item_fields[] = {
    {.name = "name",
     .kind = JSON_KIND_STRING,
     .offset = offsetof(struct item, name),
     .present = JSON_NO_PRESENT,
     .max_bytes = 8},
    {.name = "scale",
     .kind = JSON_KIND_NUMBER,
     .offset = offsetof(struct item, scale),
     .present = offsetof(struct item, has_scale),
     .min = -2,
     .max = 2},
    JSON_FIELD_END};
static const struct json_field fields[] = {
    {"prompt", NULL, JSON_KIND_STRING, AT(prompt), JSON_NO_PRESENT, 0, 0, 8,
     NULL, NULL, NULL, 0, 0},
    {"steps", "n_steps", JSON_KIND_INT, AT(steps), AT(has_steps), 1, 1000, 0,
     NULL, NULL, NULL, 0, 0},
    {"seed", NULL, JSON_KIND_SEED, AT(seed), AT(has_seed), 0, 0, 0, NULL, NULL,
     NULL, 0, 0},
    {"eta", NULL, JSON_KIND_NUMBER, AT(eta), JSON_NO_PRESENT, 0, 1, 0, NULL,
     NULL, NULL, 0, 0},
    {"fast", NULL, JSON_KIND_BOOL, AT(fast), JSON_NO_PRESENT, 0, 0, 0, NULL,
     NULL, NULL, 0, 0},
    {"class", NULL, JSON_KIND_LABEL, AT(label), JSON_NO_PRESENT, 0, 0, 0, NULL,
     NULL, NULL, 0, 0},
    {"on_disconnect", NULL, JSON_KIND_STRING, AT(mode), JSON_NO_PRESENT, 0, 0,
     0, "cancel|continue", NULL, NULL, 0, 0},
    {"preview", NULL, JSON_KIND_OBJECT, AT(preview), JSON_NO_PRESENT, 0, 0, 0,
     NULL, inner_fields, NULL, 0, 0},
    {.name = "items",
     .kind = JSON_KIND_LIST,
     .offset = AT(items),
     .present = JSON_NO_PRESENT,
     .fields = item_fields,
     .item_bytes = sizeof(struct item),
     .max_items = 3},
    JSON_FIELD_END};

static void test_what_is_not_json(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        bool is_right;
    } rows[] = {
#define ROW(text, is_right) {text, sizeof(text) - 1, is_right}
        ROW("{}", true),
        ROW("[]", true),
        ROW("3", true),
        ROW("", false),
        ROW("{", false),
        ROW("{}x", false),
        ROW("{\"a\":1,\"a\":2}", false),
        ROW("{\"a\":NaN}", false),
        ROW("{\"a\":Infinity}", false),
        ROW("{\"a\":1e999}", false),
        ROW("{\"a\":9223372036854775807}", true),
        ROW("{\"a\":9223372036854775808}", false),
        ROW("{\"a\":\"\xff\"}", false),
        ROW("{\"a\":\"\xed\xa0\x80\"}", false),
        ROW("{\"a\":\"\\u0000\"}", false),
        ROW("{\"a\":\"b\0c\"}", false),
        ROW("{a:1}", false),
        ROW("{\"a\":1,}", false),
        ROW("{\"a\":01}", false),
        ROW("[[[[[[[[1]]]]]]]]", true),
        ROW("[[[[[[[[[1]]]]]]]]]", false),
        ROW("\"[[[[[[[[[[[[\"", true),
        ROW("\"\\\"[[[[[[[[[[[[\"", true),
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        char why[200] = "";
        struct jdoc *doc = jdoc_parse(rows[i].text, rows[i].n, why, sizeof why);

        if ((doc != NULL) != rows[i].is_right)
            fail_msg("%s: wanted %s, got %s", rows[i].text,
                     rows[i].is_right ? "right" : "refused",
                     doc ? "right" : why);
        if (!doc && !*why)
            fail_msg("%s: refused without a reason", rows[i].text);
        jdoc_free(doc);
    }
}

/* A list of n zeroes; a long string counts as one value. */
static bool is_taken(size_t n)
{
    struct buf text;
    struct jdoc *doc;
    char why[200] = "";

    buf_init(&text, 1u << 16);
    (void)buf_text(&text, "[\",,,,[[[[");
    while (text.n < 4 * JSON_MAX_VALUES)
        (void)buf_byte(&text, ',');
    (void)buf_byte(&text, '"');
    while (--n > 0)
        (void)buf_text(&text, ",0");
    (void)buf_byte(&text, ']');
    doc = jdoc_parse(text.bytes, text.n, why, sizeof why);
    buf_fini(&text);
    jdoc_free(doc);
    assert_true(doc != NULL || strstr(why, "more than 1024 values") != NULL);
    return doc != NULL;
}

static void test_many_values(void **state)
{
    (void)state;
    assert_true(is_taken(JSON_MAX_VALUES));
    assert_false(is_taken(JSON_MAX_VALUES + 1));
}

static bool read_into(const char *text, struct made *made,
                      struct problem *problem, struct mem_arena *arena)
{
    char why[200];
    struct jdoc *doc = jdoc_parse(text, strlen(text), why, sizeof why);
    bool is_right;

    if (!doc)
        fail_msg("%s: %s", text, why);
    memset(made, 0, sizeof *made);
    problem_init(problem, arena, ERROR_INVALID_PARAMETERS);
    is_right = jdoc_read(doc, fields, made, false, problem);
    jdoc_free(doc);
    assert_int_equal(is_right, problem->n_violations == 0);
    return is_right;
}

static void test_fields(void **state)
{
    struct mem_arena *arena = mem_arena_new(1 << 20);
    struct problem problem;
    struct made made;

    (void)state;
    assert_true(read_into("{\"prompt\":\"h\\u00e9\",\"n_steps\":20.0,\"seed\":"
                          "\"18446744073709551615\",\"eta\":0.5,\"fast\":true,"
                          "\"class\":7,\"on_disconnect\":\"continue\","
                          "\"preview\":{\"every\":3,\"keep\":true}}",
                          &made, &problem, arena));
    assert_string_equal(made.prompt, "h\xc3\xa9");
    assert_int_equal(made.steps, 20);
    assert_true(made.has_steps);
    assert_true(made.seed == UINT64_MAX);
    assert_true(made.eta == 0.5);
    assert_true(made.fast);
    assert_string_equal(made.label, "7");
    assert_string_equal(made.mode, "continue");
    assert_int_equal(made.preview.every, 3);
    assert_true(made.preview.keep);
    assert_true(read_into("{\"steps\":null,\"seed\":5,\"class\":\"boot\"}",
                          &made, &problem, arena));
    assert_false(made.has_steps);
    assert_true(made.has_seed);
    assert_string_equal(made.label, "boot");
    assert_true(
        read_into("{\"seed\":1e3,\"class\":7.0}", &made, &problem, arena));
    assert_true(made.seed == 1000);
    assert_string_equal(made.label, "7");
    assert_false(read_into("{\"seed\":1e16}", &made, &problem, arena));
    mem_arena_free(arena);
}

/* Objects, texts for their first field, and one item alone. */
static void test_lists(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        const char *last;
        double scale;
    } rows[] = {
        {"{\"items\":[]}", 0, NULL, 0},
        {"{\"items\":null}", 0, NULL, 0},
        {"{\"items\":[{\"name\":\"a\",\"scale\":-2}]}", 1, "a", -2},
        {"{\"items\":[\"a\",{\"name\":\"b\"},\"c\"]}", 3, "c", 0},
        {"{\"items\":\"d\"}", 1, "d", 0},
        {"{\"items\":{\"name\":\"e\",\"scale\":1}}", 1, "e", 1},
    };
    struct mem_arena *arena = mem_arena_new(1 << 20);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct problem problem;
        const struct item *last;
        struct made made;

        assert_true(read_into(rows[i].text, &made, &problem, arena));
        assert_int_equal(made.items.n, rows[i].n);
        if (rows[i].n == 0)
            continue;
        last = (const struct item *)made.items.items + rows[i].n - 1;
        assert_string_equal(last->name, rows[i].last);
        assert_true(last->scale == rows[i].scale);
        assert_int_equal(last->has_scale, rows[i].scale != 0);
    }
    mem_arena_free(arena);
}

static void test_violations(void **state)
{
    static const struct {
        const char *text, *pointer, *got, *nearest;
    } rows[] = {
        {"{\"steps\":0}", "/steps", "0", "[1]"},
        {"{\"steps\":1001}", "/steps", "1001", "[1000]"},
        {"{\"steps\":2.5}", "/steps", "2.5", "[2,3]"},
        {"{\"steps\":\"9\"}", "/steps", "\"9\"", NULL},
        {"{\"steps\":1e300}", "/steps", "1e+300", NULL},
        {"{\"eta\":1.5}", "/eta", "1.5", "[1]"},
        {"{\"eta\":true}", "/eta", "true", NULL},
        {"{\"fast\":1}", "/fast", "1", "[true,false]"},
        {"{\"seed\":-1}", "/seed", "-1", "[0]"},
        {"{\"seed\":\"18446744073709551616\"}", "/seed",
         "\"18446744073709551616\"", NULL},
        {"{\"seed\":\" 1\"}", "/seed", "\" 1\"", NULL},
        {"{\"seed\":1.5}", "/seed", "1.5", NULL},
        {"{\"seed\":-2.0}", "/seed", "-2", "[0]"},
        {"{\"class\":2.5}", "/class", "2.5", NULL},
        {"{\"prompt\":\"123456789\"}", "/prompt", "\"123456789\"", NULL},
        {"{\"class\":[]}", "/class", "\"an array\"", NULL},
        {"{\"on_disconnect\":\"cancle\"}", "/on_disconnect", "\"cancle\"",
         "[\"cancel\"]"},
        {"{\"preview\":{\"every\":0}}", "/preview/every", "0", "[1]"},
        {"{\"preview\":3}", "/preview", "3", NULL},
        {"{\"stpes\":3}", "/stpes", "3", "[\"steps\"]"},
        {"{\"a/b~c\":3}", "/a~1b~0c", "3", NULL},
        {"{\"steps\":3,\"n_steps\":3}", "/n_steps", "3", NULL},
        {"[]", "", "\"an array\"", NULL},
        {"{\"items\":7}", "/items", "7", NULL},
        {"{\"items\":[7]}", "/items/0", "7", NULL},
        {"{\"items\":[\"a\",\"123456789\"]}", "/items/1", "\"123456789\"",
         NULL},
        {"{\"items\":\"123456789\"}", "/items", "\"123456789\"", NULL},
        {"{\"items\":[{},{\"scale\":3}]}", "/items/1/scale", "3", "[2]"},
        {"{\"items\":[{\"scal\":1}]}", "/items/0/scal", "1", "[\"scale\"]"},
        {"{\"items\":[{},{},{},{}]}", "/items", "\"an array\"", NULL},
    };
    struct mem_arena *arena = mem_arena_new(1 << 20);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct problem problem;
        const struct problem_violation *v = &problem.violations[0];
        struct made made;

        if (read_into(rows[i].text, &made, &problem, arena))
            fail_msg("%s: accepted", rows[i].text);
        assert_int_equal(problem.n_violations, 1);
        if (strcmp(v->pointer, rows[i].pointer) != 0 || !v->got ||
            strcmp(v->got, rows[i].got) != 0)
            fail_msg("%s: got %s %s", rows[i].text, v->pointer,
                     v->got ? v->got : "-");
        if (rows[i].nearest &&
            (!v->nearest || strcmp(v->nearest, rows[i].nearest) != 0))
            fail_msg("%s: nearest %s, wanted %s", rows[i].text,
                     v->nearest ? v->nearest : "-", rows[i].nearest);
    }
    mem_arena_free(arena);
}

static void test_all_at_once(void **state)
{
    struct mem_arena *arena = mem_arena_new(1 << 20);
    struct problem problem;
    struct made made;
    struct buf out;
    char why[200];
    struct jdoc *doc;
    const char *text;

    (void)state;
    assert_false(read_into("{\"steps\":0,\"eta\":9,\"x\\u001by\":1}", &made,
                           &problem, arena));
    assert_int_equal(problem.n_violations, 3);
    buf_init(&out, 1 << 16);
    problem_write(&problem, "req_1", &out);
    assert_false(out.failed);
    assert_null(strchr(out.bytes, 0x1b));
    doc = jdoc_parse(out.bytes, out.n, why, sizeof why);
    assert_non_null(doc);
    assert_string_equal(jdoc_text(doc, "/status", arena), "422");
    assert_string_equal(jdoc_text(doc, "/errors/1/pointer", arena), "\"/eta\"");
    assert_string_equal(jdoc_text(doc, "/errors/0/nearest", arena),
                        "\"an array\"");
    assert_string_equal(jdoc_text(doc, "/error/param", arena), "\"steps\"");
    assert_string_equal(jdoc_text(doc, "/detail", arena),
                        "\"3 parameters are invalid\"");
    text = jdoc_text(doc, "/error/message", arena);
    assert_string_equal(text, "\"/steps: must be 1..1000 (nearest 1)\"");
    assert_null(jdoc_text(doc, "/nothing", arena));
    jdoc_free(doc);
    buf_fini(&out);
    mem_arena_free(arena);
}

static void test_too_many_violations(void **state)
{
    struct mem_arena *arena = mem_arena_new(1 << 20);
    struct problem problem;
    struct buf out;
    int i;

    (void)state;
    problem_init(&problem, arena, ERROR_INVALID_PARAMETERS);
    for (i = 0; i < 1000; i++)
        problem_add(&problem, "/x", "is wrong", NULL, "1");
    assert_int_equal(problem.n_violations, 1000);
    buf_init(&out, 1 << 16);
    problem_write(&problem, NULL, &out);
    assert_false(out.failed);
    assert_non_null(strstr(out.bytes, "1000 parameters are invalid"));
    assert_non_null(strstr(out.bytes, "\"nearest\":[1]"));
    buf_fini(&out);
    mem_arena_free(arena);
}

static void test_out(void **state)
{
    struct json_out out;
    struct buf buf;

    (void)state;
    buf_init(&buf, 4096);
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_string(&out, "s", "a\"\\\n\001\xc3\xa9\xff\xe2\x82");
    jout_array(&out, "a");
    jout_int(&out, NULL, -5);
    jout_number(&out, NULL, 0.1);
    jout_number(&out, NULL, 1.0 / 3.0);
    jout_end_array(&out);
    jout_seed(&out, "small", 9007199254740991u);
    jout_seed(&out, "big", 9007199254740992u);
    jout_time(&out, "t", 1767323045678);
    jout_time(&out, "none", 0);
    jout_base64(&out, "b1", "f", 1);
    jout_base64(&out, "b2", "fo", 2);
    jout_base64(&out, "b3", "foo", 3);
    jout_bool(&out, "y", true);
    jout_object(&out, "o");
    jout_end_object(&out);
    jout_end_object(&out);
    assert_string_equal(
        buf.bytes,
        "{\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd"
        "\xef\xbf\xbd\",\"a\":[-5,0.1,0.33333333333333331],"
        "\"small\":9007199254740991,\"big\":\"9007199254740992\","
        "\"t\":\"2026-01-02T03:04:05.678Z\",\"none\":null,\"b1\":\"Zg==\","
        "\"b2\":\"Zm8=\",\"b3\":\"Zm9v\",\"y\":true,\"o\":{}}");
    buf_fini(&buf);
}

static void test_memory_ends(void **state)
{
    struct mem_arena *arena = mem_arena_new(5000);
    struct buf buf;
    size_t n;

    (void)state;
    assert_non_null(mem_arena_zero(arena, 1, 4000));
    assert_null(mem_arena_zero(arena, 1, 4000));
    assert_null(mem_arena_zero(arena, SIZE_MAX, 16));
    assert_non_null(mem_arena_zero(arena, 1, 16));
    mem_arena_free(arena);

    buf_init(&buf, 10);
    assert_true(buf_text(&buf, "12345"));
    assert_false(buf_text(&buf, "678901"));
    assert_false(buf_byte(&buf, '6'));
    assert_null(buf_take(&buf, &n));
    assert_true(buf_printf(&buf, "%d", 1234567890));
    mem_test_fail_after(1);
    assert_null(mem_strdup("x"));
    mem_test_fail_after(0);
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_json),
        cmocka_unit_test(test_many_values),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_too_many_violations),
        cmocka_unit_test(test_out),
        cmocka_unit_test(test_memory_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
