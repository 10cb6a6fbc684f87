/* healthcheck.c - `unstir healthcheck`: one request of a container's engine.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"
#include "server.h"

#define HOST_BYTES   160
#define ANSWER_BYTES 512 /* the status line and some of the head          */

/* "http://HOST:PORT/path", "HOST:PORT" or "unix:PATH" to host and path. */
static const char *split_url(char host[HOST_BYTES], const char *url)
{
    char *slash;

    if (strncmp(url, "http://", 7) == 0)
        url += 7;
    (void)snprintf(host, HOST_BYTES, "%s", url);
    slash = strncmp(host, "unix:", 5) == 0 ? NULL : strchr(host, '/');
    if (!slash)
        return "/health/ready";
    *slash = 0;
    return slash[1] ? strchr(url, '/') : "/health/ready";
}

/* Bytes of the answer's begin, with a NUL; 0 or less when there is none. */
static ssize_t ask(int fd, const char *path, char answer[ANSWER_BYTES])
{
    int n = snprintf(answer, ANSWER_BYTES,
                     "GET %.200s HTTP/1.1\r\nHost: localhost\r\n"
                     "Connection: close\r\n\r\n",
                     path);
    ssize_t got = send(fd, answer, (size_t)n, MSG_NOSIGNAL) == n
                      ? recv(fd, answer, ANSWER_BYTES - 1, MSG_WAITALL)
                      : -1;

    answer[got > 0 ? got : 0] = 0;
    return got;
}

static int fail(const char *host, const char *why)
{
    (void)fprintf(stderr, "unstir: healthcheck: %s: %s\n", host, why);
    return EXIT_FAILURE;
}

int server_healthcheck(const char *url, int timeout_ms)
{
    char host[HOST_BYTES], answer[ANSWER_BYTES];
    const char *path;
    ssize_t n;
    int fd;

    if (!url)
        url = getenv("UNSTIR_LISTEN");
    path = split_url(host, url && *url ? url : "127.0.0.1:8080");
    errno = 0;
    fd = listener_connect(host, timeout_ms);
    if (fd < 0)
        return fail(host, errno ? strerror(errno) : "no such address");
    n = ask(fd, path, answer);
    (void)close(fd); /* only read */
    if (n > 12 && strncmp(answer, "HTTP/1.1 200", 12) == 0)
        return EXIT_SUCCESS;
    answer[strcspn(answer, "\r\n")] = 0;
    return fail(host, n > 0 ? answer : "no answer in time");
}
