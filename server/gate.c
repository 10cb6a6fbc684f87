/* gate.c - what a request must pass before its handler sees it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "gate.h"

#include <string.h>
#include <strings.h>

#include "head.h"
#include "query.h"
#include "reply.h"
#include "router.h"

static void refuse_route(struct request *request, enum route_found found,
                         const char *method, const char *allow)
{
    if (found == ROUTE_NO_PATH) {
        const char *near = router_nearest(request->path);

        reply_error(request, ERROR_NOT_FOUND,
                    "there is nothing at this path; %s%s%sGET /openapi.json "
                    "lists every path",
                    near ? "did you mean " : "", near ? near : "",
                    near ? "? " : "");
        return;
    }
    reply_header(request, "Allow", allow);
    if (request->method == HTTP_OPTIONS)
        reply_empty(request, 204);
    else
        reply_error(request, ERROR_METHOD_NOT_ALLOWED,
                    "this path does not take %.32s; it takes %s", method,
                    allow);
}

/* What anybody may ask for (the page, health) may come with arguments that
 * others add; elsewhere an argument misspelt must not be passed over.       */
static bool refuse_query(struct request *request)
{
    struct problem *problem;

    if (request->n_query == 0 || request->route->scope == SCOPE_PUBLIC)
        return false;
    problem = reply_problem_new(request);
    if (!problem)
        return true;
    if (query_check(request, request->route->query, request_is_lenient(request),
                    problem))
        return false;
    reply_problem(request, problem);
    return true;
}

/* Codings of a body (RFC 9110 8.4): none is understood. */
static bool is_coded(const struct request *request)
{
    const char *coding = request_header(request, "Content-Encoding");

    return coding && *coding && strcasecmp(coding, "identity") != 0;
}

static void refuse_type(struct request *request)
{
    const char *type = request_header(request, "Content-Type");

    reply_error(request, ERROR_UNSUPPORTED_MEDIA_TYPE,
                type && *type
                    ? "Content-Type is %.64s; this path takes "
                      "application/json"
                    : "this path takes application/json, and a page of "
                      "another origin must say so by Content-Type",
                type);
}

/* Refuse a body by what its head says of it; false: it may come.            */
static bool refuse_body(struct request *request, const struct framing *framing)
{
    size_t limit = request->route->body_limit;
    bool has_body = framing->is_chunked || framing->length > 0;

    if (framing->length > limit || (framing->is_chunked && limit == 0)) {
        reply_error(request, ERROR_BODY_TOO_LARGE,
                    "this path takes a body of at most %zu bytes", limit);
    } else if (has_body && is_coded(request)) {
        reply_header(request, "Accept-Encoding", "identity");
        reply_error(request, ERROR_UNSUPPORTED_MEDIA_TYPE,
                    "Content-Encoding is %.64s; bodies are taken as they are",
                    request_header(request, "Content-Encoding"));
    } else if (has_body && request->route->body && !head_is_json(request)) {
        refuse_type(request);
    } else {
        return false;
    }
    return true;
}

bool gate_pass(struct request *request, const struct framing *framing,
               const struct config *config)
{
    char allow[64];
    enum route_found found;

    if (framing->host && !framing_host_is_mine(framing->host, framing->n_host,
                                               config->host_name.items,
                                               config->host_name.n, false)) {
        reply_error(request, ERROR_MISDIRECTED,
                    "this server does not answer for the host %.*s; it does "
                    "for localhost, addresses and names given by --host-name",
                    (int)(framing->n_host < 64 ? framing->n_host : 64),
                    framing->host);
        return false;
    }
    if (request->method == HTTP_OPTIONS && strcmp(request->target, "*") == 0) {
        reply_header(request, "Allow", "GET, HEAD, POST, DELETE, OPTIONS");
        reply_empty(request, 204);
        return false;
    }
    if (!head_read_target(request)) {
        reply_error(request, ERROR_MALFORMED_REQUEST,
                    "the target has a bad %%XX escape, a control byte or more "
                    "than %d query arguments",
                    REQUEST_MAX_QUERY);
        return false;
    }
    found = router_find(request, allow, sizeof allow);
    if (found != ROUTE_FOUND) {
        refuse_route(request, found, framing->method, allow);
        return false;
    }
    return !refuse_body(request, framing) && !refuse_query(request);
}
