/* bpe_parts.h - the inside of a tokenizer, for its readers.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEXT_BPE_PARTS_H
#define TEXT_BPE_PARTS_H

#include "text/bpe.h"

#define BPE_NO_ID UINT32_MAX

struct bpe_token_text {
    uint32_t at, n; /* in `text`; n 0: nobody has this id                   */
};

struct bpe_merge_rule {
    uint32_t left, right, result; /* left BPE_NO_ID: an empty slot           */
    uint32_t rank;
};

/* A token that is looked for in the text itself. */
struct bpe_added {
    uint32_t id;
    bool is_normalized; /* looked for after NFC and lower-casing             */
    bool is_word;       /* only where no word goes on before or behind it    */
    int32_t *points;    /* of the text, lower-cased if is_normalized         */
    size_t n_points;
    char *text;
    size_t n_bytes;
};

struct bpe {
    struct bpe_info info;
    char *text; /* of all tokens                                            */
    size_t n_text, text_capacity;
    struct bpe_token_text *tokens; /* by id                                  */
    size_t tokens_capacity;
    uint32_t *slots; /* open hash of ids by text                             */
    size_t n_slots;  /* a power of two                                       */
    struct bpe_merge_rule *rules; /* open hash by (left, right)              */
    size_t n_rule_slots;
    struct bpe_merge_rule *merges; /* in order                               */
    size_t n_merges, merges_capacity;
    struct bpe_added *added;
    size_t n_added, added_capacity;
    uint32_t byte_ids[2][256]; /* [1]: at the end of a word                  */
};

/* The character that stands for a byte in vocabularies, as UTF-8; whether it
 * is the one of that number. */
bool bpe_is_own_symbol(unsigned byte);
size_t bpe_byte_symbol(char out[4], unsigned byte);

/* Building: tokens and merges by number; then bpe_index(), after which tokens
 * can be found; then bpe_seal(). */
enum unstir_status bpe_add_token(struct bpe *b, uint32_t id, const char *text,
                                 size_t n, struct unstir_error *err);
enum unstir_status bpe_index(struct bpe *b, struct unstir_error *err);
enum unstir_status bpe_add_merge(struct bpe *b, const char *left, size_t n_left,
                                 const char *right, size_t n_right,
                                 struct unstir_error *err);
/* `like` says what id, is_normalized and is_word are; an id that is there
 * already stays as it is. */
enum unstir_status bpe_add_added(struct bpe *b, const struct bpe_added *like,
                                 const char *text, struct unstir_error *err);
enum unstir_status bpe_seal(struct bpe *b, struct unstir_error *err);

#endif
