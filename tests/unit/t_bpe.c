/* t_bpe.c - the tokenizer against lists made with the reference's.
 *
 * The same lists run over the three ways a vocabulary comes: merges alone,
 * vocab.json with merges.txt, and tokenizer.json with merges as pairs and as
 * lines.  Damaged files must be told apart by their texts.
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
#include "base/mapfile.h"
#include "format/json.h"
#include "json_file.h"
#include "scratch.h"
#include "text/bpe.h"

#define MERGES "models/clip-bpe/merges.txt"

enum form { FORM_MERGES, FORM_VOCAB, FORM_PAIRS, FORM_LINES };

static void token_text(const struct bpe *b, uint32_t id, char out[600])
{
    size_t n;
    const char *text = bpe_token(b, id, &n);

    assert_non_null(text);
    memcpy(out, text, n);
    out[n] = '\0';
}

static void put_vocab(struct json_writer *w, const char *key,
                      const struct bpe *b)
{
    char text[600];

    json_open_object(w, key);
    for (uint32_t id = 0; id < bpe_info(b)->n_tokens; id++) {
        token_text(b, id, text);
        json_put_int(w, text, id);
    }
    json_close(w);
}

static void put_merges(struct json_writer *w, const struct bpe *b,
                       enum form form)
{
    uint32_t left, right;

    json_open_array(w, "merges");
    for (size_t i = 0; bpe_merge(b, i, &left, &right); i++) {
        char a[1300], c[600];

        token_text(b, left, a);
        token_text(b, right, c);
        if (form == FORM_PAIRS) {
            json_open_array(w, NULL);
            json_put_string(w, NULL, a);
            json_put_string(w, NULL, c);
            json_close(w);
        } else {
            snprintf(a + strlen(a), 601, " %s", c);
            json_put_string(w, NULL, a);
        }
    }
    json_close(w);
}

static void put_steps(struct json_writer *w, const char *key, const char *list,
                      const char *const *types)
{
    json_open_object(w, key);
    json_put_string(w, "type", "Sequence");
    json_open_array(w, list);
    for (; *types; types++) {
        json_open_object(w, NULL);
        json_put_string(w, "type", *types);
        json_close(w);
    }
    json_close(w);
    json_close(w);
}

static void put_added(struct json_writer *w)
{
    static const char *const texts[] = {"<|startoftext|>", "<|endoftext|>"};

    json_open_array(w, "added_tokens");
    for (int i = 0; i < 2; i++) {
        json_open_object(w, NULL);
        json_put_int(w, "id", 49406 + i);
        json_put_string(w, "content", texts[i]);
        json_put_bool(w, "normalized", false);
        json_close(w);
    }
    json_close(w);
}

static char *tokenizer_json(const struct bpe *b, enum form form)
{
    static const char *const normal[] = {"NFC", "Replace", "Lowercase", NULL};
    static const char *const cuts[] = {"Split", "ByteLevel", NULL};
    struct json_writer *w;
    char *text;

    assert_int_equal(json_writer_new(&w, NULL), UNSTIR_OK);
    json_open_object(w, NULL);
    put_added(w);
    put_steps(w, "normalizer", "normalizers", normal);
    put_steps(w, "pre_tokenizer", "pretokenizers", cuts);
    json_open_object(w, "model");
    json_put_string(w, "type", "BPE");
    json_put_string(w, "end_of_word_suffix", "</w>");
    put_vocab(w, "vocab", b);
    put_merges(w, b, form);
    json_close(w);
    json_close(w);
    assert_int_equal(json_finish(&text, w, false, NULL), UNSTIR_OK);
    return text;
}

static void write_vocab(const char *folder, const struct bpe *b)
{
    struct json_writer *w;
    char *text;
    size_t n;

    assert_int_equal(json_writer_new(&w, NULL), UNSTIR_OK);
    put_vocab(w, NULL, b);
    assert_int_equal(json_finish(&text, w, false, NULL), UNSTIR_OK);
    scratch_write(folder, "vocab.json", text, strlen(text));
    alloc_free(text);
    assert_int_equal(mapfile_read(&text, &n, MERGES, 0, NULL), UNSTIR_OK);
    scratch_write(folder, "merges.txt", text, n);
    alloc_free(text);
}

static struct bpe *open_form(enum form form)
{
    char folder[SCRATCH_PATH];
    struct unstir_error err = {0};
    struct bpe *standard, *b;
    char *text;

    if (bpe_open_merges(&standard, MERGES, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    if (form == FORM_MERGES)
        return standard;
    scratch_make(folder);
    if (form == FORM_VOCAB) {
        write_vocab(folder, standard);
    } else {
        text = tokenizer_json(standard, form);
        scratch_write(folder, "tokenizer.json", text, strlen(text));
        alloc_free(text);
    }
    if (bpe_open_folder(&b, folder, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    scratch_remove(folder);
    bpe_free(standard);
    return b;
}

/* The ids of a text against those of a list, BOS and EOS included when
 * is_framed (then cut at 77). */
