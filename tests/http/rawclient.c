/* rawclient.c - says the bytes, hears the answer; runs a family of tests.
 *
 * usage: rawclient framing PORT
 *        rawclient deadlines PORT LIMIT_MS PATH-OF-A-STREAM
 *        rawclient connections PORT LIMIT
 *        rawclient waiters PORT N PATH
 *        rawclient burst PORT PID N PATH BODY
 *        rawclient readers PORT PATH ...
 *
 * SPDX-License-Identifier: MIT
 */
#include "rawclient.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int n_failures;

uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static int dial_window(int port, int window)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1, segment = 536;

    if (window) { /* before connecting: it is agreed on then                 */
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
        /* Else the other side's buffer has room for twenty of loopback's
         * segments of 64 KiB.                                               */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    }
    if (fd < 0 || connect(fd, (void *)&name, sizeof name) != 0) {
        perror("connect");
        exit(1);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int dial(int port)
{
    return dial_window(port, 0);
}

int dial_small(int port)
{
    return dial_window(port, 4096);
}

/* A server that has closed already is no error: the answer counts. */
void say(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);

        if (k <= 0)
            return;
        bytes += k;
        n -= (size_t)k;
    }
}

void say_text(int fd, const char *text)
{
    say(fd, text, strlen(text));
}

/* Status lines: "HTTP/1.1 ddd" anywhere; bodies hold none of that form. */
static void count(struct reply *reply)
{
    size_t i;

    reply->n_final = 0;
    reply->n_right = 0;
    reply->status = 0;
    for (i = 0; i + 12 < reply->n; i++) {
        const char *p = reply->bytes + i;

        if (memcmp(p, "HTTP/1.1 ", 9) != 0 || !isdigit((unsigned char)p[9]) ||
            !isdigit((unsigned char)p[10]) || !isdigit((unsigned char)p[11]) ||
            memcmp(p + 9, "100", 3) == 0)
            continue;
        reply->n_right += p[9] < '4';
        if (reply->n_final++ == 0)
            reply->status = atoi(p + 9);
    }
}

void hear(int fd, struct reply *reply, int quiet_ms, int n_wanted)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    reply->n = 0;
    reply->is_closed = false;
    while (reply->n < REPLY_BYTES && poll(&wait, 1, quiet_ms) > 0) {
        ssize_t k =
            recv(fd, reply->bytes + reply->n, REPLY_BYTES - reply->n, 0);

        if (k <= 0) {
            reply->is_closed = true;
            break;
        }
        reply->n += (size_t)k;
        count(reply);
        if (n_wanted && reply->n_final >= n_wanted)
            break;
    }
    reply->bytes[reply->n] = 0;
    count(reply);
}

int until_closed(int fd, int limit_ms)
{
    uint64_t start = now_ms();
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char bytes[4096];

    for (;;) {
        int left = limit_ms - (int)(now_ms() - start);

        if (left <= 0 || poll(&wait, 1, left) <= 0)
            return -1;
        if (recv(fd, bytes, sizeof bytes, 0) <= 0)
            return (int)(now_ms() - start);
    }
}

void verdict(const char *name, bool is_ok, const char *format, ...)
{
    va_list args;

    (void)printf("%s %s", is_ok ? "ok" : "not ok", name);
    if (!is_ok) {
        n_failures++;
        (void)printf(": ");
        va_start(args, format);
        (void)vprintf(format, args);
        va_end(args);
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

int failures(void)
{
    return n_failures;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "framing") == 0)
        framing_tests(atoi(argv[2]));
    else if (argc == 5 && strcmp(argv[1], "deadlines") == 0)
        deadline_tests(atoi(argv[2]), atoi(argv[3]), argv[4]);
    else if (argc == 4 && strcmp(argv[1], "connections") == 0)
        connection_tests(atoi(argv[2]), atoi(argv[3]));
    else if (argc == 5 && strcmp(argv[1], "waiters") == 0)
        waiter_tests(atoi(argv[2]), atoi(argv[3]), argv[4]);
    else if (argc == 7 && strcmp(argv[1], "burst") == 0)
        burst(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), argv[5], argv[6]);
    else if (argc >= 4 && strcmp(argv[1], "readers") == 0)
        readers(atoi(argv[2]), argc - 3, argv + 3);
    else
        return 2;
    return failures() ? 1 : 0;
}
