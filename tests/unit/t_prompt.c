/* t_prompt.c - the prompt language, as text and as tokens.
 *
 * The rows of parse_table that need no BREAK or LoRA are the webui's own
 * examples (modules/prompt_parser.py), weights to six digits.
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

#include "base/alloc.h"
#include "format/json.h"
#include "format/safetensors_write.h"
#include "json_file.h"
#include "scratch.h"
#include "text/bpe.h"
#include "text/inversion.h"
#include "text/prompt.h"

#define BREAK -1000.0 /* a span that is a BREAK */

struct span {
    const char *text;
    double weight;
};

static const struct parse_row {
    const char *text;
    enum prompt_syntax syntax;
    size_t n;
    struct span spans[10];
} parse_table[] = {
    {"", PROMPT_WEIGHTED, 0, {{0}}},
    {"", PROMPT_PLAIN, 0, {{0}}},
    {"normal text", PROMPT_WEIGHTED, 1, {{"normal text", 1}}},
    {"an (important) word",
     PROMPT_WEIGHTED,
     3,
     {{"an ", 1}, {"important", 1.1}, {" word", 1}}},
    {"(unbalanced", PROMPT_WEIGHTED, 1, {{"unbalanced", 1.1}}},
    {"\\(literal\\]", PROMPT_WEIGHTED, 1, {{"(literal]", 1}}},
    {"(unnecessary)(parens)", PROMPT_WEIGHTED, 1, {{"unnecessaryparens", 1.1}}},
    {"a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
     PROMPT_WEIGHTED,
     9,
     {{"a ", 1},
      {"house", 1.573},
      {" ", 1.1},
      {"on", 1},
      {" a ", 1.1},
      {"hill", 0.55},
      {", sun, ", 1.1},
      {"sky", 1.4641},
      {".", 1.1}}},
    {"a (((house:1.3)) [on]", PROMPT_PLAIN, 1, {{"a (((house:1.3)) [on]", 1}}},
    {"(a: 1.25 )", PROMPT_WEIGHTED, 1, {{"a", 1.25}}},
    {"(a:-0.5)", PROMPT_WEIGHTED, 1, {{"a", -0.5}}},
    {"(a:.5)", PROMPT_WEIGHTED, 1, {{"a", 0.5}}},
    {"(a:b)", PROMPT_WEIGHTED, 1, {{"a:b", 1.1}}},
    {"a:1.2)", PROMPT_WEIGHTED, 1, {{"a:1.2)", 1}}},
    {"at 12:30", PROMPT_WEIGHTED, 1, {{"at 12:30", 1}}},
    {"[a]", PROMPT_WEIGHTED, 1, {{"a", 0.909091}}},
    {"[a", PROMPT_WEIGHTED, 1, {{"a", 0.909091}}},
    {"a]b)", PROMPT_WEIGHTED, 1, {{"a]b)", 1}}},
    {"a\\\\b\\c\\", PROMPT_WEIGHTED, 1, {{"a\\bc", 1}}},
    {"a BREAK b", PROMPT_WEIGHTED, 3, {{"a ", 1}, {"", BREAK}, {" b", 1}}},
    {"(a BREAK b:2)", PROMPT_WEIGHTED, 3, {{"a ", 2}, {"", BREAK}, {" b", 2}}},
    {"a、BREAK。b", PROMPT_WEIGHTED, 3, {{"a、", 1}, {"", BREAK}, {"。b", 1}}},
    {"éBREAK BREAK_", PROMPT_WEIGHTED, 1, {{"éBREAK BREAK_", 1}}},
    {"(a:1.2000000000000002)", PROMPT_WEIGHTED, 1, {{"a", 1.2}}},
    {"aBREAK BREAKs", PROMPT_WEIGHTED, 1, {{"aBREAK BREAKs", 1}}},
    {"[a:b:0.5]", PROMPT_WEIGHTED, 1, {{"a:b:0.5", 0.909091}}},
    {"[a|b] AND c", PROMPT_WEIGHTED, 2, {{"a|b", 0.909091}, {" AND c", 1}}},
    {"(a:1e9)", PROMPT_WEIGHTED, 1, {{"a:1e9", 1.1}}},
    {"(a:-1)", PROMPT_WEIGHTED, 1, {{"a", -1}}},
    {"a BREAK", PROMPT_PLAIN, 1, {{"a BREAK", 1}}},
    {"x<lora:y>z", PROMPT_WEIGHTED, 1, {{"xz", 1}}},
    {"x<lora:y", PROMPT_WEIGHTED, 1, {{"x<lora:y", 1}}},
    {"x<b>y", PROMPT_WEIGHTED, 1, {{"x<b>y", 1}}},
    {"x<lora:y>z", PROMPT_PLAIN, 1, {{"x<lora:y>z", 1}}},
};

