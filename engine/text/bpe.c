/* bpe.c - CLIP's tokenizer: the vocabulary in memory, and encoding with it.
 *
 * A word is merged pass by pass: the lowest rank among its pairs, then all
 * its occurrences from left to right.  Ranks of pairs are kept beside the
 * symbols, so that a pass looks up only what it changed; a word of 64 KiB
 * costs its length times the number of different merges in it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "text/bpe.h"

#include <string.h>

#include "base/alloc.h"
#include "text/bpe_parts.h"
#include "text/words.h"

#define WORD_END      "</w>"
#define MIN_SLOTS     64u
#define NO_RANK       UINT32_MAX
#define LATIN_SYMBOLS 0x100 /* symbols of bytes that do not print start here */

/* -- symbols of bytes -------------------------------------------------- */

bool bpe_is_own_symbol(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) ||
           (byte >= 0xae && byte <= 0xff);
}

size_t bpe_byte_symbol(char out[4], unsigned byte)
{
    unsigned char utf8[4];
    int32_t point = (int32_t)byte;
    size_t n;

    if (!bpe_is_own_symbol(byte)) {
        point = LATIN_SYMBOLS;
        for (unsigned i = 0; i < byte; i++)
            point += !bpe_is_own_symbol(i);
    }
    n = words_utf8(utf8, point);
    memcpy(out, utf8, n);
    return n;
}

/* -- hashing ----------------------------------------------------------- */

/* FNV-1a, 64 bits.  The tables are built once from a model's own files and
 * bounded; a file made to collide makes only itself slow. */
static uint64_t hash_bytes(const char *bytes, size_t n)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)bytes[i]) * 1099511628211u;
    return h ^ h >> 32;
}

static uint64_t hash_pair(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;

    return h ^ h >> 29;
}

static size_t slots_for(size_t n)
{
    size_t slots = MIN_SLOTS;

    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

/* The slot where a token of that text is, or would go. */
static uint32_t *token_slot(const struct bpe *b, const char *text, size_t n)
{
    size_t i = hash_bytes(text, n) & (b->n_slots - 1);

    for (; b->slots[i] != BPE_NO_ID; i = (i + 1) & (b->n_slots - 1)) {
        const struct bpe_token_text *t = &b->tokens[b->slots[i]];

        if (t->n == n && memcmp(b->text + t->at, text, n) == 0)
            break;
    }
    return &b->slots[i];
}

static struct bpe_merge_rule *rule_slot(const struct bpe *b, uint32_t left,
                                        uint32_t right)
{
    size_t i = hash_pair(left, right) & (b->n_rule_slots - 1);

    while (b->rules[i].left != BPE_NO_ID &&
           (b->rules[i].left != left || b->rules[i].right != right))
        i = (i + 1) & (b->n_rule_slots - 1);
    return &b->rules[i];
}

bool bpe_find(const struct bpe *b, uint32_t *id, const char *text, size_t n)
{
    *id = n ? *token_slot(b, text, n) : BPE_NO_ID;
    return *id != BPE_NO_ID;
}

/* -- building ---------------------------------------------------------- */

enum unstir_status bpe_add_token(struct bpe *b, uint32_t id, const char *text,
                                 size_t n, struct unstir_error *err)
{

    if (n == 0 || n > BPE_MAX_TOKEN_BYTES)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "token %u has %zu bytes; allowed: 1 to %u", id, n,
                         BPE_MAX_TOKEN_BYTES);
    if (id >= BPE_MAX_TOKENS)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "token \"%.*s\" has id %u; allowed: below %u", (int)n,
                         text, id, BPE_MAX_TOKENS);
    TRY(alloc_grow(&b->tokens, &b->tokens_capacity, (size_t)id + 1,
                   sizeof *b->tokens, err));
    while (b->info.n_tokens <= id)
        b->tokens[b->info.n_tokens++] = (struct bpe_token_text){0, 0};
    if (b->tokens[id].n)
        return error_set(
            err, UNSTIR_ERR_FORMAT, "id %u belongs to \"%.*s\" and to \"%.*s\"",
            id, (int)b->tokens[id].n, b->text + b->tokens[id].at, (int)n, text);
    TRY(alloc_grow(&b->text, &b->text_capacity, b->n_text + n, 1, err));
    memcpy(b->text + b->n_text, text, n);
    b->tokens[id] = (struct bpe_token_text){(uint32_t)b->n_text, (uint32_t)n};
    b->n_text += n;
    return UNSTIR_OK;
}

