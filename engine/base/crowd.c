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
                          clock_ns(CLOCK_THREAD_CPUTIME_ID), usage.ru_majflt};
}

void crowd_skip(struct crowd *start, const struct crowd *from,
                const struct crowd *to)
{
    start->now_ns += to->now_ns - from->now_ns;
    start->ran_ns += to->ran_ns - from->ran_ns;
    start->n_reads += to->n_reads - from->n_reads;
}

int64_t crowd_away_ns(int64_t wanted_ns, int64_t ran_ns, unsigned n)
{
    int64_t denied = wanted_ns - ran_ns;
    if (denied <= wanted_ns / (int64_t)n)
        return 0;
    return denied < CROWD_MOST_NS / CROWD_PATIENCE ? denied * CROWD_PATIENCE
                                                   : CROWD_MOST_NS;
}

int64_t crowd_look(struct crowd *start, int64_t now_ns, unsigned n)
{
    if (now_ns - start->now_ns < CROWD_WINDOW_NS)
        return 0;
    struct crowd from = *start;
    *start = crowd_now();
    if (start->n_reads != from.n_reads)
        return 0;
    return crowd_away_ns(start->now_ns - from.now_ns,
                         start->ran_ns - from.ran_ns, n);
}
