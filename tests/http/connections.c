/* connections.c - limits of connections, large heads and bodies, hang-ups.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rawclient.h"

#define HOST "Host: localhost\r\n"
#define POST "POST /generate HTTP/1.1\r\n" HOST
#define LIVE "GET /health/live HTTP/1.1\r\n" HOST "\r\n"

/* At the limit a client waits; it is served as soon as another leaves. */
static void test_limit(int port, int limit, struct reply *reply)
{
    int *fds = calloc((size_t)limit, sizeof *fds);
    uint64_t start;
    int served = 0;
    int extra;
    int i;

    for (i = 0; i < limit; i++) {
        fds[i] = dial(port);
        say_text(fds[i], LIVE);
        hear(fds[i], reply, 3000, 1);
        served += reply->status == 200;
    }
    extra = dial(port);
    say_text(extra, LIVE);
    hear(extra, reply, 300, 1);
    verdict("f_limit_waits", served == limit && reply->n_final == 0,
            "%d of %d served, the one above got status %d", served, limit,
            reply->status);
    start = now_ms();
    (void)close(fds[0]);
    hear(extra, reply, 3000, 1);
    verdict("f_limit_no_stall", reply->status == 200 && now_ms() - start < 500,
            "status %d after %d ms", reply->status, (int)(now_ms() - start));
    for (i = 1; i < limit; i++)
        (void)close(fds[i]);
    (void)close(extra);
    free(fds);
}

static int ask(int port, const char *text, struct reply *reply)
{
    int fd = dial(port);

    say_text(fd, text);
    hear(fd, reply, 2000, 1);
    (void)close(fd);
    return reply->status;
}

/* One request, one wanted status, and perhaps a text that must be there. */
static void expect(const char *name, int port, const char *text, int wanted,
                   const char *part, struct reply *reply)
{
    (void)ask(port, text, reply);
    verdict(name,
            reply->status == wanted && (!part || strstr(reply->bytes, part)),
            "wanted %d%s%s, got %d: %.300s", wanted, part ? " with " : "",
            part ? part : "", reply->status, reply->bytes);
}

static void test_large_heads(int port, struct reply *reply)
{
    const size_t n = 70000;
    char *text = malloc(n + 200);
    size_t at;
    int i;

    (void)snprintf(text, 100, "GET /");
    memset(text + 5, 'a', n);
    (void)snprintf(text + 5 + n, 100, " HTTP/1.1\r\n" HOST "\r\n");
    expect("f_large_target", port, text, 414, NULL, reply);
    at = 5 + 9000; /* that one is ours, the one before the parser's          */
    (void)snprintf(text + at, 100, " HTTP/1.1\r\n" HOST "\r\n");
    expect("f_long_target", port, text, 414, "uri_too_long", reply);
    at = (size_t)snprintf(text, 100, "GET / HTTP/1.1\r\n" HOST "X: ");
    memset(text + at, 'a', n);
    (void)snprintf(text + at + n, 100, "\r\n\r\n");
    expect("f_large_header", port, text, 431, NULL, reply);
    at = (size_t)snprintf(text, 100, "GET / HTTP/1.1\r\n" HOST);
    for (i = 0; i < 500; i++)
        at += (size_t)snprintf(text + at, 100, "X%d: 1\r\n", i);
    (void)snprintf(text + at, 100, "\r\n");
    expect("f_many_headers", port, text, 431, NULL, reply);
    at = (size_t)snprintf(text, 100, "GET /health/live HTTP/1.1\r\n" HOST);
    for (i = 0; i < 60; i++)
        at += (size_t)snprintf(text + at, 200, "X%d: %0*d\r\n", i, 100, i);
    (void)snprintf(text + at, 100, "\r\n");
    expect("f_large_sound_head", port, text, 200, NULL, reply);
    free(text);
}

/* Small steps around 8 KiB, the limit of a target, 16 KiB, that of a head, and
 * 32 KiB, the parser's buffer. */
