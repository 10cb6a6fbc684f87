/* generate_names.c - names of picture files from a template.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "generate.h"
#include "output.h"
#include "pictures.h"

struct text {
    char bytes[PATH_MAX];
    size_t n;
};

static void add(struct text *t, char c)
{
    if (t->n + 1 < sizeof(t->bytes))
        t->bytes[t->n++] = c;
}

static void add_number(struct text *t, unsigned long long x)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%llu", x);
    for (const char *p = digits; *p; p++)
        add(t, *p);
}

/* "Ankle boot!" as "ankle-boot": nothing that a path could trip over. */
static void add_slug(struct text *t, const char *label)
{
    size_t begin = t->n;
    for (const char *p = label; *p && t->n - begin < 60; p++) {
        unsigned char c = (unsigned char)*p;
        if (isalnum(c) || c >= 0x80)
            add(t, (char)tolower(c));
        else if (t->n > begin && t->bytes[t->n - 1] != '-')
            add(t, '-');
    }
    while (t->n > begin && t->bytes[t->n - 1] == '-')
        t->n--;
    if (t->n == begin)
        add(t, '_');
}

static bool skip(const char **p, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

/* The template with its fields filled in; number: "-i" before the suffix. */
static void expand(struct text *t, const char *template,
                   const struct picture *p, size_t i, bool is_numbered)
{
    const char *dot = strrchr(template, '.');
    const char *said = p->request.prompt ? p->request.prompt : p->request.label;
    const char *label = said ? said : "none";
    t->n = 0;
    for (const char *at = template; *at;) {
        if (at == dot && is_numbered) {
            add(t, '-');
            add_number(t, i + 1);
        }
        if (skip(&at, "{i}"))
            add_number(t, i + 1);
        else if (skip(&at, "{seed}"))
            add_number(t, p->request.seed);
        else if (skip(&at, "{prompt}"))
            add_slug(t, label);
        else
            add(t, *at++);
    }
    t->bytes[t->n] = '\0';
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Two pictures of one name would leave one of them. */
static int check_distinct(const struct generate_job *job)
{
    char **names = calloc(job->n, sizeof(*names));
    int rc = CLI_OK;
    if (!names) {
        cli_error("out of memory");
        return CLI_LIMIT;
    }
    for (size_t i = 0; i < job->n; i++)
        names[i] = job->pictures[i].file;
    qsort(names, job->n, sizeof(*names), compare);
    for (size_t i = 1; i < job->n && rc == CLI_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0) {
            cli_error("-o: two pictures would be named %s; put {i} in the name",
                      names[i]);
            rc = CLI_USAGE;
        }
    free(names);
    return rc;
}

int generate_name(struct generate_job *job)
{
    const char *template = job->v->output;
    struct text text;
    if (!template)
        return CLI_OK; /* numbered when they are written */
    if (strcmp(template, "-") == 0 && (job->n > 1 || job->v->common.is_json)) {
        cli_error("-o -: stdout takes one picture, and not with --json");
        return CLI_USAGE;
    }
    enum unstir_format format;
    int rc = picture_format(template, &format);
    /* Fields that tell pictures apart; without them the number does. */
    bool has_seeds = job->v->count == 1 || (strstr(template, "{seed}") &&
                                            job->v->variation_strength == 0);
    bool has_prompts = job->n_prompts == 1 || strstr(template, "{prompt}");
    bool has_number = strstr(template, "{i}") || (has_seeds && has_prompts);
    for (size_t i = 0; i < job->n && rc == CLI_OK; i++) {
        expand(&text, template, &job->pictures[i], i, !has_number && i > 0);
        job->pictures[i].file = strdup(text.bytes);
        if (!job->pictures[i].file) {
            cli_error("out of memory");
            return CLI_LIMIT;
        }
        rc = output_check(text.bytes, job->v->is_forced);
    }
    return rc == CLI_OK ? check_distinct(job) : rc;
}
