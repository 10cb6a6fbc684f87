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
 * A loop's chunks are cut into shares of neighbours, one a thread, each with a
 * counter.  A thread takes its own share first and then what others have left.
 * Loops of one network cut pictures and rows alike, so a thread finds in its
 * own cache most of what it wrote in the loop before: with one counter for all,
 * an evaluation of DDPM CIFAR-10 on two cores took 7 % longer, of the fashion
 * model 10 % (cpu time of group norms by a quarter, of Winograd's by 4 to 10).
 *
 * Sleeping threads wait on `epoch`, which changes with each opening; the
 * caller waits on the gate itself.
 *
 * A thread set aside in the middle of a chunk does hold the caller up, for as
 * long as others keep its CPU, and nothing can take a begun chunk over from
 * it.  So each thread watches whether it is in the way (base/crowd.h): a
 * started one then rests, a held caller leaves its core and has thread 1 rest
 * as long, so that there is a core for it.  A rest ends by itself: loops find
 * fewer threads coming in, nothing else.  Who falls asleep while it waits tells
 * since when, so that the one waited for knows what it costs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crowd.h"
#include "base/thread.h"

#define MAX_THREADS CORES_MAX

/* Of more threads, neighbours have a share together: each loop's caller writes
 * all the counters, and who is done reads them. */
#define MAX_SHARES 8

#define GATE_INSIDE     0xffu
#define GATE_OPEN       0x100u
#define GATE_GENERATION 0x200u /* added once an opening; wraps harmlessly     */

/* A pause takes 10 to 140 cycles, by the CPU's make: time is what is counted,
 * but looked at after some pauses only, so that short waits never do. */
#define PAUSES_A_LOOK 32u

struct pool {
    /* the loop, written while nobody is inside */
    pool_fn fn;
    void *arg;
    struct share {
        _Alignas(64) atomic_size_t next; /* chunk to hand out                 */
        size_t end;                      /* written with the loop             */
    } shares[MAX_SHARES];
    _Alignas(64) atomic_uint gate;
    _Alignas(64) atomic_uint epoch;
    atomic_uint n_asleep;
    atomic_bool is_caller_asleep;
    atomic_llong caller_since_ns;  /* on the clock: asleep since, or 0       */
    atomic_llong threads_since_ns; /* so has a started one                   */
    atomic_uint is_ending; /* a word, since those who rest sleep on it      */
    unsigned n_threads, n_shares;
    int64_t spin_ns; /* 0 where waiting would steal a worker's CPU           */
    int nice;
    struct cores_place place;
    int cpu[MAX_THREADS]; /* of thread i, where pinned                       */
    bool is_held;
    bool may_move;        /* held, and with `callers` to come back to        */
    bool is_placed;       /* on cpu[0]                                       */
    cpu_set_t callers;    /* the caller's mask before it was held            */
    struct crowd watch;   /* of the caller                                   */
    struct crowd left;    /* its clocks when it was held last                */
    atomic_llong away_ns; /* on the clock: the caller keeps off until then   */
    struct worker {
        pthread_t thread;
        struct pool *pool;
        struct crowd watch;
        unsigned id;
    } workers[MAX_THREADS];
};

/* Returns at a wake-up, when *word != seen, after `limit` if there is one, or
 * for no reason at all. */
static void futex_wait(atomic_uint *word, unsigned seen,
                       const struct timespec *limit)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, limit, NULL, 0);
}

static void futex_wake(atomic_uint *word, int n)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A wait that spins: true while it is worth going on.  A thread that was set
 * aside meanwhile finds its time over, so it gives way to who took its CPU. */
struct spin {
    int64_t end_ns; /* 0: the clock has not been looked at                   */
    unsigned n_pauses;
};

static bool spin_on(struct spin *s, int64_t spin_ns)
{
    if (spin_ns == 0)
        return false;
    CPU_RELAX();
    if (++s->n_pauses % PAUSES_A_LOOK != 0)
        return true;
    int64_t now = now_ns();
    if (s->end_ns == 0)
        s->end_ns = now + spin_ns;
    return now < s->end_ns;
}

/* Relaxed: counters only number the chunks; data passes by the gate.  A share
 * that is all taken is only read, so that the last chunks are not hindered. */
static bool take_chunk(struct share *share, size_t *i)
{
    if (atomic_load_explicit(&share->next, memory_order_relaxed) >= share->end)
        return false;
    *i = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
    return *i < share->end;
}

static void run_chunks(struct pool *p, unsigned worker)
{
    unsigned own = worker * p->n_shares / p->n_threads;
    pool_fn fn = p->fn;
    void *arg = p->arg;

    for (unsigned t = 0; t < p->n_shares; t++) {
        struct share *share = &p->shares[(own + t) % p->n_shares];
        for (size_t i; take_chunk(share, &i);)
            fn(arg, i, worker);
    }
}

