/* reply.c - fills in an exchange's answer; http.c sends it.
 *
 * Answering twice is our own bug: the second answer is dropped and logged,
 * the client keeps the first.
 *
 * SPDX-License-Identifier: MIT
 */
#include "reply.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "exchange.h"
#include "log.h"
#include "sha256.h"

#define PROBLEM_MAX_BYTES (256u << 10)

/* ---------------------------------------------------------------- headers */

static bool is_sendable(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
            return false;
    return true;
}

static struct request_pair *header_slot(struct exchange *x, const char *name)
{
    size_t i;

    for (i = 0; i < x->n_headers; i++)
        if (strcasecmp(x->headers[i].name, name) == 0)
            return &x->headers[i];
    if (x->n_headers == EXCHANGE_MAX_HEADERS)
        return NULL;
    return &x->headers[x->n_headers];
}

void reply_header(struct request *request, const char *name, const char *value)
{
    struct exchange *x = request->exchange;
    struct request_pair *slot = header_slot(x, name);
    struct request_pair copy;

    if (!slot || !is_sendable(value)) {
        log_event(LOG_LEVEL_ERROR, "response header dropped", "header", name);
        return;
    }
    copy.name = mem_arena_strdup(request->arena, name);
    copy.value = mem_arena_strdup(request->arena, value);
    if (!copy.name || !copy.value)
        return;
    if (slot == &x->headers[x->n_headers])
        x->n_headers++;
    *slot = copy;
}

void reply_headerf(struct request *request, const char *name,
                   const char *format, ...)
{
    va_list args;
    const char *value;

    va_start(args, format);
    value = mem_arena_vprintf(request->arena, format, args);
    va_end(args);
    if (value)
        reply_header(request, name, value);
}

static void set_default(struct exchange *x, const char *name, const char *value)
{
    struct request_pair *slot = header_slot(x, name);

    if (slot && slot == &x->headers[x->n_headers])
        reply_header(&x->request, name, value);
}

static void drop_header(struct exchange *x, const char *name)
{
    struct request_pair *slot = header_slot(x, name);

    if (slot && slot < &x->headers[x->n_headers])
        *slot = x->headers[--x->n_headers];
}

void exchange_finish_headers(struct exchange *x)
{
    set_default(x, "X-Request-Id", x->request.id ? x->request.id : "-");
    set_default(x, "X-Content-Type-Options", "nosniff");
    set_default(x, "Cross-Origin-Resource-Policy", "same-origin");
    set_default(x, "Cache-Control", "no-store");
    if (x->must_close)
        reply_header(&x->request, "Connection", "close");
}

/* ----------------------------------------------------------- whole answers */

/* False, and a log line, if the request has its answer already. */
static bool begin_answer(struct exchange *x, unsigned status)
{
    if (x->state == EXCHANGE_ANSWERED || x->state == EXCHANGE_STREAMING ||
        x->state == EXCHANGE_STREAMED) {
        log_event(LOG_LEVEL_ERROR, "request answered twice", "req_id",
                  x->request.id);
        return false;
    }
    x->status = status;
    x->bytes = "";
    x->n_bytes = 0;
    return true;
}

static void finish_answer(struct exchange *x)
{
    x->state = EXCHANGE_ANSWERED;
    x->gone = NULL;
    x->wake(x);
}

void reply_static(struct request *request, unsigned status,
                  const char *content_type, const void *bytes, size_t n)
{
    struct exchange *x = request->exchange;

    if (!begin_answer(x, status))
        return;
    reply_header(request, "Content-Type", content_type);
    x->bytes = bytes;
    x->n_bytes = n;
    finish_answer(x);
}

void reply_shared(struct request *request, unsigned status,
                  const char *content_type, const void *bytes, size_t n,
                  void (*release)(void *user), void *user)
{
    struct exchange *x = request->exchange;

    if (!begin_answer(x, status)) {
        release(user);
        return;
    }
    reply_header(request, "Content-Type", content_type);
    x->bytes = bytes;
    x->n_bytes = n;
    x->release = release;
    x->release_user = user;
    finish_answer(x);
}

static bool hold(struct exchange *x, size_t n_bytes)
{
    return answers_hold(x->answers, &x->n_held, n_bytes);
}

void reply_cut(struct request *request)
{
    struct exchange *x = request->exchange;

    if (!x->is_gone)
        x->cut(x);
}

