/* hangup.h - whether the client of a suspended connection has left.
 *
 * MHD looks at a suspended connection no more, so an epoll descriptor of our
 * own watches it.  What it sees first is the end of what the client sends,
 * which comes alike from one that has closed and from one that has only said
 * all it had to (`nc -N`, shutdown(SHUT_WR)) and waits for its answer.  To tell
 * them apart the client is sent something it will pass over: before an answer
 * an interim response (100, RFC 9110 15.2), within a stream what the stream
 * gives for that (struct reply_stream, `probe`).  A socket that is closed
 * answers it with a reset, which the same descriptor sees; one that answers
 * nothing in --write-timeout counts as closed too.
 *
 * A client of HTTP/1.0 knows no interim responses and counts as gone at once,
 * as does that of a stream without a probe.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_HANGUP_H
#define SERVER_HANGUP_H

#include <stdbool.h>

#include "config.h"
#include "connection.h"
#include "loop.h"

struct hangups;

/* `left` is called for a connection whose client has left.  NULL: it cannot be
 * (no memory, no descriptor). */
struct hangups *hangups_new(struct loop *loop, const struct config *config,
                            void (*left)(struct connection *connection));
void hangups_free(struct hangups *hangups); /* NULL is allowed */

/* Watch a connection with an exchange, until it is removed. */
void hangups_add(struct hangups *hangups, struct connection *connection);
void hangups_remove(struct hangups *hangups, struct connection *connection);

#endif
