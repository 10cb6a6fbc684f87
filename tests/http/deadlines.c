/* deadlines.c - slow clients are cut, each at its limit, and those that are
 * only patient are not.
 *
 * The server runs with all four limits set to limit_ms.  All slow clients
 * run at once: their sockets are fed by one loop.  A client can tell that it was
 * cut, with what answer, and that it was not cut early: the limit begins behind
 * what it did last, whoever had the CPU since.  How late a cut came it cannot
 * tell from how late it learnt of it; t_f_deadlines.sh holds the server's log,
 * which has the server's own clock, to the exact bound.
 *
 * SPDX-License-Identifier: MIT
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rawclient.h"

/* Who is still open then is never cut; the test ends, and fails. */
#define HANG_MS 120000
#define FEED_MS 50
#define N_LORIS 100
/* Two clocks cut down to whole milliseconds. */
#define ROUND_MS 1

#define HEAD "GET /health/live HTTP/1.1\r\nHost: localhost\r\n"

struct slow {
    const char *name;
    const char *start; /* said at once                                       */
    const char *drip;  /* then a byte each FEED_MS, again and again          */
    bool must_answer;  /* 408 before the end                                 */
};

static const struct slow slows[] = {
    {"silent", "", NULL, true},
    {"slow_line", "GET /hea", "x", true},
    {"slow_head", HEAD "X: ", "x", true},
    {"stalled_head", HEAD, NULL, true},
    {"slow_body",
     "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000"
     "\r\n\r\n",
     "x", true},
    {"stalled_body",
     "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9"
     "\r\n\r\nx",
     NULL, true},
    {"slow_chunks",
     "POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
     "chunked\r\n\r\nfff0\r\n",
     "x", true},
    {"idle", HEAD "\r\n", NULL, false},
};
#define N_SLOWS (sizeof slows / sizeof *slows)

struct running {
    const struct slow *slow;
    int fd;
    uint64_t from_ms; /* before it is connected                              */
    int closed_ms;    /* after from_ms; -1: still open                       */
    char heard[2048];
    size_t n_heard;
};