static size_t step_to_limit(size_t n)
{
    if (n >= 8100 && n < 8300)
        return 5;
    if (n >= 15000 && n < 17500)
        return 60;
    if (n >= 32700)
        return 3;
    return n + 1000 < 32700 ? 1000 : 32700 - n;
}

/* Around the limits, and with as many query arguments as fit: what is
 * too much is told, nothing is left without an answer. */
static void test_heads_at_the_limit(int port, struct reply *reply)
{
    static const char filling[] = "x&";
    char text[34000];
    int n_silent = 0, n_right = 0, n_refused = 0;

    for (size_t n = 100; n < 32800; n += step_to_limit(n))
        for (size_t k = 0; k < 2; k++) {
            size_t at = (size_t)snprintf(text, sizeof text, "GET /?");

            memset(text + at, filling[k], n);
            (void)snprintf(text + at + n, sizeof text - at - n,
                           " HTTP/1.1\r\n" HOST "\r\n");
            (void)ask(port, text, reply);
            n_silent += reply->n_final != 1;
            n_right += reply->status == 200;
            n_refused += reply->status == 431 || reply->status == 400 ||
                         reply->status == 414;
        }
    verdict("f_heads_at_the_limit",
            n_silent == 0 && n_right > 20 && n_refused > 20,
            "%d without one answer, %d served, %d refused", n_silent, n_right,
            n_refused);
}

/* Half a million chunks of one byte: memory stays flat, and the answer comes
 * at the end, since none can be queued while a body arrives.               */
static void test_many_chunks(int port, struct reply *reply)
{
    static const char chunk[] = "1\r\nx\r\n";
    const size_t n = 1u << 19;
    char *chunks = malloc(n * (sizeof chunk - 1));
    int fd = dial(port);
    size_t i;

    for (i = 0; i < n; i++)
        memcpy(chunks + i * (sizeof chunk - 1), chunk, sizeof chunk - 1);
    say_text(fd, "POST /v1/jobs/none/cancel HTTP/1.1\r\n" HOST
                 "Transfer-Encoding: chunked\r\n\r\n");
    say(fd, chunks, n * (sizeof chunk - 1));
    say_text(fd, "0\r\n\r\n");
    hear(fd, reply, 10000, 1);
    verdict("f_many_chunks", reply->status == 413, "wanted 413, got %d",
            reply->status);
    (void)close(fd);
    free(chunks);
}

#define LARGE_BODY 600000
#define LARGE_HALF 400000
#define WAIT_MS    20000

/* Ask with a large body until the answer is `wanted`; 0 after WAIT_MS. */
static int ask_until(int port, const char *body, int wanted,
                     struct reply *reply)
{
    uint64_t start = now_ms();

    do {
        int fd = dial(port);

        say_text(fd, POST "Content-Length: 600000\r\n\r\n");
        say(fd, body, LARGE_BODY);
        hear(fd, reply, 5000, 1);
        (void)close(fd);
    } while (reply->status != wanted && now_ms() - start < WAIT_MS);
    return reply->status == wanted ? wanted : 0;
}

/* The server runs with --body-bytes 1M: a second large body finds no room while
 * the first is half there, a small one does; then all is as before. */
static void test_crowded(int port, struct reply *reply)
{
    char *body = calloc(1, LARGE_BODY);
    int first = dial(port);
    int status;

    memset(body, 'x', LARGE_BODY);
    say_text(first, POST "Content-Length: 600000\r\n\r\n");
    say(first, body, LARGE_HALF);
    status = ask_until(port, body, 503, reply);
    verdict("f_crowded_503", status && strstr(reply->bytes, "Retry-After: 1"),
            "got %d: %.300s", reply->status, reply->bytes);
    expect("f_crowded_small", port, POST "Content-Length: 1\r\n\r\nx", 400,
           NULL, reply);
    say(first, body + LARGE_HALF, LARGE_BODY - LARGE_HALF);
    hear(first, reply, 5000, 1);
    verdict("f_crowded_first", reply->status == 400, "got %d", reply->status);
    (void)close(first);
    status = ask_until(port, body, 400, reply);
    verdict("f_crowded_over", status == 400, "got %d", reply->status);
    free(body);
}