static void check_span(const char *prompt, const struct prompt *p, size_t i,
                       const struct span *want)
{
    const struct prompt_span *got = &p->spans[i];

    if (got->is_break != (want->weight == BREAK))
        fail_msg("\"%s\": span %zu: break or not", prompt, i);
    if (!got->is_break && fabs(got->weight - want->weight) > 5e-7)
        fail_msg("\"%s\": span %zu weighs %.9g, wanted %.9g", prompt, i,
                 got->weight, want->weight);
    if (got->n != strlen(want->text) ||
        memcmp(p->text + got->at, want->text, got->n) != 0)
        fail_msg("\"%s\": span %zu is \"%.*s\", wanted \"%s\"", prompt, i,
                 (int)got->n, p->text + got->at, want->text);
}

static void test_parse(void **state)
{
    for (size_t r = 0; r < ARRAY_LEN(parse_table); r++) {
        const struct parse_row *row = &parse_table[r];
        struct unstir_error err = {0};
        struct prompt p;

        if (prompt_parse(&p, row->text, row->syntax, &err) != UNSTIR_OK)
            fail_msg("\"%s\": %s", row->text, err.detail);
        if (p.n_spans != row->n)
            fail_msg("\"%s\": %zu spans, wanted %zu", row->text, p.n_spans,
                     row->n);
        for (size_t i = 0; i < row->n; i++)
            check_span(row->text, &p, i, &row->spans[i]);
        prompt_fini(&p);
    }
}