/* While nobody is inside. */
static void set_loop(struct pool *p, size_t n, pool_fn fn, void *arg)
{
    size_t each = n / p->n_shares, rest = n % p->n_shares, at = 0;

    p->fn = fn;
    p->arg = arg;
    for (unsigned t = 0; t < p->n_shares; t++) {
        atomic_store_explicit(&p->shares[t].next, at, memory_order_relaxed);
        at += each + (t < rest);
        p->shares[t].end = at;
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

/* A thread that is out of chunks, while the others cannot go on without it: add
 * how long one of them has slept.  Relaxed: a time that is seen too late is
 * lost, which makes one window look better than it was. */
static void count_held(struct crowd *watch, atomic_llong *since_ns)
{
    int64_t since = atomic_load_explicit(since_ns, memory_order_relaxed);
    if (since != 0)
        watch->held_ns += now_ns() - since;
}

/* Wait until the epoch is no longer `seen`; returns the new one. */
static unsigned wait_epoch(struct pool *p, struct worker *w, unsigned seen)
{
    unsigned e;
    struct spin spin = {0};
    do {
        e = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (e != seen)
            return e;
    } while (spin_on(&spin, p->spin_ns));
    int64_t start = now_ns();
    atomic_store_explicit(&p->threads_since_ns, start, memory_order_relaxed);
    atomic_fetch_add(&p->n_asleep, 1);
    while ((e = atomic_load(&p->epoch)) == seen)
        futex_wait(&p->epoch, seen, NULL);
    atomic_fetch_sub(&p->n_asleep, 1);
    atomic_store_explicit(&p->threads_since_ns, 0, memory_order_relaxed);
    w->watch.now_ns += now_ns() - start; /* slept of its own will */
    return e;
}

/* How long thread w is not to compute.  Relaxed: it may as well see a loop
 * later where the caller went. */
static int64_t rest_ns(struct pool *p, struct worker *w, int64_t now)
{
    int64_t own = crowd_look(&w->watch, now, p->n_threads);
    int64_t room = 0;
    if (w->id == 1)
        room = atomic_load_explicit(&p->away_ns, memory_order_relaxed) - now;
    return own > room ? own : room;
}

/* Sleep where no opening wakes, if others want this CPU. */
static void rest(struct pool *p, struct worker *w)
{
    int64_t now = now_ns(), left = rest_ns(p, w, now), end = now + left;
    if (left <= 0)
        return;
    for (; left > 0 && atomic_load(&p->is_ending) == 0; left = end - now_ns()) {
        struct timespec limit = {left / 1000000000, left % 1000000000};
        futex_wait(&p->is_ending, 0, &limit);
    }
    crowd_renew(&w->watch);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    unsigned seen = 0;
    w->watch = crowd_now();
    if (p->nice != 0) /* a thread that may not be nice works all the same */
        (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), p->nice);
    for (;;) {
        seen = wait_epoch(p, w, seen);
        if (atomic_load_explicit(&p->is_ending, memory_order_acquire) != 0)
            return NULL;
        if (!gate_enter(p))
            continue;
        run_chunks(p, w->id);
        count_held(&w->watch, &p->caller_since_ns);
        gate_leave(p);
        rest(p, w);
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
    struct spin spin = {0};
    do {
        g = atomic_load_explicit(&p->gate, memory_order_acquire);
        if ((g & GATE_INSIDE) == 0)
            return;
    } while (spin_on(&spin, p->spin_ns));
    int64_t start = now_ns();
    atomic_store_explicit(&p->caller_since_ns, start, memory_order_relaxed);
    atomic_store(&p->is_caller_asleep, true);
    while (((g = atomic_load(&p->gate)) & GATE_INSIDE) != 0)
        futex_wait(&p->gate, g, NULL);
    atomic_store(&p->is_caller_asleep, false);
    atomic_store_explicit(&p->caller_since_ns, 0, memory_order_relaxed);
    p->watch.now_ns += now_ns() - start; /* slept of its own will */
}

static cpu_set_t only(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    return set;
}

static void take_core(struct pool *p)
{
    cpu_set_t own = only(p->cpu[0]);
    p->is_placed = sched_setaffinity(0, sizeof own, &own) == 0;
}

static void leave_core(struct pool *p)
{
    (void)sched_setaffinity(0, sizeof p->callers,
                            &p->callers); /* was its own */
    p->is_placed = false;
}

/* A held caller after a loop: off its core while others want it.  Relaxed:
 * nobody else writes the time. */
static void keep_place(struct pool *p)
{
    int64_t now = now_ns();
    int64_t away = crowd_look(&p->watch, now, p->n_threads);
    if (away > 0)
        atomic_store_explicit(&p->away_ns, now + away, memory_order_relaxed);
    if (!p->may_move)
        return;
    bool is_away =
        now < atomic_load_explicit(&p->away_ns, memory_order_relaxed);
    if (p->is_placed && is_away)
        leave_core(p);
    else if (!p->is_placed && !is_away)
        take_core(p);
}

void pool_run(struct pool *p, size_t n, pool_fn fn, void *arg)
{
    if (!p || p->n_threads == 1 || n <= 1) {
        for (size_t i = 0; i < n; i++)
            fn(arg, i, 0);
        return;
    }
    set_loop(p, n, fn, arg);
    atomic_fetch_add_explicit(&p->gate, GATE_GENERATION | GATE_OPEN,
                              memory_order_release);
    ring(p);
    run_chunks(p, 0);
    unsigned g =
        atomic_fetch_and_explicit(&p->gate, ~GATE_OPEN, memory_order_acq_rel);
    if (p->is_held && (g & GATE_INSIDE) == 0)
        count_held(&p->watch, &p->threads_since_ns);
    wait_inside(p);
    if (p->is_held)
        keep_place(p);
}

void pool_hold(struct pool *p)
{
    if (!p || p->n_threads == 1 || p->is_held)
        return;
    struct crowd now = crowd_now();
    crowd_skip(&p->watch, &p->left, &now);
    p->is_held = true;
    p->may_move = p->place.is_pinned &&
                  sched_getaffinity(0, sizeof p->callers, &p->callers) == 0 &&
                  CPU_COUNT(&p->callers) > 1;
    keep_place(p);
}

void pool_release(struct pool *p)
{
    if (!p || !p->is_held)
        return;
    if (p->is_placed)
        leave_core(p);
    p->is_held = false;
    p->left = crowd_now();
}

/* Named and pinned from outside, so that whoever counts gangs after pool_new()
 * sees it.  Both may be refused (a sandbox): speed suffers, nothing else. */
static int start_worker(struct pool *p, unsigned i, unsigned n)
{
    struct worker *w = &p->workers[i];
    char name[CORES_NAME_BYTES];
    *w = (struct worker){.pool = p, .id = i};
    cores_name(name, i, n);
    int rc = thread_start(&w->thread, name, worker_main, w);
    if (rc != 0 || !p->place.is_pinned)
        return rc;
    cpu_set_t own = only(p->cpu[i]);
    (void)pthread_setaffinity_np(w->thread, sizeof own, &own);
    return 0;
}

static enum unstir_status start(struct pool *p, unsigned n,
                                struct unstir_error *err)
{
    for (unsigned i = 1; i < n; i++) {
        int rc = start_worker(p, i, n);
        if (rc != 0)
            return error_set(err, UNSTIR_ERR_NOMEM,
                             "cannot start thread %u of %u: %s", i + 1, n,
                             strerror(rc));
        p->n_threads = i + 1;
    }
    return UNSTIR_OK;
}

enum unstir_status pool_new_placed(struct pool **out, unsigned n_threads,
                                   int nice, enum unstir_pin pin,
                                   struct unstir_error *err)
{
    struct cores cores;
    struct pool *p;
    *out = NULL;
    cores_detect(&cores);
    unsigned n = n_threads == 0 ? cores_gang(&cores) : n_threads;
    if (n > MAX_THREADS)
        n = MAX_THREADS;
    TRY(alloc_aligned(&p, 1, sizeof *p, err));
    p->n_threads = 1;
    p->n_shares = n < MAX_SHARES ? n : MAX_SHARES;
    p->watch = p->left = crowd_now();
    p->nice = nice;
    p->place = cores_place(&cores, n, pin);
    p->spin_ns = p->place.is_shared ? 0 : POOL_SPIN_NS;
    for (unsigned i = 0; i < n && p->place.is_pinned; i++)
        p->cpu[i] = cores.cpu[p->place.first + i];
    enum unstir_status status = start(p, n, err);
    if (status != UNSTIR_OK) {
        pool_free(p);
        return status;
    }
    *out = p;
    return UNSTIR_OK;
}

enum unstir_status pool_new(struct pool **out, unsigned n_threads, int nice,
                            struct unstir_error *err)
{
    return pool_new_placed(out, n_threads, nice, UNSTIR_PIN_AUTO, err);
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->is_ending, 1);
    futex_wake(&p->is_ending, (int)MAX_THREADS);
    ring(p);
    for (unsigned i = 1; i < p->n_threads; i++)
        (void)pthread_join(p->workers[i].thread, NULL); /* ours, joinable */
    alloc_free(p);
}

unsigned pool_threads(const struct pool *p)
{
    return p ? p->n_threads : 1;
}

struct cores_place pool_place(const struct pool *p)
{
    return p->place;
}

unsigned pool_usable_cpus(void)
{
    struct cores cores;
    cores_detect(&cores);
    return cores_gang(&cores);
}
