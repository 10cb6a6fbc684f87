/* readers.c - clients that begin to take an answer and then wait.
 *
 * Each asks for a path with a window so small that most of the answer stays
 * with the server.  "reading" is printed when all have its beginning; when
 * standard input ends they take the rest, and a line each tells the length of
 * the body and whether it is whole.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rawclient.h"

#define FIRST_BYTES 16 /* the status line's                                  */
#define MAX_BYTES   (4u << 20)

static size_t header_value(const char *head, const char *name)
{
    const char *at = strstr(head, name);

    return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

static void take_rest(int fd, const char *path, char *bytes)
{
    size_t n = FIRST_BYTES, n_body, n_wanted;
    const char *end;
    ssize_t k;

    while (n < MAX_BYTES && (k = recv(fd, bytes + n, MAX_BYTES - n, 0)) > 0) {
        n += (size_t)k;
        bytes[n] = 0;
        end = strstr(bytes, "\r\n\r\n");
        if (end && n - (size_t)(end + 4 - bytes) >=
                       header_value(bytes, "Content-Length: "))
            break;
    }
    bytes[n] = 0;
    end = strstr(bytes, "\r\n\r\n");
    n_body = end ? n - (size_t)(end + 4 - bytes) : 0;
    n_wanted = header_value(bytes, "Content-Length: ");
    (void)printf("%s %zu %s\n", path, n_body,
                 end && n_body == n_wanted ? "whole" : "cut");
}

void readers(int port, int n, char **paths)
{
    int *fds = calloc((size_t)n, sizeof *fds);
    char *bytes = malloc(MAX_BYTES + 1);
    char text[300];

    for (int i = 0; i < n; i++) {
        fds[i] = dial_small(port);
        (void)snprintf(text, sizeof text,
                       "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", paths[i]);
        say_text(fds[i], text);
    }
    for (int i = 0; i < n; i++)
        if (recv(fds[i], bytes, FIRST_BYTES, MSG_WAITALL) != FIRST_BYTES)
            exit(1);
    (void)printf("reading\n");
    (void)fflush(stdout);
    while (read(STDIN_FILENO, text, sizeof text) > 0) {
    }
    for (int i = 0; i < n; i++) {
        take_rest(fds[i], paths[i], bytes);
        (void)close(fds[i]);
    }
    free(bytes);
    free(fds);
}