static void test_loras(void **state)
{
    static const struct {
        const char *text, *name;
        double text_scale, unet_scale;
    } rows[] = {
        {"<lora:a>", "a", 1, 1},
        {"x <lora:my style_v2:0.8> y", "my style_v2", 0.8, 0.8},
        {"<lora:a:0.5:1.25>", "a", 0.5, 1.25},
        {"(<lora:a:-1>)", "a", -1, -1},
        {"<lora:a: 0.5 >", "a", 0.5, 0.5},
        {"<lyco:a:0.5>", "a", 0.5, 0.5},
        {"<lora:a:te=0.5>", "a", 0.5, 0.5},
        {"<lora:a:unet=0.5>", "a", 1, 0.5},
        {"<lora:a:0.25:unet= 2>", "a", 0.25, 2},
        {"<lora:a:unet=2:te=3>", "a", 3, 2},
        {"<lora:a:te=3:0.5:4>", "a", 0.5, 4},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct prompt p;

        assert_int_equal(prompt_parse(&p, rows[i].text, PROMPT_WEIGHTED, NULL),
                         UNSTIR_OK);
        assert_int_equal(p.n_loras, 1);
        assert_string_equal(p.loras[0].name, rows[i].name);
        if (p.loras[0].text_scale != rows[i].text_scale ||
            p.loras[0].unet_scale != rows[i].unet_scale)
            fail_msg("%s: scales %g and %g, wanted %g and %g", rows[i].text,
                     p.loras[0].text_scale, p.loras[0].unet_scale,
                     rows[i].text_scale, rows[i].unet_scale);
        prompt_fini(&p);
    }
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *told;
    } rows[] = {
        {"(a:1.2.3)", "weight \"1.2.3\" is not a number"},
        {"(a:.)", "weight \".\" is not a number"},
        {"(a:101)", "weight 101; allowed: -100 to 100"},
        {"(a:1234567890123456)", "is not a number"},
        {"<lora:>", "a name of 1 to 255 bytes"},
        {"<lora:a:x>", "LoRA scale \"x\""},
        {"<lora:a:>", "LoRA scale \"\""},
        {"<lora:a:1:2:3>", "at most a scale for the text encoder"},
        {"<lora:a:dyn=8>", "LoRA scale \"dyn=8\""},
        {"<lora:a:te=>", "LoRA scale \"\""},
        {"<hypernet:b:1> c", "<hypernet:b:1>: hypernetworks"},
    };
    struct unstir_error err = {0};
    enum prompt_syntax syntax;
    char deep[80];
    struct prompt p;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_not_equal(
            prompt_parse(&p, rows[i].text, PROMPT_WEIGHTED, &err), UNSTIR_OK);
        if (!strstr(err.detail, rows[i].told) ||
            strcmp(err.field, "prompt") != 0)
            fail_msg("\"%s\": told \"%s\" of \"%s\", wanted \"%s\"",
                     rows[i].text, err.detail, err.field, rows[i].told);
    }
    snprintf(deep, sizeof deep, "%065d", 0);
    for (size_t i = 0; i < 65; i++)
        deep[i] = '[';
    assert_int_not_equal(prompt_parse(&p, deep, PROMPT_WEIGHTED, &err),
                         UNSTIR_OK);
    assert_non_null(strstr(err.detail, "deeper than 64"));
    assert_true(prompt_syntax_find(&syntax, "plain"));
    assert_int_equal(syntax, PROMPT_PLAIN);
    assert_true(prompt_syntax_find(&syntax, "weighted"));
    assert_false(prompt_syntax_find(&syntax, "fancy"));
}

/* -- tokens ------------------------------------------------------------ */

#define CAT    2368
#define DOG    1929
#define COMMA  267
#define LENGTH 77

static struct bpe *standard(void)
{
    struct unstir_error err = {0};
    struct bpe *b;

