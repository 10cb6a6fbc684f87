/* listen.h - the listening socket: TCP on IPv4 or IPv6, a unix socket, or
 * one handed over by the service manager.
 *
 * Loop-only, before the loop runs (names are looked up blocking).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

struct listener {
    int fd;
    bool is_unix;
    bool is_loopback; /* unix sockets count                              */
    char path[108];   /* of a unix socket that we made, else ""          */
    char url[160];    /* "http://127.0.0.1:8080", "unix:/run/x.sock"     */
};

/* address: HOST:PORT, [V6]:PORT, :PORT (all addresses) or unix:PATH; port
 * >= 0 replaces the port, 0 lets the system choose.  False: *why says what
 * and *is_usage whether the address itself was wrong.                      */
bool listener_open(struct listener *listener, const char *address, int port,
                   char *why, size_t why_size, bool *is_usage);

/* Take fd 3 if the service manager passed one (LISTEN_FDS, LISTEN_PID). */
bool listener_inherit(struct listener *listener);

/* Close the fd unless it was given away (fd -1), remove a unix socket. */
void listener_close(struct listener *listener);

/* A connected blocking socket for the health check, or -1. */
int listener_connect(const char *address, int timeout_ms);

#endif
