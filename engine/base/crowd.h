/* crowd.h - whether others want the CPU that a thread computes on.
 *
 * What is looked at is the share of its time that a thread was denied: it was
 * neither running nor asleep of its own will.  A window is CROWD_WINDOW_NS and
 * more; one in which a page was read from a disk says nothing.
 *
 * If each denial holds up the whole gang, as it does in the middle of a chunk,
 * n threads of which one is denied the share s of its time run at n (1 - s) of
 * one thread's speed, and at n - 1 without it.  So from s > 1/n on a thread is
 * in the way of its gang.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_CROWD_H
#define BASE_CROWD_H

#include <stdint.h>

/* Longer than the slice of a scheduler, so that two threads which take turns
 * show; a passing kernel thread is soon gone. */
#define CROWD_WINDOW_NS 10000000

/* Staying away for so many times what was denied makes finding out, again and
 * again, that the crowd is still there cost 3 %.  The limit bounds how long a
 * core that came free stays unused. */
#define CROWD_PATIENCE 32
#define CROWD_MOST_NS  INT64_C(2000000000)

/* The clocks of one thread at the start of its window. */
struct crowd {
    int64_t now_ns;
    int64_t ran_ns;
    int64_t n_reads; /* pages read from disks                                */
};

/* The calling thread's clocks: a new window. */
struct crowd crowd_now(void);

/* What passed from `from` to `to` is not to count. */
void crowd_skip(struct crowd *start, const struct crowd *from,
                const struct crowd *to);

/* Nanoseconds for which the calling thread, one of a gang of n, had better not
 * compute where it is; 0: it may.  `now_ns` is CLOCK_MONOTONIC.  At the end of
 * a window a new one begins. */
int64_t crowd_look(struct crowd *start, int64_t now_ns, unsigned n);

/* The decision itself: of `wanted_ns` the thread ran for `ran_ns`. */
int64_t crowd_away_ns(int64_t wanted_ns, int64_t ran_ns, unsigned n);

#endif
