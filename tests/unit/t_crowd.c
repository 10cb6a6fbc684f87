/* t_crowd.c - gangs on CPUs that others want.
 *
 * The crowd is threads of this test, pinned to one CPU of the gang.  Other
 * programs may crowd the machine as well: what is waited for comes sooner
 * then, and nothing here is asserted of a machine that is idle.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crowd.h"
#include "base/pool.h"

#define MS       INT64_C(1000000)
#define LIMIT_NS (30000 * MS) /* many rests: who needs it all has failed */

/* Loops much shorter than a scheduler's slice, so that nearly all that a thread
 * is denied holds the other one up. */
#define CHUNK_NS (MS / 2)
#define N_CHUNKS 4u

/* Threads on one CPU: ours gets a quarter of it, the limit is a half. */
#define N_CROWD 3u

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void compute(int64_t ns)
{
    for (int64_t end = now_ns() + ns; now_ns() < end;)
        ;
}

/* -- the decision ---------------------------------------------------------- */

static void shares_decide(void **state)
{
    static const struct {
        int64_t wanted, ran, held;
        unsigned n, n_away;
        int64_t want;
    } cases[] = {
        {20 * MS, 20 * MS, 0, 2, 0, 0},
        {20 * MS, 20 * MS + 400000, MS, 2, 0, 0}, /* clocks read in turn */
        {20 * MS, 10 * MS, 20 * MS, 2, 0, 0},     /* half of two: even */
        {20 * MS, 10 * MS - 1, 20 * MS, 2, 0, (10 * MS + 1) * CROWD_PATIENCE},
        {20 * MS, 5 * MS, 5 * MS, 2, 0, 0}, /* denied most, harmed nobody */
        {20 * MS, 5 * MS, 6 * MS, 2, 0, 6 * MS * CROWD_PATIENCE},
        {20 * MS, 19 * MS, 15 * MS, 2, 0, 0}, /* waited for, but running */
        {20 * MS, 10 * MS, 10 * MS, 3, 0, 10 * MS * CROWD_PATIENCE},
        {20 * MS, 10 * MS, 5 * MS, 3, 0, 0},
        {20 * MS, 19 * MS, MS, 16, 0, 0},
        {20 * MS, 18 * MS, 2 * MS, 16, 0, 2 * MS * CROWD_PATIENCE},
        {20 * MS, 18 * MS, 2 * MS, 16, 1, 4 * MS * CROWD_PATIENCE},
        {2 * MS, 0, MS, 2, CROWD_DOUBLED,
         (MS << CROWD_DOUBLED) * CROWD_PATIENCE},
        {2 * MS, 0, MS, 2, UINT32_MAX, (MS << CROWD_DOUBLED) * CROWD_PATIENCE},
        {500 * MS, 0, 500 * MS, 2, 0, CROWD_MOST_NS},
        {INT64_MAX / 2, 0, INT64_MAX / 2, 64, 9, CROWD_MOST_NS},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got = crowd_away_ns(cases[i].wanted, cases[i].ran,
                                    cases[i].held, cases[i].n, cases[i].n_away);
        if (got != cases[i].want)
            fail_msg("case %zu: want %lld, got %lld", i,
                     (long long)cases[i].want, (long long)got);
    }
}

static void what_is_skipped_does_not_count(void **state)
{
    struct crowd start = {100, 10, 1, 0, 0};
    const struct crowd from = {150, 50, 1, 0, 0}, to = {1150, 70, 4, 0, 0};
    (void)state;
    crowd_skip(&start, &from, &to);
    assert_int_equal(start.now_ns, 1100);
    assert_int_equal(start.ran_ns, 30);
    assert_int_equal(start.n_reads, 4);
}

/* A window in which this thread read pages is no window. */
static void reading_is_no_crowd(void **state)
{
    (void)state;
    struct crowd start = crowd_now();
    start.now_ns -= 50 * MS;
    start.held_ns = 50 * MS;
    start.n_reads--;
    assert_int_equal(crowd_look(&start, now_ns(), 2), 0);
    start.now_ns -= 50 * MS;
    start.held_ns = 50 * MS;
    assert_true(crowd_look(&start, now_ns(), 2) > 0);
}

/* Stays are longer while windows end badly, and shorter again with each that
 * does not; what held the gang up belongs to its window. */
static void stays_grow_and_shrink(void **state)
{
    struct crowd c = crowd_now();
    (void)state;
    for (unsigned i = 0; i < CROWD_DOUBLED + 2; i++) {
        unsigned want = i < CROWD_DOUBLED ? i : CROWD_DOUBLED;
        assert_int_equal(c.n_away, want);
        c.now_ns -= 20 * MS;
        c.held_ns = 20 * MS;
        assert_true(crowd_look(&c, now_ns(), 2) > 0);
    }
    for (unsigned i = CROWD_DOUBLED + 1; i-- > 0;) {
        assert_int_equal(c.held_ns, 0);
        c.now_ns -= 20 * MS;
        assert_int_equal(crowd_look(&c, now_ns(), 2), 0);
        assert_int_equal(c.n_away, i > 0 ? i - 1 : 0);
    }
}

/* -- gangs ----------------------------------------------------------------- */