static void feed(struct running *r)
{
    if (r->closed_ms < 0 && r->slow->drip)
        (void)send(r->fd, r->slow->drip, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void listen_to(struct running *r)
{
    char bytes[1024];
    ssize_t n;

    if (r->closed_ms >= 0)
        return;
    n = recv(r->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 ||
        (n < 0 && recv(r->fd, bytes, 1, MSG_DONTWAIT | MSG_PEEK) < 0 &&
         poll(&(struct pollfd){r->fd, POLLHUP, 0}, 1, 0) > 0)) {
        r->closed_ms = (int)(now_ms() - r->from_ms);
        return;
    }
    if (n > 0 && r->n_heard + (size_t)n < sizeof r->heard) {
        memcpy(r->heard + r->n_heard, bytes, (size_t)n);
        r->n_heard += (size_t)n;
    }
}

static void run_all(struct running *all, size_t n)
{
    uint64_t start = now_ms();
    bool is_any_open = true;

    while (is_any_open && now_ms() - start < HANG_MS) {
        is_any_open = false;
        for (size_t i = 0; i < n; i++) {
            feed(&all[i]);
            listen_to(&all[i]);
            is_any_open = is_any_open || all[i].closed_ms < 0;
        }
        (void)poll(NULL, 0, FEED_MS); /* the clients' pace                   */
    }
}

static void test_slow_clients(int port, int limit_ms)
{
    struct running *all = calloc(N_SLOWS + N_LORIS, sizeof *all);
    int least = limit_ms - ROUND_MS;
    int n_cut = 0;
    size_t i;

    for (i = 0; i < N_SLOWS + N_LORIS; i++) {
        all[i].slow = &slows[i < N_SLOWS ? i : 2];
        all[i].from_ms = now_ms();
        all[i].fd = dial(port);
        all[i].closed_ms = -1;
        say_text(all[i].fd, all[i].slow->start);
    }
    run_all(all, N_SLOWS + N_LORIS);
    for (i = 0; i < N_SLOWS; i++) {
        const struct running *r = &all[i];
        char name[64];

        (void)snprintf(name, sizeof name, "f_deadline_%s", r->slow->name);
        verdict(name,
                r->closed_ms >= least && (!r->slow->must_answer ||
                                          strstr(r->heard, "HTTP/1.1 408 ")),
                "closed after %d ms, wanted %d or more; heard \"%.40s\"",
                r->closed_ms, least, r->heard);
    }
    for (; i < N_SLOWS + N_LORIS; i++)
        n_cut += all[i].closed_ms >= least;
    verdict("f_slow_loris_cut", n_cut == N_LORIS,
            "%d of %d were cut, each after %d ms or more", n_cut, N_LORIS,
            least);
    for (i = 0; i < N_SLOWS + N_LORIS; i++)
        (void)close(all[i].fd);
    free(all);
}

/* The second request of a kept connection has its own deadline. */
static void test_second_head(int port, int limit_ms)
{
    struct reply *reply = malloc(sizeof *reply);
    int fd = dial(port);
    uint64_t from;
    int closed;

    say_text(fd, HEAD "\r\n");
    hear(fd, reply, 1000, 1);
    from = now_ms();
    say_text(fd, "GET /hea");
    closed = until_closed(fd, HANG_MS) < 0 ? -1 : (int)(now_ms() - from);
    verdict("f_deadline_second_head", closed >= limit_ms - ROUND_MS,
            "closed after %d ms, wanted %d or more", closed,
            limit_ms - ROUND_MS);
    (void)close(fd);
    free(reply);
}

/* An answer that the client does not take: many pipelined requests, a small
 * receive window, nothing read.  Its clock starts when the last byte arrived,
 * which the socket tells: behind the last look that saw fewer.              */
static void test_stalled_write(int port, int limit_ms)
{
    static const char request[] =
        "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd = dial_small(port);
    struct pollfd end = {fd, POLLRDHUP, 0};
    uint64_t start = now_ms(), looked = start, moved = start;
    int n_there = 0;
    int closed = -1;
    int i;

    for (i = 0; i < 2000; i++)
        if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL | MSG_DONTWAIT) <
            0)
            break;
    while (closed < 0 && looked - start < HANG_MS) {
        uint64_t now = now_ms();
        int n = 0;

        if (ioctl(fd, FIONREAD, &n) == 0 && n != n_there) {
            n_there = n;
            moved = looked;
        }
        looked = now;
        /* A reset or a FIN behind unread bytes: ask the socket, not recv(). */
        if (poll(&end, 1, 10) > 0)
            closed = (int)(now_ms() - moved);
    }
    verdict("f_deadline_stalled_write",
            n_there > 0 && closed >= limit_ms - ROUND_MS,
            "closed %d ms after the last of %d bytes, wanted %d or more",
            closed, n_there, limit_ms - ROUND_MS);
    (void)close(fd);
}

/* A stream of events whose client stops reading: its window is small, so it
 * is full long before the sockets' buffers are.                             */
static void test_stalled_stream(int port, const char *path)
{
    struct reply *reply = malloc(sizeof *reply);
    char text[300];
    int fd = dial_small(port);
    bool is_closed;

    (void)snprintf(text, sizeof text,
                   "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    say_text(fd, text);
    hear(fd, reply, 1000, 1);
    /* The window fills, then the limit passes. */
    is_closed = poll(&(struct pollfd){fd, POLLRDHUP, 0}, 1, HANG_MS) > 0;
    verdict("f_deadline_stalled_stream", reply->status == 200 && is_closed,
            "status %d, closed: %d", reply->status, is_closed);
    (void)close(fd);
    free(reply);
}

void deadline_tests(int port, int limit_ms, const char *path)
{
    test_slow_clients(port, limit_ms);
    test_second_head(port, limit_ms);
    test_stalled_write(port, limit_ms);
    test_stalled_stream(port, path);
}
