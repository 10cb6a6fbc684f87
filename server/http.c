/* http.c - libmicrohttpd driven by the loop; the only file with microhttpd.h.
 *
 * MHD runs without a thread of its own: the loop watches its epoll
 * descriptor and pump() calls MHD_run().  Its own epoll thread stalls when
 * exactly a multiple of 128 connections are ready; driven from outside it
 * does not (tests/bench/http.sh holds it to that).
 *
 * Lessons that shaped the code, each seen with 0.9.75:
 *   - At the connection limit MHD takes its listening socket back only at
 *     the start of the next MHD_run(): pump() runs it again after a close.
 *   - MHD_resume_connection() wakes nobody in this mode: kick() follows.
 *   - A suspended connection neither times out nor notices its client
 *     leaving: hangup.c does.
 *   - MHD's own timeout is one of inactivity, which a byte a second defeats:
 *     deadline.c holds deadlines by phase, looked at by sweep().
 *   - MHD_run() serves every connection that is ready before it returns, some
 *     15 ms for 512 of them, those that were resumed first: pump() takes the
 *     workers' messages right before, so that a step's event waits for one
 *     round of polls at most (tests/bench/http.sh measures it).
 *   - An answer queued in the handler's first call closes the connection:
 *     done on purpose for bad framing and large bodies, else queued in the
 *     last call.
 *   - Stopping MHD with suspended connections aborts: http_free() resumes
 *     all of them first.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "body.h"
#include "connection.h"
#include "exchange.h"
#include "framing.h"
#include "gate.h"
#include "hangup.h"
#include "head.h"
#include "log.h"
#include "router.h"

#define POOL_BYTES    (32u << 10) /* MHD's, of a connection               */
#define HEAD_BYTES    (POOL_BYTES / 2) /* it reads into half of it        */
#define ITEM_BYTES    80 /* of it: struct MHD_HTTP_Header has 72          */
#define TARGET_BYTES  (8u << 10)
#define TARGET_ITEMS  200 /* query arguments: half of the pool            */
#define ANSWER_BYTES  (5u << 10) /* for the answer's head           */
#define STREAM_BLOCK  8192u
#define DISCARD_BYTES (64u << 10) /* of a refused body, to keep the line  */
#define MAX_RUNS      16          /* of MHD a turn: others want the loop  */

struct http {
    struct service *service;
    struct loop *loop;
    const struct config *config;
    struct MHD_Daemon *daemon;
    struct listener listener;
    struct loop_watch *watch;
    struct loop_timer *timer; /* when MHD wants to run again                 */
    struct loop_timer *sweeper;
    struct hangups *hangups;
    struct ring connections;
    size_t n_connections;
    struct bodies bodies;
    struct answers answers;
    unsigned refused_status; /* of the parser's last own answer, or 0      */
    bool is_running; /* inside MHD_run()                                   */
    bool must_run;   /* something was closed or resumed meanwhile            */
    bool is_closing; /* no connection is kept open any more                  */
};

/* ------------------------------------------------------------------- pump */

static void pump(void *user)
{
    struct http *http = user;
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    bool has_wait;
    int n = 0;

    assert(!http->is_running);
    http->is_running = true;
    do {
        loop_read_mail(http->loop);
        http->must_run = false;
        (void)MHD_run(http->daemon);
        has_wait = MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES;
    } while (++n < MAX_RUNS && (http->must_run || (has_wait && wait_ms == 0)));
    http->is_running = false;
    if (http->must_run)
        wait_ms = 0;
    if (has_wait || http->must_run)
        loop_timer_start(http->timer, wait_ms, 0);
    else
        loop_timer_stop(http->timer);
}

/* Run MHD soon: once, however many ask in this turn of the loop. */
static void kick(struct http *http)
{
    if (http->must_run)
        return;
    http->must_run = true;
    if (!http->is_running)
        loop_timer_start(http->timer, 0, 0);
}

/* ------------------------------------------------------- suspend, hang-up */

static void suspend(struct connection *connection)
{
    assert(!connection->is_suspended);
    MHD_suspend_connection(connection->mhd);
    connection->is_suspended = true;
    connection->phase = PHASE_WAITING;
    hangups_add(connection->exchange->http->hangups, connection);
}

static void resume(struct connection *connection)
{
    struct http *http = connection->exchange->http;

    if (!connection->is_suspended)
        return;
    hangups_remove(http->hangups, connection);
    connection->is_suspended = false;
    connection->phase = PHASE_SENDING; /* since_ms stays: a stream that stalls
                                          is resumed by every event          */
    MHD_resume_connection(connection->mhd);
    kick(http);
}

