/* opts.c - parsing by a table of options.
 *
 * SPDX-License-Identifier: MIT
 */
#include "opts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "opts_table.h"

#define MAX_NAMES 96

enum common {
    COMMON_HELP,
    COMMON_QUIET,
    COMMON_VERBOSE,
    COMMON_PROGRESS,
    COMMON_JSON
};

/* One option as it was written, and where it leads. */
struct hit {
    const struct opt *opt;
    bool is_common;
    size_t index;
    char shown[80]; /* "--steps", for errors                                 */
};

struct parser {
    const struct command *command;
    struct opts_common *common; /* first member of the values                */
    char *values;
    bool wants_help;
};

/* -- finding --------------------------------------------------------------- */

static bool matches(const struct opt *o, const char *name, size_t n,
                    char letter)
{
    if (letter)
        return o->letter == letter;
    return strlen(o->name) == n && memcmp(o->name, name, n) == 0;
}

/* By name (n letters) or, if letter is not 0, by letter. */
static bool find(struct hit *hit, const struct command *c, const char *name,
                 size_t n, char letter)
{
    for (size_t i = 0; i < c->n_options + opts_n_common(c); i++) {
        bool is_common = i >= c->n_options;
        size_t k = is_common ? i - c->n_options : i;
        const struct opt *o = is_common ? &opts_common[k] : &c->options[k];
        if (!matches(o, name, n, letter))
            continue;
        *hit = (struct hit){.opt = o, .is_common = is_common, .index = k};
        return true;
    }
    return false;
}

static int unknown_option(const struct command *c, const char *name, size_t n)
{
    const char *names[MAX_NAMES];
    char wanted[64];
    size_t count = 0;
    snprintf(wanted, sizeof(wanted), "%.*s", (int)(n < 60 ? n : 60), name);
    for (size_t i = 0; i < c->n_options && count < MAX_NAMES; i++)
        names[count++] = c->options[i].name;
    for (size_t i = 0; i < opts_n_common(c) && count < MAX_NAMES; i++)
        names[count++] = opts_common[i].name;
    int near = unstir_nearest(wanted, names, count);
    if (near >= 0)
        cli_error("--%s: unknown option; did you mean --%s? (unstir %s --help "
                  "lists all)",
                  wanted, names[near], c->name);
    else
        cli_error("--%s: unknown option (unstir %s --help lists all)", wanted,
                  c->name);
    return CLI_USAGE;
}

int opts_unknown_value(const char *what, const char *value,
                       const char *const *candidates, size_t n)
{
    int near = unstir_nearest(value, candidates, n);
    char list[300] = "";
    size_t i = 0;
    for (; i < n && strlen(list) < 200; i++) {
        size_t at = strlen(list);
        snprintf(list + at, sizeof(list) - at, "%s%.40s", i > 0 ? ", " : "",
                 candidates[i]);
    }
    const char *more = i < n ? ", ..." : "";
    if (near >= 0)
        cli_error("%s %.80s: unknown; did you mean %s? (%s%s)", what, value,
                  candidates[near], list, more);
    else
        cli_error("%s %.80s: unknown; must be one of %s%s", what, value, list,
                  more);
    return CLI_USAGE;
}

/* -- values ---------------------------------------------------------------- */

static int out_of_range(const struct hit *h, const char *text, double min,
                        double max)
{
    cli_error("%s %.80s: must be %.15g..%.15g", h->shown, text, min, max);
    return CLI_USAGE;
}

static int parse_u64(const struct hit *h, const char *text, uint64_t max,
                     uint64_t *out)
{
    char *end, top[24] = "2^64-1"; /* its digits are nobody's to count */
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && !*end;
    if (is_number && errno != ERANGE && x <= max && (double)x >= h->opt->min) {
        *out = x;
        return OPTS_GO_ON;
    }
    if (max != UINT64_MAX)
        snprintf(top, sizeof(top), "%llu", (unsigned long long)max);
    cli_error("%s %.80s: must be %s%.15g..%s", h->shown, text,
              is_number ? "" : "a whole number, ", h->opt->min, top);
    return CLI_USAGE;
}

