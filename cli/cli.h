/* cli.h - what all commands share: exit codes, errors, interrupts, JSON.
 *
 * Results go to stdout, everything else to stderr.  The program is one
 * process that runs one command: these functions use process-wide state and
 * are called from the main thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "unstir.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* while running                                  */
    CLI_USAGE = 2,
    CLI_BAD_FILE = 3, /* a model or input file is damaged, unsupported  */
    CLI_LIMIT = 4,    /* not enough memory, or a ceiling reached        */
    CLI_INTERRUPTED = 130
};

/* "unstir: ..." on stderr, red on a terminal unless NO_COLOR is set. */
void cli_error(const char *format, ...)
    __attribute__((__format__(__printf__, 1, 2)));

/* "unstir: ..." on stderr, for things that are no error. */
void cli_note(const char *format, ...)
    __attribute__((__format__(__printf__, 1, 2)));

/* The option of a request field, without dashes. */
const char *cli_option_of(const char *field);

/* Print the error of a library call (its request field as an option); returns
 * the exit code for it. */
int cli_fail(const struct unstir_error *err);

/* Same after "thing: ". */
int cli_fail_on(const char *thing, const struct unstir_error *err);

/* From now on the first SIGINT or SIGTERM only raises a flag, a second one
 * ends the process at once. */
void cli_catch_interrupts(void);
bool cli_is_interrupted(void);

/* Seconds on a clock that never jumps. */
double cli_now_s(void);

/* A random seed below 2^53, so that every JSON reader keeps it. */
uint64_t cli_random_seed(void);

/* A JSON string with its quotes; a number, null if not finite; a seed, as a
 * string above 2^53 - 1. */
void cli_json_string(FILE *out, const char *text);
void cli_json_real(FILE *out, double x);
void cli_json_u64(FILE *out, uint64_t x);

/* The character of a JSON string at p, for people: escaped quotes and slashes
 * as themselves, control characters as they stand there, which no terminal
 * obeys.  Returns where the next one is. */
const char *cli_print_json_char(const char *p);

/* A file or folder of the shipped models, installed or in the build tree; NULL
 * if it is not there.  Good until the next call. */
const char *cli_shared_file(const char *name);

/* Path of the model that was given: a path, or the name of a shipped one,
 * which is beside the build tree or under the installed prefix.  Of NULL that
 * of the shipped default, NULL if there is none.  Good until the next call. */
const char *cli_model(const char *given);

/* The same, where nothing but a model that is there will do: CLI_OK, or the
 * exit code after an error that names the nearest one. */
int cli_find_model(const char **path, const char *given);

#endif
