/* http.h - connections: the bridge between libmicrohttpd and the loop.
 *
 * http.c is the only file with microhttpd.h.  It reads requests, checks
 * their framing, routes them to handlers (router.h) and sends what they
 * answered (reply.h); it watches deadlines and hang-ups.
 *
 * Deadlines (config.h, deadline.c): a request's head, its body, an answer the client
 * does not take, an idle kept connection.  A sweep every HTTP_SWEEP_MS looks
 * at all connections, so each is cut at most that much late.
 *
 * What may pass: framing.h (the head's form), gate.h (host, path, query, type),
 * body.h (the body's size).
 *
 * Loop-only.  Ceilings: --max-connections; 8 KiB for an address and 16 KiB for
 * a request's head; the route's body limit, and --body-bytes for all bodies
 * above 64 KiB together, from their arrival until their answers are out; a
 * stream's own limit; --answer-bytes for all answers above 64 KiB together,
 * until they are out (stored pictures count where they are stored, and here
 * once they are dropped there).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "listen.h"
#include "service.h"

#define HTTP_SWEEP_MS 250u

struct answers;

/* Serve on the listener, whose fd it takes over (also on failure).  NULL and
 * *why on failure.                                                         */
struct http *http_new(struct service *service, struct listener *listener,
                      char *why, size_t why_size);

/* Close the listening socket: nobody new from here. */
void http_refuse(struct http *http);

/* End connections on which no request is under way. */
void http_end_idle(struct http *http);

/* Open connections, bytes of large bodies, and what all answers share
 * (answers.h). */
size_t http_connections(const struct http *http);
size_t http_body_bytes(const struct http *http);
struct answers *http_answers(struct http *http);

/* End everything: `gone` is called for each open request.  Stops watching,
 * frees; NULL allowed.                                                     */
void http_free(struct http *http);

#endif