bool reply_has_room(struct request *request, size_t n_bytes)
{
    struct exchange *x = request->exchange;

    if (hold(x, n_bytes))
        return true;
    reply_error(request, ERROR_NO_MEMORY,
                "answers that other clients have yet to take fill the %zu "
                "bytes that there are for large ones",
                x->answers->room.max_bytes);
    return false;
}

/* Takes `bytes` (ended by mem_free); NULL answers 500 with a fixed body. */
static void answer_owned(struct request *request, unsigned status,
                         const char *content_type, char *bytes, size_t n)
{
    static const char sorry[] = "{\"type\":\"/problems/internal\",\"title\":"
                                "\"Internal error\",\"status\":500}";
    struct exchange *x = request->exchange;

    if (!begin_answer(x, bytes ? status : 500)) {
        mem_free(bytes);
        return;
    }
    if (!reply_has_room(request, n)) {
        mem_free(bytes);
        return;
    }
    reply_header(request, "Content-Type",
                 bytes ? content_type : "application/problem+json");
    x->owned = bytes;
    x->bytes = bytes ? bytes : sorry;
    x->n_bytes = bytes ? n : sizeof sorry - 1;
    finish_answer(x);
}

void reply_bytes(struct request *request, unsigned status,
                 const char *content_type, const void *bytes, size_t n)
{
    char *copy;

    if (!reply_has_room(request, n))
        return;
    copy = mem_zero(n, 1);
    if (copy && n)
        memcpy(copy, bytes, n);
    answer_owned(request, status, content_type, copy, n);
}

void reply_buf(struct request *request, unsigned status,
               const char *content_type, struct buf *body)
{
    size_t n;
    char *bytes = buf_take(body, &n);

    answer_owned(request, status, content_type, bytes, n);
}

void reply_json(struct request *request, unsigned status, struct buf *body)
{
    (void)buf_byte(body, '\n'); /* for people at a terminal                  */
    reply_buf(request, status, "application/json", body);
}

void reply_empty(struct request *request, unsigned status)
{
    struct exchange *x = request->exchange;

    if (begin_answer(x, status))
        finish_answer(x);
}

struct problem *reply_problem_new(struct request *request)
{
    struct problem *problem =
        mem_arena_zero(request->arena, 1, sizeof *problem);

    if (problem)
        problem_init(problem, request->arena, ERROR_INVALID_PARAMETERS);
    else
        reply_error(request, ERROR_NO_MEMORY, "out of memory");
    return problem;
}

/* A problem is not the thing that was asked for: what was said of that, as far
 * as it had come, does not hold.  Who has to wait is told how long.         */
static void amend_headers(struct exchange *x, unsigned status)
{
    static const char *const others[] = {"ETag", "Content-Location",
                                         "Repr-Digest", "Accept-Ranges"};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        drop_header(x, others[i]);
    drop_header(x, "Cache-Control"); /* no-store follows                     */
    if (status == 429 || status == 503)
        set_default(x, "Retry-After", "1");
}

void reply_problem(struct request *request, const struct problem *problem)
{
    struct exchange *x = request->exchange;
    unsigned status = error_info(problem->code)->status;
    struct buf body;

    amend_headers(x, status);
    x->answers->n_problems[problem->code]++;
    buf_init(&body, PROBLEM_MAX_BYTES);
    problem_write(problem, request->id, &body);
    (void)buf_byte(&body, '\n');
    reply_buf(request, status, "application/problem+json", &body);
}

void reply_error(struct request *request, enum error_code code,
                 const char *format, ...)
{
    struct problem problem;
    va_list args;

    problem_init(&problem, request->arena, code);
    va_start(args, format);
    problem.detail = mem_arena_vprintf(request->arena, format, args);
    va_end(args);
    reply_problem(request, &problem);
}

bool reply_not_modified(struct request *request, const char *etag)
{
    reply_header(request, "ETag", etag);
    if (!request_none_match(request, etag))
        return false;
    reply_empty(request, 304);
    return true;
}

bool reply_unchanged(struct request *request, const void *bytes, size_t n)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_SIZE], etag[24];

    sha256(digest, bytes, n);
    sha256_hex(hex, digest);
    (void)snprintf(etag, sizeof etag, "\"%.16s\"", hex);
    return reply_not_modified(request, etag);
}