static void wake(struct exchange *x)
{
    assert(loop_is_mine(x->http->loop));
    if (x->connection && !x->is_gone)
        resume(x->connection);
}

/* The client left or is to be left: the handler hears of it by MHD's end of
 * the request, which follows.                                              */
static void leave(struct connection *connection)
{
    if (!connection->exchange)
        return;
    connection->exchange->is_gone = true;
    resume(connection);
}

static void cut(struct exchange *x)
{
    assert(loop_is_mine(x->http->loop));
    if (!x->connection)
        return;
    connection_cut(x->connection, "answer dropped");
    leave(x->connection);
}

static struct connection *connection_at(struct ring *link)
{
    return RING_OF(link, struct connection, link);
}

static void sweep(void *user)
{
    struct http *http = user;
    uint64_t now = loop_now_ms();
    for (struct ring *at = http->connections.next; at != &http->connections;
         at = at->next)
        connection_check(connection_at(at), http->config, http->is_closing,
                         now);
}

/* ------------------------------------------------------------ connections */

static void describe_peer(struct connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;

    (void)snprintf(connection->peer, sizeof connection->peer, "unix");
    if (!address)
        return;
    if (address->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &v4->sin_addr, connection->peer,
                        sizeof connection->peer);
    else if (address->sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, connection->peer,
                        sizeof connection->peer);
    connection->is_tcp =
        address->sa_family == AF_INET || address->sa_family == AF_INET6;
}

static void connection_open(struct http *http, struct MHD_Connection *mhd,
                            void **context)
{
    struct connection *connection = mem_zero(1, sizeof *connection);

    *context = connection; /* NULL: each of its requests is refused          */
    if (!connection)
        return;
    connection->mhd = mhd;
    connection->answers = &http->answers;
    connection->fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)
            ->connect_fd;
    describe_peer(connection);
    ring_add(&http->connections, &connection->link);
    http->n_connections++;
    connection_set_phase(connection, PHASE_HEAD);
    connection->checked_ms = connection->since_ms;
}

static void connection_close(struct http *http, struct connection *connection)
{
    http->must_run = true; /* at the limit, only that accepts again          */
    if (!connection)
        return;
    ring_remove(&connection->link);
    http->n_connections--;
    mem_free(connection);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        connection_open(cls, mhd, context);
    else
        connection_close(cls, *context);
}

/* --------------------------------------------------------------- requests */

/* No answer can be queued: it would find no room. */
static void refuse_head(struct exchange *x, enum error_code code)
{
    x->status = error_info(code)->status;
    connection_say_error(x->connection, code);
}

static size_t count_bytes(const char *text, size_t n, char wanted)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        k += text[i] == wanted;
    return k;
}

/* MHD has read the request line.  It is about to make an item of each query
 * argument, and waits for ever when they do not fit.                        */
static void *on_target(void *cls, const char *target,
                       struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *connection = info->socket_context;
    struct exchange *x = connection ? mem_zero(1, sizeof *x) : NULL;
    struct request *request = x ? &x->request : NULL;

    if (!x)
        return NULL;
    x->http = cls;
    x->connection = connection;
    x->wake = wake;
    x->cut = cut;
    x->answers = connection->answers;
    x->bodies = &x->http->bodies;
    x->raw_target = target;
    request->exchange = x;
    request->arena = mem_arena_new(REQUEST_ARENA_BYTES);
    request->target =
        request->arena ? mem_arena_strdup(request->arena, target) : NULL;
    request->peer = connection->peer;
    request->body = "";
    request->path = "";
    request->started_ms = loop_now_ms();
    if (!request->target) {
        exchange_free(x);
        return NULL;
    }
    connection->exchange = x;
    if (connection->phase != PHASE_HEAD)
        connection_set_phase(connection, PHASE_HEAD);
    if (strlen(target) > TARGET_BYTES ||
        count_bytes(target, strlen(target), '&') >= TARGET_ITEMS) {
        x->is_gone = true;
        refuse_head(x, ERROR_URI_TOO_LONG);
        (void)shutdown(connection->fd, SHUT_RDWR);
    }
    return x;
}

