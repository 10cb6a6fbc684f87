/* event_lag.c - reads a job's events and reports how long after its step each
 * one came, as one JSON line.
 *
 * usage: event_lag PORT PATH MILLISECONDS
 *
 * The service writes into each progress event when the step ended ("at", wall
 * clock, milliseconds); client and service share the machine, so the clock is
 * the same one.  Events of steps that ended before the client began are the
 * replay and not counted.  Exit 1 if the stream ends early or nothing came.
 *
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_LAGS 1000000
#define KEY      "\"at\":\""
#define STAMP    24 /* 2000-01-01T00:00:00.000Z                              */

static double lags[MAX_LAGS];
static size_t n_lags;
static double began_ms;

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int dial(int port)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (void *)&name, sizeof name) != 0) {
        perror("connect");
        exit(1);
    }
    return fd;
}

/* Milliseconds since 1970 of a stamp, < 0 if it is none. */
static double stamp_ms(const char *text)
{
    struct tm tm = {0};
    int ms;

    if (sscanf(text, "%d-%d-%dT%d:%d:%d.%3dZ", &tm.tm_year, &tm.tm_mon,
               &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) != 7)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (double)timegm(&tm) * 1e3 + ms;
}

/* Count the stamps in the text; what may be a cut one stays.  Returns how many
 * bytes at the end must be kept. */
static size_t take(const char *text, size_t n, double now)
{
    const char *at = text, *found;

    while ((found = strstr(at, KEY)) != NULL) {
        const char *stamp = found + strlen(KEY);
        double ended;

        if ((size_t)(text + n - stamp) < STAMP)
            return (size_t)(text + n - found);
        ended = stamp_ms(stamp);
        if (ended >= began_ms && n_lags < MAX_LAGS)
            lags[n_lags++] = now - ended;
        at = stamp + STAMP;
    }
    n = (size_t)(text + n - at);
    return n < strlen(KEY) ? n : strlen(KEY) - 1;
}

/* False when the stream ends before its time. */
static bool hear(int fd, double end_ms)
{
    static char text[65536];
    size_t n_kept = 0;

    while (now_ms() < end_ms) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;
        size_t kept;

        if (poll(&p, 1, 50) <= 0)
            continue;
        n = recv(fd, text + n_kept, sizeof text - 1 - n_kept, 0);
        if (n <= 0)
            return false;
        n_kept += (size_t)n;
        text[n_kept] = 0;
        kept = take(text, n_kept, now_ms());
        memmove(text, text + n_kept - kept, kept);
        n_kept = kept;
    }
    return true;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    char request[512];
    int fd, n;
    bool is_whole;

    if (argc != 4)
        return 2;
    fd = dial(atoi(argv[1]));
    n = snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: localhost\r\n"
                 "Accept: text/event-stream\r\n\r\n",
                 argv[2]);
    began_ms = now_ms();
    if (n <= 0 || send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        return 1;
    is_whole = hear(fd, began_ms + atof(argv[3]));
    (void)close(fd);
    qsort(lags, n_lags, sizeof *lags, by_value);
    (void)printf("{\"events\":%zu,\"p50_ms\":%.1f,\"p99_ms\":%.1f,"
                 "\"max_ms\":%.1f}\n",
                 n_lags, n_lags ? lags[n_lags / 2] : 0,
                 n_lags ? lags[n_lags * 99 / 100] : 0,
                 n_lags ? lags[n_lags - 1] : 0);
    return is_whole && n_lags > 0 ? 0 : 1;
}
