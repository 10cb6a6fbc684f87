/* bpe_files.c - reading a tokenizer's files.
 *
 * Both forms end as tokens by number, merges by rank and a list of tokens
 * that are looked for verbatim.  A tokenizer.json that describes another kind
 * of tokenizer (another model, normaliser or cut) is refused, never
 * approximated.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "format/json.h"
#include "text/bpe.h"
#include "text/bpe_parts.h"

#define STANDARD_MERGES  48894u
#define MAX_CONFIG_BYTES (4u << 20)
#define WORD_END         "</w>"
#define BOS              "<|startoftext|>"
#define EOS              "<|endoftext|>"
#define MAX_LENGTH       65536 /* a larger model_max_length means "unknown" */

/* -- merges ------------------------------------------------------------ */

/* One line "left right". */
static enum unstir_status add_merge_line(struct bpe *b, const char *line,
                                         size_t n, struct unstir_error *err)
{
    const char *space = memchr(line, ' ', n);
    size_t n_left = space ? (size_t)(space - line) : 0;
    const char *right = line + n_left + 1;

    if (!space || memchr(right, ' ', n - n_left - 1))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "merge %zu is \"%.*s\"; wanted: two symbols with one "
                         "space between",
                         b->n_merges + 1, (int)(n < 80 ? n : 80), line);
    return bpe_add_merge(b, line, n_left, right, n - n_left - 1, err);
}

typedef enum unstir_status (*line_fn)(struct bpe *b, const char *line, size_t n,
                                      struct unstir_error *err);

/* Every line but a first one that tells the version, at most `max`; *count
 * is how many. */
static enum unstir_status each_line(struct bpe *b, const char *text, size_t n,
                                    size_t max, line_fn fn, size_t *count,
                                    struct unstir_error *err)
{
    *count = 0;
    for (size_t at = 0; at < n && *count < max;) {
        const char *line = text + at;
        const char *end = memchr(line, '\n', n - at);
        size_t length = end ? (size_t)(end - line) : n - at;
        bool is_version =
            at == 0 && memmem(line, length, "#version", strlen("#version"));

        at += length + 1;
        if (length && line[length - 1] == '\r')
            length--;
        if (length == 0 || is_version)
            continue;
        TRY(fn(b, line, length, err));
        ++*count;
    }
    return UNSTIR_OK;
}

/* -- the standard vocabulary ------------------------------------------- */

static enum unstir_status add_bytes(struct bpe *b, const char *end,
                                    struct unstir_error *err)
{
    /* In order of the characters that stand for them: first those that stand
     * for themselves. */
    for (int own = 1; own >= 0; own--) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char symbol[16];
            size_t n = bpe_byte_symbol(symbol, byte);

            if (bpe_is_own_symbol(byte) != (own != 0))
                continue;
            memcpy(symbol + n, end, strlen(end));
            TRY(bpe_add_token(b, b->info.n_tokens, symbol, n + strlen(end),
                              err));
        }
    }
    return UNSTIR_OK;
}

static enum unstir_status add_merged_token(struct bpe *b, const char *line,
                                           size_t n, struct unstir_error *err)
{
    char both[BPE_MAX_TOKEN_BYTES];
    const char *space = memchr(line, ' ', n);
    size_t n_left = space ? (size_t)(space - line) : 0;

    if (!space || n - 1 > sizeof both)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "merge \"%.*s\": wanted: two symbols with one space "
                         "between, at most %u bytes",
                         (int)(n < 80 ? n : 80), line, BPE_MAX_TOKEN_BYTES);
    memcpy(both, line, n_left);
    memcpy(both + n_left, space + 1, n - n_left - 1);
    return bpe_add_token(b, b->info.n_tokens, both, n - 1, err);
}

static enum unstir_status standard_tokens(struct bpe *b, const char *merges,
                                          size_t n, struct unstir_error *err)
{
    size_t count;

    TRY(add_bytes(b, "", err));
    TRY(add_bytes(b, WORD_END, err));
    TRY(each_line(b, merges, n, STANDARD_MERGES, add_merged_token, &count,
                  err));
    if (count != STANDARD_MERGES)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%zu merges; the standard vocabulary has %u", count,
                         STANDARD_MERGES);
    TRY(bpe_add_token(b, b->info.n_tokens, BOS, strlen(BOS), err));
    return bpe_add_token(b, b->info.n_tokens, EOS, strlen(EOS), err);
}

