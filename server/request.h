/* request.h - one HTTP request as a handler sees it.
 *
 * A handler gets a complete request: framing checked, body read, path
 * decoded and routed.  Everything in it lives in its arena and is read-only.
 *
 * Life.  The pointer is good until the handler has returned and an answer
 * was given (reply.h), whichever is later; for a deferred or streaming
 * answer until the final reply call or until `gone` was called, whichever is
 * first.  After that it must not be touched.
 *
 * Loop-only.  Limits: 16 KiB for line and headers together,
 * REQUEST_MAX_QUERY query arguments, the route's body limit.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define REQUEST_MAX_PARAMS  4
#define REQUEST_MAX_QUERY   32
#define REQUEST_MAX_HEADERS 96
#define REQUEST_ARENA_BYTES (8u << 20) /* the body is not in the arena      */

enum http_method {
    HTTP_GET,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    N_HTTP_METHODS
};

struct request_pair {
    const char *name;
    const char *value; /* "" when there is none                            */
};

struct exchange;
struct route;

struct request {
    enum http_method method; /* HEAD arrives as GET with is_head             */
    bool is_head;
    const char *path;    /* decoded, no NUL, no "." segments; "/v1/jobs/x" */
    const char *target;  /* path and query as sent, printable ASCII        */
    const char *peer;    /* "127.0.0.1", "::1" or "unix"                   */
    const char *id;      /* X-Request-Id, [!-~]{1,128}                     */
    uint64_t started_ms; /* loop_now_ms() at its first header              */

    const struct route *route;
    size_t n_params, n_query, n_headers;
    struct request_pair params[REQUEST_MAX_PARAMS]; /* {id} of the pattern   */
    struct request_pair query[REQUEST_MAX_QUERY];   /* decoded               */
    struct request_pair headers[REQUEST_MAX_HEADERS];

    const char *body; /* n_body bytes and a final 0 not counted; never NULL  */
    size_t n_body;

    struct mem_arena *arena;
    struct exchange *exchange; /* http.c's side                              */
};

/* Value of a path parameter of the matched pattern; never NULL for one that
 * the pattern has.                                                         */
const char *request_param(const struct request *request, const char *name);

/* First query argument of that name, or NULL. */
const char *request_query(const struct request *request, const char *name);

/* A header by name, case ignored; several are joined by ", " (in the arena).
 * NULL if absent.                                                          */
const char *request_header(const struct request *request, const char *name);

/* Parse a whole non-negative decimal number; false and *out unchanged when
 * text is NULL, empty, not a number, above max.                            */
bool request_number(const char *text, uint64_t max, uint64_t *out);

/* Accept (RFC 9110 12.5.1): index of the offered media type ("image/png")
 * with the highest q-value, the earlier one of equals; -1: none acceptable.
 * No header or an empty one accepts all.                                   */
int request_accept(const char *header, const char *const *offered, size_t n);

/* True, and *value the text after "=" (or "", unquoted, in `arena`), when
 * the list header (Prefer, RFC 7240) names `token`; value may be NULL.     */
bool request_prefers(const struct request *request, const char *token,
                     const char **value);

/* Prefer: handling=lenient, unknown names are passed over.                 */
bool request_is_lenient(const struct request *request);

/* True when If-None-Match names `etag` (with its quotes) or is "*". */
bool request_none_match(const struct request *request, const char *etag);

#endif
