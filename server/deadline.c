/* deadline.c - slow clients are cut.
 *
 * MHD's own timeout is one of inactivity, which a byte a second defeats.
 * Here a deadline belongs to a phase and what moves is read from the socket:
 * TCP_INFO tells when the first bytes of another request arrive on a kept
 * connection (MHD does not) and whether the client acknowledges what it was
 * sent.
 *
 * SPDX-License-Identifier: MIT
 */
#include "connection.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "exchange.h"
#include "log.h"
#include "loop.h"

/* Bytes received (is_sent false) or taken by the client's side. */
static uint64_t bytes_moved(const struct connection *connection, bool is_sent)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    int unsent = 0;

    memset(&info, 0, sizeof info);
    if (connection->is_tcp) {
        (void)getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &n);
        return is_sent ? info.tcpi_bytes_acked : info.tcpi_bytes_received;
    }
    if (is_sent) /* any change will do                                       */
        (void)ioctl(connection->fd, SIOCOUTQ, &unsent);
    return (uint64_t)unsent;
}

void connection_set_phase(struct connection *connection, enum phase phase)
{
    connection->phase = phase;
    connection->since_ms = loop_now_ms();
    if (phase == PHASE_IDLE || phase == PHASE_SENDING)
        connection->n_moved = bytes_moved(connection, phase == PHASE_SENDING);
}

/* What it does not take is not kept for it: close resets. */
static void drop(const struct connection *connection)
{
    const struct linger at_once = {1, 0};

    (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once,
                     sizeof at_once);
}

void connection_cut(struct connection *connection, const char *reason)
{
    struct log_line line;

    log_begin(&line, LOG_LEVEL_INFO, "connection cut");
    log_text(&line, "reason", reason);
    log_text(&line, "peer", connection->peer);
    log_end(&line);
    drop(connection);
    (void)shutdown(connection->fd, SHUT_RDWR);
}

/* The line tells how late the cut is by this process's own clock: it comes at
 * the first round after the limit, so after_ms - round_ms <= limit_ms however
 * busy the machine is.                                                      */
static void cut(struct connection *connection, const char *what,
                uint64_t limit_ms, uint64_t now)
{
    struct log_line line;

    log_begin(&line, LOG_LEVEL_INFO, "connection cut");
    log_text(&line, "reason", what);
    log_text(&line, "peer", connection->peer);
    log_int(&line, "limit_ms", (int64_t)limit_ms);
    log_int(&line, "after_ms", (int64_t)(now - connection->since_ms));
    log_int(&line, "round_ms", (int64_t)(now - connection->checked_ms));
    log_end(&line);
    if (connection->phase == PHASE_HEAD || connection->phase == PHASE_BODY)
        connection_say_error(connection, ERROR_SLOW_BODY);
    else
        drop(connection);
    (void)shutdown(connection->fd, SHUT_RDWR);
    connection_set_phase(connection, connection->phase);
}

static void cut_if_over(struct connection *connection, const char *what,
                        uint64_t limit_ms, uint64_t now)
{
    if (now - connection->since_ms > limit_ms)
        cut(connection, what, limit_ms, now);
}

/* The client has ended its side and everything it sent was read: with a
 * request begun, or none, nothing can follow.  MHD, told once by its epoll,
 * may miss the end that came along with the last bytes.                     */
static bool has_hung_up(const struct connection *connection)
{
    char byte;

    return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* A client that takes nothing although something is there for it. */
static void check_write(struct connection *connection,
                        const struct config *config, uint64_t now)
{
    uint64_t moved = bytes_moved(connection, true);
    int n_waiting = 0;

    (void)ioctl(connection->fd, SIOCOUTQ, &n_waiting);
    if (moved != connection->n_moved ||
        (connection->is_suspended && n_waiting == 0)) {
        connection->n_moved = moved;
        connection->since_ms = now;
    } else {
        cut_if_over(connection, "write deadline", config->write_timeout_ms,
                    now);
    }
}

static void check_phase(struct connection *connection,
                        const struct config *config, bool is_closing,
                        uint64_t now)
{
    switch (connection->phase) {
    case PHASE_HEAD:
        cut_if_over(connection, "header deadline", config->header_timeout_ms,
                    now);
        break;
    case PHASE_IDLE:
        if (bytes_moved(connection, false) != connection->n_moved)
            connection_set_phase(connection, PHASE_HEAD);
        else if (is_closing)
            cut(connection, "closing", 0, now);
        else
            cut_if_over(connection, "idle", config->keep_alive_ms, now);
        break;
    case PHASE_BODY:
        cut_if_over(connection, "body deadline", config->body_timeout_ms, now);
        break;
    case PHASE_WAITING:
        if (connection->exchange->state >= EXCHANGE_STREAMING)
            check_write(connection, config, now);
        else /* time that we take is not the client's: the answer begins anew,
                also when it is there and not yet handed to MHD              */
            connection->since_ms = now;
        break;
    case PHASE_SENDING:
        check_write(connection, config, now);
        break;
    }
}

void connection_check(struct connection *connection,
                      const struct config *config, bool is_closing,
                      uint64_t now)
{
    if (connection->phase <= PHASE_BODY && has_hung_up(connection))
        (void)shutdown(connection->fd, SHUT_RDWR);
    else
        check_phase(connection, config, is_closing, now);
    connection->checked_ms = now;
}
