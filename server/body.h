/* body.h - a request's body as it arrives: within its own limit, and within the
 * room that all large ones share.
 *
 * What is too much is read on and thrown away for a while, so that the client
 * hears why; one that goes on longer is left.  The parser below tells sizes
 * late (chunks), so memory is asked for as bytes come.
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_BODY_H
#define SERVER_BODY_H

#include <stdbool.h>
#include <stddef.h>

struct exchange;

/* Of all bodies above 64 KiB, until their answers are out; --body-bytes. */
struct bodies {
    size_t n_bytes, max_bytes;
};

/* The head is read: at most `limit` bytes are to be kept.  is_discarding: the
 * answer is there already. */
void body_begin(struct exchange *exchange, size_t limit, bool is_discarding);

/* Bytes have come.  False: leave the client. */
bool body_take(struct exchange *exchange, const char *bytes, size_t n);

/* It has come.  False: it was too much, and that has been answered. */
bool body_end(struct exchange *exchange);

/* The exchange is over, and what it held of the room. */
void body_release(struct exchange *exchange);

#endif
