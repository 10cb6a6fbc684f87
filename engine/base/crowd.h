/* crowd.h - whether others want the CPU that a thread computes on.
 *
 * What is looked at is the share of its time that a thread was denied: it was
 * neither running nor asleep of its own will.  A window is CROWD_WINDOW_NS and
 * more; one in which a page was read from a disk says nothing.
 *
 * Being denied alone does no harm: the others take the chunks.  It does where
 * they have none left and wait for the one that the thread has begun.  In a
 * window in which it ran for r and a gang of n was held up for h, it did r and
 * kept the others from doing (n - 1) h: where that is more, the gang is better
 * off without it.  Long loops are held up for little of their time, in short
 * ones h is all that was denied: then the limit is 1/n of the thread's time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_CROWD_H
#define BASE_CROWD_H

#include <stdint.h>

/* Longer than the slice of a scheduler, so that two threads which take turns
 * show; a passing kernel thread is soon gone. */
#define CROWD_WINDOW_NS 10000000

/* A thread stays away for so many times what it held its gang up, twice as long
 * each time that it finds the crowd still there: a passing program costs some
 * tenths of a second, finding out again and again a hundredth of the time.  The
 * limit bounds how long a core that came free stays unused.  Measured against
 * 32 times without doubling, 4 times with 4 and with 7 doublings, beside ten
 * other programs on two CPUs. */
#define CROWD_PATIENCE 16
#define CROWD_DOUBLED  5
#define CROWD_MOST_NS  INT64_C(2000000000)

/* The clocks of one thread at the start of its window, and since then. */
struct crowd {
    int64_t now_ns;
    int64_t ran_ns;
    int64_t n_reads; /* pages read from disks                                */
    int64_t held_ns; /* that the gang waited for this thread: add to it      */
    unsigned n_away; /* stays of late: one more for each, one less for each
                        window without                                       */
};

/* The calling thread's clocks: a first window. */
struct crowd crowd_now(void);

/* A new window. */
void crowd_renew(struct crowd *c);

/* What passed from `from` to `to` is not to count. */
void crowd_skip(struct crowd *start, const struct crowd *from,
                const struct crowd *to);

/* Nanoseconds for which the calling thread, one of a gang of n, had better not
 * compute where it is; 0: it may.  `now_ns` is CLOCK_MONOTONIC.  At the end of
 * a window a new one begins. */
int64_t crowd_look(struct crowd *c, int64_t now_ns, unsigned n);

/* The decision itself: of `wanted_ns` the thread ran for `ran_ns`, and held its
 * gang up for at most `held_ns`; it was away n_away times of late. */
int64_t crowd_away_ns(int64_t wanted_ns, int64_t ran_ns, int64_t held_ns,
                      unsigned n, unsigned n_away);

#endif
