/* t_base_pool.c - the thread pool and the CPUs it may use.
 *
 * Meant for the thread sanitizer as well: chunks write plain memory that the
 * caller reads plainly.
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
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "base/quota.h"

#define MANY 1000

struct tally {
    unsigned n_threads;
    unsigned times[MANY];
    uint64_t value[MANY];
    const uint64_t *before;
    atomic_uint n_bad_workers;
};

/* Each chunk has its own cell; plain memory on purpose. */
static void tally_chunk(void *arg, size_t i, unsigned worker)
{
    struct tally *t = arg;
    t->times[i]++;
    t->value[i] = (t->before ? t->before[MANY - 1 - i] : 0) + i;
    if (worker >= t->n_threads)
        atomic_fetch_add(&t->n_bad_workers, 1);
}

static void every_chunk_runs_once(void **state)
{
    (void)state;
    static const unsigned threads[] = {1, 2, 3, 4, 8, 9, 20};
    static const size_t lengths[] = {0, 1, 2, 3, 7, 64, MANY};
    for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
        struct pool *pool;
        assert_int_equal(pool_new(&pool, threads[t], 0, NULL), UNSTIR_OK);
        assert_int_equal(pool_threads(pool), threads[t]);
        for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
            struct tally *tally = calloc(1, sizeof *tally);
            tally->n_threads = threads[t];
            pool_run(pool, lengths[l], tally_chunk, tally);
            for (size_t i = 0; i < MANY; i++)
                if (tally->times[i] != (i < lengths[l]))
                    fail_msg("%u threads, %zu chunks: chunk %zu ran %u times",
                             threads[t], lengths[l], i, tally->times[i]);
            assert_int_equal(atomic_load(&tally->n_bad_workers), 0);
            free(tally);
        }
        pool_free(pool);
    }
}

/* A loop sees what all chunks of the one before it wrote. */
static void loops_follow_each_other(void **state)
{
    (void)state;
    struct pool *pool;
    struct tally *t = calloc(2, sizeof *t);
    assert_int_equal(pool_new(&pool, 4, 0, NULL), UNSTIR_OK);
    t[0].n_threads = t[1].n_threads = 4;
    t[0].before = t[1].value;
    t[1].before = t[0].value;
    for (unsigned round = 0; round < 400; round++)
        pool_run(pool, MANY, tally_chunk, &t[round & 1]);
    /* v'[i] = v[last - i] + i, 400 times: pairs of i and last - i */
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(t[1].value[i], 200 * i + 200 * (MANY - 1 - i));
    free(t);
    pool_free(pool);
}

static void no_pool_means_the_caller(void **state)
{
    (void)state;
    struct tally *t = calloc(1, sizeof *t);
    t->n_threads = 1;
    pool_run(NULL, MANY, tally_chunk, t);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(t->times[i], 1);
    assert_int_equal(pool_threads(NULL), 1);
    assert_int_equal(atomic_load(&t->n_bad_workers), 0);
    free(t);
    pool_free(NULL);
}

/* Threads take part: with two, two chunks that wait for each other end. */
static void meet_chunk(void *arg, size_t i, unsigned worker)
{
    atomic_uint *n = arg;
    (void)i;
    (void)worker;
    atomic_fetch_add(n, 1);
    while (atomic_load(n) < 2)
        sched_yield();
}

static void chunks_run_side_by_side(void **state)
{
    (void)state;
    struct pool *pool;
    assert_int_equal(pool_new(&pool, 2, 0, NULL), UNSTIR_OK);
    for (int round = 0; round < 50; round++) {
        atomic_uint n = 0;
        pool_run(pool, 2, meet_chunk, &n);
        assert_int_equal(atomic_load(&n), 2);
    }
    pool_free(pool);
}

#define SHARED 11

struct shared {
    atomic_uint n_begun, n_done;
    size_t first[2];
    bool has_begun[2];
};

/* Each thread's first chunk waits for the other thread to come; thread 1's, for
 * all others to be done. */
static void share_chunk(void *arg, size_t i, unsigned worker)
{
    struct shared *s = arg;

    if (!s->has_begun[worker]) {
        s->has_begun[worker] = true;
        s->first[worker] = i;
        atomic_fetch_add(&s->n_begun, 1);
        while (atomic_load(&s->n_begun) < 2 ||
               (worker == 1 && atomic_load(&s->n_done) < SHARED - 1))
            sched_yield();
    }
    atomic_fetch_add(&s->n_done, 1);
}