static void log_request(const struct exchange *x)
{
    static const char *const names[] = {"GET",    "POST",    "PUT",
                                        "DELETE", "OPTIONS", "?"};
    const struct request *request = &x->request;
    bool is_health = strncmp(request->target, "/health/", 8) == 0;
    struct log_line line;

    if (!x->http->config->log_requests)
        return;
    log_begin(&line, is_health ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "request");
    log_text(&line, "req_id", request->id);
    log_text(&line, "method",
             request->is_head ? "HEAD" : names[request->method]);
    if (request->route)
        log_text(&line, "route", request->route->pattern);
    log_text(&line, "target", request->target);
    log_int(&line, "status", x->is_gone && !x->status ? 499 : (int)x->status);
    log_int(&line, "bytes", (int64_t)(x->n_bytes + x->n_streamed));
    log_int(&line, "dur_ms", (int64_t)(loop_now_ms() - request->started_ms));
    log_text(&line, "peer", request->peer);
    log_end(&line);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;

    (void)cls;
    (void)mhd;
    *context = NULL;
    if (!x)
        return;
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        x->is_gone = true;
    if (code == MHD_REQUEST_TERMINATED_WITH_ERROR && !x->status)
        x->status = x->http->refused_status;
    x->http->refused_status = 0;
    log_request(x);
    x->connection->exchange = NULL;
    connection_set_phase(x->connection, PHASE_IDLE);
    x->connection = NULL;
    body_release(x);
    exchange_free(x);
}

/* ------------------------------------------------------- reading the head */

struct head {
    struct exchange *exchange;
    struct framing_header headers[REQUEST_MAX_HEADERS];
    size_t n;
    bool has_failed;
};

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind,
                                 const char *name, size_t n_name,
                                 const char *value, size_t n_value)
{
    struct head *head = cls;
    struct request *request = &head->exchange->request;
    struct request_pair *pair;

    (void)kind;
    if (head->n == REQUEST_MAX_HEADERS) {
        head->has_failed = true;
        return MHD_NO;
    }
    head->headers[head->n++] =
        (struct framing_header){name, n_name, value ? value : "", n_value};
    pair = &request->headers[request->n_headers];
    pair->name = mem_arena_strndup(request->arena, name, n_name);
    pair->value = mem_arena_strndup(request->arena, value ? value : "",
                                    value ? n_value : 0);
    if (!pair->name || !pair->value) {
        head->has_failed = true;
        return MHD_NO;
    }
    request->n_headers++;
    return MHD_YES;
}

/* --------------------------------------------------------------- answering */

