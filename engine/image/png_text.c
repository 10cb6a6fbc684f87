/* png_text.c - texts for a PNG: checked, and in the chunk that can hold them.
 *
 * A tEXt chunk holds Latin-1, an iTXt chunk UTF-8.  Readers of the webui's
 * "parameters" look for tEXt, so that is taken whenever it can be.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/png_text.h"

#include <string.h>

#include <png.h>

#include "base/alloc.h"
#include "image/utf8.h"

#define MAX_TEXT_BYTES (1u << 20)
#define MAX_TEXTS      64u
#define XMP_KEYWORD    "XML:com.adobe.xmp"

/* Length in Latin-1, 0 in *is_latin1 if a character is not printable there;
 * false if the text is not UTF-8 at all. */
static bool measure_text(const char *text, size_t *n, bool *is_latin1)
{
    const unsigned char *p = (const unsigned char *)text;
    *is_latin1 = true;
    for (*n = 0; *p; ++*n) {
        int32_t c = utf8_next(&p);
        if (c < 0)
            return false;
        bool is_printable =
            c == '\n' || (c >= 0x20 && c < 0x7f) || (c >= 0xa1 && c <= 0xff);
        *is_latin1 &= is_printable;
    }
    return true;
}

/* Returns the place behind the terminating NUL. */
static char *store_latin1(char *to, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p)
        *to++ = (char)(unsigned char)utf8_next(&p);
    *to = '\0';
    return to + 1;
}

static enum unstir_status check_text(const struct unstir_text *text,
                                     bool *is_latin1, struct unstir_error *err)
{
    size_t n_key, n_value, n_utf8 = strlen(text->value);
    bool is_key_latin1;

    if (!measure_text(text->key, &n_key, &is_key_latin1) || !is_key_latin1 ||
        n_key < 1 || n_key > 79 || strchr(text->key, '\n'))
        return error_set(err, UNSTIR_ERR_ARG,
                         "PNG keyword \"%.80s\": must be 1..79 printable "
                         "Latin-1 characters",
                         text->key);
    if (!measure_text(text->value, &n_value, is_latin1))
        return error_set(err, UNSTIR_ERR_ARG,
                         "PNG text \"%.80s\": its value is not UTF-8",
                         text->key);
    if (n_utf8 > MAX_TEXT_BYTES)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "PNG text \"%.80s\": %zu bytes, at most %u", text->key,
                         n_utf8, MAX_TEXT_BYTES);
    *is_latin1 = *is_latin1 && strcmp(text->key, XMP_KEYWORD) != 0;
    return UNSTIR_OK;
}

/* One row; returns the place behind what it needed. */
static char *make_row(png_text *row, const struct unstir_text *text,
                      bool is_latin1, char *to)
{
    size_t n = strlen(text->value);

    row->key = to;
    to = store_latin1(to, text->key);
    row->text = to;
    if (is_latin1) {
        row->compression = PNG_TEXT_COMPRESSION_NONE;
        to = store_latin1(to, text->value);
        row->text_length = (size_t)(to - row->text) - 1;
        return to;
    }
    row->compression = PNG_ITXT_COMPRESSION_NONE;
    row->itxt_length = n;
    memcpy(to, text->value, n + 1);
    return to + n + 1;
}

enum unstir_status png_texts_make(struct png_texts *out,
                                  const struct unstir_text *texts, size_t n,
                                  struct unstir_error *err)
{
    size_t n_bytes = 0;
    char *to;
    bool is_latin1;

    *out = (struct png_texts){0};
    if (n > MAX_TEXTS)
        return error_set(err, UNSTIR_ERR_LIMIT, "%zu PNG texts, at most %u", n,
                         MAX_TEXTS);
    for (size_t i = 0; i < n; i++) {
        TRY(check_text(&texts[i], &is_latin1, err));
        n_bytes += strlen(texts[i].key) + strlen(texts[i].value) + 2;
    }
    TRY(alloc_zero(&out->rows, n, sizeof(png_text), err));
    enum unstir_status status = alloc_zero(&out->memory, n_bytes, 1, err);
    if (status != UNSTIR_OK) {
        png_texts_free(out);
        return status;
    }
    to = out->memory;
    for (size_t i = 0; i < n; i++) {
        (void)check_text(&texts[i], &is_latin1, NULL); /* passed above       */
        to = make_row(&out->rows[i], &texts[i], is_latin1, to);
    }
    return UNSTIR_OK;
}

void png_texts_free(struct png_texts *texts)
{
    alloc_free(texts->rows);
    alloc_free(texts->memory);
    *texts = (struct png_texts){0};
}
