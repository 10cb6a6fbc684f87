/* log.c - log lines: built in place, escaped, written by one write(2).
 *
 * The settings are written once before other threads exist.  The level may
 * change at SIGHUP while helper threads log, so it is atomic (relaxed: a
 * line more or less does no harm).
 *
 * SPDX-License-Identifier: MIT
 */
#include "log.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

/* Kept free at the end of a line for ,"cut":true} and the newline. */
#define TAIL_BYTES 16
#define UTF8_BYTES 4 /* of a character, at most                            */

static int log_fd = STDERR_FILENO;
static bool log_is_json = true;
static atomic_int log_least = LOG_LEVEL_OFF;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_open(int fd, enum log_level least, bool is_json)
{
    log_fd = fd;
    log_is_json = is_json;
    atomic_store_explicit(&log_least, (int)least, memory_order_relaxed);
}

void log_set_level(enum log_level least)
{
    atomic_store_explicit(&log_least, (int)least, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_least, memory_order_relaxed);
}

/* All of text or nothing, so that an escape is never halved. */
static bool put(struct log_line *line, const char *text, size_t n)
{
    if (line->is_cut || n > sizeof line->text - TAIL_BYTES - line->n) {
        line->is_cut = true;
        return false;
    }
    memcpy(line->text + line->n, text, n);
    line->n += n;
    return true;
}

static void put_text(struct log_line *line, const char *text)
{
    (void)put(line, text, strlen(text));
}

/* The character at *p, which moves behind it; a byte that is no part of one
 * stands for itself.                                                        */
static uint32_t next_character(const unsigned char **p)
{
    const unsigned char *at = *p;
    size_t n = json_utf8_length(at, strnlen((const char *)at, UTF8_BYTES));
    uint32_t c = n < 2 ? *at : *at & (0x7fu >> n);

    for (size_t i = 1; i < n; i++)
        c = c << 6 | (at[i] & 0x3fu);
    *p = at + (n > 1 ? n : 1);
    return c;
}

/* ASCII but quotes, backslash and controls as is; all else as \uXXXX, two of
 * them beyond the basic plane: no byte of a client reaches a terminal.      */
static void put_escaped(struct log_line *line, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    char escape[16];

    while (*p) {
        uint32_t c = next_character(&p);
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            (void)snprintf(escape, sizeof escape, "%c", (char)c);
        else if (c < 0x10000)
            (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
        else
            (void)snprintf(escape, sizeof escape, "\\u%04x\\u%04x",
                           (unsigned)(0xd7c0 + (c >> 10)),
                           (unsigned)(0xdc00 + (c & 0x3ff)));
        if (!put(line, escape, strlen(escape)))
            return;
    }
}

static void put_quoted(struct log_line *line, const char *text)
{
    size_t start = line->n;
    bool was_cut = line->is_cut;

    put_text(line, "\"");
    put_escaped(line, text);
    if (!line->is_cut)
        put_text(line, "\"");
    else if (!was_cut && line->n > start)
        line->text[line->n++] = '"'; /* TAIL_BYTES has room for it           */
}

/* False when there is no room for the key and a value of a few bytes. */
static bool put_key(struct log_line *line, const char *key)
{
    if (!line->is_on || line->is_cut)
        return false;
    if (strlen(key) + 40 > sizeof line->text - TAIL_BYTES - line->n) {
        line->is_cut = true;
        return false;
    }
    if (log_is_json) {
        put_text(line, ",\"");
        put_text(line, key);
        put_text(line, "\":");
    } else {
        put_text(line, "  ");
        put_text(line, key);
        put_text(line, "=");
    }
    return true;
}

static void put_time(struct log_line *line)
{
    struct timespec now;
    struct tm tm;
    char text[40];
    size_t n;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + n, sizeof text - n, ".%03ldZ", now.tv_nsec / 1000000);
    put_text(line, log_is_json ? text : text + 11);
}

void log_begin(struct log_line *line, enum log_level level, const char *msg)
{
    line->is_on = log_is_on(level) && level < LOG_LEVEL_OFF;
    line->is_cut = false;
    line->n = 0;
    if (!line->is_on)
        return;
    put_text(line, log_is_json ? "{\"ts\":\"" : "");
    put_time(line);
    put_text(line, log_is_json ? "\",\"level\":\"" : " ");
    put_text(line, level_names[level]);
    put_text(line, log_is_json ? "\",\"msg\":\"" : " ");
    put_escaped(line, msg);
    put_text(line, log_is_json ? "\"" : "");
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    if (put_key(line, key))
        put_quoted(line, value ? value : "");
}

void log_int(struct log_line *line, const char *key, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    if (put_key(line, key))
        put_text(line, text);
}

void log_number(struct log_line *line, const char *key, double value)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%.6g", isfinite(value) ? value : 0.0);
    if (put_key(line, key))
        put_text(line, text);
}

void log_bool(struct log_line *line, const char *key, bool value)
{
    if (put_key(line, key))
        put_text(line, value ? "true" : "false");
}

void log_end(struct log_line *line)
{
    const char *tail =
        log_is_json ? (line->is_cut ? ",\"cut\":true}\n" : "}\n") : "\n";
    size_t n = strlen(tail);
    ssize_t written;

    if (!line->is_on)
        return;
    memcpy(line->text + line->n, tail, n);
    written = write(log_fd, line->text, line->n + n);
    (void)written; /* a full disk must not stop the service                  */
    line->is_on = false;
}

void log_event(enum log_level level, const char *msg, const char *key,
               const char *value)
{
    struct log_line line;

    if (!log_is_on(level))
        return;
    log_begin(&line, level, msg);
    if (key)
        log_text(&line, key, value);
    log_end(&line);
}