static void check_ids(const struct bpe *b, const char *text, size_t n_bytes,
                      const struct json *want, bool is_framed)
{
    struct unstir_error err = {0};
    struct bpe_ids ids = {0};
    size_t n = json_len(want), frame = is_framed ? 1 : 0;

    if (bpe_encode(b, &ids, text, n_bytes, &err) != UNSTIR_OK)
        fail_msg("\"%s\": %s", text, err.detail);
    if (is_framed && ids.n > 75)
        ids.n = 75;
    if (ids.n + 2 * frame != n)
        fail_msg("\"%s\": got %zu ids, wanted %zu", text, ids.n, n - 2 * frame);
    for (size_t i = 0; i < ids.n; i++)
        if (ids.ids[i] != json_int(json_at(want, i + frame)))
            fail_msg("\"%s\": id %zu is %u, wanted %lld", text, i, ids.ids[i],
                     (long long)json_int(json_at(want, i + frame)));
    bpe_ids_fini(&ids);
}

static void check_plain(const struct bpe *b, const struct json *list)
{
    const struct json *want;
    const char *text;

    assert_int_equal(json_len(list), 14);
    for (size_t i = 0; json_each(list, &i, &text, &want);)
        check_ids(b, text, strlen(text), want, false);
}

/* Bytes of two hexadecimal digits each. */
static size_t from_hex(char *out, const char *hex)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        out[i] = (char)strtoul(pair, NULL, 16);
    }
    return n;
}

static void check_unicode(const struct bpe *b, const struct json *list)
{
    for (size_t i = 0; i < json_len(list); i++) {
        const struct json *entry = json_at(list, i);
        const struct json *want = json_get(entry, "ids");
        const struct json *hex = json_get(entry, "hex");
        const char *text = json_string(json_get(entry, "text"));
        char bytes[16384];

        if (hex) {
            assert_true(strlen(json_string(hex)) < sizeof bytes);
            check_ids(b, bytes, from_hex(bytes, json_string(hex)), want, true);
        } else
            check_ids(b, text, strlen(text), want, true);
    }
}

static void test_lists(void **state)
{
    enum form form = *(const enum form *)*state;
    struct json *plain = json_file_open("tests/data/text/clip_tokens.json");
    struct json *unicode =
        json_file_open("tests/data/text/clip_tokens_unicode.json");
    struct bpe *b = open_form(form);

    assert_int_equal(bpe_info(b)->n_tokens, 49408);
    assert_int_equal(bpe_info(b)->bos, 49406);
    assert_int_equal(bpe_info(b)->eos, 49407);
    assert_int_equal(bpe_info(b)->pad, 49407);
    check_plain(b, plain);
    assert_true(json_len(json_get(unicode, "texts")) >= 57);
    check_unicode(b, json_get(unicode, "texts"));
    bpe_free(b);
    json_free(plain);
    json_free(unicode);
}

