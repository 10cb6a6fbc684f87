/* pool.h - a gang of threads that run one loop together.
 *
 * pool_run(p, n, fn, arg) calls fn(arg, i, worker) once for each i in 0..n-1
 * and returns when all are done.  Each thread begins with a share of
 * neighbouring i of its own, the same one in loops of the same n, and then
 * takes what others have left, so a slow neighbour costs little.  What a chunk
 * computes must depend on i only, never on `worker`, which serves to pick
 * scratch memory.  That is what makes results equal bit for bit for every
 * number of threads.
 *
 * Waiting threads spin for POOL_SPIN_NS, then sleep on a futex.  In one process
 * no more threads spin than CPUs are allowed: a pool that would exceed them
 * sleeps at once.  A pool of one thread starts none and runs everything in the
 * caller.
 *
 * Started threads are pinned as base/cores.h says.  The caller's own affinity
 * is changed between pool_hold() and pool_release() only.  Threads whose CPU
 * others use rest for a while, as base/crowd.h says, since a gang is as fast as
 * its slowest thread: on a machine that is taken the caller computes alone,
 * wherever the kernel finds room for it.  No rest is longer than
 * CROWD_MOST_NS, so a loop that waits for a thread gets it.
 *
 * A pool serves one caller at a time.  pool_run must not be nested.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

#include "base/cores.h"
#include "base/error.h"

/* Beyond the wait at the end of most loops, and many times what waking a
 * sleeper costs its waker (some 3 us here: `unstir bench pool`). */
#define POOL_SPIN_NS 80000

struct pool;

typedef void (*pool_fn)(void *arg, size_t i, unsigned worker);

/* n_threads 0: one a physical core that the process may use (affinity, cgroup
 * quota), at most 64.  Started threads take `nice` when it is not 0. */
enum unstir_status pool_new(struct pool **out, unsigned n_threads, int nice,
                            struct unstir_error *err); /* UNSTIR_PIN_AUTO */
enum unstir_status pool_new_placed(struct pool **out, unsigned n_threads,
                                   int nice, enum unstir_pin pin,
                                   struct unstir_error *err);
void pool_free(struct pool *pool);

/* Callers included: `worker` is below this. */
unsigned pool_threads(const struct pool *pool);

/* Where its threads are and whether they spin. */
struct cores_place pool_place(const struct pool *pool);

/* pool NULL: everything in the caller, worker 0. */
void pool_run(struct pool *pool, size_t n, pool_fn fn, void *arg);

/* Around a series of loops of one caller which computes all the while,
 * optional: keep the calling thread on its own core of the gang, unless others
 * want that.  pool_release() gives the affinity back that the thread had, which
 * stays as it is in unpinned pools and of threads that are pinned already.
 * Both do nothing for NULL. */
void pool_hold(struct pool *pool);
void pool_release(struct pool *pool);

/* Threads of pool_new(.., 0, ..): physical cores of the affinity mask cut by
 * the cgroup quota, at least 1. */
unsigned pool_usable_cpus(void);

#endif
