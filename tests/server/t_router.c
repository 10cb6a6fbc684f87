/* t_router.c - paths to rows; Accept, Prefer, If-None-Match.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "router.h"

static struct request *make(const char *target, enum http_method method)
{
    struct request *request = mem_zero(1, sizeof *request);

    request->arena = mem_arena_new(1 << 20);
    request->target = target;
    request->method = method;
    return request;
}

static void end(struct request *request)
{
    mem_arena_free(request->arena);
    mem_free(request);
}

static void test_paths(void **state)
{
    static const struct {
        const char *target;
        enum http_method method;
        enum route_found wanted;
        const char *pattern;
    } rows[] = {
        {"/health/live", HTTP_GET, ROUTE_FOUND, "/health/live"},
        {"/health/live?x=1", HTTP_GET, ROUTE_FOUND, "/health/live"},
        {"/health/l%69ve", HTTP_GET, ROUTE_FOUND, "/health/live"},
        {"/health/live", HTTP_POST, ROUTE_NO_METHOD, NULL},
        {"/health/live", N_HTTP_METHODS, ROUTE_NO_METHOD, NULL},
        {"/health/live/", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"/health", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"/health/", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"//health/live", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"/health%2flive", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"/Health/live", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"/health/live%00x", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"/problems/not-found", HTTP_GET, ROUTE_FOUND, "/problems/{slug}"},
        {"/problems/", HTTP_GET, ROUTE_NO_PATH, NULL},
        {"/problems/..", HTTP_GET, ROUTE_FOUND, "/problems/{slug}"},
        {"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o", HTTP_GET, ROUTE_NO_PATH, NULL},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request *request = make(rows[i].target, rows[i].method);
        char allow[64];
        enum route_found got = router_find(request, allow, sizeof allow);

        if (got != rows[i].wanted)
            fail_msg("%s: wanted %d, got %d", rows[i].target, rows[i].wanted,
                     got);
        if (rows[i].pattern)
            assert_string_equal(request->route->pattern, rows[i].pattern);
        if (got == ROUTE_NO_METHOD)
            assert_string_equal(allow, "GET, HEAD, OPTIONS");
        end(request);
    }
}

static void test_params(void **state)
{
    struct request *request = make("/problems/a%2Fb%20c?x", HTTP_GET);
    char allow[64];

    (void)state;
    assert_int_equal(router_find(request, allow, sizeof allow), ROUTE_FOUND);
    assert_string_equal(request_param(request, "slug"), "a/b c");
    assert_string_equal(request_param(request, "other"), "");
    end(request);
}

/* Every row can be reached by its own pattern with a word for each name. */
static void test_every_row_is_reached(void **state)
{
    size_t n;
    const struct route *routes = router_routes(&n);
    size_t i;

    (void)state;
    for (i = 0; i < n; i++) {
        char target[200] = "";
        char allow[64];
        size_t k = 0;
        const char *p;
        struct request *request;

        for (p = routes[i].pattern; *p && k + 1 < sizeof target; p++) {
            if (*p == '{') {
                target[k++] = 'w';
                p += strcspn(p, "}");
            } else {
                target[k++] = *p;
            }
        }
        request = make(target, routes[i].method);
        assert_int_equal(router_find(request, allow, sizeof allow),
                         ROUTE_FOUND);
        if (request->route != &routes[i])
            fail_msg("%s leads to %s, wanted %s", target,
                     request->route->pattern, routes[i].pattern);
        end(request);
    }
}

static void test_accept(void **state)
{
    static const char *const offered[] = {"image/png", "application/json",
                                          "text/event-stream"};
    static const struct {
        const char *header;
        int wanted;
    } rows[] = {
        {NULL, 0},
        {"", 0},
        {"*/*", 0},
        {"image/*", 0},
        {"IMAGE/PNG", 0},
        {"application/json", 1},
        {"application/json, */*;q=0.1", 1},
        {"text/html, application/xhtml+xml, */*;q=0.8", 0},
        {"image/png;q=0.5, application/json;q=0.6", 1},
        {"image/png;q=0, */*", 1},
        {"*/*;q=0", -1},
        {"text/html", -1},
        {"image/pngx", -1},
        {"text/event-stream;charset=\"a,b\"", 2},
        {"application/json ; q=0.9 , text/event-stream ; q=1.0", 2},
        {"application/json;q=x", -1},
        {",,application/json", 1},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        int got = request_accept(rows[i].header, offered, 3);

        if (got != rows[i].wanted)
            fail_msg("Accept: %s: wanted %d, got %d",
                     rows[i].header ? rows[i].header : "-", rows[i].wanted,
                     got);
    }
}

static void test_prefer(void **state)
{
    struct request *request = make("/", HTTP_GET);
    const char *value = NULL;

    (void)state;
    request->headers[0] =
        (struct request_pair){"prefer", "respond-async, wait=10;x=y"};
    request->headers[1] =
        (struct request_pair){"Prefer", "Handling = \"lenient\""};
    request->n_headers = 2;
    assert_true(request_prefers(request, "respond-async", &value));
    assert_string_equal(value, "");
    assert_true(request_prefers(request, "wait", &value));
    assert_string_equal(value, "10");
    assert_true(request_prefers(request, "handling", &value));
    assert_string_equal(value, "lenient");
    assert_false(request_prefers(request, "respond", NULL));
    end(request);
}

static void test_none_match(void **state)
{
    static const struct {
        const char *header;
        bool wanted;
    } rows[] = {{"\"a-1\"", true},        {"W/\"a-1\"", true},
                {"\"b\", \"a-1\"", true}, {"*", true},
                {"\"a-12\"", false},      {"a-1", false},
                {"\"b,\"a-1\"", false},   {"", false}};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request *request = make("/", HTTP_GET);

        request->headers[0] =
            (struct request_pair){"If-None-Match", rows[i].header};
        request->n_headers = 1;
        if (request_none_match(request, "\"a-1\"") != rows[i].wanted)
            fail_msg("If-None-Match: %s: wanted %d", rows[i].header,
                     rows[i].wanted);
        end(request);
    }
}

static void test_numbers(void **state)
{
    uint64_t value = 0;

    (void)state;
    assert_true(request_number("0", 10, &value));
    assert_true(request_number("10", 10, &value));
    assert_int_equal(value, 10);
    assert_false(request_number("11", 10, &value));
    assert_false(request_number("", 10, &value));
    assert_false(request_number(NULL, 10, &value));
    assert_false(request_number("-1", 10, &value));
    assert_false(request_number("1 ", 10, &value));
    assert_true(request_number("18446744073709551615", UINT64_MAX, &value));
    assert_false(request_number("18446744073709551616", UINT64_MAX, &value));
    assert_false(request_number("5", 3, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_every_row_is_reached),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_prefer),
        cmocka_unit_test(test_none_match),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