/* -- vocab.json -------------------------------------------------------- */

static enum unstir_status vocab_tokens(struct bpe *b, const struct json *vocab,
                                       struct unstir_error *err)
{
    const struct json *id;
    const char *text;

    if (json_type(vocab) != JSON_OBJECT || json_len(vocab) == 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the vocabulary must be an object of token: id");
    for (size_t i = 0; json_each(vocab, &i, &text, &id);) {
        if (json_type(id) != JSON_INT || json_int(id) < 0 ||
            json_int(id) >= BPE_MAX_TOKENS)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "token \"%.80s\": its id must be a whole number "
                             "from 0 to %u",
                             text, BPE_MAX_TOKENS - 1);
        TRY(bpe_add_token(b, (uint32_t)json_int(id), text, strlen(text), err));
    }
    return UNSTIR_OK;
}

/* -- added tokens ------------------------------------------------------- */

/* What was parsed of a tokenizer's files; NULL: there is no such file. */
struct files {
    struct json *vocab, *config, *added;
};

typedef enum unstir_status (*added_fn)(struct bpe *b,
                                       const struct bpe_added *like,
                                       const char *text,
                                       struct unstir_error *err);

/* Into the vocabulary, which may hold it already. */
static enum unstir_status add_text(struct bpe *b, const struct bpe_added *like,
                                   const char *text, struct unstir_error *err)
{
    size_t n = strlen(text), n_known;
    const char *known = bpe_token(b, like->id, &n_known);

    if (known && n_known == n && memcmp(known, text, n) == 0)
        return UNSTIR_OK;
    return bpe_add_token(b, like->id, text, n, err);
}

/* {"content": ...} of that id, -1 if it has none.  lstrip and rstrip take
 * spaces around the token away, of which no word is made anyway. */
static enum unstir_status read_added(struct bpe *b, const struct json *a,
                                     int64_t id, added_fn fn,
                                     struct unstir_error *err)
{
    struct bpe_added like = {0};
    const char *text;

    TRY(json_get_string(a, "content", "", &text, err));
    TRY(json_get_bool(a, "normalized", true, &like.is_normalized, err));
    TRY(json_get_bool(a, "single_word", false, &like.is_word, err));
    if (id < 0 || id >= BPE_MAX_TOKENS || text[0] == '\0')
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "added tokens: an entry without content or without "
                         "an id from 0 to %u",
                         BPE_MAX_TOKENS - 1);
    like.id = (uint32_t)id;
    return fn(b, &like, text, err);
}

/* -1 if the text is not a number that an id can be. */
static int64_t id_of(const char *text)
{
    int64_t id = 0;

    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || id >= BPE_MAX_TOKENS)
            return -1;
        id = 10 * id + (*p - '0');
    }
    return text[0] ? id : -1;
}

/* Of tokenizer.json, of tokenizer_config.json (its added_tokens_decoder) and of
 * added_tokens.json, which knows texts and ids alone. */
static enum unstir_status each_added(struct bpe *b, const struct files *f,
                                     added_fn fn, struct unstir_error *err)
{
    const struct json *list = json_get(f->vocab, "added_tokens"), *a;
    const struct json *table = json_get(f->config, "added_tokens_decoder");
    const char *key;
    int64_t id;

    for (size_t i = 0; json_type(list) == JSON_ARRAY && i < json_len(list);
         i++) {
        a = json_at(list, i);
        TRY(json_get_int(a, "id", -1, 0, BPE_MAX_TOKENS - 1, &id, err));
        TRY(read_added(b, a, id, fn, err));
    }
    if (json_type(table) == JSON_OBJECT)
        for (size_t i = 0; json_each(table, &i, &key, &a);)
            TRY(read_added(b, a, id_of(key), fn, err));
    if (json_type(f->added) == JSON_OBJECT)
        for (size_t i = 0; json_each(f->added, &i, &key, &a);) {
            struct bpe_added like = {.is_normalized = true};

            if (json_type(a) != JSON_INT || json_int(a) < 0 ||
                json_int(a) >= BPE_MAX_TOKENS || key[0] == '\0')
                return error_set(err, UNSTIR_ERR_FORMAT,
                                 "added token \"%.80s\": its id must be a "
                                 "whole number from 0 to %u",
                                 key, BPE_MAX_TOKENS - 1);
            like.id = (uint32_t)json_int(a);
            TRY(fn(b, &like, key, err));
        }
    return UNSTIR_OK;
}

