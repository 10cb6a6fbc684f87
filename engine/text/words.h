/* words.h - a text as CLIP's tokenizer cuts it; the only door to utf8proc.
 *
 * What the reference's tokenizer.json states: NFC, then each character in
 * lower case (İ becomes i and U+0307; a final sigma stays σ), then the pieces
 *
 *     's 't 're 've 'm 'll 'd | letters+ | one number | other characters+
 *
 * with white space between them dropped.  Letters and numbers are Unicode's
 * categories L* and N*, white space its property White_Space.  The names of
 * the two special tokens, when only lower-casing made them, end the pieces
 * around them.
 *
 * Any thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEXT_WORDS_H
#define TEXT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Code points of n_bytes of UTF-8 after NFC, with one space for each run of
 * any, and lower-casing; alloc_free().
 * Bytes that are no UTF-8 are UNSTIR_ERR_ARG and named. */
enum unstir_status words_decode(int32_t **points, size_t *n, const char *text,
                                size_t n_bytes, struct unstir_error *err);

/* Where the next piece stands; false behind the last.  A cursor of zeros
 * starts. */
struct word {
    size_t begin, end;
};
struct words_cursor {
    size_t at;
    size_t special_end; /* of the special token's name met last              */
};
bool words_next(struct word *word, const int32_t *points, size_t n,
                struct words_cursor *cursor);

/* Does a word go on across byte `at` of a UTF-8 text of n bytes: is there a
 * letter or number on both sides? */
bool words_joined(const char *text, size_t n, size_t at);

/* Does a word in the sense of \w, which has marks, low lines and joiners too,
 * go on before `begin` or behind `end`? */
bool words_go_on(const char *text, size_t n, size_t begin, size_t end);
bool words_go_on_points(const int32_t *points, size_t n, size_t begin,
                        size_t end);

/* UTF-8 of one code point: its bytes, at most 4. */
size_t words_utf8(unsigned char out[4], int32_t point);

#endif
