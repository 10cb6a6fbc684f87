/* body.c - a request's body as it arrives.
 *
 * SPDX-License-Identifier: MIT
 */
#include "body.h"

#include "exchange.h"
#include "router.h"

#define SMALL_BYTES      (64u << 10) /* the room counts what is above        */
#define HARD_EXTRA_BYTES (4u << 20)  /* beyond the limit before we hang up   */

void body_begin(struct exchange *x, size_t limit, bool is_discarding)
{
    x->is_discarding = is_discarding;
    buf_init(&x->body, limit);
}

/* Bring the sum of large bodies up to date. */
static void count(struct exchange *x)
{
    size_t now = x->body.capacity > SMALL_BYTES ? x->body.capacity : 0;

    x->bodies->n_bytes += now - x->n_counted;
    x->n_counted = now;
}

static void drop(struct exchange *x)
{
    buf_fini(&x->body);
    count(x);
}

/* A small body always finds room. */
static bool has_room(const struct exchange *x, size_t got)
{
    size_t wanted = buf_capacity_after(&x->body, got);
    size_t others = x->bodies->n_bytes - x->n_counted;

    return wanted <= SMALL_BYTES || others + wanted <= x->bodies->max_bytes;
}

bool body_take(struct exchange *x, const char *bytes, size_t n)
{
    if (x->is_discarding)
        return true;
    if (x->is_too_large || x->is_crowded_out) {
        x->n_thrown += n;
        return x->n_thrown <= x->body.limit + HARD_EXTRA_BYTES;
    }
    x->is_too_large = n > x->body.limit - x->body.n;
    x->is_crowded_out = !x->is_too_large && !has_room(x, n);
    if (x->is_too_large || x->is_crowded_out) {
        x->n_thrown = x->body.n + n;
        drop(x);
        return true;
    }
    if (!buf_add(&x->body, bytes, n)) {
        drop(x);
        return false;
    }
    count(x);
    return true;
}

bool body_end(struct exchange *x)
{
    struct request *request = &x->request;

    request->body = x->body.bytes ? x->body.bytes : "";
    request->n_body = x->body.n;
    if (x->is_too_large) {
        reply_error(request, ERROR_BODY_TOO_LARGE,
                    "this path takes a body of at most %zu bytes",
                    request->route->body_limit);
    } else if (x->is_crowded_out) {
        reply_header(request, "Retry-After", "1");
        reply_error(request, ERROR_NO_MEMORY,
                    "the bodies of other requests fill the %zu bytes that "
                    "there are for large ones",
                    x->bodies->max_bytes);
    }
    return !x->is_too_large && !x->is_crowded_out;
}

void body_release(struct exchange *x)
{
    x->bodies->n_bytes -= x->n_counted;
    x->n_counted = 0;
}