/* -- tokenizer.json ---------------------------------------------------- */

static enum unstir_status add_json_merge(struct bpe *b, const struct json *m,
                                         struct unstir_error *err)
{
    const char *left, *right;

    if (json_type(m) == JSON_STRING)
        return add_merge_line(b, json_string(m), strlen(json_string(m)), err);
    if (json_type(m) != JSON_ARRAY || json_len(m) != 2 ||
        json_type(json_at(m, 0)) != JSON_STRING ||
        json_type(json_at(m, 1)) != JSON_STRING)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "merge %zu: wanted: \"left right\" or [left, right]",
                         b->n_merges + 1);
    left = json_string(json_at(m, 0));
    right = json_string(json_at(m, 1));
    return bpe_add_merge(b, left, strlen(left), right, strlen(right), err);
}

/* Whether a {"type": "Sequence", list: [...]} holds those types in order. */
static bool is_sequence(const struct json *v, const char *list,
                        const char *const *types, size_t n)
{
    const struct json *items = json_get(v, list);

    if (json_len(items) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(json_string(json_get(json_at(items, i), "type")),
                   types[i]) != 0)
            return false;
    return true;
}

static enum unstir_status check_kind(const struct json *root,
                                     struct unstir_error *err)
{
    static const char *const normalizers[] = {"NFC", "Replace", "Lowercase"};
    static const char *const cuts[] = {"Split", "ByteLevel"};
    const struct json *model = json_get(root, "model");

    if (strcmp(json_string(json_get(model, "type")), "BPE") != 0 ||
        strcmp(json_string(json_get(model, "end_of_word_suffix")), WORD_END) !=
            0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "model.type is \"%.40s\" with the end of words "
                         "\"%.40s\"; supported: \"BPE\" with \"" WORD_END "\"",
                         json_string(json_get(model, "type")),
                         json_string(json_get(model, "end_of_word_suffix")));
    if (!is_sequence(json_get(root, "normalizer"), "normalizers", normalizers,
                     ARRAY_LEN(normalizers)))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "normalizer: supported: NFC, Replace, Lowercase");
    if (!is_sequence(json_get(root, "pre_tokenizer"), "pretokenizers", cuts,
                     ARRAY_LEN(cuts)))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "pre_tokenizer: supported: Split, ByteLevel");
    return UNSTIR_OK;
}

static enum unstir_status fill_tokenizer_json(struct bpe *b,
                                              const struct files *f,
                                              struct unstir_error *err)
{
    const struct json *model = json_get(f->vocab, "model");
    const struct json *merges = json_get(model, "merges");

    TRY(check_kind(f->vocab, err));
    TRY(vocab_tokens(b, json_get(model, "vocab"), err));
    TRY(each_added(b, f, add_text, err));
    TRY(bpe_index(b, err));
    for (size_t i = 0; i < json_len(merges); i++)
        TRY(add_json_merge(b, json_at(merges, i), err));
    return UNSTIR_OK;
}

/* -- special tokens ---------------------------------------------------- */

/* A token named by a configuration: "text" or {"content": "text"}. */
static enum unstir_status special_id(const struct bpe *b, uint32_t *id,
                                     const struct json *config, const char *key,
                                     const char *fallback,
                                     struct unstir_error *err)
{
    const struct json *v = json_get(config, key);
    const char *text = fallback;

    if (json_type(v) == JSON_OBJECT)
        v = json_get(v, "content");
    if (json_type(v) == JSON_STRING)
        text = json_string(v);
    if (!bpe_find(b, id, text, strlen(text)))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s \"%.80s\" is not in the vocabulary", key, text);
    return UNSTIR_OK;
}

/* Pieces are filled, and texts cut, at their end alone. */
static enum unstir_status check_sides(const struct json *config,
                                      struct unstir_error *err)
{
    static const char *const keys[] = {"padding_side", "truncation_side"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct json *v = json_get(config, keys[i]);

        if (json_type(v) == JSON_STRING && strcmp(json_string(v), "right") != 0)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "%s is \"%.40s\"; supported: right", keys[i],
                             json_string(v));
    }
    return UNSTIR_OK;
}

static enum unstir_status find_special(struct bpe *b, const struct json *config,
                                       struct unstir_error *err)
{
    struct bpe_info *info = &b->info;
    const struct json *length = json_get(config, "model_max_length");

