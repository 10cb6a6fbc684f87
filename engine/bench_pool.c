/* bench_pool.c - what the threads themselves cost.
 *
 * Three figures: an empty loop while everybody still spins, an empty loop
 * after everybody fell asleep, and two gangs that compute side by side.  The
 * last is the share they keep, together, of what one gang does alone: 1 would
 * be ideal, since both have the same cores.
 *
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "format/json.h"
#include "kernels/kernels.h"
#include "unstir_bench.h"

#define DEFAULT_REPEAT 10u
#define SIDE_ROUNDS    10u   /* a repetition                               */
#define N_EMPTY        2000u /* loops a round                                */
#define N_ASLEEP       20u
#define SIDE_NS \
    4000000                /* a round: as short as a slice of time, so
                                  that some meet nobody else              */
#define BURST_ROUNDS 4000u /* of some 20 us: as short as real chunks are   */
#define CHUNKS       4u    /* a thread                                     */

/* One gang, driven by a thread of its own. */
struct gang {
    const struct kernel_table *k;
    struct pool *pool;
    atomic_bool *is_over;
    atomic_ullong n_loops; /* relaxed: a count, nothing hangs on it           */
    float sinks[CORES_MAX][16]; /* a cache line a thread                     */
};

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void nothing(void *arg, size_t i, unsigned worker)
{
    unsigned char *cells = arg;
    cells[i] = (unsigned char)worker;
}

/* Nanoseconds of a loop whose threads spin. */
static double time_awake(struct pool *pool)
{
    unsigned char cells[CORES_MAX];
    int64_t start = now_ns();
    for (unsigned i = 0; i < N_EMPTY; i++)
        pool_run(pool, pool_threads(pool), nothing, cells);
    return (double)(now_ns() - start) / N_EMPTY;
}

/* Nanoseconds of a loop whose threads sleep. */
static double time_asleep(struct pool *pool)
{
    unsigned char cells[CORES_MAX];
    const struct timespec pause = {0, 10 * POOL_SPIN_NS};
    int64_t sum = 0;
    for (unsigned i = 0; i < N_ASLEEP; i++) {
        (void)nanosleep(&pause, NULL);
        int64_t start = now_ns();
        pool_run(pool, pool_threads(pool), nothing, cells);
        sum += now_ns() - start;
    }
    return (double)sum / N_ASLEEP;
}

static void burst(void *arg, size_t i, unsigned worker)
{
    struct gang *g = arg;
    (void)i;
    (void)g->k->gemm.burst(BURST_ROUNDS, &g->sinks[worker][0]);
}

static void *drive(void *arg)
{
    struct gang *g = arg;
    pool_hold(g->pool);
    /* Relaxed: says when to end, nothing else. */
    while (!atomic_load_explicit(g->is_over, memory_order_relaxed)) {
        pool_run(g->pool, (size_t)CHUNKS * pool_threads(g->pool), burst, g);
        atomic_fetch_add_explicit(&g->n_loops, 1, memory_order_relaxed);
    }
    pool_release(g->pool);
    return NULL;
}

static uint64_t count_loops(const struct gang *gangs, unsigned n)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += atomic_load_explicit(&gangs[i].n_loops, memory_order_relaxed);
    return sum;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double lesser(double a, double b)
{
    return a == 0 || b < a ? b : a;
}

/* Most loops a second in a round of n gangs at one time, summed up; 0: the
 * system starts no thread. */
static double loops_per_s(struct gang *gangs, unsigned n)
{
    const struct timespec length = {0, SIDE_NS};
    pthread_t threads[2];
    atomic_bool is_over = false;
    unsigned n_started = 0;
    double most = 0;
    for (; n_started < n; n_started++) {
        gangs[n_started].is_over = &is_over;
        if (pthread_create(&threads[n_started], NULL, drive,
                           &gangs[n_started]) != 0)
            break;
    }
    for (unsigned i = 0; n_started == n && i < SIDE_ROUNDS; i++) {
        uint64_t before = count_loops(gangs, n);
        int64_t start = now_ns();
        (void)nanosleep(&length, NULL);
        uint64_t loops = count_loops(gangs, n) - before;
        most = larger(most, 1e9 * (double)loops / (double)(now_ns() - start));
    }
    atomic_store_explicit(&is_over, true, memory_order_relaxed);
    for (unsigned i = 0; i < n_started; i++)
        (void)pthread_join(threads[i], NULL); /* ours, joinable */
    return most;
}

struct figures {
    double awake_ns, asleep_ns; /* least                                     */
    double alone, together;     /* loops a second, most                      */
};

static void measure(struct figures *f, struct gang *gangs, unsigned repeat)
{
    *f = (struct figures){0};
    for (unsigned i = 0; i < repeat; i++) {
        f->awake_ns = lesser(f->awake_ns, time_awake(gangs[0].pool));
        f->asleep_ns = lesser(f->asleep_ns, time_asleep(gangs[0].pool));
        f->alone = larger(f->alone, loops_per_s(gangs, 1));
        f->together = larger(f->together, loops_per_s(gangs, 2));
    }
}

static enum unstir_status report(const struct figures *f, unsigned n_threads,
                                 char **json, struct unstir_error *err)
{
    struct json_writer *w;
    struct cores cores;
    cores_detect(&cores);
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "what", "pool");
    json_put_int(w, "threads", n_threads);
    json_put_int(w, "cores", cores.n);
    json_put_int(w, "cpus", cores_cpus(&cores));
    json_put_int(w, "quota_cpus", cores.quota);
    json_put_real(w, "loop_us", f->awake_ns * 1e-3);
    json_put_real(w, "loop_asleep_us", f->asleep_ns * 1e-3);
    json_put_real(w, "loops_per_s_one_gang", f->alone);
    json_put_real(w, "loops_per_s_two_gangs", f->together);
    json_put_real(w, "kept", f->alone > 0 ? f->together / f->alone : 0);
    json_close(w);
    return json_finish(json, w, false, err);
}

enum unstir_status unstir_bench_pool(const struct unstir_bench_options *o,
                                     char **json, struct unstir_error *err)
{
    struct kernel_table table;
    struct figures figures;
    struct gang *gangs = NULL;
    const char *refused;
    enum unstir_status status;

    *json = NULL;
    TRY(kernels_choose(&table, &(struct kernel_wish){.isa = o->isa}, &refused,
                       err));
    TRY(alloc_aligned(&gangs, 2, sizeof *gangs, err));
    memset(gangs, 0, 2 * sizeof *gangs);
    gangs[0].k = gangs[1].k = &table;
    status = pool_new_placed(&gangs[0].pool, o->n_threads, 0, o->pin, err);
    if (status == UNSTIR_OK)
        status = pool_new_placed(&gangs[1].pool, o->n_threads, 0, o->pin, err);
    if (status == UNSTIR_OK) {
        measure(&figures, gangs, o->repeat ? o->repeat : DEFAULT_REPEAT);
        status = report(&figures, pool_threads(gangs[0].pool), json, err);
    }
    pool_free(gangs[0].pool);
    pool_free(gangs[1].pool);
    alloc_free(gangs);
    return status;
}
