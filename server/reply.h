/* reply.h - answering a request: at once, later, or piece by piece.
 *
 * A handler does exactly one of these before it returns:
 *
 *   reply_bytes / _static / _shared / _json / _empty / _error / _problem
 *       the whole answer; gives the request away
 *   reply_defer     "later": the connection is suspended and watched; some
 *       time after, from the loop, any of the calls above answers
 *   reply_stream    headers now, body by stream_write() until stream_end()
 *
 * Client gone.  While deferred or streaming, `gone` is called once, from the
 * loop, when the client hangs up (ending its sending side alone is no hang-up,
 * see hangup.h), when it stalls past the write deadline or when the server
 * stops; the request is dead when `gone` returns and nothing may be sent to it.
 * `gone` is not called once the final reply call or stream_end() was made: each
 * request ends in exactly one of the two.
 *
 * Calls inside `gone` or `drained` to other requests are allowed.
 *
 * Loop-only.  Every answer carries X-Request-Id, Date, nosniff,
 * Cross-Origin-Resource-Policy and, if no Cache-Control was set, no-store.
 * HEAD is handled here: answer as for GET.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "problem.h"
#include "request.h"

/* ------------------------------------------------------------------- room */

/* Answers above 64 KiB share the room of --answer-bytes until they are out;
 * one that finds none becomes 503.  Those that are costly to make ask before:
 * false, 503 was sent.                                                      */
bool reply_has_room(struct request *request, size_t n_bytes);

/* ---------------------------------------------------------------- headers */

/* Add a response header; copied.  Before the reply call.  A value with CR,
 * LF or other control bytes is not sent (logged as our bug).  Setting a name
 * again replaces it.                                                       */
void reply_header(struct request *request, const char *name, const char *value);
void reply_headerf(struct request *request, const char *name,
                   const char *format, ...) BUF_PRINTF(3, 4);

/* ----------------------------------------------------------- whole answers */

/* The bytes are copied. */
void reply_bytes(struct request *request, unsigned status,
                 const char *content_type, const void *bytes, size_t n);

/* Takes what is in `body` (emptied).  A failed buf answers 500.            */
void reply_buf(struct request *request, unsigned status,
               const char *content_type, struct buf *body);

/* The bytes live as long as the program. */
void reply_static(struct request *request, unsigned status,
                  const char *content_type, const void *bytes, size_t n);

/* The bytes are borrowed until release(user) is called from the loop, always
 * and once: for pictures that many clients read.                           */
void reply_shared(struct request *request, unsigned status,
                  const char *content_type, const void *bytes, size_t n,
                  void (*release)(void *user), void *user);

/* Of such an answer, while it is sent: the bytes are wanted back.  Its client
 * is cut off, and release() is called soon.                                */
void reply_cut(struct request *request);

/* The same as application/json, with a line's end. */
void reply_json(struct request *request, unsigned status, struct buf *body);

/* No body: 204, 304. */
void reply_empty(struct request *request, unsigned status);

/* For violations, in the request's arena; NULL after 503 was sent.         */
struct problem *reply_problem_new(struct request *request);

/* application/problem+json; `problem` is read before the call returns.     */
void reply_problem(struct request *request, const struct problem *problem);

/* A problem without violations; `format` is its detail. */
void reply_error(struct request *request, enum error_code code,
                 const char *format, ...) BUF_PRINTF(3, 4);

/* 200 with JSON whose ETag is the hash of its bytes, or 304.  Takes the body. */
void reply_json_tagged(struct request *request, struct buf *body);

/* The same test for bytes of any type: true if 304 was sent.               */
bool reply_unchanged(struct request *request, const void *bytes, size_t n);

/* Set ETag (a text with its quotes); true if the client has that version
 * already, and then 304 has been sent.                                     */
bool reply_not_modified(struct request *request, const char *etag);

/* --------------------------------------------------------------- deferred */

typedef void (*reply_fn)(struct request *request, void *user);

/* May follow another reply_defer(), whose `gone` it replaces. */
void reply_defer(struct request *request, reply_fn gone, void *user);

/* The body is the caller's from now on, ended by buf_fini(); the request has an
 * empty one.  Until the answer is out it counts as a body (http.h).        */
void reply_take_body(struct request *request, struct buf *out);

/* -------------------------------------------------------------- streaming */

struct reply_stream {
    unsigned status;
    const char *content_type; /* copied                                      */
    size_t limit_bytes;       /* of bytes not yet taken by the socket        */
    reply_fn gone;            /* as above; may be NULL                       */
    reply_fn drained;         /* all bytes given are taken; may be NULL.  A
                                 place to go on writing                      */
    const char *probe;        /* static text that a reader passes over, sent to
                                 one that may have left; NULL: there is none */
    void *user;
};

/* Starts the answer (chunked); may follow reply_defer(), whose `gone` it
 * replaces.                                                                */
void reply_stream(struct request *request, const struct reply_stream *stream);

/* Copy n bytes into the stream's buffer.  False, and nothing added, when
 * that would pass the limit: the client is slow.                           */
bool stream_write(struct request *request, const void *bytes, size_t n);

/* Whether n more bytes will be taken; then they are, in any pieces.        */
bool stream_reserve(struct request *request, size_t n);

/* Bytes waiting. */
size_t stream_pending(const struct request *request);

/* Send what is left, then end the body.  Gives the request away. */
void stream_end(struct request *request);

#endif