    TRY(check_sides(config, err));
    TRY(special_id(b, &info->bos, config, "bos_token", BOS, err));
    TRY(special_id(b, &info->eos, config, "eos_token", EOS, err));
    TRY(special_id(b, &info->unk, config, "unk_token", EOS, err));
    TRY(special_id(b, &info->pad, config, "pad_token", EOS, err));
    if (json_type(length) == JSON_INT && json_int(length) > 2 &&
        json_int(length) <= MAX_LENGTH)
        info->max_length = (uint32_t)json_int(length);
    return UNSTIR_OK;
}

/* Special tokens are known verbatim even if no file lists them: the "!" that
 * some encoders are padded with is one in the middle of a text too. */
static enum unstir_status add_special(struct bpe *b, uint32_t id,
                                      struct unstir_error *err)
{
    char text[BPE_MAX_TOKEN_BYTES + 1] = "";
    size_t n;
    const char *token = bpe_token(b, id, &n);

    memcpy(text, token, n);
    return bpe_add_added(b, &(struct bpe_added){.id = id}, text, err);
}

/* One more of them, if the vocabulary has it: another would get a number that
 * no encoder knows. */
static enum unstir_status add_extra(struct bpe *b, const struct json *v,
                                    struct unstir_error *err)
{
    const char *text;
    uint32_t id;

    if (json_type(v) == JSON_OBJECT)
        v = json_get(v, "content");
    if (json_type(v) != JSON_STRING)
        return UNSTIR_OK;
    text = json_string(v);
    return bpe_find(b, &id, text, strlen(text)) ? add_special(b, id, err)
                                                : UNSTIR_OK;
}

/* A list, or an object of names. */
static enum unstir_status add_extras(struct bpe *b, const struct json *extras,
                                     struct unstir_error *err)
{
    const struct json *v;
    const char *key;

    if (json_type(extras) == JSON_ARRAY)
        for (size_t i = 0; i < json_len(extras); i++)
            TRY(add_extra(b, json_at(extras, i), err));
    if (json_type(extras) == JSON_OBJECT)
        for (size_t i = 0; json_each(extras, &i, &key, &v);)
            TRY(add_extra(b, v, err));
    return UNSTIR_OK;
}

/* -- the whole --------------------------------------------------------- */

static enum unstir_status fill_vocab(struct bpe *b, const struct bpe_texts *t,
                                     const struct files *f,
                                     struct unstir_error *err)
{
    size_t count;

    TRY(vocab_tokens(b, f->vocab, err));
    TRY(each_added(b, f, add_text, err));
    TRY(bpe_index(b, err));
    return each_line(b, t->merges, t->n_merges, SIZE_MAX, add_merge_line,
                     &count, err);
}

static enum unstir_status fill_standard(struct bpe *b,
                                        const struct bpe_texts *t,
                                        const struct files *f,
                                        struct unstir_error *err)
{
    size_t count;

    if (!t->merges)
        return error_set(err, UNSTIR_ERR_ARG, "neither vocabulary nor merges");
    TRY(standard_tokens(b, t->merges, t->n_merges, err));
    TRY(each_added(b, f, add_text, err));
    TRY(bpe_index(b, err));
    return each_line(b, t->merges, t->n_merges, STANDARD_MERGES, add_merge_line,
                     &count, err);
}

static enum unstir_status fill(struct bpe *b, const struct bpe_texts *t,
                               const struct files *f, struct unstir_error *err)
{
    if (!t->vocab)
        TRY(fill_standard(b, t, f, err));
    else if (t->merges)
        TRY(fill_vocab(b, t, f, err));
    else
        TRY(fill_tokenizer_json(b, f, err));
    TRY(find_special(b, f->config, err));
    TRY(each_added(b, f, bpe_add_added, err));
    TRY(add_special(b, b->info.bos, err));
    TRY(add_special(b, b->info.eos, err));
    TRY(add_special(b, b->info.unk, err));
    TRY(add_special(b, b->info.pad, err));
    TRY(add_extras(b, json_get(f->config, "additional_special_tokens"), err));
    TRY(add_extras(b, json_get(f->config, "extra_special_tokens"), err));
    return bpe_seal(b, err);
}