/* Threads begin with chunks of their own, and who is held loses the rest. */
static void shares_are_own_and_given_away(void **state)
{
    struct pool *pool;

    (void)state;
    assert_int_equal(pool_new(&pool, 2, 0, NULL), UNSTIR_OK);
    for (unsigned round = 0; round < 20; round++) {
        struct shared s = {0};
        pool_run(pool, SHARED, share_chunk, &s);
        assert_int_equal(atomic_load(&s.n_done), SHARED);
        assert_int_equal(s.first[0], 0);
        assert_int_equal(s.first[1], (SHARED + 1) / 2);
    }
    pool_free(pool);
}

/* Started threads sleep after spinning, and wake again. */
static void sleepers_wake(void **state)
{
    (void)state;
    struct pool *pool;
    atomic_uint n = 0;
    assert_int_equal(pool_new(&pool, 2, 0, NULL), UNSTIR_OK);
    for (int round = 0; round < 5; round++) {
        struct timespec pause = {0, 3000000}; /* far beyond the spinning */
        (void)nanosleep(&pause, NULL);
        atomic_store(&n, 0);
        pool_run(pool, 2, meet_chunk, &n);
    }
    pool_free(pool);
}

static int64_t cpu_ns(void)
{
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#define LOOPS 50

static void idle_chunk(void *arg, size_t i, unsigned worker)
{
    (void)arg;
    (void)i;
    (void)worker;
}

/* A caller whose loop is done goes on at once, held or not: of its own time,
 * the least of many rounds, it spends far less than the spinning that a wait
 * may last. */
static void nobody_waits_for_nobody(void **state)
{
    struct pool *pool;

    (void)state;
    assert_int_equal(pool_new(&pool, 2, 0, NULL), UNSTIR_OK);
    for (int is_held = 0; is_held < 2; is_held++) {
        int64_t least = INT64_MAX;
        if (is_held)
            pool_hold(pool);
        for (unsigned round = 0; round < 40; round++) {
            int64_t start = cpu_ns(), took;
            for (unsigned i = 0; i < LOOPS; i++)
                pool_run(pool, 2, idle_chunk, NULL);
            took = cpu_ns() - start;
            least = took < least ? took : least;
        }
        if (least >= (int64_t)LOOPS * POOL_SPIN_NS / 2)
            fail_msg("%s: %d loops took %lld ns", is_held ? "held" : "not held",
                     LOOPS, (long long)least);
    }
    pool_release(pool);
    pool_free(pool);
}

struct seen {
    pthread_t caller;
    atomic_uint n;
    int nice;
    bool blocks_signals;
};

static void look_chunk(void *arg, size_t i, unsigned worker)
{
    struct seen *s = arg;
    (void)i;
    if (worker != 0) {
        sigset_t set;
        pthread_sigmask(SIG_SETMASK, NULL, &set);
        s->blocks_signals = sigismember(&set, SIGTERM) == 1;
        s->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    }
    meet_chunk(&s->n, i, worker);
}

static void threads_are_nice_and_deaf_to_signals(void **state)
{
    (void)state;
    struct pool *pool;
    struct seen s = {.caller = pthread_self()};
    int own = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(pool_new(&pool, 2, 7, NULL), UNSTIR_OK);
    pool_run(pool, 2, look_chunk, &s);
    pool_free(pool);
    /* Who is nicer already may not be allowed to become less so. */
    assert_int_equal(s.nice, own > 7 && s.nice == own ? own : 7);
    assert_true(s.blocks_signals);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
}

static void pools_have_a_ceiling_and_may_fail(void **state)
{
    (void)state;
    struct pool *pool;
    struct unstir_error err;
    assert_int_equal(pool_new(&pool, 1000, 0, NULL), UNSTIR_OK);
    assert_int_equal(pool_threads(pool), 64);
    pool_free(pool);
    assert_int_equal(pool_new(&pool, 0, 0, NULL), UNSTIR_OK);
    assert_int_equal(pool_threads(pool), pool_usable_cpus());
    pool_free(pool);
    alloc_test_fail_after(1);
    assert_int_equal(pool_new(&pool, 2, 0, &err), UNSTIR_ERR_NOMEM);
    alloc_test_fail_after(0);
    assert_null(pool);
}

static void affinity_is_honoured(void **state)
{
    (void)state;
    cpu_set_t old, one;
    assert_int_equal(sched_getaffinity(0, sizeof old, &old), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &old)) {
            CPU_SET(i, &one);
            break;
        }
    unsigned before = pool_usable_cpus();
    assert_true(before >= 1 && before <= (unsigned)CPU_COUNT(&old));
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    unsigned n = pool_usable_cpus();
    assert_int_equal(sched_setaffinity(0, sizeof old, &old), 0);
    assert_int_equal(n, 1);
}

