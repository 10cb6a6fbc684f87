/* json_out.c - tidy JSON out: values in the order of calls, compact.
 *
 * SPDX-License-Identifier: MIT
 */
#include "json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void jout_init(struct json_out *out, struct buf *buf)
{
    *out = (struct json_out){.buf = buf};
}

size_t json_utf8_length(const unsigned char *text, size_t n)
{
    unsigned first = text[0];
    size_t length = first < 0x80   ? 1
                    : first < 0xc2 ? 0
                    : first < 0xe0 ? 2
                    : first < 0xf0 ? 3
                    : first < 0xf5 ? 4
                                   : 0;
    size_t i;

    if (length == 0 || length > n)
        return 0;
    for (i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && text[1] < 0xa0) ||
        (first == 0xed && text[1] > 0x9f) ||
        (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

static void escape_byte(struct buf *buf, unsigned char c)
{
    static const char short_names[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    const char *p;

    for (p = short_names; *p; p += 2) {
        if ((unsigned char)*p == c) {
            (void)buf_byte(buf, '\\');
            (void)buf_byte(buf, p[1]);
            return;
        }
    }
    (void)buf_printf(buf, "\\u%04x", c);
}

void json_escape(struct buf *buf, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;

    (void)buf_byte(buf, '"');
    while (i < n) {
        size_t run = i;
        size_t length = 1;

        while (run < n && p[run] >= 0x20 && p[run] < 0x7f && p[run] != '"' &&
               p[run] != '\\')
            run++;
        (void)buf_add(buf, text + i, run - i);
        i = run;
        if (i == n)
            break;
        if (p[i] < 0x80) {
            escape_byte(buf, p[i]);
        } else {
            length = json_utf8_length(p + i, n - i);
            (void)(length ? buf_add(buf, text + i, length)
                          : buf_text(buf, "\xef\xbf\xbd"));
            length = length ? length : 1;
        }
        i += length;
    }
    (void)buf_byte(buf, '"');
}

static void begin_value(struct json_out *out, const char *key)
{
    uint64_t bit = (uint64_t)1 << out->depth;

    if (out->has_items & bit)
        (void)buf_byte(out->buf, ',');
    out->has_items |= bit;
    if (key) {
        json_escape(out->buf, key, strlen(key));
        (void)buf_byte(out->buf, ':');
    }
}

static void open_level(struct json_out *out, const char *key, char bracket)
{
    begin_value(out, key);
    (void)buf_byte(out->buf, bracket);
    assert(out->depth + 1 < JSON_OUT_MAX_DEPTH);
    out->depth++;
    out->has_items &= ~((uint64_t)1 << out->depth);
}

static void close_level(struct json_out *out, char bracket)
{
    assert(out->depth > 0);
    out->depth--;
    (void)buf_byte(out->buf, bracket);
}

void jout_object(struct json_out *out, const char *key)
{
    open_level(out, key, '{');
}

void jout_end_object(struct json_out *out)
{
    close_level(out, '}');
}

void jout_array(struct json_out *out, const char *key)
{
    open_level(out, key, '[');
}

void jout_end_array(struct json_out *out)
{
    close_level(out, ']');
}

void jout_string_n(struct json_out *out, const char *key, const char *text,
                   size_t n)
{
    begin_value(out, key);
    json_escape(out->buf, text, n);
}

void jout_string(struct json_out *out, const char *key, const char *text)
{
    if (text)
        jout_string_n(out, key, text, strlen(text));
    else
        jout_null(out, key);
}

void jout_int(struct json_out *out, const char *key, int64_t value)
{
    begin_value(out, key);
    (void)buf_printf(out->buf, "%" PRId64, value);
}

void jout_uint(struct json_out *out, const char *key, uint64_t value)
{
    begin_value(out, key);
    (void)buf_printf(out->buf, "%" PRIu64, value);
}

/* The shortest of 15 and 17 digits that reads back the same. */
void jout_number(struct json_out *out, const char *key, double value)
{
    char text[40];

    if (!isfinite(value)) {
        jout_null(out, key);
        return;
    }
    (void)snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value)
        (void)snprintf(text, sizeof text, "%.17g", value);
    begin_value(out, key);
    (void)buf_text(out->buf, text);
}

void jout_bool(struct json_out *out, const char *key, bool value)
{
    jout_raw(out, key, value ? "true" : "false");
}

void jout_null(struct json_out *out, const char *key)
{
    jout_raw(out, key, "null");
}

void jout_seed(struct json_out *out, const char *key, uint64_t seed)
{
    begin_value(out, key);
    (void)buf_printf(out->buf,
                     seed > (uint64_t)JSON_SAFE_INTEGER ? "\"%" PRIu64 "\""
                                                        : "%" PRIu64,
                     seed);
}

void jout_time(struct json_out *out, const char *key, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    char text[40];
    size_t n;

    if (unix_ms <= 0 || !gmtime_r(&seconds, &tm)) {
        jout_null(out, key);
        return;
    }
    n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + n, sizeof text - n, ".%03dZ", (int)(unix_ms % 1000));
    jout_string(out, key, text);
}

void jout_raw(struct json_out *out, const char *key, const char *json)
{
    begin_value(out, key);
    (void)buf_text(out->buf, json);
}

void jout_base64(struct json_out *out, const char *key, const void *bytes,
                 size_t n)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    char text[1024];
    size_t i, at = 0;

    begin_value(out, key);
    (void)buf_byte(out->buf, '"');
    for (i = 0; i < n; i += 3) {
        char *four = text + at;
        unsigned second = i + 1 < n ? p[i + 1] : 0;
        unsigned third = i + 2 < n ? p[i + 2] : 0;
        unsigned bits = (unsigned)p[i] << 16 | second << 8 | third;

        four[0] = digits[bits >> 18];
        four[1] = digits[bits >> 12 & 63];
        four[2] = digits[bits >> 6 & 63];
        four[3] = digits[bits & 63];
        if (i + 1 >= n)
            four[2] = '=';
        if (i + 2 >= n)
            four[3] = '=';
        at += 4;
        if (at == sizeof text) {
            (void)buf_add(out->buf, text, at);
            at = 0;
        }
    }
    (void)buf_add(out->buf, text, at);
    (void)buf_byte(out->buf, '"');
}