static int parse_real(const struct hit *h, const char *text, double *out)
{
    char *end;
    double x = strtod(text, &end);
    double max = h->opt->max != 0 ? h->opt->max : 1e300;
    double min = h->opt->max != 0 ? h->opt->min : -1e300;
    if (end == text || *end || !isfinite(x)) {
        cli_error("%s %.80s: must be a number", h->shown, text);
        return CLI_USAGE;
    }
    if (x < min || x > max)
        return out_of_range(h, text, min, max);
    *out = x;
    return OPTS_GO_ON;
}

static int check_choice(const struct hit *h, const char *text)
{
    const char *const *choices = h->opt->choices;
    size_t n = 0;
    for (; choices[n]; n++)
        if (strcmp(choices[n], text) == 0)
            return OPTS_GO_ON;
    return opts_unknown_value(h->shown, text, choices, n);
}

static int set_common(struct parser *p, const struct hit *h, const char *text)
{
    switch ((enum common)h->index) {
    case COMMON_HELP:
        p->wants_help = true;
        break;
    case COMMON_QUIET:
        p->common->is_quiet = true;
        break;
    case COMMON_VERBOSE:
        p->common->is_verbose = true;
        break;
    case COMMON_JSON:
        p->common->is_json = true;
        break;
    case COMMON_PROGRESS: {
        int rc = check_choice(h, text);
        if (rc != OPTS_GO_ON)
            return rc;
        for (int i = 0; h->opt->choices[i]; i++)
            if (strcmp(h->opt->choices[i], text) == 0)
                p->common->progress =
                    (enum opts_progress)(OPTS_PROGRESS_NONE + i);
    }
    }
    return OPTS_GO_ON;
}

static int add_item(struct opt_list *list, const struct hit *h,
                    const char *text)
{
    if (list->n == OPT_MAX_LIST) {
        cli_error("%s: given more than %d times", h->shown, OPT_MAX_LIST);
        return CLI_USAGE;
    }
    list->items[list->n++] = text;
    return OPTS_GO_ON;
}

static int set_own(struct parser *p, const struct hit *h, const char *text)
{
    void *at = p->values + h->opt->offset;
    uint64_t x = 0;
    int rc = OPTS_GO_ON;
    switch (h->opt->kind) {
    case OPT_FLAG:
        *(bool *)at = true;
        break;
    case OPT_CHOICE:
        rc = check_choice(h, text);
        if (rc == OPTS_GO_ON)
            *(const char **)at = text;
        break;
    case OPT_TEXT:
        *(const char **)at = text;
        break;
    case OPT_LIST:
        rc = add_item(at, h, text);
        break;
    case OPT_U32:
        rc = parse_u64(
            h, text, h->opt->max != 0 ? (uint64_t)h->opt->max : UINT32_MAX, &x);
        if (rc == OPTS_GO_ON)
            *(uint32_t *)at = (uint32_t)x;
        break;
    case OPT_U64:
        rc = parse_u64(
            h, text, h->opt->max != 0 ? (uint64_t)h->opt->max : UINT64_MAX, at);
        break;
    case OPT_REAL:
        rc = parse_real(h, text, at);
        break;
    }
    if (rc == OPTS_GO_ON)
        p->common->given |= UINT64_C(1) << h->index;
    return rc;
}

static int set(struct parser *p, const struct hit *h, const char *text)
{
    return h->is_common ? set_common(p, h, text) : set_own(p, h, text);
}

static bool is_flag(const struct opt *o)
{
    return o->kind == OPT_FLAG;
}

/* -- the command line ------------------------------------------------------ */

/* --name, --name=value, --name value; *i moves over a value of its own. */
static int parse_long(struct parser *p, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    size_t n = strcspn(name, "=");
    const char *value = name[n] == '=' ? name + n + 1 : NULL;
    struct hit h;
    if (!find(&h, p->command, name, n, 0))
        return unknown_option(p->command, name, n);
    snprintf(h.shown, sizeof(h.shown), "--%s", h.opt->name);
    if (is_flag(h.opt) && value) {
        cli_error("%s takes no value", h.shown);
        return CLI_USAGE;
    }
    if (!is_flag(h.opt) && !value) {
        if (*i + 1 == argc) {
            cli_error("%s needs a value (%s)", h.shown, h.opt->meta);
            return CLI_USAGE;
        }
        value = argv[++*i];
    }
    return set(p, &h, value);
}