/* -- quotas, from made-up control group trees ------------------------------ */

struct quota_case {
    const char *name;
    const char *membership;
    const char *files[6]; /* path, text, path, text, ... */
    unsigned want;
};

static const struct quota_case quota_cases[] = {
    {"none", "0::/\n", {0}, 0},
    {"v2 max", "0::/\n", {"cpu.max", "max 100000\n"}, 0},
    {"v2 whole", "0::/\n", {"cpu.max", "200000 100000\n"}, 2},
    {"v2 rounds up", "0::/\n", {"cpu.max", "150000 100000\n"}, 2},
    {"v2 less than one", "0::/\n", {"cpu.max", "1000 100000\n"}, 1},
    {"v2 own group", "0::/a\n", {"a/cpu.max", "300000 100000\n"}, 3},
    {"v2 least of all above",
     "0::/a/b\n",
     {"cpu.max", "max 100000\n", "a/cpu.max", "200000 100000\n", "a/b/cpu.max",
      "500000 100000\n"},
     2},
    {"v2 host path in a container",
     "0::/docker/x\n",
     {"cpu.max", "400000 100000\n"},
     4},
    {"v1",
     "4:cpu,cpuacct:/\n",
     {"cpu/cpu.cfs_quota_us", "250000\n", "cpu/cpu.cfs_period_us", "100000\n"},
     3},
    {"v1 unlimited",
     "4:cpu:/\n",
     {"cpu/cpu.cfs_quota_us", "-1\n", "cpu/cpu.cfs_period_us", "100000\n"},
     0},
    {"v1 joined name",
     "4:cpu,cpuacct:/a\n",
     {"cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n",
      "cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
     1},
    {"v1 other controllers do not count",
     "5:cpuset:/\n3:memory:/\n",
     {"cpu/cpu.cfs_quota_us", "100000\n", "cpu/cpu.cfs_period_us", "100000\n"},
     0},
    {"rubbish", "hello\n1:2\n\n0::/\n", {"cpu.max", "many 0\n"}, 0},
    {"period of zero", "0::/\n", {"cpu.max", "100 0\n"}, 0},
};

static void put_file(const char *root, const char *path, const char *text)
{
    char full[512];
    (void)snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = full + strlen(root) + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(full, 0700);
            *p = '/';
        }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void quotas_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(quota_cases); i++) {
        const struct quota_case *c = &quota_cases[i];
        char root[] = "/tmp/t_pool.XXXXXX", membership[64], command[64];
        assert_non_null(mkdtemp(root));
        for (size_t f = 0; f < 6 && c->files[f]; f += 2)
            put_file(root, c->files[f], c->files[f + 1]);
        put_file(root, "membership", c->membership);
        (void)snprintf(membership, sizeof membership, "%s/membership", root);
        unsigned got = quota_cpus(membership, root);
        (void)snprintf(command, sizeof command, "rm -r %s", root);
        assert_int_equal(system(command), 0);
        if (got != c->want)
            fail_msg("%s: want %u, got %u", c->name, c->want, got);
    }
    assert_int_equal(quota_cpus("/nonexistent", "/nonexistent"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_runs_once),
        cmocka_unit_test(loops_follow_each_other),
        cmocka_unit_test(no_pool_means_the_caller),
        cmocka_unit_test(chunks_run_side_by_side),
        cmocka_unit_test(shares_are_own_and_given_away),
        cmocka_unit_test(sleepers_wake),
        cmocka_unit_test(nobody_waits_for_nobody),
        cmocka_unit_test(threads_are_nice_and_deaf_to_signals),
        cmocka_unit_test(pools_have_a_ceiling_and_may_fail),
        cmocka_unit_test(affinity_is_honoured),
        cmocka_unit_test(quotas_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