static void test_bodies(int port, struct reply *reply)
{
    uint64_t start = now_ms();
    int took;

    expect("f_body_413_early", port, POST "Content-Length: 999999999\r\n\r\n",
           413, NULL, reply);
    took = (int)(now_ms() - start);
    verdict("f_body_413_at_once", took < 1000, "after %d ms", took);
    expect("f_body_413_expected", port,
           POST "Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n",
           413, NULL, reply);
    verdict("f_body_413_without_continue",
            !strstr(reply->bytes, "100 Continue"), "%s", reply->bytes);
    expect("f_continue", port,
           POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 400,
           "HTTP/1.1 100 Continue", reply);
    expect("f_expect_else", port,
           POST "Expect: coffee\r\nContent-Length: 1\r\n\r\nx", 417, NULL,
           reply);
    expect("f_body_where_none", port,
           "GET /health/live HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx",
           413, NULL, reply);
    test_many_chunks(port, reply);
    test_crowded(port, reply);
}

/* A client that ends its side behind its request has not left: it gets its
 * answer.  The job takes longer than the end to arrive. */
static void test_half_closed(int port, struct reply *reply)
{
    static const char body[] = "{\"steps\":400,\"on_disconnect\":\"cancel\"}";
    static const struct {
        const char *name, *version, *accept;
        int wanted;       /* 0: it counts as gone, for want of a way to tell */
        const char *part; /* of the answer                                   */
    } rows[] = {
        {"f_half_closed", "1.1", "application/json", 200, "\"succeeded\""},
        {"f_half_closed_stream", "1.1", "text/event-stream", 200,
         "event: done"},
        {"f_half_closed_stream_1_0", "1.0", "text/event-stream", 200,
         "event: done"},
        {"f_half_closed_1_0", "1.0", "application/json", 0, NULL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        int fd = dial(port);

        (void)snprintf(text, sizeof text,
                       "POST /generate?preview=none&image=url HTTP/%s\r\n" HOST
                       "Content-Type: application/json\r\nAccept: %s\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       rows[i].version, rows[i].accept, sizeof body - 1, body);
        say_text(fd, text);
        (void)shutdown(fd, SHUT_WR);
        hear(fd, reply, 20000, 0);
        (void)close(fd);
        verdict(rows[i].name,
                reply->is_closed && reply->status == rows[i].wanted &&
                    (!rows[i].part || strstr(reply->bytes, rows[i].part)),
                "wanted %d%s%s and the end, got %d, %zu bytes: %.300s",
                rows[i].wanted, rows[i].part ? " with " : "",
                rows[i].part ? rows[i].part : "", reply->status, reply->n,
                reply->bytes);
    }
}

static void test_hosts(int port, struct reply *reply)
{
    static const struct {
        const char *host;
        int wanted;
    } rows[] = {{"localhost", 200},        {"localhost:1", 200},
                {"127.0.0.1", 200},        {"[::1]:80", 200},
                {"evil.example", 421},     {"localhost.evil.example", 421},
                {"127.0.0.1.nip.io", 421}, {"paint.local", 200}};
    char text[200];
    size_t i;

    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[80];

        (void)snprintf(text, sizeof text,
                       "GET /health/live HTTP/1.1\r\nHost: %s\r\n\r\n",
                       rows[i].host);
        (void)snprintf(name, sizeof name, "f_host_%s", rows[i].host);
        expect(name, port, text, rows[i].wanted, NULL, reply);
    }
}

static void test_headers(int port, struct reply *reply)
{
    static const struct {
        const char *name, *text;
        int wanted;
        const char *part;
    } rows[] = {
        {"f_request_id_echo",
         "GET /health/live HTTP/1.1\r\n" HOST "X-Request-Id: my-id-7\r\n\r\n",
         200, "X-Request-Id: my-id-7\r\n"},
        {"f_request_id_bad",
         "GET /health/live HTTP/1.1\r\n" HOST "X-Request-Id: my id\r\n\r\n",
         200, "X-Request-Id: req_"},
        {"f_nosniff", LIVE, 200, "X-Content-Type-Options: nosniff\r\n"},
        {"f_resource_policy", LIVE, 200,
         "Cross-Origin-Resource-Policy: same-origin\r\n"},
        {"f_no_store", LIVE, 200, "Cache-Control: no-store\r\n"},
        {"f_405_allow", "DELETE /health/live HTTP/1.1\r\n" HOST "\r\n", 405,
         "Allow: GET, HEAD, OPTIONS\r\n"},
        {"f_unknown_method", "PURGE /health/live HTTP/1.1\r\n" HOST "\r\n", 405,
         "Allow: GET, HEAD, OPTIONS\r\n"},
        {"f_options", "OPTIONS /health/live HTTP/1.1\r\n" HOST "\r\n", 204,
         "Allow: GET, HEAD, OPTIONS\r\n"},
        {"f_404_problem", "GET /nope HTTP/1.1\r\n" HOST "\r\n", 404,
         "application/problem+json"},
        {"f_404_openai", "GET /nope HTTP/1.1\r\n" HOST "\r\n", 404,
         "\"error\":{\"message\""},
        {"f_problem_help",
         "GET /problems/body-too-large HTTP/1.1\r\n" HOST "\r\n", 200,
         "\"help\""},
        {"f_csrf_form",
         POST "Origin: http://evil.example\r\nContent-Type: text/plain\r\n"
              "Content-Length: 1\r\n\r\nx",
         415, NULL},
        {"f_curl_form_is_json",
         POST "Content-Type: application/x-www-form-urlencoded\r\n"
              "Content-Length: 1\r\n\r\nx",
         400, "malformed-json"},
        {"f_http_1_2", "GET / HTTP/1.2\r\n" HOST "\r\n", 505,
         "version_not_supported"},
        {"f_http_2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, NULL},
        {"f_chunk_size",
         POST "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 400,
         NULL},
        {"f_chunk_too_large",
         POST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 413,
         NULL},
        {"f_nul_in_path", "GET /health/live%00x HTTP/1.1\r\n" HOST "\r\n", 400,
         NULL},
        {"f_bad_escape", "GET /health/live?a=%zz HTTP/1.1\r\n" HOST "\r\n", 400,
         NULL},
    };
    size_t i;

    for (i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(rows[i].name, port, rows[i].text, rows[i].wanted, rows[i].part,
               reply);
}

/* Close at every stage; afterwards the server still answers. */
static void test_hangups(int port, struct reply *reply)
{
    static const char *const stages[] = {
        "", "GET /hea", "GET /health/live HTTP/1.1\r\n" HOST,
        "POST /generate HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nxxx",
        LIVE};
    struct linger at_once = {1, 0};
    size_t i;
    int round;

    for (round = 0; round < 40; round++) {
        for (i = 0; i < sizeof stages / sizeof *stages; i++) {
            int fd = dial(port);

            say_text(fd, stages[i]);
            if (round % 2) /* a reset instead of an end                      */
                (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once,
                                 sizeof at_once);
            (void)close(fd);
        }
    }
    expect("f_hangups_survived", port, LIVE, 200, NULL, reply);
}

void connection_tests(int port, int limit)
{
    struct reply *reply = malloc(sizeof *reply);

    test_headers(port, reply);
    test_half_closed(port, reply);
    test_hosts(port, reply);
    test_large_heads(port, reply);
    test_heads_at_the_limit(port, reply);
    test_bodies(port, reply);
    test_hangups(port, reply);
    test_limit(port, limit, reply);
    free(reply);
}
