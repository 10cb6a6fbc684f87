/* bpe.h - CLIP's tokenizer: text to the numbers that its encoders read.
 *
 * Byte-level byte-pair encoding.  A text is cut into words (words.h); each
 * byte of a word is a symbol, the last one another symbol that also says "end
 * of word"; then the pair of neighbours that the list of merges names first
 * becomes one symbol, until none is left.
 *
 * The vocabulary comes from a model's own folder, in one of two forms:
 *
 *     tokenizer.json                   all in one, what current releases save
 *     vocab.json + merges.txt          releases until 2025
 *
 * (of a folder with both the first, as current ones do) with
 * tokenizer_config.json or special_tokens_map.json beside them, and words of the
 * model's own in added_tokens.json; or from a list of merges alone, which fixes
 * the standard vocabulary of 49,408: 256 bytes, the same at the end of a word,
 * 48,894 merges, <|startoftext|>, <|endoftext|>.
 *
 * A tokenizer never changes after opening: any number of threads may use one.
 * Files are hostile: what is wrong is named (UNSTIR_ERR_FORMAT); ceilings are
 * below (UNSTIR_ERR_LIMIT).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define BPE_MAX_FILE_BYTES  (32u << 20)
#define BPE_MAX_TOKENS      1000000u
#define BPE_MAX_TOKEN_BYTES 512u
#define BPE_MAX_ADDED       1000u
#define BPE_MAX_TEXT_BYTES  65536u

struct bpe;

/* A model's tokenizer folder. */
enum unstir_status bpe_open_folder(struct bpe **out, const char *folder,
                                   struct unstir_error *err);

/* The standard vocabulary from a list of merges. */
enum unstir_status bpe_open_merges(struct bpe **out, const char *path,
                                   struct unstir_error *err);

/* The same over memory, which is not kept; names are for errors.  merges NULL:
 * `vocab` is a tokenizer.json. vocab NULL: the standard vocabulary. config: a
 * tokenizer_config.json, or NULL; added: an added_tokens.json, or NULL. */
struct bpe_texts {
    const char *vocab, *merges, *config, *added;
    size_t n_vocab, n_merges, n_config, n_added;
};
enum unstir_status bpe_parse(struct bpe **out, const struct bpe_texts *texts,
                             struct unstir_error *err);
void bpe_free(struct bpe *b);

struct bpe_info {
    uint32_t n_tokens; /* ids are below this                                */
    uint32_t bos, eos, unk, pad;
    uint32_t max_length; /* BOS and EOS included; 0: not said               */
};
const struct bpe_info *bpe_info(const struct bpe *b);

/* Ids that grow; zeroed before first use. */
struct bpe_ids {
    uint32_t *ids;
    size_t n, capacity;
};
void bpe_ids_fini(struct bpe_ids *ids);

/* Append the ids of a text, without BOS and EOS and without a limit on their
 * number but that of the text.  Special tokens that stand in it are known
 * verbatim.  Bytes that are no UTF-8 are UNSTIR_ERR_ARG. */
enum unstir_status bpe_encode(const struct bpe *b, struct bpe_ids *ids,
                              const char *text, size_t n_bytes,
                              struct unstir_error *err);

/* The token of that text; false if there is none. */
bool bpe_find(const struct bpe *b, uint32_t *id, const char *text, size_t n);

/* Its text, not ended by NUL; NULL for an id that nobody has. */
const char *bpe_token(const struct bpe *b, uint32_t id, size_t *n);

/* The i-th merge; false behind the last. */
bool bpe_merge(const struct bpe *b, size_t i, uint32_t *left, uint32_t *right);

#endif
