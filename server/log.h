/* log.h - one line an event: JSON for machines, short text for a terminal.
 *
 *     struct log_line line;
 *     log_begin(&line, LOG_LEVEL_INFO, "job finished");
 *     log_text(&line, "job_id", job->id);
 *     log_int(&line, "dur_ms", ms);
 *     log_end(&line);
 *
 * JSON: {"ts":"...","level":"info","msg":"job finished","job_id":...}.  msg
 * is one of a fixed set of literals.  Every value is escaped, so that no byte
 * of a client can start a line or colour a terminal.  Prompts are never
 * logged: give their length (log_int "prompt_bytes") if anything.
 *
 * Any thread; a line is written by one write(2).  Lines longer than
 * LOG_MAX_LINE end early with "cut":true.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_MAX_LINE 2048

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARN,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_OFF
};

/* Before any other thread exists.  fd stays the caller's. */
void log_open(int fd, enum log_level least, bool is_json);

bool log_is_on(enum log_level level);
void log_set_level(enum log_level least);

struct log_line {
    bool is_on;
    bool is_cut;
    size_t n;
    char text[LOG_MAX_LINE];
};

void log_begin(struct log_line *line, enum log_level level, const char *msg);
void log_text(struct log_line *line, const char *key, const char *value);
void log_int(struct log_line *line, const char *key, int64_t value);
void log_number(struct log_line *line, const char *key, double value);
void log_bool(struct log_line *line, const char *key, bool value);
void log_end(struct log_line *line);

/* A line with one text field (key NULL: none). */
void log_event(enum log_level level, const char *msg, const char *key,
               const char *value);

#endif
