/* pool.h - a gang of threads that run one loop together.
 *
 * pool_run(p, n, fn, arg) calls fn(arg, i, worker) once for each i in 0..n-1
 * and returns when all are done.  Chunks are handed out by an atomic counter,
 * so a slow neighbour costs little; what a chunk computes must depend on i
 * only, never on `worker`, which serves to pick scratch memory.  That is what
 * makes results equal bit for bit for every number of threads.
 *
 * Waiting threads spin for some tens of microseconds, then sleep on a futex.
 * A pool of one thread starts none and runs everything in the caller.
 *
 * A pool serves one caller at a time.  pool_run must not be nested.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

#include "base/error.h"

struct pool;

typedef void (*pool_fn)(void *arg, size_t i, unsigned worker);

/* n_threads 0: as many as the process may use (affinity, cgroup quota), at
 * most 64.  Started threads take `nice` when it is not 0. */
enum unstir_status pool_new(struct pool **out, unsigned n_threads, int nice,
                            struct unstir_error *err);
void pool_free(struct pool *pool);

/* Callers included: `worker` is below this. */
unsigned pool_threads(const struct pool *pool);

/* pool NULL: everything in the caller, worker 0. */
void pool_run(struct pool *pool, size_t n, pool_fn fn, void *arg);

/* CPUs this process may use: affinity mask cut by cgroup quota, at least 1. */
unsigned pool_usable_cpus(void);

#endif
