/* config.h - the options of `unstir serve`, from one table.
 *
 * config_table.h has a row an option.  From it come the struct's fields, the
 * flags (--drain-timeout 30, --drain-timeout=30), the environment
 * (UNSTIR_DRAIN_TIMEOUT), the file (drain-timeout = 30) and the help.  A
 * later source wins: default, file, environment, flags.
 *
 * File: one `name = value` a line, # starts a comment line, a name may stand
 * more than once for a list; at most 64 KiB.
 *
 * Durations are kept in milliseconds and written as 30, 0.5, 250ms, 2m, 1h
 * (a plain number is seconds); sizes in bytes, written as 65536, 64KiB,
 * 32MiB, 1GiB.
 *
 * Read-only after config_load(): any thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_MAX_LIST 32

struct config_list {
    size_t n;
    char *items[CONFIG_MAX_LIST];
};

struct config {
#define CONFIG_GROUP(title)
#define CONFIG_TEXT(name, flag, def, text)                    char *name;
#define CONFIG_CHOICE(name, flag, def, choices, text)         char *name;
#define CONFIG_LIST(name, flag, def, text)                    struct config_list name;
#define CONFIG_BOOL(name, flag, def, text)                    bool name;
#define CONFIG_INT(name, flag, def, min, max, text)           int64_t name;
#define CONFIG_SIZE(name, flag, def, min, max, text)          uint64_t name;
#define CONFIG_TIME(name, flag, def_ms, min_ms, max_ms, text) uint64_t name;
#include "config_table.h"
#undef CONFIG_GROUP
#undef CONFIG_TEXT
#undef CONFIG_CHOICE
#undef CONFIG_LIST
#undef CONFIG_BOOL
#undef CONFIG_INT
#undef CONFIG_SIZE
#undef CONFIG_TIME
};

enum config_result {
    CONFIG_OK,
    CONFIG_HELP, /* --help was asked                                       */
    CONFIG_WRONG /* *why says what, exit 2                                 */
};

/* All sources in order.  argv without the command's name; env like environ.
 * `why` gets lines like "--drain-timeout 2x: must be a time ...".  Ended by
 * config_fini() whatever the result.                                       */
enum config_result config_load(struct config *config, int argc, char **argv,
                               char *const *env, char *why, size_t why_size);
void config_fini(struct config *config);

/* One file's text, for config_load() and tests. */
enum config_result config_parse(struct config *config, const char *text,
                                size_t n, const char *file_name, char *why,
                                size_t why_size);
void config_defaults(struct config *config);

/* Every option with its value, as a file that reads back. */
void config_print(const struct config *config, FILE *out);

#endif