static ssize_t on_stream_wanted(void *cls, uint64_t at, char *out, size_t max)
{
    struct exchange *x = cls;
    size_t n;

    (void)at;
    if (x->is_gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    n = exchange_take(x, out, max);
    if (n)
        return (ssize_t)n;
    if (x->state == EXCHANGE_STREAMED)
        return MHD_CONTENT_READER_END_OF_STREAM;
    suspend(x->connection);
    return 0;
}

/* Of a stream that is only asked for its head MHD would send the end, a last
 * chunk, which the client takes for the next answer; not so without chunks. */
static struct MHD_Response *make_stream(struct exchange *x)
{
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_stream_wanted, x, NULL);

    if (response && x->request.is_head)
        (void)MHD_set_response_options(
            response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return response;
}

static struct MHD_Response *make_response(struct exchange *x)
{
    bool is_stream =
        x->state == EXCHANGE_STREAMING || x->state == EXCHANGE_STREAMED;

    if (is_stream)
        return make_stream(x);
    /* PERSISTENT: the exchange keeps the bytes until it is completed.       */
    return MHD_create_response_from_buffer(x->n_bytes, (void *)x->bytes,
                                           MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result queue_answer(struct exchange *x)
{
    struct MHD_Response *response = make_response(x);
    enum MHD_Result result;
    size_t i;

    if (!response)
        return MHD_NO;
    if (x->http->is_closing)
        x->must_close = true;
    exchange_finish_headers(x);
    for (i = 0; i < x->n_headers; i++)
        (void)MHD_add_response_header(response, x->headers[i].name,
                                      x->headers[i].value);
    connection_set_phase(x->connection, PHASE_SENDING);
    result = MHD_queue_response(x->connection->mhd, x->status, response);
    MHD_destroy_response(response);
    return result;
}

/* After a handler ran or a deferred request was woken. */
static enum MHD_Result advance(struct exchange *x)
{
    switch (x->state) {
    case EXCHANGE_READING:
    case EXCHANGE_HANDLING:
        reply_error(&x->request, ERROR_INTERNAL, "no answer was made");
        return queue_answer(x);
    case EXCHANGE_DEFERRED:
        suspend(x->connection);
        return MHD_YES;
    case EXCHANGE_ANSWERED:
    case EXCHANGE_STREAMING:
    case EXCHANGE_STREAMED:
        return queue_answer(x);
    }
    return MHD_NO;
}

/* Whether what the head takes of MHD's pool leaves room for the answer's: else
 * MHD closes without a word.  It takes the buffer that it was read into, an
 * item for each header, query argument and cookie, and cookies once more.   */
static bool leaves_room(const struct exchange *x, const struct head *head)
{
    const char *target = x->request.target;
    size_t n = strlen(target) + 16; /* method, version                       */
    size_t n_items = count_bytes(target, n - 16, '&') + 1, n_cookies = 0;

    for (size_t i = 0; i < head->n; i++) {
        const struct framing_header *h = &head->headers[i];

        n += h->n_name + h->n_value + 4;
        n_items++;
        if (h->n_name == 6 && strncasecmp(h->name, "Cookie", 6) == 0) {
            n_cookies += h->n_value;
            n_items += count_bytes(h->value, h->n_value, ';') + 1;
        }
    }
    return n <= HEAD_BYTES && ITEM_BYTES * n_items + n_cookies <=
                                  POOL_BYTES - HEAD_BYTES - ANSWER_BYTES;
}

/* First call: the head is complete. */
static enum MHD_Result take_head(struct exchange *x, const char *method,
                                 const char *version)
{
    struct request *request = &x->request;
    struct head head = {.exchange = x};
    struct framing framing = {.method = method,
                              .target = request->target,
                              .version = version,
                              .headers = head.headers};
    enum error_code code;
    const char *why;
    size_t limit = 0;

    x->has_head = true;
    (void)MHD_get_connection_values_n(x->connection->mhd, MHD_HEADER_KIND,
                                      on_header, &head);
    if (head.has_failed || !leaves_room(x, &head)) {
        refuse_head(x, ERROR_HEADERS_TOO_LARGE);
        return MHD_NO;
    }
    framing.n_headers = head.n;
    head_set_method(request, method);
    head_set_id(request);
    why = framing_check(&framing, &code);
    if (!why && strcmp(MHD_get_version(), "0.9.75") == 0 &&
        !framing_is_contiguous(&framing, x->raw_target))
        why = "a line of the head does not end in one CR LF, is folded or "
              "has a NUL byte";
    if (why) { /* code is ERROR_MALFORMED_REQUEST unless framing.c chose    */
        x->must_close = true;
        reply_error(request, code, "%s", why);
        return queue_answer(x);
    }
    request->target = framing.path;
    x->takes_interim = strcmp(version, "HTTP/1.1") == 0;
    if (gate_pass(request, &framing, x->http->config))
        limit = request->route->body_limit;
    if (x->state == EXCHANGE_ANSWERED &&
        (framing.is_chunked || framing.length > DISCARD_BYTES ||
         framing.expects_continue)) {
        x->must_close = true;
        return queue_answer(x); /* before the body: MHD closes after it      */
    }
    body_begin(x, limit, x->state == EXCHANGE_ANSWERED);
    connection_set_phase(x->connection, PHASE_BODY);
    return MHD_YES;
}

/* The request is complete. */
static enum MHD_Result dispatch(struct exchange *x)
{
    struct request *request = &x->request;

    if (x->state == EXCHANGE_READING) {
        x->state = EXCHANGE_HANDLING;
        x->connection->phase = PHASE_WAITING;
        if (body_end(x))
            request->route->handler(x->http->service, request);
    }
    return advance(x);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd,
                                  const char *url, const char *method,
                                  const char *version, const char *upload,
                                  size_t *n_upload, void **context)
{
    struct exchange *x = *context;
    bool is_taken;

    (void)cls;
    (void)mhd;
    (void)url;
    if (!x || x->is_gone)
        return MHD_NO;
    if (!x->has_head)
        return take_head(x, method, version);
    if (*n_upload == 0)
        return dispatch(x);
    is_taken = body_take(x, upload, *n_upload);
    *n_upload = 0;
    return is_taken ? MHD_YES : MHD_NO;
}

/* ------------------------------------------------------------ start, stop */

/* The parser answers some requests by itself, in HTML: their line or framing
 * is beyond it, or larger than its pool.  Of that it calls nothing but its log,
 * with the status first, before it sends; they are counted as the problems that
 * they are. */
static void count_refusal(struct http *http, const char *format, va_list args)
{
    static const enum error_code codes[] = {
        ERROR_BODY_TOO_LARGE, ERROR_URI_TOO_LONG, ERROR_HEADERS_TOO_LARGE,
        ERROR_VERSION_NOT_SUPPORTED};
    enum error_code code;
    va_list copy;

    if (!strstr(format, "HTTP response code is %u"))
        return;
    va_copy(copy, args);
    http->refused_status = va_arg(copy, unsigned);
    va_end(copy);
    code =
        http->refused_status < 500 ? ERROR_MALFORMED_REQUEST : ERROR_INTERNAL;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (error_info(codes[i])->status == http->refused_status)
            code = codes[i];
    http->answers.n_problems[code]++;
}

static void on_mhd_log(void *cls, const char *format, va_list args)
{
    char text[256];

    count_refusal(cls, format, args);
    if (!log_is_on(LOG_LEVEL_DEBUG))
        return;
    (void)vsnprintf(text, sizeof text, format, args);
    log_event(LOG_LEVEL_DEBUG, "parser", "text", text);
}

static struct MHD_Daemon *start_daemon(struct http *http)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
        NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, http,
        MHD_OPTION_LISTEN_SOCKET, http->listener.fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)http->config->max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_URI_LOG_CALLBACK,
        on_target, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_END);
}

