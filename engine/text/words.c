/* words.c - a text as CLIP's tokenizer cuts it.
 *
 * Pitfall: the reference lower-cases character by character, so İ has two
 * characters behind it, which the simple mapping of the library lacks
 * (tests/unit/t_bpe.c, the list of Unicode strings).
 *
 * SPDX-License-Identifier: MIT
 */
#include "text/words.h"

#include <utf8proc.h>

#include "base/alloc.h"
#include "base/compiler.h"

#define DOTTED_CAPITAL_I      0x130
#define COMBINING_DOT         0x307
#define ZERO_WIDTH_NON_JOINER 0x200c
#define ZERO_WIDTH_JOINER     0x200d
#define NFC_OPTIONS           ((utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE))

enum kind { SPACE, LETTER, NUMBER, OTHER };

static const char *const contractions[] = {"'s", "'t",  "'re", "'ve",
                                           "'m", "'ll", "'d"};
static const char *const special[] = {"<|startoftext|>", "<|endoftext|>"};

static bool is_space(int32_t point)
{
    utf8proc_category_t category = utf8proc_category(point);

    return (point >= 0x09 && point <= 0x0d) || point == 0x85 ||
           category == UTF8PROC_CATEGORY_ZS ||
           category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

static enum kind kind_of(int32_t point)
{
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    default:
        return is_space(point) ? SPACE : OTHER;
    }
}

size_t words_utf8(unsigned char out[4], int32_t point)
{
    return (size_t)utf8proc_encode_char(point, out);
}

/* One code point of n >= 1 bytes; 0 bytes: no UTF-8. */
static size_t take_point(int32_t *point, const char *text, size_t n)
{
    utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text,
                                             (utf8proc_ssize_t)n, point);

    return used > 0 && *point >= 0 ? (size_t)used : 0;
}

static bool is_inside_word(int32_t point)
{
    enum kind kind = kind_of(point);

    return kind == LETTER || kind == NUMBER;
}

bool words_joined(const char *text, size_t n, size_t at)
{
    size_t before = at;
    int32_t point;

    if (at == 0 || at >= n || take_point(&point, text + at, n - at) == 0 ||
        !is_inside_word(point))
        return false;
    do
        before--;
    while (before && ((unsigned char)text[before] & 0xc0) == 0x80);
    return take_point(&point, text + before, at - before) &&
           is_inside_word(point);
}

static bool is_of_word(int32_t point)
{
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return kind_of(point) == LETTER || point == ZERO_WIDTH_NON_JOINER ||
               point == ZERO_WIDTH_JOINER;
    }
}

bool words_go_on(const char *text, size_t n, size_t begin, size_t end)
{
    size_t before = begin;
    int32_t point;

    if (end < n && take_point(&point, text + end, n - end) && is_of_word(point))
        return true;
    while (before && ((unsigned char)text[--before] & 0xc0) == 0x80)
        continue;
    return begin && take_point(&point, text + before, begin - before) &&
           is_of_word(point);
}

bool words_go_on_points(const int32_t *points, size_t n, size_t begin,
                        size_t end)
{
    return (begin && is_of_word(points[begin - 1])) ||
           (end < n && is_of_word(points[end]));
}

/* -- decoding ---------------------------------------------------------- */

static enum unstir_status bad_utf8(const char *text, size_t n,
                                   struct unstir_error *err)
{
    size_t at = 0;
    int32_t point;

    for (size_t used; at < n; at += used) {
        used = take_point(&point, text + at, n - at);
        if (used == 0)
            break;
    }
    return error_set(err, UNSTIR_ERR_ARG,
                     "text is not UTF-8: byte %zu is 0x%02x", at,
                     at < n ? (unsigned char)text[at] : 0u);
}

/* Lower case, a run of spaces one space; the array has room for one more point
 * for each that grows. */
static size_t lower(int32_t *to, const int32_t *from, size_t n)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        if (is_space(from[i])) {
            if (i == 0 || !is_space(from[i - 1]))
                to[k++] = ' ';
        } else if (from[i] == DOTTED_CAPITAL_I) {
            to[k++] = 'i';
            to[k++] = COMBINING_DOT;
        } else {
            to[k++] = utf8proc_tolower(from[i]);
        }
    }
    return k;
}

static size_t count_growing(const int32_t *points, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += points[i] == DOTTED_CAPITAL_I;
    return count;
}

static enum unstir_status lower_case(int32_t **out, size_t *n_out,
                                     const int32_t *points, size_t n,
                                     struct unstir_error *err)
{

    TRY(alloc_zero(out, n + count_growing(points, n), sizeof(int32_t), err));
    *n_out = lower(*out, points, n);
    return UNSTIR_OK;
}

enum unstir_status words_decode(int32_t **points, size_t *n, const char *text,
                                size_t n_bytes, struct unstir_error *err)
{
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t size = (utf8proc_ssize_t)n_bytes;
    enum unstir_status status;
    utf8proc_ssize_t count;
    void *memory;

    *points = NULL;
    *n = 0;
    count = utf8proc_decompose(bytes, size, NULL, 0, NFC_OPTIONS);
    if (count < 0)
        return bad_utf8(text, n_bytes, err);
    /* One more: the library looks at the entry behind the last. */
    TRY(alloc_zero(&memory, (size_t)count + 1, sizeof(int32_t), err));
    count = utf8proc_decompose(bytes, size, memory, count, NFC_OPTIONS);
    if (count >= 0)
        count = utf8proc_normalize_utf32(memory, count, NFC_OPTIONS);
    status = count < 0 ? bad_utf8(text, n_bytes, err)
                       : lower_case(points, n, memory, (size_t)count, err);
    alloc_free(memory);
    return status;
}

/* -- cutting ----------------------------------------------------------- */

/* Length of `ascii` if it stands at `points`, else 0. */
static size_t match(const int32_t *points, size_t n, const char *ascii)
{
    size_t i = 0;

    while (ascii[i] && i < n && points[i] == ascii[i])
        i++;
    return ascii[i] ? 0 : i;
}

static size_t match_any(const int32_t *points, size_t n,
                        const char *const *list, size_t n_list)
{
    for (size_t i = 0; i < n_list; i++) {
        size_t length = match(points, n, list[i]);

        if (length)
            return length;
    }
    return 0;
}

/* The end of the run of other characters at `begin`.  The name of a special
 * token is a piece of the reference's first pass, which its second pass cuts
 * into "<|", the letters and "|>". */
static size_t other_end(const int32_t *points, size_t n, size_t begin,
                        struct words_cursor *cursor)
{
    size_t end = begin + 1;
    size_t length =
        match_any(points + begin, n - begin, special, ARRAY_LEN(special));

    if (length) {
        cursor->special_end = begin + length;
        return begin + 2;
    }
    while (end < n && end != cursor->special_end &&
           kind_of(points[end]) == OTHER)
        end++;
    return end;
}

bool words_next(struct word *word, const int32_t *points, size_t n,
                struct words_cursor *cursor)
{
    size_t begin = cursor->at, end, length;
    enum kind kind;

    while (begin < n && kind_of(points[begin]) == SPACE)
        begin++;
    cursor->at = begin;
    if (begin == n)
        return false;
    kind = kind_of(points[begin]);
    end = begin + 1;
    length = match_any(points + begin, n - begin, contractions,
                       ARRAY_LEN(contractions));
    if (length)
        end = begin + length;
    else if (kind == OTHER)
        end = other_end(points, n, begin, cursor);
    else if (kind == LETTER)
        while (end < n && kind_of(points[end]) == LETTER)
            end++;
    *word = (struct word){begin, end};
    cursor->at = end;
    return true;
}