    if (bpe_open_merges(&b, "models/clip-bpe/merges.txt", &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    return b;
}

static void tokenize(struct prompt_chunks *c, const char *text,
                     enum prompt_syntax syntax, const struct bpe *b,
                     const struct inversions *inversions)
{
    struct unstir_error err = {0};
    struct prompt p;

    if (prompt_parse(&p, text, syntax, &err) != UNSTIR_OK ||
        prompt_tokenize(c, &p, b, inversions, LENGTH, &err) != UNSTIR_OK)
        fail_msg("\"%s\": %s", text, err.detail);
    prompt_fini(&p);
}

/* A piece is BOS, `before` cats, n times `what` and then EOS to the end. */
static void check_piece(const struct prompt_chunks *c, size_t piece,
                        const uint32_t *want, size_t n)
{
    const uint32_t *ids = c->ids + piece * LENGTH;

    if (ids[0] != 49406)
        fail_msg("piece %zu begins with %u", piece, ids[0]);
    for (size_t i = 1; i < LENGTH; i++) {
        uint32_t id = i <= n ? want[i - 1] : 49407;

        if (ids[i] != id)
            fail_msg("piece %zu, token %zu is %u, wanted %u", piece, i, ids[i],
                     id);
    }
}

/* n_before cats, a comma, n_after dogs: how they fall into pieces. */
static void check_comma(const struct bpe *b, size_t n_before, size_t n_after,
                        size_t n_first)
{
    uint32_t all[200];
    char text[1200] = "";
    struct prompt_chunks c;
    size_t n = 0;

    for (size_t i = 0; i < n_before; i++) {
        snprintf(text + strlen(text), 6, "cat ");
        all[n++] = CAT;
    }
    snprintf(text + strlen(text), 3, ",");
    all[n++] = COMMA;
    for (size_t i = 0; i < n_after; i++) {
        snprintf(text + strlen(text), 6, " dog");
        all[n++] = DOG;
    }
    tokenize(&c, text, PROMPT_WEIGHTED, b, NULL);
    assert_int_equal(c.n_chunks, n_first < n ? 2 : 1);
    check_piece(&c, 0, all, n_first);
    if (n_first < n)
        check_piece(&c, 1, all + n_first, n - n_first);
    prompt_chunks_fini(&c);
}

static void test_pieces(void **state)
{
    struct bpe *b = standard();

    check_comma(b, 10, 10, 21); /* all fits                              */
    check_comma(b, 74, 0, 75);  /* fits exactly                          */
    check_comma(b, 75, 0, 75);  /* a comma too many takes nothing along  */
    check_comma(b, 60, 14, 75); /* fits exactly                          */
    check_comma(b, 60, 15, 61); /* the cut moves to the comma            */
    check_comma(b, 55, 20, 56); /* 19 dogs moved: the farthest           */
    check_comma(b, 54, 21, 75); /* 20 would move: too far                */
    check_comma(b, 74, 1, 75);  /* the comma is the last that fits       */
    check_comma(b, 75, 10, 75); /* a comma at the start is no place      */
    bpe_free(b);
}

static void test_breaks(void **state)
{
    static const struct {
        const char *text;
        size_t n_pieces;
    } rows[] = {{"", 1},           {"cat", 1},           {"cat BREAK", 1},
                {"BREAK cat", 2},  {"cat BREAK dog", 2}, {"BREAK", 1},
                {"BREAK BREAK", 2}};
    static const uint32_t cat = CAT, dog = DOG;
    struct bpe *b = standard();
    struct prompt_chunks c;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        tokenize(&c, rows[i].text, PROMPT_WEIGHTED, b, NULL);
        if (c.n_chunks != rows[i].n_pieces)
            fail_msg("\"%s\": %zu pieces, wanted %zu", rows[i].text, c.n_chunks,
                     rows[i].n_pieces);
        prompt_chunks_fini(&c);
    }
    tokenize(&c, "cat BREAK dog", PROMPT_WEIGHTED, b, NULL);
    check_piece(&c, 0, &cat, 1);
    check_piece(&c, 1, &dog, 1);
    assert_int_equal(prompt_chunks_pad(&c, 4, b, NULL), UNSTIR_OK);
    assert_int_equal(c.n_chunks, 4);
    check_piece(&c, 3, NULL, 0);
    assert_int_equal(prompt_chunks_pad(&c, PROMPT_MAX_CHUNKS + 1, b, NULL),
                     UNSTIR_ERR_LIMIT);
    prompt_chunks_fini(&c);
    bpe_free(b);
}

static void test_weights(void **state)
{
    struct bpe *b = standard();
    struct prompt_chunks c;

    tokenize(&c, "cat (dog:1.5) cat", PROMPT_WEIGHTED, b, NULL);
    assert_true(c.is_weighted);
    for (size_t i = 0; i < LENGTH; i++)
        if (c.weights[i] != (i == 2 ? 1.5F : 1.0F))
            fail_msg("token %zu weighs %g", i, (double)c.weights[i]);
    prompt_chunks_fini(&c);
    tokenize(&c, "cat (dog:1.0)", PROMPT_WEIGHTED, b, NULL);
    assert_false(c.is_weighted);
    prompt_chunks_fini(&c);
    bpe_free(b);
}

static void test_plain_cut(void **state)
{
    uint32_t cats[75];
    char text[400] = "";
    struct bpe *b = standard();
    struct prompt_chunks c;

    for (size_t i = 0; i < 75; i++)
        cats[i] = CAT;
    for (size_t i = 0; i < 80; i++)
        snprintf(text + strlen(text), 6, "cat ");
    tokenize(&c, text, PROMPT_PLAIN, b, NULL);
    assert_int_equal(c.n_chunks, 1);
    assert_int_equal(c.n_dropped, 5);
    check_piece(&c, 0, cats, 75);
    prompt_chunks_fini(&c);
    bpe_free(b);
}

static void test_too_long(void **state)
{
    struct bpe *b = standard();
    struct unstir_error err = {0};
    char text[12001];
    struct prompt_chunks c;
    struct prompt p;

    for (size_t i = 0; i < 12000; i++)
        text[i] = i % 4 == 3 ? ' ' : "cat"[i % 4];
    text[12000] = '\0';
    assert_int_equal(prompt_parse(&p, text, PROMPT_WEIGHTED, &err), UNSTIR_OK);
    assert_int_equal(prompt_tokenize(&c, &p, b, NULL, LENGTH, &err),
                     UNSTIR_ERR_LIMIT);
    assert_non_null(strstr(err.detail, "more than 32 pieces"));
    prompt_fini(&p);
    bpe_free(b);
}

/* -- textual inversion ------------------------------------------------- */

static void write_vectors(const char *path, const char *name, uint64_t n,
                          uint64_t c, float first)
{
    float data[64];
    struct safetensors_entry e = {.name = name,
                                  .dtype = DTYPE_F32,
                                  .rank = 2,
                                  .dims = {n, c},
                                  .data = data};

    for (size_t i = 0; i < n * c; i++)
        data[i] = first + (float)i;
    assert_int_equal(safetensors_write(path, &e, 1, NULL, 0, NULL), UNSTIR_OK);
}

static void add_file(struct inversions *set, const char *folder,
                     const char *file, const char *tensor, uint64_t n)
{
    char path[SCRATCH_PATH];
    struct unstir_error err = {0};

    scratch_path(path, folder, file);
    write_vectors(path, tensor, n, 4, 10);
    if (inversions_open(set, path, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
}

static void test_inversions(void **state)
{
    struct inversions set = {0};
    struct unstir_error err = {0};
    char folder[SCRATCH_PATH], path[SCRATCH_PATH];
    struct bpe *b = standard();
    struct prompt_chunks c;
    const float *row;

    scratch_make(folder);
    add_file(&set, folder, "learned.safetensors", "<cat-toy>", 2);
    add_file(&set, folder, "EasyNeg.v2.safetensors", "emb_params", 3);
    assert_int_equal(set.n, 2);
    assert_string_equal(set.list[1].name, "EasyNeg.v2");
    assert_int_equal(set.n_rows, 5);
    tokenize(&c, "dog <cat-toy>, (easyneg.v2:1.5)", PROMPT_WEIGHTED, b, &set);
    check_piece(&c, 0,
                (uint32_t[]){DOG, 49408, 49409, COMMA, 49410, 49411, 49412}, 7);
    assert_true(c.weights[7] == 1.5F && c.weights[4] == 1.0F);
    assert_int_equal(inversions_row(&set, &row, 3, 0, 4, &err), UNSTIR_OK);
    assert_true(row[0] == 14);
    assert_int_equal(inversions_row(&set, &row, 3, 1, 4, &err), UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "no vectors for text encoder 2"));
    assert_int_equal(inversions_row(&set, &row, 3, 0, 8, &err), UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "\"EasyNeg.v2\" has vectors of 4"));
    prompt_chunks_fini(&c);
    tokenize(&c, "dog <CAT-TOY>dog", PROMPT_PLAIN, b, &set);
    check_piece(&c, 0, (uint32_t[]){DOG, 49408, 49409, DOG}, 4);
    prompt_chunks_fini(&c);
    tokenize(&c, "dog\uff0ceasyneg.v2", PROMPT_PLAIN, b, &set);
    size_t n_own = 0; /* it stands behind a comma of another script */
    for (size_t i = 0; i < LENGTH; i++)
        n_own += c.ids[i] >= c.inversion_base;
    assert_int_equal(n_own, 3);
    prompt_chunks_fini(&c);
    tokenize(&c, "easyneg.v22", PROMPT_PLAIN, b, &set);
    for (size_t i = 0; i < LENGTH; i++)
        assert_true(c.ids[i] < c.inversion_base);
    prompt_chunks_fini(&c);

    scratch_path(path, folder, "learned.safetensors");
    assert_int_equal(inversions_open(&set, path, &err), UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "two embeddings are called"));
    write_vectors(path, "x", 0, 4, 0);
    assert_int_equal(inversions_open(&set, path, &err), UNSTIR_ERR_FORMAT);
    write_vectors(path, "x", 1, 4, NAN);
    assert_int_equal(inversions_open(&set, path, &err), UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "number 0 is not finite"));
    assert_int_equal(set.n, 2);
    inversions_fini(&set);
    scratch_remove(folder);
    bpe_free(b);
}

