/* pool.c - threads around one gate.
 *
 * The gate is one word: generation, an open bit, and the number of threads
 * inside.  pool_run() publishes a loop and opens the gate; a thread enters by
 * raising the count while the bit is set, takes chunks until none is left and
 * lowers the count; the caller, out of chunks itself, closes the gate and
 * waits for the count to reach 0.  A thread that wakes too late finds the
 * gate closed and stays out, so on a busy machine the caller never waits for
 * a sleeper that has nothing to do.
 *
 * Sleeping threads wait on `epoch`, which changes with each opening; the
 * caller waits on the gate itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/quota.h"

#define MAX_THREADS 64u

#define GATE_INSIDE     0xffu
#define GATE_OPEN       0x100u
#define GATE_GENERATION 0x200u /* added once an opening; wraps harmlessly     */

/* A pause takes 40 to 140 cycles on what we run on: some tens of
 * microseconds in all, about what a futex round trip costs. */
#define SPINS 1000u

struct pool {
    /* the loop, written while nobody is inside */
    pool_fn fn;
    void *arg;
    size_t n;
    _Alignas(64) atomic_size_t next; /* chunk to hand out                     */
    _Alignas(64) atomic_uint gate;
    _Alignas(64) atomic_uint epoch;
    atomic_uint n_asleep;
    atomic_bool is_caller_asleep;
    atomic_bool is_ending;
    unsigned n_threads;
    unsigned n_spins; /* 0 where waiting would steal the worker's CPU        */
    int nice;
    struct worker {
        pthread_t thread;
        struct pool *pool;
        unsigned id;
    } workers[MAX_THREADS];
};

/* Returns at a wake-up, when *word != seen, or for no reason at all. */
static void futex_wait(atomic_uint *word, unsigned seen)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, int n)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Relaxed: the counter only numbers the chunks; data passes by the gate. */
static void run_chunks(struct pool *p, pool_fn fn, void *arg, size_t n,
                       unsigned worker)
{
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= n)
            return;
        fn(arg, i, worker);
    }
}

/* Acquire pairs with the release in pool_run: who is inside sees the loop. */
static bool gate_enter(struct pool *p)
{
    unsigned g = atomic_load_explicit(&p->gate, memory_order_relaxed);
    while (g & GATE_OPEN)
        if (atomic_compare_exchange_weak_explicit(&p->gate, &g, g + 1,
                                                  memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* Sequentially consistent: either we see the caller asleep, or it sees the
 * lowered count before it sleeps.  Release: our results are visible to it. */
static void gate_leave(struct pool *p)
{
    unsigned g = atomic_fetch_sub(&p->gate, 1) - 1;
    if (!(g & GATE_OPEN) && (g & GATE_INSIDE) == 0 &&
        atomic_load(&p->is_caller_asleep))
        futex_wake(&p->gate, 1);
}

/* Wait until the epoch is no longer `seen`; returns the new one. */
static unsigned wait_epoch(struct pool *p, unsigned seen)
{
    unsigned e;
    for (unsigned i = 0; i < p->n_spins; i++) {
        e = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (e != seen)
            return e;
        CPU_RELAX();
    }
    atomic_fetch_add(&p->n_asleep, 1);
    while ((e = atomic_load(&p->epoch)) == seen)
        futex_wait(&p->epoch, seen);
    atomic_fetch_sub(&p->n_asleep, 1);
    return e;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    unsigned seen = 0;
    if (p->nice != 0) /* a thread that may not be nice works all the same */
        (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), p->nice);
    for (;;) {
        seen = wait_epoch(p, seen);
        if (atomic_load_explicit(&p->is_ending, memory_order_acquire))
            return NULL;
        if (!gate_enter(p))
            continue;
        run_chunks(p, p->fn, p->arg, p->n, w->id);
        gate_leave(p);
    }
}

/* Sequentially consistent against wait_epoch: either it sees the new epoch,
 * or we see it asleep. */
static void ring(struct pool *p)
{
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->n_asleep) > 0)
        futex_wake(&p->epoch, (int)MAX_THREADS);
}

static void wait_inside(struct pool *p)
{
    unsigned g;
    for (unsigned i = 0; i < p->n_spins; i++) {
        g = atomic_load_explicit(&p->gate, memory_order_acquire);
        if ((g & GATE_INSIDE) == 0)
            return;
        CPU_RELAX();
    }
    atomic_store(&p->is_caller_asleep, true);
    while (((g = atomic_load(&p->gate)) & GATE_INSIDE) != 0)
        futex_wait(&p->gate, g);
    atomic_store(&p->is_caller_asleep, false);
}

void pool_run(struct pool *p, size_t n, pool_fn fn, void *arg)
{
    if (!p || p->n_threads == 1 || n <= 1) {
        for (size_t i = 0; i < n; i++)
            fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->gate, GATE_GENERATION | GATE_OPEN,
                              memory_order_release);
    ring(p);
    run_chunks(p, fn, arg, n, 0);
    atomic_fetch_and_explicit(&p->gate, ~GATE_OPEN, memory_order_acq_rel);
    wait_inside(p);
}

/* Started threads leave signals to the host program's own threads. */
static enum unstir_status start(struct pool *p, unsigned n,
                                struct unstir_error *err)
{
    sigset_t all, old;
    int rc = 0;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 1; i < n && rc == 0; i++) {
        struct worker *w = &p->workers[i];
        *w = (struct worker){.pool = p, .id = i};
        rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc == 0)
            p->n_threads = i + 1;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return error_set(err, UNSTIR_ERR_NOMEM,
                         "cannot start thread %u of %u: %s", p->n_threads + 1,
                         n, strerror(rc));
    return UNSTIR_OK;
}

enum unstir_status pool_new(struct pool **out, unsigned n_threads, int nice,
                            struct unstir_error *err)
{
    void *memory;
    *out = NULL;
    unsigned n_cpus = pool_usable_cpus();
    unsigned n = n_threads == 0 ? n_cpus : n_threads;
    if (n > MAX_THREADS)
        n = MAX_THREADS;
    TRY(alloc_aligned(&memory, 1, sizeof(struct pool), err));
    struct pool *p = memory;
    p->n_threads = 1;
    p->nice = nice;
    p->n_spins = n > n_cpus ? 0 : SPINS;
    enum unstir_status status = start(p, n, err);
    if (status != UNSTIR_OK) {
        pool_free(p);
        return status;
    }
    *out = p;
    return UNSTIR_OK;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store_explicit(&p->is_ending, true, memory_order_release);
    ring(p);
    for (unsigned i = 1; i < p->n_threads; i++)
        (void)pthread_join(p->workers[i].thread, NULL); /* ours, joinable */
    alloc_free(p);
}

unsigned pool_threads(const struct pool *p)
{
    return p ? p->n_threads : 1;
}

unsigned pool_usable_cpus(void)
{
    cpu_set_t set;
    unsigned n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        n = count > 0 ? (unsigned)count : 1;
    } else { /* more CPUs than a cpu_set_t holds */
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        n = online > 0 ? (unsigned)online : 1;
    }
    unsigned quota = quota_cpus("/proc/self/cgroup", "/sys/fs/cgroup");
    if (quota != 0 && quota < n)
        n = quota;
    return n < MAX_THREADS ? n : MAX_THREADS;
}