enum unstir_status bpe_index(struct bpe *b, struct unstir_error *err)
{
    size_t n_slots = slots_for(b->info.n_tokens);
    void *memory;

    TRY(alloc_zero(&memory, n_slots, sizeof *b->slots, err));
    alloc_free(b->slots);
    b->slots = memory;
    b->n_slots = n_slots;
    memset(b->slots, 0xff, n_slots * sizeof *b->slots);
    for (uint32_t id = 0; id < b->info.n_tokens; id++) {
        const struct bpe_token_text *t = &b->tokens[id];
        uint32_t *slot;

        if (t->n == 0)
            continue;
        slot = token_slot(b, b->text + t->at, t->n);
        if (*slot != BPE_NO_ID)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "token \"%.*s\" has the ids %u and %u", (int)t->n,
                             b->text + t->at, *slot, id);
        *slot = id;
    }
    return UNSTIR_OK;
}

static enum unstir_status find_symbol(const struct bpe *b, uint32_t *id,
                                      const char *text, size_t n,
                                      struct unstir_error *err)
{
    if (bpe_find(b, id, text, n))
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "merge %zu names \"%.*s\", which the vocabulary lacks",
                     b->n_merges + 1, (int)n, text);
}

enum unstir_status bpe_add_merge(struct bpe *b, const char *left, size_t n_left,
                                 const char *right, size_t n_right,
                                 struct unstir_error *err)
{
    struct bpe_merge_rule rule = {.rank = (uint32_t)b->n_merges};
    char both[2 * BPE_MAX_TOKEN_BYTES];

    if (n_left == 0 || n_right == 0 || n_left > BPE_MAX_TOKEN_BYTES ||
        n_right > BPE_MAX_TOKEN_BYTES)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "merge %zu: two symbols of 1 to %u bytes are wanted",
                         b->n_merges + 1, BPE_MAX_TOKEN_BYTES);
    if (b->n_merges >= BPE_MAX_TOKENS)
        return error_set(err, UNSTIR_ERR_LIMIT, "more than %u merges",
                         BPE_MAX_TOKENS);
    memcpy(both, left, n_left);
    memcpy(both + n_left, right, n_right);
    TRY(find_symbol(b, &rule.left, left, n_left, err));
    TRY(find_symbol(b, &rule.right, right, n_right, err));
    TRY(find_symbol(b, &rule.result, both, n_left + n_right, err));
    TRY(alloc_grow(&b->merges, &b->merges_capacity, b->n_merges + 1,
                   sizeof *b->merges, err));
    b->merges[b->n_merges++] = rule;
    return UNSTIR_OK;
}

static bool has_added(const struct bpe *b, uint32_t id)
{
    for (size_t i = 0; i < b->n_added; i++)
        if (b->added[i].id == id)
            return true;
    return false;
}

enum unstir_status bpe_add_added(struct bpe *b, const struct bpe_added *like,
                                 const char *text, struct unstir_error *err)
{
    struct bpe_added added = *like;
    enum unstir_status status;

    if (has_added(b, added.id))
        return UNSTIR_OK;
    if (b->n_added >= BPE_MAX_ADDED)
        return error_set(err, UNSTIR_ERR_LIMIT, "more than %u added tokens",
                         BPE_MAX_ADDED);
    TRY(alloc_grow(&b->added, &b->added_capacity, b->n_added + 1,
                   sizeof *b->added, err));
    added.n_bytes = strlen(text);
    TRY(alloc_strdup(&added.text, text, err));
    status =
        words_decode(&added.points, &added.n_points, text, added.n_bytes, err);
    if (status != UNSTIR_OK) {
        alloc_free(added.text);
        return status;
    }
    b->added[b->n_added++] = added;
    return UNSTIR_OK;
}

/* Bytes as symbols; one that the vocabulary lacks reads as unknown. */
static void find_bytes(struct bpe *b)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char symbol[4 + sizeof WORD_END];
        size_t n = bpe_byte_symbol(symbol, byte);

        (void)bpe_find(b, &b->byte_ids[0][byte], symbol, n);
        memcpy(symbol + n, WORD_END, strlen(WORD_END));
        (void)bpe_find(b, &b->byte_ids[1][byte], symbol, n + strlen(WORD_END));
    }
}

enum unstir_status bpe_seal(struct bpe *b, struct unstir_error *err)
{