static void test_no_memory(void **state)
{
    struct bpe *b = standard();
    struct unstir_error err = {0};
    enum unstir_status status = UNSTIR_ERR_NOMEM;

    for (long k = 1; status != UNSTIR_OK; k++) {
        struct prompt_chunks c;
        struct prompt p;

        alloc_test_fail_after(k);
        status = prompt_parse(&p, "a (b:1.2) <lora:x> BREAK c", PROMPT_WEIGHTED,
                              &err);
        if (status == UNSTIR_OK) {
            status = prompt_tokenize(&c, &p, b, NULL, LENGTH, &err);
            prompt_fini(&p);
        }
        alloc_test_fail_after(0);
        if (status == UNSTIR_OK)
            prompt_chunks_fini(&c);
        else
            assert_int_equal(status, UNSTIR_ERR_NOMEM);
        assert_true(k < 500);
    }
    bpe_free(b);
}

/* The pieces of one row: no more, no fewer, of these ids and weights. */
static void check_row(const struct bpe *b, const struct json *row)
{
    const char *text = json_string(json_get(row, "prompt"));
    const struct json *ids = json_get(row, "ids");
    const struct json *weights = json_get(row, "weights");
    struct prompt_chunks c;

    tokenize(&c, text, PROMPT_WEIGHTED, b, NULL);
    if (c.n_chunks != json_len(ids))
        fail_msg("\"%s\": %zu pieces, wanted %zu", text, c.n_chunks,
                 json_len(ids));
    for (size_t i = 0; i < c.n_chunks * LENGTH; i++) {
        size_t piece = i / LENGTH, at = i % LENGTH;
        const struct json *list = json_at(ids, piece);
        bool is_text = at > 0 && at <= json_len(list);
        int64_t id = is_text ? json_int(json_at(list, at - 1))
                     : at    ? 49407
                             : 49406;
        double w =
            is_text ? json_real(json_at(json_at(weights, piece), at - 1)) : 1;
        if (c.ids[i] != id || fabs((double)c.weights[i] - w) > 1e-6 * fabs(w))
            fail_msg("piece %zu, token %zu: got %u x %.9g, wanted %lld x %.9g "
                     "in \"%.600s\"",
                     piece, at, c.ids[i], (double)c.weights[i], (long long)id,
                     w, text);
    }
    prompt_chunks_fini(&c);
}

/* Rows of tools/goldens/diff_text.py. */
static void test_drawn(void **state)
{
    struct json *rows = json_file_open(*state);
    struct bpe *b = standard();

    for (size_t i = 0; i < json_len(rows); i++)
        check_row(b, json_at(rows, i));
    bpe_free(b);
    json_free(rows);
}

/* usage: t_prompt [ROWS.json], of the developers' tool. */
int main(int argc, char **argv)
{
    const struct CMUnitTest drawn[] = {
        {"drawn", test_drawn, NULL, NULL, argc > 1 ? argv[1] : NULL},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),      cmocka_unit_test(test_loras),
        cmocka_unit_test(test_errors),     cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_breaks),     cmocka_unit_test(test_weights),
        cmocka_unit_test(test_plain_cut),  cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_inversions), cmocka_unit_test(test_no_memory),
    };

    return argc > 1 ? cmocka_run_group_tests(drawn, NULL, NULL)
                    : cmocka_run_group_tests(tests, NULL, NULL);
}