static enum unstir_status parse_files(struct files *f,
                                      const struct bpe_texts *t,
                                      struct unstir_error *err)
{
    if (t->vocab)
        TRY(json_parse(&f->vocab, t->vocab, t->n_vocab, err));
    if (t->added)
        TRY(json_parse(&f->added, t->added, t->n_added, err));
    if (t->config)
        TRY(json_parse(&f->config, t->config, t->n_config, err));
    return UNSTIR_OK;
}

enum unstir_status bpe_parse(struct bpe **out, const struct bpe_texts *texts,
                             struct unstir_error *err)
{
    struct files files = {0};
    enum unstir_status status;
    void *b;

    *out = NULL;
    TRY(alloc_zero(&b, 1, sizeof(struct bpe), err));
    status = parse_files(&files, texts, err);
    if (status == UNSTIR_OK)
        status = fill(b, texts, &files, err);
    json_free(files.vocab);
    json_free(files.config);
    json_free(files.added);
    if (status != UNSTIR_OK) {
        bpe_free(b);
        return status;
    }
    *out = b;
    return UNSTIR_OK;
}

enum unstir_status bpe_open_merges(struct bpe **out, const char *path,
                                   struct unstir_error *err)
{
    struct bpe_texts texts = {0};
    enum unstir_status status;
    char *text;

    *out = NULL;
    TRY(mapfile_read(&text, &texts.n_merges, path, BPE_MAX_FILE_BYTES, err));
    texts.merges = text;
    status = bpe_parse(out, &texts, err);
    alloc_free(text);
    return error_prefix(status, path, err);
}

/* The file's text; NULL in *text if there is no such file. */
static enum unstir_status read_part(char **text, size_t *n, const char *folder,
                                    const char *name, size_t max_bytes,
                                    struct unstir_error *err)
{
    char path[PATH_BYTES];

    TRY(path_join(path, folder, name, err));
    if (!path_exists(path))
        return UNSTIR_OK;
    return mapfile_read(text, n, path, max_bytes, err);
}

struct parts {
    char *vocab, *merges, *config, *added;
};

/* Releases since 2025 read tokenizer.json where both forms are there. */
static enum unstir_status read_vocab(struct parts *p, struct bpe_texts *t,
                                     const char *folder,
                                     struct unstir_error *err)
{
    TRY(read_part(&p->vocab, &t->n_vocab, folder, "tokenizer.json",
                  BPE_MAX_FILE_BYTES, err));
    if (p->vocab)
        return UNSTIR_OK;
    TRY(read_part(&p->vocab, &t->n_vocab, folder, "vocab.json",
                  BPE_MAX_FILE_BYTES, err));
    if (!p->vocab)
        return error_set(err, UNSTIR_ERR_IO,
                         "neither tokenizer.json nor vocab.json and "
                         "merges.txt");
    TRY(read_part(&p->merges, &t->n_merges, folder, "merges.txt",
                  BPE_MAX_FILE_BYTES, err));
    if (!p->merges)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "vocab.json is there, merges.txt is not");
    return UNSTIR_OK;
}

static enum unstir_status read_parts(struct parts *p, struct bpe_texts *t,
                                     const char *folder,
                                     struct unstir_error *err)
{
    TRY(read_vocab(p, t, folder, err));
    TRY(read_part(&p->config, &t->n_config, folder, "tokenizer_config.json",
                  MAX_CONFIG_BYTES, err));
    TRY(read_part(&p->added, &t->n_added, folder, "added_tokens.json",
                  MAX_CONFIG_BYTES, err));
    if (!p->config)
        TRY(read_part(&p->config, &t->n_config, folder,
                      "special_tokens_map.json", MAX_CONFIG_BYTES, err));
    if (p->config) /* without a length of its own, Python writes 10^30 */
        json_widen_integers(p->config, t->n_config);
    return UNSTIR_OK;
}

enum unstir_status bpe_open_folder(struct bpe **out, const char *folder,
                                   struct unstir_error *err)
{
    struct bpe_texts texts = {0};
    struct parts parts = {0};
    enum unstir_status status;

    *out = NULL;
    status = read_parts(&parts, &texts, folder, err);
    if (status == UNSTIR_OK) {
        texts.vocab = parts.vocab;
        texts.merges = parts.merges;
        texts.config = parts.config;
        texts.added = parts.added;
        status = bpe_parse(out, &texts, err);
    }
    alloc_free(parts.vocab);
    alloc_free(parts.merges);
    alloc_free(parts.config);
    alloc_free(parts.added);
    return error_prefix(status, folder, err);
}
