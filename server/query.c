/* query.c - query arguments checked by the rules that stand beside a route.
 *
 * SPDX-License-Identifier: MIT
 */
#include "query.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "router.h"

#define MAX_RULES 16

/* A client's text in an answer: enough to know it again. */
#define SHOWN_BYTES 64

static void copy(char *out, size_t size, const char *text, size_t n)
{
    assert(n < size);
    memcpy(out, text, n);
    out[n] = 0;
}

bool query_next_rule(const char **rules, struct query_rule *rule)
{
    const char *text = *rules;
    size_t n = strcspn(text, ",");
    size_t n_name = strcspn(text, "=,");

    if (n == 0)
        return false;
    *rules = text + n + (text[n] == ',');
    memset(rule, 0, sizeof *rule);
    copy(rule->name, sizeof rule->name, text, n_name);
    if (n_name == n)
        return true;
    copy(rule->words, sizeof rule->words, text + n_name + 1, n - n_name - 1);
    rule->kind = QUERY_WORD;
    if (sscanf(rule->words, "%" SCNu64 "..%" SCNu64, &rule->min, &rule->max) ==
        2)
        rule->kind = QUERY_NUMBER;
    return true;
}

void query_violation(struct problem *problem, const char *name,
                     const char *value, const char *detail, const char *nearest)
{
    struct mem_arena *arena = problem->arena;
    const char *pointer =
        mem_arena_printf(arena, "?%.*s", SHOWN_BYTES, name ? name : "");
    const char *shown =
        value ? mem_arena_printf(arena, "%.*s", SHOWN_BYTES, value) : NULL;

    problem_add(problem, pointer ? pointer : "?", detail,
                shown ? json_quote(arena, shown) : NULL, nearest);
}

static void check_number(const struct query_rule *rule, const char *value,
                         struct problem *problem)
{
    uint64_t number = rule->max;
    bool is_low = value[0] == '-';
    char detail[80];
    char nearest[24];

    if (request_number(value, rule->max, &number)) {
        if (number >= rule->min)
            return;
        is_low = true;
    }
    (void)snprintf(detail, sizeof detail,
                   "must be a whole number, %" PRIu64 "..%" PRIu64, rule->min,
                   rule->max);
    (void)snprintf(nearest, sizeof nearest, "%" PRIu64,
                   is_low ? rule->min : rule->max);
    query_violation(problem, rule->name, value, detail,
                    value[strspn(value, "-0123456789")] || !*value ? NULL
                                                                   : nearest);
}

static void check_word(const struct query_rule *rule, const char *value,
                       struct problem *problem)
{
    const char *names[MAX_RULES + 1] = {NULL};
    const char *words = rule->words;
    char detail[128];
    size_t n;
    int near;

    for (n = 0; *words && n < MAX_RULES; n++) {
        size_t length = strcspn(words, "|");

        names[n] = mem_arena_strndup(problem->arena, words, length);
        if (!names[n])
            return; /* the handler will tell                                 */
        if (strcmp(names[n], value) == 0)
            return;
        words += length + (words[length] == '|');
    }
    near = json_nearest(value, names);
    (void)snprintf(detail, sizeof detail, "must be one of %s", rule->words);
    query_violation(problem, rule->name, value, detail,
                    near < 0 ? NULL : json_quote(problem->arena, names[near]));
}

static void check_value(const struct query_rule *rule, const char *value,
                        struct problem *problem)
{
    if (rule->kind == QUERY_NUMBER)
        check_number(rule, value, problem);
    else if (rule->kind == QUERY_WORD)
        check_word(rule, value, problem);
}

static void tell_unknown(const char *rules, const struct request_pair *pair,
                         struct problem *problem)
{
    struct query_rule all[MAX_RULES];
    const char *names[MAX_RULES + 1] = {NULL};
    char detail[96];
    size_t n = 0;
    int near;

    while (n < MAX_RULES && query_next_rule(&rules, &all[n])) {
        names[n] = all[n].name;
        n++;
    }
    near = json_nearest(pair->name, names);
    if (n == 0)
        (void)snprintf(detail, sizeof detail,
                       "is not known; this path takes no query arguments");
    else if (near < 0)
        (void)snprintf(detail, sizeof detail,
                       "is not known; GET /openapi.json lists what is");
    else
        (void)snprintf(detail, sizeof detail,
                       "is not known; did you mean \"%s\"?", names[near]);
    query_violation(problem, pair->name, pair->value, detail,
                    near < 0 ? NULL : json_quote(problem->arena, names[near]));
}

static bool find_rule(const char *rules, const char *name,
                      struct query_rule *rule)
{
    while (query_next_rule(&rules, rule))
        if (strcmp(rule->name, name) == 0)
            return true;
    return false;
}

bool query_check(const struct request *request, const char *rules,
                 bool is_lenient, struct problem *problem)
{
    size_t before = problem->n_violations;
    size_t i;

    for (i = 0; i < request->n_query; i++) {
        const struct request_pair *pair = &request->query[i];
        struct query_rule rule;

        if (!find_rule(rules, pair->name, &rule)) {
            if (!is_lenient)
                tell_unknown(rules, pair, problem);
        } else if (request_query(request, pair->name) != pair->value) {
            query_violation(problem, pair->name, pair->value, "is given twice",
                            NULL);
        } else {
            check_value(&rule, pair->value, problem);
        }
    }
    return problem->n_violations == before;
}

uint64_t query_number(const struct request *request, const char *name,
                      uint64_t fallback)
{
    const char *value = request_query(request, name);
    struct query_rule rule;
    uint64_t number;

    if (value && find_rule(request->route->query, name, &rule) &&
        request_number(value, rule.max, &number) && number >= rule.min)
        return number;
    return fallback;
}