    b->n_rule_slots = slots_for(b->n_merges);
    TRY(alloc_zero(&b->rules, b->n_rule_slots, sizeof *b->rules, err));
    for (size_t i = 0; i < b->n_rule_slots; i++)
        b->rules[i].left = BPE_NO_ID;
    for (size_t i = 0; i < b->n_merges; i++)
        /* The later of two equal merges, as the reference's map keeps. */
        *rule_slot(b, b->merges[i].left, b->merges[i].right) = b->merges[i];
    find_bytes(b);
    return UNSTIR_OK;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_added; i++) {
        alloc_free(b->added[i].points);
        alloc_free(b->added[i].text);
    }
    alloc_free(b->added);
    alloc_free(b->merges);
    alloc_free(b->rules);
    alloc_free(b->slots);
    alloc_free(b->tokens);
    alloc_free(b->text);
    alloc_free(b);
}

/* -- reading ----------------------------------------------------------- */

const struct bpe_info *bpe_info(const struct bpe *b)
{
    return &b->info;
}

const char *bpe_token(const struct bpe *b, uint32_t id, size_t *n)
{
    *n = id < b->info.n_tokens ? b->tokens[id].n : 0;
    return *n ? b->text + b->tokens[id].at : NULL;
}

bool bpe_merge(const struct bpe *b, size_t i, uint32_t *left, uint32_t *right)
{
    if (i >= b->n_merges)
        return false;
    *left = b->merges[i].left;
    *right = b->merges[i].right;
    return true;
}

static enum unstir_status ids_add(struct bpe_ids *ids, uint32_t id,
                                  struct unstir_error *err)
{

    TRY(alloc_grow(&ids->ids, &ids->capacity, ids->n + 1, sizeof *ids->ids,
                   err));
    ids->ids[ids->n++] = id;
    return UNSTIR_OK;
}

void bpe_ids_fini(struct bpe_ids *ids)
{
    alloc_free(ids->ids);
    *ids = (struct bpe_ids){0};
}

/* -- encoding ---------------------------------------------------------- */

/* A word on its way: symbols, and the rank of each with its right-hand
 * neighbour. */
struct merging {
    const struct bpe *b;
    uint32_t *symbols, *ranks;
    size_t n;
};

static void rank_pair(struct merging *m, size_t i)
{
    const struct bpe_merge_rule *rule;

    m->ranks[i] = NO_RANK;
    if (i + 1 >= m->n || m->symbols[i] == BPE_NO_ID ||
        m->symbols[i + 1] == BPE_NO_ID)
        return;
    rule = rule_slot(m->b, m->symbols[i], m->symbols[i + 1]);
    if (rule->left != BPE_NO_ID)
        m->ranks[i] = rule->rank;
}

static uint32_t lowest_rank(const struct merging *m)
{
    uint32_t lowest = NO_RANK;

    for (size_t i = 0; i < m->n; i++)
        if (m->ranks[i] < lowest)
            lowest = m->ranks[i];
    return lowest;
}

/* Merge every occurrence of that rank from left to right. */
static void merge_pass(struct merging *m, uint32_t rank)
{
    const struct bpe_merge_rule *rule = &m->b->merges[rank];
    size_t k = 0, n = m->n;

    for (size_t i = 0; i < n; k++) {
        bool is_pair = i + 1 < n && m->symbols[i] == rule->left &&
                       m->symbols[i + 1] == rule->right;

        m->symbols[k] = is_pair ? rule->result : m->symbols[i];
        /* What stays keeps its rank but where a neighbour changed: marked. */
        m->ranks[k] = is_pair ? rank : m->ranks[i];
        i += is_pair ? 2 : 1;
    }
    m->n = k;
    for (size_t i = 0; i < k; i++) {
        bool is_new = m->symbols[i] == rule->result;

        if (is_new || (i + 1 < k && m->symbols[i + 1] == rule->result) ||
            m->ranks[i] == rank)
            rank_pair(m, i);
    }
    if (k)
        m->ranks[k - 1] = NO_RANK;
}

static size_t word_symbols(const struct bpe *b, uint32_t *symbols,
                           const int32_t *points, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        unsigned char bytes[4];
        size_t n_bytes = words_utf8(bytes, points[i]);

        for (size_t k = 0; k < n_bytes; k++) {
            bool is_last = i + 1 == n && k + 1 == n_bytes;

            symbols[count++] = b->byte_ids[is_last][bytes[k]];
        }
    }
    return count;
}