/* A list of tools/goldens/diff_text.py. */
static void test_drawn(void **state)
{
    struct json *drawn = json_file_open(*state);
    const struct json *folders = json_get(drawn, "folders");
    struct bpe *b = open_form(FORM_PAIRS);
    struct unstir_error err = {0};

    check_unicode(b, json_get(drawn, "texts"));
    bpe_free(b);
    for (size_t i = 0; i < json_len(folders); i++) {
        const struct json *f = json_at(folders, i);
        const char *path = json_string(json_get(f, "folder"));

        if (bpe_open_folder(&b, path, &err))
            fail_msg("%s", err.detail);
        if (bpe_info(b)->pad != json_int(json_get(f, "pad")))
            fail_msg("%s: pads with %u", path, bpe_info(b)->pad);
        print_message("%s\n", path);
        check_unicode(b, json_get(f, "texts"));
        bpe_free(b);
    }
    json_free(drawn);
}

/* -- small vocabularies ------------------------------------------------ */

#define SPECIALS "\"<|startoftext|>\": 8, \"<|endoftext|>\": 9"
#define SMALL                                                      \
    "{\"a\": 0, \"b\": 1, \"a</w>\": 2, \"b</w>\": 3, \"ab\": 4, " \
    "\"ab</w>\": 5, \"aab</w>\": 6, \"!</w>\": 7, " SPECIALS "}"
#define SMALL_MERGES "#version: 0.2\na b\na b</w>\na ab</w>\n"

static struct bpe *parse(const char *vocab, const char *merges,
                         const char *config, struct unstir_error *err)
{
    struct bpe_texts texts = {
        .vocab = vocab,
        .merges = merges,
        .config = config,
        .n_vocab = vocab ? strlen(vocab) : 0,
        .n_merges = merges ? strlen(merges) : 0,
        .n_config = config ? strlen(config) : 0,
    };
    struct bpe *b;

    return bpe_parse(&b, &texts, err) == UNSTIR_OK ? b : NULL;
}

static void test_merging(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        uint32_t ids[8];
    } rows[] = {
        {"", 0, {0}},
        {"a", 1, {2}},
        {"ab", 1, {5}},
        {"aab", 1, {6}},
        {"AAB aab", 2, {6, 6}},
        {"abab", 2, {4, 5}},
        {"aaab", 2, {0, 6}},
        {"ba", 2, {1, 2}},
        {"z", 1, {9}}, /* not in the vocabulary: unknown */
        {"a<|endoftext|>b", 3, {2, 9, 3}},
        {"<|startoftext|>", 1, {8}},
        {"a!b", 3, {2, 7, 3}},
    };
    struct bpe *b = parse(SMALL, SMALL_MERGES, NULL, NULL);

    assert_non_null(b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bpe_ids ids = {0};

        assert_int_equal(
            bpe_encode(b, &ids, rows[i].text, strlen(rows[i].text), NULL),
            UNSTIR_OK);
        if (ids.n != rows[i].n ||
            (ids.n &&
             memcmp(ids.ids, rows[i].ids, ids.n * sizeof *ids.ids) != 0))
            fail_msg("\"%s\": got %zu ids, first %u; wanted %zu, first %u",
                     rows[i].text, ids.n, ids.n ? ids.ids[0] : 0, rows[i].n,
                     rows[i].ids[0]);
        bpe_ids_fini(&ids);
    }
    bpe_free(b);
}

static void test_config(void **state)
{
    struct unstir_error err = {0};
    struct bpe *b = parse(SMALL, SMALL_MERGES,
                          "{\"pad_token\": {\"content\": \"!</w>\"}, "
                          "\"model_max_length\": 77}",
                          &err);

    if (!b)
        fail_msg("%s", err.detail);
    assert_int_equal(bpe_info(b)->pad, 7);
    assert_int_equal(bpe_info(b)->max_length, 77);
    bpe_free(b);
}

/* Special tokens of a configuration's own are known verbatim, if they are in
 * the vocabulary. */
