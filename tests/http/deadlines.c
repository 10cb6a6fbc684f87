/* deadlines.c - slow clients are cut, each at its limit, and those that are
 * only patient are not.
 *
 * The server runs with all four limits set to limit_ms.  All slow clients
 * run at once: their sockets are fed by one loop.  A client on a busy machine
 * sees a cut later than it was made, so it adds the time it was itself kept
 * waiting; t_f_deadlines.sh holds the server's log, which has the server's own
 * clock, to the exact bound.
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

/* After a deadline.  A second is what is promised, and the server's own clock,
 * in the log, shows that; a server that waits for a CPU beside other tests or
 * under the thread sanitizer is late for everybody else, so this shows only
 * that the cut came. */
#define LATE_MS 4000
#define FEED_MS 50
#define N_LORIS 100

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
    int closed_ms; /* -1: still open                                         */
    char heard[2048];
    size_t n_heard;
};

static void feed(struct running *r)
{
    if (r->closed_ms < 0 && r->slow->drip)
        (void)send(r->fd, r->slow->drip, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void listen_to(struct running *r, uint64_t start)
{
    char bytes[1024];
    ssize_t n;

    if (r->closed_ms >= 0)
        return;
    n = recv(r->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 ||
        (n < 0 && recv(r->fd, bytes, 1, MSG_DONTWAIT | MSG_PEEK) < 0 &&
         poll(&(struct pollfd){r->fd, POLLHUP, 0}, 1, 0) > 0)) {
        r->closed_ms = (int)(now_ms() - start);
        return;
    }
    if (n > 0 && r->n_heard + (size_t)n < sizeof r->heard) {
        memcpy(r->heard + r->n_heard, bytes, (size_t)n);
        r->n_heard += (size_t)n;
    }
}

/* Feeds and hears until all are closed or the time is over; returns the
 * longest time between two rounds: as much later than due, on a machine that
 * does other things, this process or the server may have had its turn.      */
static int run_all(struct running *all, size_t n, int limit_ms)
{
    uint64_t start = now_ms();
    uint64_t last = start;
    int longest = 0;
    size_t i;

    while (now_ms() - start < (uint64_t)(limit_ms + 4 * LATE_MS)) {
        bool is_any_open = false;

        if ((int)(now_ms() - last) > longest)
            longest = (int)(now_ms() - last);
        last = now_ms();

        for (i = 0; i < n; i++) {
            feed(&all[i]);
            listen_to(&all[i], start);
            is_any_open = is_any_open || all[i].closed_ms < 0;
        }
        if (!is_any_open)
            break;
        (void)poll(NULL, 0, FEED_MS); /* the clients' pace                   */
    }
    return longest;
}

static void test_slow_clients(int port, int limit_ms)
{
    struct running *all = calloc(N_SLOWS + N_LORIS, sizeof *all);
    int worst = 0;
    int open = 0;
    int late;
    size_t i;

    for (i = 0; i < N_SLOWS + N_LORIS; i++) {
        all[i].slow = &slows[i < N_SLOWS ? i : 2];
        all[i].fd = dial(port);
        all[i].closed_ms = -1;
        say_text(all[i].fd, all[i].slow->start);
    }
    late = LATE_MS + 2 * run_all(all, N_SLOWS + N_LORIS, limit_ms);
    for (i = 0; i < N_SLOWS; i++) {
        const struct running *r = &all[i];
        char name[64];

        (void)snprintf(name, sizeof name, "f_deadline_%s", r->slow->name);
        verdict(
            name,
            r->closed_ms >= limit_ms - 50 && r->closed_ms <= limit_ms + late &&
                (!r->slow->must_answer || strstr(r->heard, "HTTP/1.1 408 ")),
            "closed after %d ms, wanted %d..%d; heard \"%.40s\"", r->closed_ms,
            limit_ms, limit_ms + late, r->heard);
    }
    for (; i < N_SLOWS + N_LORIS; i++) {
        if (all[i].closed_ms < 0)
            open++;
        else if (all[i].closed_ms > worst)
            worst = all[i].closed_ms;
    }
    verdict("f_slow_loris_cut", open == 0 && worst <= limit_ms + late,
            "%d of %d open, the last cut after %d ms", open, N_LORIS, worst);
    for (i = 0; i < N_SLOWS + N_LORIS; i++)
        (void)close(all[i].fd);
    free(all);
}

/* The second request of a kept connection has its own deadline. */
static void test_second_head(int port, int limit_ms)
{
    struct reply *reply = malloc(sizeof *reply);
    int fd = dial(port);
    int closed;

    say_text(fd, HEAD "\r\n");
    hear(fd, reply, 1000, 1);
    say_text(fd, "GET /hea");
    closed = until_closed(fd, 2 * limit_ms + LATE_MS);
    verdict("f_deadline_second_head",
            closed >= limit_ms - 50 && closed <= limit_ms + LATE_MS,
            "closed after %d ms, wanted %d..%d", closed, limit_ms,
            limit_ms + LATE_MS);
    (void)close(fd);
    free(reply);
}

/* An answer that the client does not take: many pipelined requests, a small
 * receive window, nothing read.  Its clock starts when the last byte arrived,
 * which the socket tells; how long the server takes to fill the window is not
 * what is measured.                                                         */
static void test_stalled_write(int port, int limit_ms)
{
    static const char request[] =
        "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd = dial_small(port);
    uint64_t moved = now_ms();
    uint64_t last = moved;
    uint64_t end = moved + (uint64_t)(limit_ms + 20 * LATE_MS);
    int longest = 0;
    int n_there = 0;
    int closed = -1;
    int i;

    for (i = 0; i < 2000; i++)
        if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL | MSG_DONTWAIT) <
            0)
            break;
    while (now_ms() < end) {
        /* A reset or a FIN behind unread bytes: ask the socket, not recv(). */
        bool is_over = poll(&(struct pollfd){fd, POLLRDHUP, 0}, 1, 10) > 0;
        uint64_t now = now_ms();
        int n = 0;

        if ((int)(now - last) > longest)
            longest = (int)(now - last);
        last = now;
        if (is_over) {
            closed = (int)(now - moved);
            break;
        }
        if (ioctl(fd, FIONREAD, &n) == 0 && n != n_there) {
            n_there = n;
            moved = now;
        }
    }
    verdict("f_deadline_stalled_write",
            n_there > 0 && closed >= limit_ms - 50 &&
                closed <= limit_ms + LATE_MS + 2 * longest,
            "closed %d ms after the last of %d bytes, wanted %d..%d", closed,
            n_there, limit_ms, limit_ms + LATE_MS + 2 * longest);
    (void)close(fd);
}

/* A stream of events whose client stops reading: its window is small, so it
 * is full long before the sockets' buffers are.                             */
static void test_stalled_stream(int port, int limit_ms, const char *path)
{
    struct reply *reply = malloc(sizeof *reply);
    char text[300];
    int fd = dial_small(port);
    uint64_t start;
    int closed = -1;

    (void)snprintf(text, sizeof text,
                   "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    say_text(fd, text);
    hear(fd, reply, 1000, 1);
    start = now_ms();
    /* The window fills, then the limit passes. */
    if (poll(&(struct pollfd){fd, POLLRDHUP, 0}, 1,
             2 * limit_ms + 4 * LATE_MS) > 0)
        closed = (int)(now_ms() - start);
    verdict("f_deadline_stalled_stream", reply->status == 200 && closed >= 0,
            "status %d, closed after %d ms", reply->status, closed);
    (void)close(fd);
    free(reply);
}

void deadline_tests(int port, int limit_ms, const char *path)
{
    test_slow_clients(port, limit_ms);
    test_second_head(port, limit_ms);
    test_stalled_write(port, limit_ms);
    test_stalled_stream(port, limit_ms, path);
}
