/* waiters.c - many requests wait; others are served meanwhile, also when all
 * of the waiting leave at once.
 *
 * SPDX-License-Identifier: MIT
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rawclient.h"

#define LIVE    "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define N_PINGS 20
#define LIMIT_MS \
    15000 /* of one ping: starved or not, instrumented builds too */

static int ping(int port, struct reply *reply)
{
    uint64_t start = now_ms();
    int fd = dial(port);

    say_text(fd, LIVE);
    hear(fd, reply, LIMIT_MS, 1);
    (void)close(fd);
    return reply->status == 200 ? (int)(now_ms() - start) : 99999;
}

static int slowest_ping(int port, struct reply *reply)
{
    int slowest = 0;
    int i;

    for (i = 0; i < N_PINGS; i++) {
        int took = ping(port, reply);

        if (took > slowest)
            slowest = took;
    }
    return slowest;
}

/* What would be streamed, or waited for, has a head like any other, and nothing
 * behind it: not even the end of a body. */
static void test_head(int port, const char *path, struct reply *reply)
{
    char text[300];
    const char *end;
    int fd = dial(port);

    (void)snprintf(text, sizeof text,
                   "HEAD %s HTTP/1.1\r\nHost: localhost\r\n\r\n" LIVE, path);
    say_text(fd, text);
    hear(fd, reply, 3000, 2);
    (void)close(fd);
    end = strstr(reply->bytes, "\r\n\r\n");
    verdict("f_head_alone",
            reply->status == 200 && end &&
                (end[4] == '\0' || strncmp(end + 4, "HTTP/1.1 200", 12) == 0),
            "got %d: %.600s", reply->status, reply->bytes);
}

void waiter_tests(int port, int n, const char *path)
{
    struct reply *reply = malloc(sizeof *reply);
    int *fds = calloc((size_t)n, sizeof *fds);
    char text[300];
    int slowest;
    int i;

    (void)snprintf(text, sizeof text,
                   "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    for (i = 0; i < n; i++) {
        fds[i] = dial(port);
        say_text(fds[i], text);
    }
    slowest = slowest_ping(port, reply);
    verdict("f_hangup_served_beside_waiters", slowest <= LIMIT_MS,
            "with %d waiting the slowest ping took %d ms", n, slowest);
    for (i = 0; i < n; i++)
        (void)close(fds[i]);
    slowest = slowest_ping(port, reply);
    verdict("f_hangup_served_after_waiters", slowest <= LIMIT_MS,
            "the slowest ping took %d ms", slowest);
    test_head(port, path, reply);
    free(fds);
    free(reply);
}

/* It is stopped while the requests arrive. */
void burst(int port, int pid, int n, const char *path, const char *body)
{
    struct reply *reply = malloc(sizeof *reply);
    int *fds = calloc((size_t)n, sizeof *fds);
    char text[600];
    int n_accepted = 0;

    (void)snprintf(text, sizeof text,
                   "POST %s HTTP/1.1\r\nHost: localhost\r\n"
                   "Content-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   path, strlen(body), body);
    (void)kill(pid, SIGSTOP);
    for (int i = 0; i < n; i++) {
        fds[i] = dial(port);
        say_text(fds[i], text);
    }
    (void)kill(pid, SIGCONT);
    for (int i = 0; i < n; i++) {
        hear(fds[i], reply, LIMIT_MS, 1);
        n_accepted += reply->status == 202;
        (void)close(fds[i]);
    }
    (void)printf("%d\n", n_accepted);
    free(fds);
    free(reply);
}
