/* http_load.c - polls a path on C kept connections as fast as they answer,
 * and reports rate and latencies as one JSON line.
 *
 * usage: http_load PORT PATH CONNECTIONS MILLISECONDS [POLLS_PER_S]
 *
 * One thread, epoll.  Each connection has one request under way; with a rate
 * the connections take turns and none asks before its time.  Latency is
 * from send() to the last byte of the answer; answers other than 200 and
 * lost connections count as refused.  Quantiles come from all latencies
 * (microseconds in a histogram, exact below 100 ms).
 *
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 4096
#define N_BUCKETS       100000 /* microseconds                               */
#define REPLY_BYTES     8192

struct client {
    int fd;
    uint64_t sent_us;
    size_t n_got, n_wanted; /* n_wanted 0: the head is not complete          */
    char got[REPLY_BYTES];
};

static struct client clients[MAX_CONNECTIONS];
static uint32_t histogram[N_BUCKETS + 1];
static char request[512];
static size_t n_request;
static uint64_t n_answers, n_refused, longest_us;
static struct client *idle[MAX_CONNECTIONS]; /* a ring, with a rate only     */
static size_t idle_first, n_idle;
static double rate_per_us; /* 0: at once                                     */

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static int dial(int port)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0 || connect(fd, (void *)&name, sizeof name) != 0) {
        perror("connect");
        exit(1);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void ask(struct client *client)
{
    client->n_got = client->n_wanted = 0;
    client->sent_us = now_us();
    if (send(client->fd, request, n_request, MSG_NOSIGNAL) !=
        (ssize_t)n_request)
        n_refused++;
}

static void rest(struct client *client)
{
    idle[(idle_first + n_idle++) % MAX_CONNECTIONS] = client;
}

/* Those whose turn it is ask. */
static void ask_in_turn(uint64_t start_us, uint64_t *n_asked)
{
    double due = (double)(now_us() - start_us) * rate_per_us;

    while (n_idle > 0 && (double)*n_asked < due) {
        struct client *client = idle[idle_first];

        idle_first = (idle_first + 1) % MAX_CONNECTIONS;
        n_idle--;
        ++*n_asked;
        ask(client);
    }
}

static void note(struct client *client)
{
    uint64_t took = now_us() - client->sent_us;

    n_answers++;
    histogram[took < N_BUCKETS ? took : N_BUCKETS]++;
    if (took > longest_us)
        longest_us = took;
    if (strncmp(client->got, "HTTP/1.1 200", 12) != 0)
        n_refused++;
}

/* Length of head and body once the head is complete. */
static size_t wanted(struct client *client)
{
    char *end;
    char *length;

    client->got[client->n_got] = 0;
    end = strstr(client->got, "\r\n\r\n");
    length = strstr(client->got, "Content-Length: ");
    if (!end)
        return 0;
    return (size_t)(end - client->got) + 4 +
           (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
}

/* False when the connection is lost. */
static bool hear(struct client *client, bool must_go_on)
{
    ssize_t n = recv(client->fd, client->got + client->n_got,
                     REPLY_BYTES - 1 - client->n_got, 0);

    if (n <= 0)
        return false;
    client->n_got += (size_t)n;
    if (!client->n_wanted)
        client->n_wanted = wanted(client);
    if (!client->n_wanted || client->n_got < client->n_wanted)
        return true;
    note(client);
    if (rate_per_us > 0)
        rest(client);
    else if (must_go_on)
        ask(client);
    return true;
}

static uint64_t quantile(double share)
{
    uint64_t below = (uint64_t)((double)n_answers * share);
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < N_BUCKETS; i++) {
        sum += histogram[i];
        if (sum > below)
            return i;
    }
    return longest_us;
}

static void run(int epoll, int n, uint64_t length_us)
{
    struct epoll_event events[256];
    uint64_t start = now_us(), end = start + length_us, n_asked = 0;
    int i;

    for (i = 0; i < n; i++) {
        if (rate_per_us > 0)
            rest(&clients[i]);
        else
            ask(&clients[i]);
    }
    while (now_us() < end) {
        int k = epoll_wait(epoll, events, 256, rate_per_us > 0 ? 1 : 100);

        if (rate_per_us > 0)
            ask_in_turn(start, &n_asked);
        for (i = 0; i < k; i++) {
            struct client *client = events[i].data.ptr;

            if (!hear(client, now_us() < end)) {
                n_refused++;
                (void)epoll_ctl(epoll, EPOLL_CTL_DEL, client->fd, NULL);
            }
        }
    }
}

int main(int argc, char **argv)
{
    struct rlimit files = {MAX_CONNECTIONS + 64, MAX_CONNECTIONS + 64};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int n = argc == 5 || argc == 6 ? atoi(argv[3]) : 0;
    uint64_t start;
    double seconds;
    int i;

    if (n < 1 || n > MAX_CONNECTIONS || epoll < 0)
        return 2;
    rate_per_us = argc == 6 ? atof(argv[5]) * 1e-6 : 0;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    n_request =
        (size_t)snprintf(request, sizeof request,
                         "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    for (i = 0; i < n; i++) {
        struct epoll_event event = {EPOLLIN, {.ptr = &clients[i]}};

        clients[i].fd = dial(atoi(argv[1]));
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    start = now_us();
    run(epoll, n, (uint64_t)atoi(argv[4]) * 1000u);
    seconds = (double)(now_us() - start) / 1e6;
    (void)printf("{\"connections\":%d,\"polls_per_s\":%.0f,\"p50_ms\":%.2f,"
                 "\"p99_ms\":%.2f,\"max_ms\":%.2f,\"refused\":%llu}\n",
                 n, (double)n_answers / seconds, (double)quantile(0.5) / 1000.0,
                 (double)quantile(0.99) / 1000.0, (double)longest_us / 1000.0,
                 (unsigned long long)n_refused);
    return n_refused ? 1 : 0;
}