static void test_extra_special(void **state)
{
    static const struct {
        const char *config;
        size_t n; /* tokens of "aab" */
    } rows[] = {
        {"{}", 1},
        {"{\"additional_special_tokens\": [\"ab\"]}", 2},
        {"{\"additional_special_tokens\": [{\"content\": \"a\"}]}", 3},
        {"{\"extra_special_tokens\": [\"aa\", \"a\"]}", 3},
        {"{\"extra_special_tokens\": {\"x_token\": \"ab\"}}", 2},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct bpe *b = parse(SMALL, SMALL_MERGES, rows[i].config, &err);
        struct bpe_ids ids = {0};

        if (!b)
            fail_msg("%s: %s", rows[i].config, err.detail);
        assert_int_equal(bpe_encode(b, &ids, "aab", 3, NULL), UNSTIR_OK);
        if (ids.n != rows[i].n)
            fail_msg("%s: got %zu tokens, wanted %zu", rows[i].config, ids.n,
                     rows[i].n);
        bpe_ids_fini(&ids);
        bpe_free(b);
    }
}

#define TOKENIZER(model)                                                      \
    "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": " \
    "\"NFC\"}, {\"type\": \"Replace\"}, {\"type\": \"Lowercase\"}]}, "        \
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": "         \
    "[{\"type\": \"Split\"}, {\"type\": \"ByteLevel\"}]}, "                   \
    "\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\", " model \
    "}"

/* Tokens added to a tokenizer, looked for before or after lower-casing. */
static void test_added(void **state)
{
    static const char text[] =
        TOKENIZER("\"vocab\": " SMALL
                  ", \"merges\": []") ", \"added_tokens\": "
                                      "[{\"id\": 10, \"content\": \"<Cat>\", "
                                      "\"normalized\": false}, "
                                      "{\"id\": 11, \"content\": \"<Dog>\", "
                                      "\"normalized\": true}]}";
    static const struct {
        const char *text;
        uint32_t first;
        size_t n;
    } rows[] = {{"<Cat>", 10, 1}, {"<cat>", 9, 5}, {"<dOG>", 11, 1}};
    struct unstir_error err = {0};
    struct bpe *b = parse(text, NULL, NULL, &err);

    if (!b)
        fail_msg("%s", err.detail);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bpe_ids ids = {0};

        assert_int_equal(bpe_encode(b, &ids, rows[i].text, 5, NULL), UNSTIR_OK);
        if (ids.n != rows[i].n || ids.ids[0] != rows[i].first)
            fail_msg("%s: got %zu ids, first %u; wanted %zu, %u", rows[i].text,
                     ids.n, ids.ids[0], rows[i].n, rows[i].first);
        bpe_ids_fini(&ids);
    }
    bpe_free(b);
}

/* Words of a model's own beside vocab.json, as each file tells them; padding
 * is special wherever it stands. */
static void test_added_beside_vocab(void **state)
{
    static const char config[] =
        "{\"pad_token\": \"!</w>\", \"model_max_length\": 77, "
        "\"added_tokens_decoder\": {"
        "\"11\": {\"content\": \"B\", \"normalized\": false, "
        "\"single_word\": true},"
        "\"12\": {\"content\": \"aab a\", \"lstrip\": true}}}";
    static const char added[] = "{\"<x>\": 10, \"B\": 11}";
    static const struct {
        const char *text;
        uint32_t ids[4];
        size_t n;
    } rows[] = {
        {"a<X>a", {2, 10, 2}, 3},
        {"B", {11}, 1},
        {"b", {3}, 1},
        {"aB", {5}, 1},
        {"B_b", {3, 9, 3}, 3},
        {"a B-", {2, 11, 9}, 3},
        {"AAB \xe3\x80\x80 a", {12}, 1},
        {"a!</w>a", {2, 7, 2}, 3},
    };
    struct bpe_texts texts = {.vocab = SMALL,
                              .merges = SMALL_MERGES,
                              .config = config,
                              .added = added};
    struct unstir_error err = {0};
    struct bpe *b;

    texts.n_vocab = strlen(texts.vocab);
    texts.n_merges = strlen(texts.merges);
    texts.n_config = strlen(config);
    texts.n_added = strlen(added);
    if (bpe_parse(&b, &texts, &err))
        fail_msg("%s", err.detail);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bpe_ids ids = {0};

        assert_int_equal(
            bpe_encode(b, &ids, rows[i].text, strlen(rows[i].text), NULL),
            UNSTIR_OK);
        bool is_same = ids.n == rows[i].n;
        for (size_t k = 0; k < ids.n && is_same; k++)
            is_same = ids.ids[k] == rows[i].ids[k];
        if (!is_same)
            fail_msg("\"%s\": got %zu ids, first %u", rows[i].text, ids.n,
                     ids.n ? ids.ids[0] : 0);
        bpe_ids_fini(&ids);
    }
    bpe_free(b);
    texts.added = "{\"x\": -1}";
    texts.n_added = strlen(texts.added);
    assert_int_equal(bpe_parse(&b, &texts, &err), UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "\"x\": its id"));
}

