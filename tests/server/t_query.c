/* t_query.c - rules of query arguments and what breaks them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "head.h"
#include "query.h"
#include "router.h"

#define RULES \
    "wait=0..300,view=estimate|sample,model,seed=1..18446744073709551615"

/* "pointer nearest; ..." of all violations. */
static void violations(const struct request *request, bool is_lenient,
                       char *out, size_t size)
{
    struct problem problem;

    problem_init(&problem, request->arena, ERROR_INVALID_PARAMETERS);
    out[0] = 0;
    if (query_check(request, RULES, is_lenient, &problem) !=
        (problem.n_violations == 0))
        fail_msg("%s: says otherwise than it tells", request->target);
    for (size_t i = 0; i < problem.n_violations; i++) {
        const struct problem_violation *v = &problem.violations[i];
        size_t n = strlen(out);

        (void)snprintf(out + n, size - n, "%s%s %s", n ? "; " : "", v->pointer,
                       v->nearest ? v->nearest : "-");
    }
}

static const struct {
    const char *target, *wanted;
    bool is_lenient;
} rows[] = {
    {"/x", "", false},
    {"/x?wait=0&view=sample&model=any&seed=18446744073709551615", "", false},
    {"/x?wait=300", "", false},
    {"/x?wait=301", "?wait [300]", false},
    {"/x?wait=99999999999999999999999", "?wait [300]", false},
    {"/x?wait=-1", "?wait [0]", false},
    {"/x?wait=", "?wait -", false},
    {"/x?wait", "?wait -", false},
    {"/x?wait=1.5", "?wait -", false},
    {"/x?wait=%20", "?wait -", false},
    {"/x?seed=0", "?seed [1]", false},
    {"/x?seed=18446744073709551616", "?seed [18446744073709551615]", false},
    {"/x?view=smaple", "?view [\"sample\"]", false},
    {"/x?view=Sample", "?view [\"sample\"]", false},
    {"/x?view=zzzzzzzzzzz", "?view -", false},
    {"/x?wiat=1", "?wiat [\"wait\"]", false},
    {"/x?wiat=1", "", true},
    {"/x?wiat=1&wait=x", "?wait -", true},
    {"/x?zzzzzzzz=1", "?zzzzzzzz -", false},
    {"/x?model=a&model=b", "?model -", false},
    {"/x?a&b&wait=301", "?a -; ?b -; ?wait [300]", false},
    {"/x?=", "? -", false},
};

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request *request = mem_zero(1, sizeof *request);
        char got[400];

        request->arena = mem_arena_new(1 << 20);
        request->target = rows[i].target;
        assert_true(head_read_target(request));
        violations(request, rows[i].is_lenient, got, sizeof got);
        if (strcmp(got, rows[i].wanted) != 0)
            fail_msg("%s: wanted \"%s\", got \"%s\"", rows[i].target,
                     rows[i].wanted, got);
        mem_arena_free(request->arena);
        mem_free(request);
    }
}

/* The rules of every route can be read, and their names fit. */
static void test_every_route(void **state)
{
    size_t n;
    const struct route *routes = router_routes(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        const char *rules = routes[i].query;
        struct query_rule rule;

        while (query_next_rule(&rules, &rule)) {
            assert_true(strlen(rule.name) > 0);
            if (rule.kind == QUERY_NUMBER && rule.min > rule.max)
                fail_msg("%s: %s is %s", routes[i].pattern, rule.name,
                         rule.words);
            if (rule.kind == QUERY_WORD && !strchr(rule.words, '|'))
                fail_msg("%s: %s has one word", routes[i].pattern, rule.name);
        }
        assert_string_equal(rules, "");
    }
}

static void test_numbers(void **state)
{
    static const struct route route = {.query = RULES};
    struct request request = {.route = &route,
                              .n_query = 2,
                              .query = {{"wait", "12"}, {"model", "7"}}};

    (void)state;
    assert_int_equal(query_number(&request, "wait", 5), 12);
    assert_int_equal(query_number(&request, "seed", 5), 5);
    request.query[0].value = "301"; /* not checked: no handler may see it    */
    assert_int_equal(query_number(&request, "wait", 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_every_route),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
