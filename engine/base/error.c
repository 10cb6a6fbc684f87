/* error.c - filling struct unstir_error.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[] = {
    [UNSTIR_OK] = "UNSTIR_OK",
    [UNSTIR_ERR_ARG] = "UNSTIR_ERR_ARG",
    [UNSTIR_ERR_NOMEM] = "UNSTIR_ERR_NOMEM",
    [UNSTIR_ERR_FORMAT] = "UNSTIR_ERR_FORMAT",
    [UNSTIR_ERR_UNSUPPORTED] = "UNSTIR_ERR_UNSUPPORTED",
    [UNSTIR_ERR_IO] = "UNSTIR_ERR_IO",
    [UNSTIR_ERR_CANCELLED] = "UNSTIR_ERR_CANCELLED",
    [UNSTIR_ERR_LIMIT] = "UNSTIR_ERR_LIMIT",
    [UNSTIR_ERR_MISMATCH] = "UNSTIR_ERR_MISMATCH",
    [UNSTIR_ERR_INTERNAL] = "UNSTIR_ERR_INTERNAL",
};
_Static_assert(ARRAY_LEN(status_names) == UNSTIR_ERR_INTERNAL + 1,
               "a name for every status");

const char *unstir_status_name(enum unstir_status status)
{
    size_t i = (size_t)status;
    return i < ARRAY_LEN(status_names) ? status_names[i] : "UNSTIR_ERR_?";
}

/* Cut text at `size` - 1 bytes, but not inside a UTF-8 character. */
static void cut_utf8(char *text, size_t size)
{
    size_t n = strlen(text);
    if (n + 1 < size)
        return;
    size_t start = n;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (n - (start - 1) < want)
        text[start - 1] = '\0';
}

/* Bytes of the UTF-8 character at p, 0 if it is not one (cut, overlong, a
 * surrogate, beyond U+10FFFF). */
static size_t utf8_length(const unsigned char *p)
{
    size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    if (n > 1 && (*p < 0xc2 || *p > 0xf4))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool is_out =
        (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90);
    return is_out ? 0 : n;
}

/* Text for people is UTF-8, whatever a hostile file is called or says and
 * wherever a precision cut it: bytes of no character become '?'. */
static void clean_utf8(char *text, size_t size)
{
    cut_utf8(text, size);
    for (char *p = text; *p;) {
        size_t n = utf8_length((const unsigned char *)p);
        if (n == 0)
            *p = '?';
        p += n > 0 ? n : 1;
    }
}

enum unstir_status error_set(struct unstir_error *err,
                             enum unstir_status status, const char *format, ...)
{
    if (!err)
        return status;
    va_list args;
    err->status = status;
    err->field[0] = '\0';
    va_start(args, format);
    (void)vsnprintf(err->detail, sizeof err->detail, format, args);
    va_end(args);
    clean_utf8(err->detail, sizeof err->detail);
    return status;
}

enum unstir_status error_field(struct unstir_error *err, const char *field,
                               const char *format, ...)
{
    if (!err)
        return UNSTIR_ERR_ARG;
    va_list args;
    err->status = UNSTIR_ERR_ARG;
    (void)snprintf(err->field, sizeof err->field, "%s", field);
    va_start(args, format);
    (void)vsnprintf(err->detail, sizeof err->detail, format, args);
    va_end(args);
    clean_utf8(err->detail, sizeof err->detail);
    return UNSTIR_ERR_ARG;
}

enum unstir_status error_prefix(enum unstir_status status, const char *prefix,
                                struct unstir_error *err)
{
    if (status == UNSTIR_OK || !err)
        return status;
    char old[sizeof err->detail];
    memcpy(old, err->detail, sizeof old);
    old[sizeof old - 1] = '\0';
    int n = snprintf(err->detail, sizeof err->detail, "%s: %s", prefix, old);
    if (n >= (int)sizeof err->detail)
        clean_utf8(err->detail, sizeof err->detail);
    return status;
}

enum unstir_status error_within(enum unstir_status status, const char *name,
                                struct unstir_error *err)
{
    bool is_named =
        !name || !err || strncmp(err->detail, name, strlen(name)) == 0;

    return is_named ? status : error_prefix(status, name, err);
}