static enum unstir_status encode_word(struct merging *m, struct bpe_ids *ids,
                                      const int32_t *points, size_t n,
                                      struct unstir_error *err)
{
    m->n = word_symbols(m->b, m->symbols, points, n);
    for (size_t i = 0; i < m->n; i++)
        rank_pair(m, i);
    for (uint32_t r; (r = lowest_rank(m)) != NO_RANK;)
        merge_pass(m, r);
    for (size_t i = 0; i < m->n; i++) {
        uint32_t id = m->symbols[i];

        TRY(ids_add(ids, id == BPE_NO_ID ? m->b->info.unk : id, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status encode_words(struct merging *m, struct bpe_ids *ids,
                                       const int32_t *points, size_t n,
                                       struct unstir_error *err)
{
    struct word word;
    struct words_cursor cursor = {0};

    while (words_next(&word, points, n, &cursor))
        TRY(encode_word(m, ids, points + word.begin, word.end - word.begin,
                        err));
    return UNSTIR_OK;
}

/* The longest added token at a place of the normalised text. */
static const struct bpe_added *added_at_points(const struct bpe *b,
                                               const int32_t *points, size_t n)
{
    const struct bpe_added *best = NULL;

    for (size_t i = 0; i < b->n_added; i++) {
        const struct bpe_added *a = &b->added[i];

        if (a->is_normalized && a->n_points && a->n_points <= n &&
            (!best || a->n_points > best->n_points) &&
            memcmp(points, a->points, a->n_points * sizeof *points) == 0)
            best = a;
    }
    return best;
}

static enum unstir_status encode_points(struct merging *m, struct bpe_ids *ids,
                                        const int32_t *points, size_t n,
                                        struct unstir_error *err)
{
    size_t begin = 0;

    for (size_t at = 0; at < n;) {
        const struct bpe_added *a = added_at_points(m->b, points + at, n - at);

        if (!a || (a->is_word &&
                   words_go_on_points(points, n, at, at + a->n_points))) {
            at += a ? a->n_points : 1;
            continue;
        }
        TRY(encode_words(m, ids, points + begin, at - begin, err));
        TRY(ids_add(ids, a->id, err));
        at += a->n_points;
        begin = at;
    }
    return encode_words(m, ids, points + begin, n - begin, err);
}

/* A stretch of text without added tokens of the raw kind. */
static enum unstir_status encode_section(const struct bpe *b,
                                         struct bpe_ids *ids, const char *text,
                                         size_t n_bytes,
                                         struct unstir_error *err)
{
    struct merging m = {.b = b};
    enum unstir_status status;
    int32_t *points;
    size_t n;

    if (n_bytes == 0)
        return UNSTIR_OK;
    TRY(words_decode(&points, &n, text, n_bytes, err));
    /* A code point is at most four symbols. */
    status = alloc_zero(&m.symbols, 8 * n, sizeof *m.symbols, err);
    if (status == UNSTIR_OK) {
        m.ranks = m.symbols + 4 * n;
        status = encode_points(&m, ids, points, n, err);
        alloc_free(m.symbols);
    }
    alloc_free(points);
    return status;
}

static const struct bpe_added *added_at_bytes(const struct bpe *b,
                                              const char *text, size_t n)
{
    const struct bpe_added *best = NULL;

    for (size_t i = 0; i < b->n_added; i++) {
        const struct bpe_added *a = &b->added[i];

        if (!a->is_normalized && a->n_bytes && a->n_bytes <= n &&
            (!best || a->n_bytes > best->n_bytes) &&
            memcmp(text, a->text, a->n_bytes) == 0)
            best = a;
    }
    return best;
}

enum unstir_status bpe_encode(const struct bpe *b, struct bpe_ids *ids,
                              const char *text, size_t n_bytes,
                              struct unstir_error *err)
{
    size_t begin = 0;

    if (n_bytes > BPE_MAX_TEXT_BYTES)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "a text of %zu bytes; allowed: %u", n_bytes,
                         BPE_MAX_TEXT_BYTES);
    for (size_t at = 0; at < n_bytes;) {
        const struct bpe_added *a = added_at_bytes(b, text + at, n_bytes - at);

        if (!a ||
            (a->is_word && words_go_on(text, n_bytes, at, at + a->n_bytes))) {
            at += a ? a->n_bytes : 1;
            continue;
        }
        TRY(encode_section(b, ids, text + begin, at - begin, err));
        TRY(ids_add(ids, a->id, err));
        at += a->n_bytes;
        begin = at;
    }
    return encode_section(b, ids, text + begin, n_bytes - begin, err);
}
