/* t_deadline.c - a client answers for the time that it takes, not for ours.
 *
 * A connection by itself, on one end of a socket pair that is never read;
 * whether it was cut is what the other end sees.
 *
 * SPDX-License-Identifier: MIT
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "connection.h"
#include "exchange.h"
#include "log.h"

#define START_MS 1000
#define WRITE_MS 30000

struct pair {
    struct exchange exchange;
    struct connection connection;
    struct config config;
    int client;
};

static void pair_init(struct pair *p, enum phase phase,
                      enum exchange_state state)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *p = (struct pair){.client = fds[1]};
    p->config.write_timeout_ms = WRITE_MS;
    p->exchange.state = state;
    p->connection.exchange = &p->exchange;
    p->connection.fd = fds[0];
    p->connection.phase = phase;
    p->connection.since_ms = p->connection.checked_ms = START_MS;
}

static void pair_fini(struct pair *p)
{
    (void)close(p->client);
    (void)close(p->connection.fd);
}

static bool is_cut(struct pair *p, uint64_t now_ms)
{
    struct pollfd end = {.fd = p->client};

    connection_check(&p->connection, &p->config, false, now_ms);
    return poll(&end, 1, 0) > 0 && (end.revents & POLLHUP) != 0;
}

/* Between the end of the work and the first byte of its answer a round of
 * checks may come: the answer was woken, nothing of it is sent.             */
static void test_an_answer_begins_when_it_is_there(void **state)
{
    struct pair p;

    (void)state;
    pair_init(&p, PHASE_WAITING, EXCHANGE_DEFERRED);
    p.connection.is_suspended = true;
    for (uint64_t t = 0; t <= 10 * WRITE_MS; t += WRITE_MS / 2)
        assert_false(is_cut(&p, START_MS + t));
    p.exchange.state = EXCHANGE_ANSWERED;
    assert_false(is_cut(&p, START_MS + 10 * WRITE_MS + 1));
    p.connection.is_suspended = false;
    p.connection.phase = PHASE_SENDING;
    assert_false(is_cut(&p, START_MS + 10 * WRITE_MS + 2));
    assert_false(is_cut(&p, START_MS + 11 * WRITE_MS));
    assert_true(is_cut(&p, START_MS + 11 * WRITE_MS + 2));
    pair_fini(&p);
}

/* A stream that stalls is resumed by every event: that is no progress.      */
static void test_a_stalled_stream_is_cut(void **state)
{
    struct pair p;

    (void)state;
    pair_init(&p, PHASE_SENDING, EXCHANGE_STREAMING);
    assert_int_equal(send(p.connection.fd, "x", 1, 0), 1);
    assert_false(is_cut(&p, START_MS)); /* the byte went: from now */
    p.connection.is_suspended = true;
    p.connection.phase = PHASE_WAITING;
    assert_false(is_cut(&p, START_MS + WRITE_MS));
    p.connection.is_suspended = false;
    p.connection.phase = PHASE_SENDING;
    assert_true(is_cut(&p, START_MS + WRITE_MS + 1));
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_begins_when_it_is_there),
        cmocka_unit_test(test_a_stalled_stream_is_cut),
    };

    log_open(STDERR_FILENO, LOG_LEVEL_OFF, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