/* Threads that compute on one CPU and nowhere else. */
struct crowding {
    pthread_t threads[N_CROWD];
    atomic_bool is_over;
};

static void *want_cpu(void *arg)
{
    struct crowding *c = arg;
    while (!atomic_load(&c->is_over))
        compute(MS);
    return NULL;
}

static void crowd_start(struct crowding *c, int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((unsigned)cpu, &one);
    atomic_store(&c->is_over, false);
    for (size_t i = 0; i < N_CROWD; i++) {
        assert_int_equal(pthread_create(&c->threads[i], NULL, want_cpu, c), 0);
        assert_int_equal(
            pthread_setaffinity_np(c->threads[i], sizeof one, &one), 0);
    }
}

static void crowd_end(struct crowding *c)
{
    atomic_store(&c->is_over, true);
    for (size_t i = 0; i < N_CROWD; i++)
        assert_int_equal(pthread_join(c->threads[i], NULL), 0);
}

struct gang {
    struct pool *pool;
    atomic_uint n_met;
    atomic_int cpu[2], thread[2];
    atomic_uint n_chunks[2]; /* by worker                                   */
};

static void meet(void *arg, size_t i, unsigned worker)
{
    struct gang *g = arg;
    (void)i;
    atomic_store(&g->cpu[worker], sched_getcpu());
    atomic_store(&g->thread[worker], (int)syscall(SYS_gettid));
    atomic_fetch_add(&g->n_met, 1);
    while (atomic_load(&g->n_met) < 2)
        sched_yield();
}

static void work(void *arg, size_t i, unsigned worker)
{
    struct gang *g = arg;
    (void)i;
    atomic_fetch_add(&g->n_chunks[worker], 1);
    compute(CHUNK_NS);
}

/* Two threads on cores of their own, and who is where; false: this machine
 * pins none. */
static bool gang_start(struct gang *g)
{
    *g = (struct gang){0};
    assert_int_equal(pool_new_placed(&g->pool, 2, 0, UNSTIR_PIN_ON, NULL),
                     UNSTIR_OK);
    if (!pool_place(g->pool).is_pinned) {
        pool_free(g->pool);
        return false;
    }
    pool_hold(g->pool);
    pool_run(g->pool, 2, meet, g);
    pool_release(g->pool);
    return true;
}

/* As /proc says it: 'R' wants a CPU, 'S' sleeps. */
static char state_of(int thread)
{
    char path[64], state = '?';
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    FILE *f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
            state = '?';
        (void)fclose(f);
    }
    return state;
}

/* True if thread 1 slept while there was work: one who waits for its CPU in
 * the middle of a loop is not asleep. */
static bool rests(struct gang *g)
{
    atomic_store(&g->n_chunks[1], 0);
    pool_run(g->pool, N_CHUNKS, work, g);
    return atomic_load(&g->n_chunks[1]) == 0 &&
           state_of(atomic_load(&g->thread[1])) == 'S';
}

static void a_thread_in_a_crowd_rests_and_returns(void **state)
{
    struct gang g;
    struct crowding crowd;
    (void)state;
    if (!gang_start(&g))
        skip();
    crowd_start(&crowd, atomic_load(&g.cpu[1]));
    int64_t end = now_ns() + LIMIT_NS;
    bool has_rested = false;
    while (!has_rested && now_ns() < end)
        has_rested = rests(&g);
    crowd_end(&crowd);
    atomic_store(&g.n_chunks[1], 0);
    while (atomic_load(&g.n_chunks[1]) == 0 && now_ns() < end)
        pool_run(g.pool, N_CHUNKS, work, &g);
    unsigned n_back = atomic_load(&g.n_chunks[1]);
    pool_free(g.pool);
    assert_true(has_rested);
    assert_true(n_back > 0);
}

static void a_caller_in_a_crowd_leaves_its_core(void **state)
{
    struct gang g;
    struct crowding crowd;
    cpu_set_t before, inside, after;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    if (!gang_start(&g))
        skip();
    crowd_start(&crowd, atomic_load(&g.cpu[0]));
    pool_hold(g.pool);
    int64_t end = now_ns() + LIMIT_NS;
    do {
        pool_run(g.pool, N_CHUNKS, work, &g);
        assert_int_equal(sched_getaffinity(0, sizeof inside, &inside), 0);
    } while (CPU_COUNT(&inside) == 1 && now_ns() < end);
    bool has_rested = false; /* thread 1 leaves its core to the caller */
    while (!has_rested && now_ns() < end)
        has_rested = rests(&g);
    pool_release(g.pool);
    crowd_end(&crowd);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    pool_free(g.pool); /* ends the rest */
    assert_true(CPU_EQUAL(&inside, &before));
    assert_true(CPU_EQUAL(&after, &before));
    assert_true(has_rested);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_decide),
        cmocka_unit_test(what_is_skipped_does_not_count),
        cmocka_unit_test(reading_is_no_crowd),
        cmocka_unit_test(stays_grow_and_shrink),
        cmocka_unit_test(a_thread_in_a_crowd_rests_and_returns),
        cmocka_unit_test(a_caller_in_a_crowd_leaves_its_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