static void test_damage(void **state)
{
    static const struct {
        const char *vocab, *merges, *config, *told;
    } rows[] = {
        {"[]", "", NULL, "must be an object"},
        {"{}", "", NULL, "must be an object"},
        {"{\"a\": \"x\"}", "", NULL, "\"a\": its id"},
        {"{\"a\": -1}", "", NULL, "\"a\": its id"},
        {"{\"a\": 1000000}", "", NULL, "0 to 999999"},
        {"{\"a\": 0, \"b\": 0}", "", NULL, "id 0 belongs to \"a\" and to"},
        {"{\"a\": 0}", "", NULL, "bos_token \"<|startoftext|>\" is not in"},
        {SMALL, "", "{\"padding_side\": \"left\"}", "padding_side is \"left"},
        {SMALL, "", "{\"truncation_side\": \"left\"}", "truncation_side is"},
        {SMALL, "a\n", NULL, "merge 1 is \"a\""},
        {SMALL, "a b c\n", NULL, "two symbols with one space"},
        {SMALL, "a b\na x\n", NULL, "merge 2 names \"x\""},
        {SMALL, "b a\n", NULL, "names \"ba\", which the vocabulary lacks"},
        {SMALL, " b\n", NULL, "two symbols of 1 to"},
        {SMALL, "", "{\"pad_token\": \"?\"}", "pad_token \"?\" is not in"},
        {SMALL, "", "{", "line"},
        {SMALL, NULL, NULL, "model.type is \"\""},
        {"{\"model\": {\"type\": \"WordPiece\"}}", NULL, NULL, "WordPiece"},
        {TOKENIZER("\"vocab\": {}") "}", NULL, NULL, "must be an object"},
        {TOKENIZER("\"vocab\": " SMALL ", \"merges\": [7]") "}", NULL, NULL,
         "[left, right]"},
        {TOKENIZER("\"vocab\": " SMALL) ", \"added_tokens\": [{\"id\": 3}]}",
         NULL, NULL, ""},
        {NULL, NULL, NULL, "neither vocabulary nor merges"},
        {NULL, "a b\n", NULL, "1 merges; the standard vocabulary has 48894"},
        {NULL, "ab\n", NULL, "merge \"ab\""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct bpe *b =
            parse(rows[i].vocab, rows[i].merges, rows[i].config, &err);

        if (b)
            fail_msg("row %zu: accepted; wanted: %s", i, rows[i].told);
        if (!strstr(err.detail, rows[i].told))
            fail_msg("row %zu: told \"%s\"; wanted: %s", i, err.detail,
                     rows[i].told);
    }
}

static void test_folder_errors(void **state)
{
    char folder[SCRATCH_PATH];
    struct unstir_error err = {0};
    struct bpe *b;

    scratch_make(folder);
    assert_int_equal(bpe_open_folder(&b, folder, &err), UNSTIR_ERR_IO);
    assert_non_null(strstr(err.detail, "neither tokenizer.json"));
    scratch_write(folder, "vocab.json", SMALL, strlen(SMALL));
    assert_int_equal(bpe_open_folder(&b, folder, &err), UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "merges.txt is not"));
    assert_null(b);
    scratch_remove(folder);
}