static bool start_watching(struct http *http)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);

    http->timer = loop_timer_new(http->loop, pump, http);
    http->sweeper = loop_timer_new(http->loop, sweep, http);
    if (!info || !http->timer || !http->sweeper)
        return false;
    http->watch = loop_watch_new(http->loop, info->epoll_fd, pump, http);
    if (!http->watch)
        return false;
    loop_timer_start(http->timer, 0, 0);
    loop_timer_start(http->sweeper, HTTP_SWEEP_MS, HTTP_SWEEP_MS);
    return true;
}

struct http *http_new(struct service *service, struct listener *listener,
                      char *why, size_t why_size)
{
    struct http *http = mem_zero(1, sizeof *http);

    if (!http) {
        listener_close(listener);
        (void)snprintf(why, why_size, "out of memory");
        return NULL;
    }
    ring_init(&http->connections);
    http->service = service;
    http->loop = service->loop;
    http->config = service->config;
    http->bodies.max_bytes = (size_t)service->config->body_bytes;
    http->answers.room.max_bytes = (size_t)service->config->answer_bytes;
    http->listener = *listener;
    *listener = (struct listener){.fd = -1};
    http->hangups = hangups_new(http->loop, http->config, leave);
    http->daemon = http->hangups ? start_daemon(http) : NULL;
    if (!http->daemon || !start_watching(http)) {
        (void)snprintf(why, why_size, "the HTTP server cannot start");
        http_free(http);
        return NULL;
    }
    return http;
}

void http_refuse(struct http *http)
{
    int fd;

    if (http->is_closing)
        return;
    http->is_closing = true;
    fd = (int)MHD_quiesce_daemon(http->daemon);
    http->listener.fd = fd;
    listener_close(&http->listener);
}

void http_end_idle(struct http *http)
{
    for (struct ring *at = http->connections.next; at != &http->connections;
         at = at->next)
        if (!connection_at(at)->exchange)
            (void)shutdown(connection_at(at)->fd, SHUT_RDWR);
}

size_t http_connections(const struct http *http)
{
    return http->n_connections;
}

size_t http_body_bytes(const struct http *http)
{
    return http->bodies.n_bytes;
}

struct answers *http_answers(struct http *http)
{
    return &http->answers;
}

/* Suspended connections must not be left when the daemon stops. */
static void end_all(struct http *http)
{
    int i;

    for (struct ring *at = http->connections.next; at != &http->connections;
         at = at->next) {
        struct connection *connection = connection_at(at);

        leave(connection);
        (void)shutdown(connection->fd, SHUT_RDWR);
    }
    for (i = 0; i < MAX_RUNS; i++)
        (void)MHD_run(http->daemon);
}

void http_free(struct http *http)
{
    if (!http)
        return;
    if (http->daemon) {
        http_refuse(http);
        http->is_running = true; /* no timer is to be started any more       */
        end_all(http);
    }
    loop_timer_free(http->sweeper);
    loop_timer_free(http->timer);
    loop_watch_free(http->watch);
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    else
        listener_close(&http->listener);
    hangups_free(http->hangups);
    mem_free(http);
}
