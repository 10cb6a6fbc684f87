/* router.h - method and path to a row of routes_table.h.
 *
 * The table is the only list of addresses: the router, Allow, OPTIONS and
 * /openapi.json read it.  A pattern is a path whose segments are literal or
 * {name}; a {name} takes one whole segment.  Literal rows win over {name}.
 *
 * Loop-only, no state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_ROUTER_H
#define SERVER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

#include "json.h"
#include "request.h"

#define ROUTE_BODY_NONE   0u
#define ROUTE_BODY_JSON   (64u << 10) /* where no upload is possible         */
#define ROUTE_BODY_UPLOAD (32u << 20)

/* Who may call it, once keys exist; PUBLIC never needs one.  CREATE is new
 * work, refused while draining; MANAGE cancels and deletes and is not.      */
enum route_scope {
    SCOPE_PUBLIC,
    SCOPE_READ,
    SCOPE_CREATE,
    SCOPE_MANAGE,
    SCOPE_ADMIN
};

struct service;

/* Answers by one call of reply.h before it returns. */
typedef void (*route_fn)(struct service *service, struct request *request);

struct route {
    enum http_method method;
    const char *pattern;
    enum route_scope scope;
    size_t body_limit;
    route_fn handler;
    const char *name;     /* of the handler: "h_jobs_get"                    */
    const char *query;    /* rules of its arguments (query.h), or ""         */
    const char *headers;  /* those that change its answer, comma separated   */
    const char *answers;  /* statuses that are no problem, comma separated   */
    const char *produces; /* media types, comma separated                    */
    const struct json_field *body; /* its JSON body, or NULL                 */
    const char *summary;
};

enum route_found { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };

/* Fill request->route and params by method and path.  On NO_METHOD and
 * FOUND `allow` (at least 64 bytes) holds the methods of the path: "GET,
 * HEAD, OPTIONS".                                                          */
enum route_found router_find(struct request *request, char *allow,
                             size_t allow_size);

/* The pattern without {names} that is nearest to a path, or NULL. */
const char *router_nearest(const char *path);

/* The table, in order. */
const struct route *router_routes(size_t *n);

#endif