void reply_json_tagged(struct request *request, struct buf *body)
{
    if (!body->failed && reply_unchanged(request, body->bytes, body->n))
        buf_fini(body);
    else
        reply_json(request, 200, body);
}

/* --------------------------------------------------- deferred, streaming */

void reply_defer(struct request *request, reply_fn gone, void *user)
{
    struct exchange *x = request->exchange;

    if (x->state != EXCHANGE_HANDLING && x->state != EXCHANGE_DEFERRED) {
        log_event(LOG_LEVEL_ERROR, "request deferred late", "req_id",
                  request->id);
        return;
    }
    x->state = EXCHANGE_DEFERRED;
    x->gone = gone;
    x->user = user;
}

void reply_take_body(struct request *request, struct buf *out)
{
    struct exchange *x = request->exchange;

    *out = x->body;
    buf_init(&x->body, 0);
    request->body = "";
    request->n_body = 0;
}

/* True between reply_defer() or reply_stream() and the end. */
static bool is_open(const struct request *request)
{
    return request->exchange->state == EXCHANGE_DEFERRED ||
           request->exchange->state == EXCHANGE_STREAMING;
}

void reply_stream(struct request *request, const struct reply_stream *stream)
{
    struct exchange *x = request->exchange;

    if (!begin_answer(x, stream->status))
        return;
    reply_header(request, "Content-Type", stream->content_type);
    buf_init(&x->out, stream->limit_bytes);
    x->gone = stream->gone;
    x->drained = stream->drained;
    x->probe = stream->probe;
    x->user = stream->user;
    x->state = EXCHANGE_STREAMING;
    x->wake(x);
}

/* Move what is left to the front: the limit is on bytes not yet taken. */
static void compact(struct exchange *x)
{
    size_t left = x->out.n - x->out_at;

    memmove(x->out.bytes, x->out.bytes + x->out_at, left);
    x->out.n = left;
    x->out_at = 0;
}

bool stream_reserve(struct request *request, size_t n)
{
    struct exchange *x = request->exchange;
    bool has_room;

    if (x->state != EXCHANGE_STREAMING || x->is_gone)
        return false;
    if (x->out_at && n > x->out.limit - x->out.n)
        compact(x);
    has_room =
        hold(x, buf_capacity_after(&x->out, n)) && buf_reserve(&x->out, n);
    x->out.failed = false;          /* a later, smaller piece may fit        */
    (void)hold(x, x->out.capacity); /* if the memory was not there: less     */
    return has_room;
}

bool stream_write(struct request *request, const void *bytes, size_t n)
{
    struct exchange *x = request->exchange;
    bool is_added = stream_reserve(request, n) && buf_add(&x->out, bytes, n);

    if (is_added && n) {
        x->has_news = true;
        x->wake(x);
    }
    return is_added;
}

size_t stream_pending(const struct request *request)
{
    return request->exchange->out.n - request->exchange->out_at;
}

void stream_end(struct request *request)
{
    struct exchange *x = request->exchange;

    if (x->state != EXCHANGE_STREAMING)
        return;
    x->state = EXCHANGE_STREAMED;
    x->gone = x->drained = NULL;
    x->wake(x);
}

size_t exchange_take(struct exchange *x, char *out, size_t max)
{
    size_t n = x->out.n - x->out_at;

    if (n == 0 && x->has_news && x->drained) {
        x->has_news = false;
        x->drained(&x->request, x->user);
        n = x->out.n - x->out_at;
    }
    if (n > max)
        n = max;
    if (n)
        memcpy(out, x->out.bytes + x->out_at, n);
    x->out_at += n;
    x->n_streamed += n;
    if (x->out_at == x->out.n) {
        x->out_at = 0;
        buf_clear(&x->out);
        if (x->out.capacity > SMALL_ANSWER_BYTES) {
            buf_fini(&x->out);
            (void)hold(x, 0);
        }
    }
    return n;
}

/* ------------------------------------------------------------------- end */

void exchange_free(struct exchange *x)
{
    reply_fn gone = is_open(&x->request) ? x->gone : NULL;

    x->is_gone = true;
    if (gone)
        gone(&x->request, x->user);
    if (x->release)
        x->release(x->release_user);
    mem_free(x->owned);
    buf_fini(&x->body);
    buf_fini(&x->out);
    (void)hold(x, 0);
    mem_arena_free(x->request.arena);
    mem_free(x);
}
