/* rawclient.h - a client that says exactly the bytes it is told to, for the
 * tests of framing, deadlines and connections.
 *
 * One thread; blocking sockets with poll() for every wait.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWCLIENT_H
#define RAWCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_BYTES (256u << 10)

struct reply {
    char bytes[REPLY_BYTES + 1];
    size_t n;
    bool is_closed; /* by the server                                     */
    int n_final;    /* complete status lines but 100                     */
    int n_right;    /* of them below 400                                   */
    int status;     /* of the first of them, 0: none                     */
};

uint64_t now_ms(void);

/* Connected to 127.0.0.1:port; ends the program if that fails. */
int dial(int port);
int dial_small(int port); /* with a small window and small segments      */
void say(int fd, const char *bytes, size_t n);
void say_text(int fd, const char *text);

/* Read until the server closes, nothing came for quiet_ms, or n_wanted final
 * status lines with their bodies' first bytes are there (0: no such end).  */
void hear(int fd, struct reply *reply, int quiet_ms, int n_wanted);

/* Milliseconds until the server closes, at most limit_ms; -1: it does not.  */
int until_closed(int fd, int limit_ms);

/* "ok NAME" or "not ok NAME" with a reason. */
void verdict(const char *name, bool is_ok, const char *format, ...)
    __attribute__((__format__(__printf__, 3, 4)));
int failures(void);

/* The tables; each prints its verdicts. */
void framing_tests(int port);
void deadline_tests(int port, int limit_ms, const char *path);
void connection_tests(int port, int limit);
void waiter_tests(int port, int n, const char *path);

/* Post the body n times to a server that sees all of them at once, and print
 * how many are accepted. */
void burst(int port, int pid, int n, const char *path, const char *body);

/* Begin to take the answers of these paths, wait for the end of standard input,
 * take the rest; see readers.c. */
void readers(int port, int n, char **paths);

#endif
