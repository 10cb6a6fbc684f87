/* opts.h - one table of options a command: parsing, --help, man page and shell
 * completions all come from it.
 *
 *     struct noise_values {
 *         struct opts_common common;      first, always
 *         const char *output;
 *         uint32_t steps;
 *     };
 *     static const struct opt options[] = {
 *         {.name = "output", .letter = 'o', .kind = OPT_TEXT, .meta = "FILE",
 *          .offset = offsetof(struct noise_values, output),
 *          .fallback = "noise.png", .help = "where the strip goes"},
 *         {.name = "steps", .kind = OPT_U32, .meta = "N", .min = 1,
 *          .max = 1000, .offset = offsetof(struct noise_values, steps),
 *          .help = "pictures on the strip"},
 *     };
 *     const struct command command_noise = {...};
 *
 *     int noise_main(int argc, char **argv)
 *     {
 *         struct noise_values v = {.steps = 8};
 *         int rc = opts_parse(&command_noise, argc, argv, &v);
 *         if (rc != OPTS_GO_ON)
 *             return rc;
 *
 * Every command has -h --help, -q --quiet, -v --verbose and --progress, and
 * --json where has_json is set.  Values that are not given keep what the
 * struct held.  `fallback` is shown, not applied.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTS_H
#define OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum opt_kind {
    OPT_FLAG,   /* bool                                                   */
    OPT_TEXT,   /* const char *                                           */
    OPT_CHOICE, /* const char *, one of `choices`                         */
    OPT_LIST,   /* struct opt_list, may be given more than once           */
    OPT_U32,    /* uint32_t, min..max                                     */
    OPT_U64,    /* uint64_t                                               */
    OPT_REAL    /* double, min..max                                       */
};

#define OPT_MAX_LIST 16
struct opt_list {
    const char *items[OPT_MAX_LIST];
    size_t n;
};

struct opt {
    const char *name; /* long name without dashes                          */
    char letter;      /* or 0                                              */
    enum opt_kind kind;
    size_t offset;    /* in the command's values                           */
    const char *meta; /* what stands for the value in help: "N"            */
    const char *env;  /* environment variable behind it, or NULL           */
    const char *fallback; /* default as text, or NULL                        */
    double min, max; /* max 0: the type's own                             */
    const char *const *choices; /* up to a NULL                              */
    const char *help;
    const char *group; /* heading above this option and those behind it     */
};

enum opts_progress {
    OPTS_PROGRESS_AUTO,
    OPTS_PROGRESS_NONE,
    OPTS_PROGRESS_BAR,
    OPTS_PROGRESS_JSON
};

#define OPTS_MAX_OPERANDS 16

/* First member of every command's values. */
struct opts_common {
    bool is_quiet, is_verbose, is_json;
    enum opts_progress progress;
    const char *operands[OPTS_MAX_OPERANDS];
    size_t n_operands;
    uint64_t given; /* bit i: option i of the table was given                */
};

struct command {
    const char *name;
    const char *summary;  /* one line                                        */
    const char *synopsis; /* behind the name: "[options] PICTURE"             */
    const char *text;     /* a paragraph or two, or NULL                     */
    const char *examples; /* lines that work, each ended by a newline        */
    const struct opt *options;
    size_t n_options; /* at most 64                                      */
    size_t min_operands, max_operands;
    const char *stray; /* what one too many was meant for ("-p"), or NULL   */
    bool has_json;
    int (*main)(int argc, char **argv); /* argv[0] is the command's name     */
    /* Instead of a table here: option i for help, false behind the last; its
     * texts are good until the next call.                                  */
    bool (*describe)(size_t i, struct opt *o);
};

#define OPTS_GO_ON (-1)

/* OPTS_GO_ON, or the exit code to return: help or an error was printed.
 * argv[0] is the command's name.  Strings are borrowed from argv and the
 * environment. */
int opts_parse(const struct command *c, int argc, char **argv, void *values);

bool opts_is_given(const struct command *c, const void *values,
                   const char *name);

/* "unstir: --sampler euller: unknown; did you mean euler?" with `what` ahead
 * of it; returns the exit code for wrong usage. */
int opts_unknown_value(const char *what, const char *value,
                       const char *const *candidates, size_t n);

void opts_print_help(const struct command *c, FILE *out);

/* The manual page and completion scripts of the whole program. */
void opts_print_man(const struct command *const *commands, size_t n, FILE *out);
/* shell: "bash", "zsh" or "fish"; false for another. */
bool opts_print_completion(const struct command *const *commands, size_t n,
                           const char *shell, FILE *out);

#endif
