/* router.c - matches segments against the rows of routes_table.h.
 *
 * The path is cut at its slashes before the escapes are decoded, so %2F
 * stays inside a segment.  Tens of rows are searched in order: a request
 * costs about a microsecond here.
 *
 * SPDX-License-Identifier: MIT
 */
#include "router.h"

#include <stdio.h>
#include <string.h>

#include "framing.h"
#include "genreq.h"
#include "handlers.h"
#include "unstir.h"

#define MAX_SEGMENTS 12

static const struct route routes[] = {
#define ROUTE(method, pattern, scope, limit, handler, query, headers, answers, \
              produces, body, summary)                                         \
    {HTTP_##method, pattern, SCOPE_##scope, limit,    handler, #handler,       \
     query,         headers, answers,       produces, body,    summary},
#define BODY_TABLE(name)
#include "routes_table.h"
#undef ROUTE
#undef BODY_TABLE
};

static const char *const method_names[] = {"GET", "POST", "PUT", "DELETE",
                                           "OPTIONS"};

const struct route *router_routes(size_t *n)
{
    *n = sizeof routes / sizeof *routes;
    return routes;
}

const char *router_nearest(const char *path)
{
    const char *names[sizeof routes / sizeof *routes];
    size_t n = 0;
    size_t i;
    int near;

    for (i = 0; i < sizeof routes / sizeof *routes; i++)
        if (!strchr(routes[i].pattern, '{') && strlen(routes[i].pattern) > 1)
            names[n++] = routes[i].pattern;
    near = unstir_nearest(path, names, n);
    return near < 0 ? NULL : names[near];
}

struct segments {
    size_t n;
    const char *text[MAX_SEGMENTS];
};

/* False when there are too many or one cannot be decoded. */
static bool split(const char *path, size_t n, struct mem_arena *arena,
                  struct segments *out)
{
    size_t at = 1;

    out->n = 0;
    while (at <= n) {
        size_t length = 0;
        char *text;

        while (at + length < n && path[at + length] != '/')
            length++;
        text =
            out->n < MAX_SEGMENTS ? mem_arena_zero(arena, length + 1, 1) : NULL;
        if (!text || !framing_decode(path + at, length, false, text))
            return false;
        out->text[out->n++] = text;
        at += length + 1;
    }
    return true;
}

/* 0: no; else 1 + number of literal segments, so that more literal rows win. */
static int match(const char *pattern, const struct segments *segments,
                 struct request_pair *params, size_t *n_params,
                 struct mem_arena *arena)
{
    int score = 1;
    size_t i;

    *n_params = 0;
    for (i = 0; i < segments->n; i++) {
        size_t n;

        if (*pattern != '/')
            return 0;
        n = strcspn(++pattern, "/");
        if (*pattern == '{') {
            if (*n_params == REQUEST_MAX_PARAMS || !*segments->text[i])
                return 0;
            params[*n_params].name =
                mem_arena_strndup(arena, pattern + 1, n - 2);
            params[*n_params].value = segments->text[i];
            if (!params[(*n_params)++].name)
                return 0;
        } else {
            if (strlen(segments->text[i]) != n ||
                memcmp(pattern, segments->text[i], n) != 0)
                return 0;
            score++;
        }
        pattern += n;
    }
    return *pattern ? 0 : score;
}

static void add_method(char *allow, size_t size, const char *name)
{
    size_t n = strlen(allow);

    (void)snprintf(allow + n, size - n, "%s%s", n ? ", " : "", name);
}

static void write_allow(unsigned methods, char *allow, size_t size)
{
    size_t i;

    allow[0] = 0;
    for (i = 0; i < N_HTTP_METHODS; i++) {
        if (!(methods >> i & 1) && i != HTTP_OPTIONS)
            continue;
        add_method(allow, size, method_names[i]);
        if (i == HTTP_GET)
            add_method(allow, size, "HEAD");
    }
}

enum route_found router_find(struct request *request, char *allow,
                             size_t allow_size)
{
    size_t n_path = strcspn(request->target, "?");
    struct request_pair params[REQUEST_MAX_PARAMS];
    struct segments segments;
    unsigned methods = 0;
    int best = 0;
    size_t n_params;
    size_t i;

    allow[0] = 0;
    request->route = NULL;
    if (!split(request->target, n_path, request->arena, &segments))
        return ROUTE_NO_PATH;
    for (i = 0; i < sizeof routes / sizeof *routes; i++) {
        int score = match(routes[i].pattern, &segments, params, &n_params,
                          request->arena);

        if (score == 0)
            continue;
        methods |= 1u << routes[i].method;
        if (routes[i].method != request->method || score <= best)
            continue;
        best = score;
        request->route = &routes[i];
        memcpy(request->params, params, n_params * sizeof *params);
        request->n_params = n_params;
    }
    if (!methods)
        return ROUTE_NO_PATH;
    write_allow(methods, allow, allow_size);
    return request->route ? ROUTE_FOUND : ROUTE_NO_METHOD;
}
