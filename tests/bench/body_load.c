/* body_load.c - posts one body on C kept connections, each as fast as it is
 * answered, and reports how many were as one JSON line.
 *
 * usage: body_load PORT PATH FILE CONNECTIONS MILLISECONDS
 *
 * FILE is the body.  A thread a connection, blocking.  "statuses" tells what
 * was answered how often; a connection that is lost counts as status 0 and is
 * not opened again.
 *
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#define MAX_CONNECTIONS 256
#define N_STATUSES      600
#define HEAD_BYTES      8192

static char head[512];
static char *body;
static size_t n_head, n_body;
static int port;
static uint64_t end_us;

struct client {
    pthread_t thread;
    uint32_t statuses[N_STATUSES];
};

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static bool read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    long n = 0;

    if (file && fseek(file, 0, SEEK_END) == 0)
        n = ftell(file);
    body = n > 0 ? malloc((size_t)n) : NULL;
    if (body) {
        rewind(file);
        n_body = fread(body, 1, (size_t)n, file);
    }
    if (file)
        (void)fclose(file);
    return body && n_body == (size_t)n;
}

static bool send_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Read one answer with Content-Length; its status, 0 when the line is lost. */
static unsigned hear(int fd)
{
    char got[HEAD_BYTES + 1];
    size_t n = 0, n_rest;
    char *end = NULL, *length;

    while (!end) {
        ssize_t k = recv(fd, got + n, HEAD_BYTES - n, 0);

        if (k <= 0)
            return 0;
        n += (size_t)k;
        got[n] = 0;
        end = strstr(got, "\r\n\r\n");
    }
    length = strcasestr(got, "content-length:");
    n_rest = length ? strtoul(length + 15, NULL, 10) : 0;
    n -= (size_t)(end + 4 - got);
    n_rest = n_rest > n ? n_rest - n : 0;
    while (n_rest) {
        char rest[HEAD_BYTES];
        ssize_t k =
            recv(fd, rest, n_rest < sizeof rest ? n_rest : sizeof rest, 0);

        if (k <= 0)
            return 0;
        n_rest -= (size_t)k;
    }
    return (unsigned)strtoul(got + 9, NULL, 10);
}

static void *run(void *user)
{
    struct client *client = user;
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned status = fd >= 0 && connect(fd, (void *)&name, sizeof name) == 0;

    while (status && now_us() < end_us) {
        status = send_all(fd, head, n_head) && send_all(fd, body, n_body)
                     ? hear(fd)
                     : 0;
        client->statuses[status < N_STATUSES ? status : 0]++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct client clients[MAX_CONNECTIONS];
    uint64_t started_us = now_us(), sum = 0;
    double seconds;
    int n, i;

    if (argc != 6 || (n = (int)strtol(argv[4], NULL, 10)) < 1 ||
        n > MAX_CONNECTIONS || !read_file(argv[3])) {
        (void)fprintf(stderr, "usage: body_load PORT PATH FILE CONNECTIONS "
                              "MILLISECONDS\n");
        return 2;
    }
    port = (int)strtol(argv[1], NULL, 10);
    end_us = started_us + strtoull(argv[5], NULL, 10) * 1000u;
    n_head = (size_t)snprintf(head, sizeof head,
                              "POST %s HTTP/1.1\r\nHost: localhost\r\n"
                              "Content-Type: application/json\r\n"
                              "Content-Length: %zu\r\n\r\n",
                              argv[2], n_body);
    for (i = 0; i < n; i++)
        if (pthread_create(&clients[i].thread, NULL, run, &clients[i]) != 0)
            return 1;
    for (i = 0; i < n; i++)
        (void)pthread_join(clients[i].thread, NULL);
    seconds = (double)(now_us() - started_us) * 1e-6;
    (void)printf("{\"what\":\"body_load\",\"connections\":%d,\"statuses\":{",
                 n);
    for (int status = 0; status < N_STATUSES; status++) {
        uint32_t k = 0;

        for (i = 0; i < n; i++)
            k += clients[i].statuses[status];
        if (k)
            (void)printf("%s\"%d\":%u", sum ? "," : "", status, k);
        sum += k;
    }
    (void)printf("},\"posts_per_s\":%.2f,\"mb_per_s\":%.1f}\n",
                 (double)sum / seconds,
                 (double)sum * (double)n_body * 1e-6 / seconds);
    free(body);
    return 0;
}
