/* hangup.c - whether the client of a suspended connection has left.
 *
 * SPDX-License-Identifier: MIT
 */
#include "hangup.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "exchange.h"
#include "log.h"

#define HANGUPS_A_TURN 64

struct hangups {
    int fd;
    struct loop_watch *watch;
    const struct config *config;
    void (*left)(struct connection *connection);
};

/* ------------------------------------------------------------- watching -- */

/* Errors and the end of both directions are always told. */
static bool watch(const struct hangups *hangups, int operation,
                  struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLONESHOT, .data.ptr = connection};

    if (!connection->has_ended_side)
        event.events |= EPOLLRDHUP;
    return epoll_ctl(hangups->fd, operation, connection->fd, &event) == 0;
}

void hangups_add(struct hangups *hangups, struct connection *connection)
{
    if (!watch(hangups, EPOLL_CTL_ADD, connection))
        log_event(LOG_LEVEL_WARN, "hang-up cannot be watched", NULL, NULL);
}

void hangups_remove(struct hangups *hangups, struct connection *connection)
{
    (void)epoll_ctl(hangups->fd, EPOLL_CTL_DEL, connection->fd, NULL);
}

/* -------------------------------------------------------------- probing -- */

/* MHD has sent nothing of the answer yet, so this goes past it. */
static bool send_interim(const struct connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    return send(connection->fd, text, sizeof text - 1,
                MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof text - 1;
}

/* The stream has nothing else to send, or it would not be suspended. */
static bool send_in_stream(struct exchange *x)
{
    return x->probe != NULL &&
           stream_write(&x->request, x->probe, strlen(x->probe));
}

/* False: nothing can be sent that would tell. */
static bool probe(const struct hangups *hangups, struct connection *connection)
{
    struct exchange *x = connection->exchange;
    unsigned limit_ms = (unsigned)hangups->config->write_timeout_ms;

    if (connection->is_tcp) /* else a sent byte tells at once                */
        (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
                         &limit_ms, sizeof limit_ms);
    if (x->state == EXCHANGE_STREAMING)
        return send_in_stream(x);
    return x->state == EXCHANGE_DEFERRED && x->takes_interim &&
           send_interim(connection) &&
           watch(hangups, EPOLL_CTL_MOD, connection);
}

static void on_event(void *user)
{
    struct hangups *hangups = user;
    struct epoll_event events[HANGUPS_A_TURN];
    int n = epoll_wait(hangups->fd, events, HANGUPS_A_TURN, 0);

    for (int i = 0; i < n; i++) {
        struct connection *connection = events[i].data.ptr;
        bool is_over = (events[i].events & (EPOLLHUP | EPOLLERR)) != 0;

        connection->has_ended_side = true;
        if (is_over || !probe(hangups, connection))
            hangups->left(connection);
    }
}

/* ---------------------------------------------------------- open, close -- */

struct hangups *hangups_new(struct loop *loop, const struct config *config,
                            void (*left)(struct connection *connection))
{
    struct hangups *hangups = mem_zero(1, sizeof *hangups);

    if (hangups == NULL)
        return NULL;
    hangups->config = config;
    hangups->left = left;
    hangups->fd = epoll_create1(EPOLL_CLOEXEC);
    if (hangups->fd >= 0)
        hangups->watch = loop_watch_new(loop, hangups->fd, on_event, hangups);
    if (hangups->watch != NULL)
        return hangups;
    hangups_free(hangups);
    return NULL;
}

void hangups_free(struct hangups *hangups)
{
    if (hangups == NULL)
        return;
    loop_watch_free(hangups->watch);
    if (hangups->fd >= 0)
        (void)close(hangups->fd);
    mem_free(hangups);
}