/* -x, -xvalue, -x value, -xyz of flags. */
static int parse_short(struct parser *p, int argc, char **argv, int *i)
{
    for (const char *at = argv[*i] + 1; *at; at++) {
        struct hit h;
        const char *value = NULL;
        if (!find(&h, p->command, NULL, 0, *at)) {
            cli_error("-%c: unknown option (unstir %s --help lists all)", *at,
                      p->command->name);
            return CLI_USAGE;
        }
        snprintf(h.shown, sizeof(h.shown), "-%c", *at);
        bool takes_value = !is_flag(h.opt);
        if (takes_value && at[1]) {
            value = at + 1;
        } else if (takes_value) {
            if (*i + 1 == argc) {
                cli_error("%s needs a value (%s)", h.shown, h.opt->meta);
                return CLI_USAGE;
            }
            value = argv[++*i];
        }
        int rc = set(p, &h, value);
        if (rc != OPTS_GO_ON || takes_value)
            return rc;
    }
    return OPTS_GO_ON;
}

static int add_operand(struct parser *p, const char *text)
{
    if (p->common->n_operands >= p->command->max_operands) {
        const struct command *c = p->command;
        const char *stray = c->stray;
        cli_error("%.80s: %s takes %s%s%s%s%s%s (unstir %s %s)", text, c->name,
                  c->max_operands == 0 ? "options only" : "no further argument",
                  stray ? "; did you mean " : "", stray ? stray : "",
                  stray ? " \"" : "", stray ? text : "", stray ? "\"?" : "",
                  c->name, c->synopsis);
        return CLI_USAGE;
    }
    p->common->operands[p->common->n_operands++] = text;
    return OPTS_GO_ON;
}

static int apply_environment(struct parser *p)
{
    for (size_t i = 0; i < p->command->n_options; i++) {
        const struct opt *o = &p->command->options[i];
        const char *value = o->env ? getenv(o->env) : NULL;
        struct hit h = {.opt = o, .index = i};
        if (!value || !*value)
            continue;
        snprintf(h.shown, sizeof(h.shown), "%s", o->env);
        int rc = set_own(p, &h, value);
        if (rc != OPTS_GO_ON)
            return rc;
        p->common->given &= ~(UINT64_C(1) << i);
    }
    return OPTS_GO_ON;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return true;
    return false;
}

int opts_parse(const struct command *c, int argc, char **argv, void *values)
{
    struct parser p = {.command = c, .common = values, .values = values};
    bool only_operands = false;
    if (asks_for_help(argc, argv)) {
        opts_print_help(c, stdout);
        return CLI_OK;
    }
    int rc = apply_environment(&p);
    for (int i = 1; rc == OPTS_GO_ON && i < argc; i++) {
        if (only_operands || argv[i][0] != '-' || argv[i][1] == '\0')
            rc = add_operand(&p, argv[i]);
        else if (strcmp(argv[i], "--") == 0)
            only_operands = true;
        else if (argv[i][1] == '-')
            rc = parse_long(&p, argc, argv, &i);
        else
            rc = parse_short(&p, argc, argv, &i);
    }
    if (rc == OPTS_GO_ON && p.common->n_operands < c->min_operands) {
        cli_error("%s needs %zu argument%s, not %zu; usage: unstir %s %s",
                  c->name, c->min_operands, c->min_operands == 1 ? "" : "s",
                  p.common->n_operands, c->name, c->synopsis);
        rc = CLI_USAGE;
    }
    return rc;
}

bool opts_is_given(const struct command *c, const void *values,
                   const char *name)
{
    const struct opts_common *common = values;
    for (size_t i = 0; i < c->n_options; i++)
        if (strcmp(c->options[i].name, name) == 0)
            return common->given >> i & 1;
    return false;
}
