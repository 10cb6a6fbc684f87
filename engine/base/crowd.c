/* crowd.c - whether others want the CPU that a thread computes on.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/crowd.h"

#include <sys/resource.h>
#include <time.h>

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t); /* cannot fail on Linux */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct crowd crowd_now(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_THREAD, &usage); /* cannot fail on Linux */
    return (struct crowd){clock_ns(CLOCK_MONOTONIC),
                          clock_ns(CLOCK_THREAD_CPUTIME_ID), usage.ru_majflt, 0,
                          0};
}

void crowd_renew(struct crowd *c)
{
    unsigned n_away = c->n_away;

    *c = crowd_now();
    c->n_away = n_away;
}

void crowd_skip(struct crowd *start, const struct crowd *from,
                const struct crowd *to)
{
    start->now_ns += to->now_ns - from->now_ns;
    start->ran_ns += to->ran_ns - from->ran_ns;
    start->n_reads += to->n_reads - from->n_reads;
}

int64_t crowd_away_ns(int64_t wanted_ns, int64_t ran_ns, int64_t held_ns,
                      unsigned n, unsigned n_away)
{
    int64_t denied = wanted_ns - ran_ns;
    int64_t harm = held_ns < denied ? held_ns : denied;
    unsigned doubled = n_away < CROWD_DOUBLED ? n_away : CROWD_DOUBLED;
    int64_t patience = (int64_t)CROWD_PATIENCE << doubled;

    if (harm <= ran_ns / (int64_t)(n - 1))
        return 0;
    return harm < CROWD_MOST_NS / patience ? harm * patience : CROWD_MOST_NS;
}

int64_t crowd_look(struct crowd *c, int64_t now_ns, unsigned n)
{
    int64_t away;

    if (now_ns - c->now_ns < CROWD_WINDOW_NS)
        return 0;
    struct crowd from = *c;
    crowd_renew(c);
    if (c->n_reads != from.n_reads)
        return 0;
    away = crowd_away_ns(c->now_ns - from.now_ns, c->ran_ns - from.ran_ns,
                         from.held_ns, n, from.n_away);
    if (away > 0)
        c->n_away += c->n_away < CROWD_DOUBLED;
    else
        c->n_away -= c->n_away > 0;
    return away;
}
