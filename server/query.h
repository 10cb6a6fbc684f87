/* query.h - query arguments checked by the rules that stand beside a route.
 *
 * A route's rules are a list, "wait=0..300,view=estimate|sample,model": a
 * whole number of a range, one of some words, or any text.  The router's
 * table is their only place; /openapi.json shows the same rules.
 *
 * What a rule cannot know (the steps of a job, the chain of a model) its
 * handler checks as well.
 *
 * No state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_QUERY_H
#define SERVER_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "problem.h"
#include "request.h"

enum query_kind { QUERY_TEXT, QUERY_NUMBER, QUERY_WORD };

struct query_rule {
    enum query_kind kind;
    char name[16];
    char words[96];    /* WORD: "estimate|sample"                            */
    uint64_t min, max; /* NUMBER                                             */
};

/* Take the next rule of *rules and move on; false at the end.              */
bool query_next_rule(const char **rules, struct query_rule *rule);

/* Every violation of `rules` in the request's arguments: unknown names (not
 * when is_lenient), names given twice, values that are not allowed.  True if
 * there was none.                                                          */
bool query_check(const struct request *request, const char *rules,
                 bool is_lenient, struct problem *problem);

/* The value of a number of the route's rules, which were checked; `fallback`
 * when it is not there.                                                    */
uint64_t query_number(const struct request *request, const char *name,
                      uint64_t fallback);

/* One violation; `nearest` is JSON text or NULL.                           */
void query_violation(struct problem *problem, const char *name,
                     const char *value, const char *detail,
                     const char *nearest);

#endif
