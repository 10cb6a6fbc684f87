/* exchange.h - one request and its answer, between reply.c and http.c.
 *
 * States; every request goes through them left to right:
 *
 *   READING -> HANDLING -> ANSWERED
 *                       -> DEFERRED  -> ANSWERED | STREAMING
 *                       -> STREAMING -> STREAMED
 *
 * DEFERRED and STREAMING are "open": `gone` is called if the client leaves.
 * Handlers see struct request and reply.h; nobody else includes this.
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_EXCHANGE_H
#define SERVER_EXCHANGE_H

#include "answers.h"
#include "buf.h"
#include "reply.h"
#include "request.h"

#define EXCHANGE_MAX_HEADERS 24

enum exchange_state {
    EXCHANGE_READING,
    EXCHANGE_HANDLING,
    EXCHANGE_DEFERRED,
    EXCHANGE_ANSWERED,
    EXCHANGE_STREAMING,
    EXCHANGE_STREAMED
};

struct bodies;
struct connection;
struct http;

struct exchange {
    struct request request;
    enum exchange_state state;
    struct http *http;
    struct connection *connection;
    /* http.c sets them, reply.c calls them: answers know no connections. */
    void (*wake)(struct exchange *exchange); /* something can be sent        */
    void (*cut)(struct exchange *exchange);  /* what is sent is wanted back  */

    /* Reading: http.c's. */
    const char *raw_target; /* where the parser keeps it; for comparing only */
    bool has_head;      /* the first call of MHD's handler is over           */
    bool takes_interim; /* 1xx may be sent before the answer                 */
    bool must_close;
    bool is_gone; /* the client left, or the server stops              */

    /* The body: body.c's. */
    struct bodies *bodies;
    struct buf body;
    size_t n_counted;   /* of it, in the sum of large ones                   */
    size_t n_thrown;    /* of one that is too much                           */
    bool is_discarding; /* it is read and thrown away                        */
    bool is_too_large;
    bool is_crowded_out; /* other bodies left it no room                     */

    /* The answer: reply.c's. */
    struct answers *answers;
    size_t n_held; /* of its bytes, in the room for large ones              */
    unsigned status;
    struct request_pair headers[EXCHANGE_MAX_HEADERS];
    size_t n_headers;
    const void *bytes;
    size_t n_bytes;
    void *owned; /* ended by mem_free()                                      */
    void (*release)(void *user);
    void *release_user;

    /* Streaming. */
    struct buf out;
    size_t out_at; /* bytes of out that the socket has taken          */
    bool has_news; /* written since `drained` was called last         */
    uint64_t n_streamed;
    const char *probe; /* or NULL, see hangup.h                              */
    reply_fn gone;
    reply_fn drained;
    void *user;
};

/* reply.c: the headers that every answer carries. */
void exchange_finish_headers(struct exchange *exchange);

/* reply.c: up to max bytes of the stream into out. */
size_t exchange_take(struct exchange *exchange, char *out, size_t max);

/* reply.c: the exchange is over, however: tell the handler, free. */
void exchange_free(struct exchange *exchange);

#endif