/* Of both forms tokenizer.json counts: here it has no merges. */
static void test_both_forms(void **state)
{
    static const char whole[] =
        TOKENIZER("\"vocab\": " SMALL ", \"merges\": []") "}";
    char folder[SCRATCH_PATH];
    struct unstir_error err = {0};
    struct bpe_ids ids = {0};
    struct bpe *b;

    scratch_make(folder);
    scratch_write(folder, "vocab.json", SMALL, strlen(SMALL));
    scratch_write(folder, "merges.txt", SMALL_MERGES, strlen(SMALL_MERGES));
    scratch_write(folder, "tokenizer.json", whole, strlen(whole));
    if (bpe_open_folder(&b, folder, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(bpe_encode(b, &ids, "ab", 2, NULL), UNSTIR_OK);
    if (ids.n != 2)
        fail_msg("\"ab\": %zu ids, wanted 2", ids.n);
    bpe_ids_fini(&ids);
    bpe_free(b);
    scratch_remove(folder);
}

static void test_text_errors(void **state)
{
    struct bpe *b = parse(SMALL, SMALL_MERGES, NULL, NULL);
    struct unstir_error err = {0};
    struct bpe_ids ids = {0};
    void *big;

    assert_int_equal(bpe_encode(b, &ids, "ab\xff", 3, &err), UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "byte 2 is 0xff"));
    assert_int_equal(alloc_zero(&big, BPE_MAX_TEXT_BYTES + 1, 1, NULL),
                     UNSTIR_OK);
    memset(big, 'a', BPE_MAX_TEXT_BYTES + 1);
    assert_int_equal(bpe_encode(b, &ids, big, BPE_MAX_TEXT_BYTES + 1, &err),
                     UNSTIR_ERR_LIMIT);
    /* A word as long as a text may be takes no noticeable time. */
    assert_int_equal(bpe_encode(b, &ids, big, BPE_MAX_TEXT_BYTES, &err),
                     UNSTIR_OK);
    assert_int_equal(ids.n, BPE_MAX_TEXT_BYTES);
    alloc_free(big);
    bpe_ids_fini(&ids);
    bpe_free(b);
}

/* No memory at any place: an error, nothing lost (ASan watches). */
static void test_no_memory(void **state)
{
    struct unstir_error err = {0};
    struct bpe *b = NULL;

    for (long k = 1; !b; k++) {
        alloc_test_fail_after(k);
        b = parse(SMALL, SMALL_MERGES, NULL, &err);
        alloc_test_fail_after(0);
        if (!b)
            assert_int_equal(err.status, UNSTIR_ERR_NOMEM);
        assert_true(k < 1000);
    }
    bpe_free(b);
}

/* usage: t_bpe [LIST.json], of the developers' tool. */
int main(int argc, char **argv)
{
    static const enum form forms[] = {FORM_MERGES, FORM_VOCAB, FORM_PAIRS,
                                      FORM_LINES};
    const struct CMUnitTest tests[] = {
        {"lists, merges alone", test_lists, NULL, NULL, (void *)&forms[0]},
        {"lists, vocab.json", test_lists, NULL, NULL, (void *)&forms[1]},
        {"lists, tokenizer.json", test_lists, NULL, NULL, (void *)&forms[2]},
        {"lists, merges as lines", test_lists, NULL, NULL, (void *)&forms[3]},
        cmocka_unit_test(test_merging),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_extra_special),
        cmocka_unit_test(test_added),
        cmocka_unit_test(test_added_beside_vocab),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_folder_errors),
        cmocka_unit_test(test_both_forms),
        cmocka_unit_test(test_text_errors),
        cmocka_unit_test(test_no_memory),
    };

    const struct CMUnitTest drawn[] = {
        {"drawn", test_drawn, NULL, NULL, argc > 1 ? argv[1] : NULL},
    };

    return argc > 1 ? cmocka_run_group_tests(drawn, NULL, NULL)
                    : cmocka_run_group_tests(tests, NULL, NULL);
}
