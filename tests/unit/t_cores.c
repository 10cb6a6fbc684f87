/* t_cores.c - the cores a process may use, and where gangs of threads go.
 *
 * Places come from made-up machines; what the kernel is asked is tried with
 * real threads on whatever machine this is.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/cores.h"
#include "base/pool.h"
#include "scratch.h"

/* -- places on made-up machines -------------------------------------------- */

struct place_case {
    const char *name;
    unsigned n_cpus, n_cores, quota, n_gang_threads;
    const char *taken; /* a digit a core                                     */
    unsigned n;
    enum unstir_pin pin;
    bool is_pinned, is_shared;
    unsigned first;
};

static const struct place_case place_cases[] = {
    {"fills 2 cores", 2, 2, 0, 0, "00", 2, UNSTIR_PIN_AUTO, true, false, 0},
    {"off", 2, 2, 0, 0, "00", 2, UNSTIR_PIN_OFF, false, false, 0},
    {"one thread", 2, 2, 0, 0, "00", 1, UNSTIR_PIN_ON, false, false, 0},
    {"a second gang of the same size", 2, 2, 0, 2, "01", 2, UNSTIR_PIN_AUTO,
     true, true, 0},
    {"more threads than cores", 2, 2, 0, 0, "00", 3, UNSTIR_PIN_ON, false, true,
     0},
    {"two hardware threads a core: one each", 8, 4, 0, 0, "0000", 4,
     UNSTIR_PIN_AUTO, true, false, 0},
    {"both hardware threads: not pinned", 8, 4, 0, 0, "0000", 8, UNSTIR_PIN_ON,
     false, false, 0},
    {"small gang, auto", 8, 8, 0, 0, "00000000", 4, UNSTIR_PIN_AUTO, false,
     false, 0},
    {"small gang, on", 8, 8, 0, 0, "00000000", 4, UNSTIR_PIN_ON, true, false,
     0},
    {"its neighbour", 8, 8, 0, 4, "01110000", 4, UNSTIR_PIN_ON, true, false, 4},
    {"a third one goes where fewest are", 8, 8, 0, 8, "02220111", 4,
     UNSTIR_PIN_ON, true, true, 4},
    {"the host's own pinned thread", 4, 4, 0, 0, "1000", 2, UNSTIR_PIN_ON, true,
     false, 2},
    {"cores left over are no place", 5, 5, 0, 2, "01000", 2, UNSTIR_PIN_ON,
     true, false, 2},
    {"quota below the mask: not pinned", 8, 8, 4, 0, "00000000", 4,
     UNSTIR_PIN_ON, false, false, 0},
    {"quota below the mask: no second gang spins", 8, 8, 4, 4, "00000000", 4,
     UNSTIR_PIN_AUTO, false, true, 0},
    {"quota above the mask counts for nothing", 4, 4, 9, 0, "0000", 4,
     UNSTIR_PIN_AUTO, true, false, 0},
    {"unpinned gangs count as well", 4, 4, 0, 3, "0000", 2, UNSTIR_PIN_AUTO,
     false, true, 0},
};

static void gangs_find_their_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(place_cases); i++) {
        const struct place_case *c = &place_cases[i];
        struct cores cores = {.n_cpus = c->n_cpus,
                              .quota = c->quota,
                              .n = c->n_cores,
                              .n_gang_threads = c->n_gang_threads,
                              .is_known = true};
        for (unsigned core = 0; core < c->n_cores; core++)
            cores.taken[core] = (unsigned)(c->taken[core] - '0');
        struct cores_place got = cores_place(&cores, c->n, c->pin);
        if (got.is_pinned != c->is_pinned || got.is_shared != c->is_shared ||
            got.first != c->first)
            fail_msg("%s: want pinned %d shared %d first %u, got %d %d %u",
                     c->name, c->is_pinned, c->is_shared, c->first,
                     got.is_pinned, got.is_shared, got.first);
    }
    struct cores unknown = {.n_cpus = 2000, .n = 64};
    assert_false(cores_place(&unknown, 64, UNSTIR_PIN_ON).is_pinned);
}

static void gangs_honour_cores_and_quota(void **state)
{
    static const struct {
        unsigned n_cpus, n_cores, quota, cpus, gang;
    } cases[] = {
        {1, 1, 0, 1, 1}, {8, 4, 0, 8, 4}, {8, 4, 6, 6, 4},
        {8, 4, 3, 3, 3}, {8, 8, 1, 1, 1}, {2, 2, 99, 2, 2},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cores cores = {.n_cpus = cases[i].n_cpus,
                              .n = cases[i].n_cores,
                              .quota = cases[i].quota};
        assert_int_equal(cores_cpus(&cores), cases[i].cpus);
        assert_int_equal(cores_gang(&cores), cases[i].gang);
    }
}

/* -- what the system says -------------------------------------------------- */

static void put(const char *root, int cpu, const char *siblings)
{
    char folder[64];
    (void)snprintf(folder, sizeof folder, "cpu%d", cpu);
    scratch_mkdir(root, folder);
    (void)snprintf(folder, sizeof folder, "cpu%d/topology", cpu);
    scratch_mkdir(root, folder);
    (void)snprintf(folder, sizeof folder, "cpu%d/topology/thread_siblings_list",
                   cpu);
    scratch_write(root, folder, siblings, strlen(siblings));
}

static void siblings_are_one_core(void **state)
{
    cpu_set_t set;
    struct cores cores;
    char root[SCRATCH_PATH];
    int cpus[2] = {-1, -1};
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    for (int cpu = 0, n = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus[n++] = cpu;
    scratch_make(root);
    cores_read(&cores, root); /* the system says nothing: each CPU is a core */
    assert_int_equal(cores.n_cpus, CPU_COUNT(&set));
    assert_true(cores.is_known);
    assert_int_equal(cores.n,
                     cores.n_cpus < CORES_MAX ? cores.n_cpus : CORES_MAX);
    assert_int_equal(cores.cpu[0], cpus[0]);
    if (cpus[1] >= 0) {
        char list[32];
        unsigned n = cores.n;
        (void)snprintf(list, sizeof list, "%d,%d\n", cpus[0], cpus[1]);
        put(root, cpus[0], list);
        put(root, cpus[1], list);
        cores_read(&cores, root);
        assert_int_equal(cores.n_cpus, CPU_COUNT(&set));
        assert_true(n == CORES_MAX || cores.n == n - 1);
        assert_int_equal(cores.cpu[0], cpus[0]);
        if (cores.n > 1)
            assert_int_not_equal(cores.cpu[1], cpus[1]);
    }
    scratch_remove(root);
}

static struct pool *new_pool(unsigned n, enum unstir_pin pin)
{
    struct pool *pool;
    assert_int_equal(pool_new_placed(&pool, n, 0, pin, NULL), UNSTIR_OK);
    return pool;
}

/* However many pools: no more threads spin than CPUs are allowed. */
static void a_second_pool_does_not_spin(void **state)
{
    struct cores cores;
    (void)state;
    cores_detect(&cores);
    assert_int_equal(cores.n_gang_threads, 0);
    unsigned n =
        cores_cpus(&cores) < CORES_MAX ? cores_cpus(&cores) : CORES_MAX;
    struct pool *first = new_pool(n, UNSTIR_PIN_AUTO);
    assert_false(pool_place(first).is_shared);
    struct pool *second = new_pool(2, UNSTIR_PIN_OFF);
    assert_true(n == 1 || pool_place(second).is_shared);
    cores_detect(&cores);
    assert_int_equal(cores.n_gang_threads, (n > 1 ? n : 0) + 2);
    pool_free(first);
    pool_free(second);
    cores_detect(&cores);
    assert_int_equal(cores.n_gang_threads, 0);
    struct pool *third = new_pool(n, UNSTIR_PIN_AUTO);
    assert_false(pool_place(third).is_shared);
    pool_free(third);
}

struct seen {
    unsigned n;
    atomic_uint inside;
    cpu_set_t masks[CORES_MAX];
};

/* Chunk i waits for all of its fellows, so that each has a thread of its own. */
static void look(void *arg, size_t i, unsigned worker)
{
    struct seen *s = arg;
    (void)i;
    atomic_fetch_add(&s->inside, 1);
    while (atomic_load(&s->inside) < s->n)
        sched_yield();
    (void)sched_getaffinity(0, sizeof s->masks[worker], &s->masks[worker]);
}

static void threads_are_pinned_and_callers_lent(void **state)
{
    cpu_set_t before, after;
    struct cores cores;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    cores_detect(&cores);
    unsigned n = cores_gang(&cores);
    struct pool *pool = new_pool(0, UNSTIR_PIN_AUTO);
    assert_int_equal(pool_threads(pool), n);
    bool is_pinned = pool_place(pool).is_pinned;
    struct seen seen = {.n = n};
    pool_hold(pool);
    pool_hold(pool); /* once is enough */
    pool_run(pool, n, look, &seen);
    if (is_pinned)
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(CPU_COUNT(&seen.masks[i]), 1);
            assert_true(CPU_ISSET(cores.cpu[i], &seen.masks[i]));
        }
    pool_release(pool);
    pool_release(pool);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
    pool_free(pool);
    if (!is_pinned)
        print_message("this machine pins no gang: only half was tried\n");
}

static void threads_stay_free_when_told(void **state)
{
    cpu_set_t before;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    struct pool *pool = new_pool(2, UNSTIR_PIN_OFF);
    struct seen seen = {.n = 2};
    pool_hold(pool);
    pool_run(pool, 2, look, &seen);
    pool_release(pool);
    pool_free(pool);
    assert_true(CPU_EQUAL(&before, &seen.masks[0]));
    assert_true(CPU_EQUAL(&before, &seen.masks[1]));
}

/* A caller that the host program pinned keeps its place. */
static void pinned_callers_are_left_alone(void **state)
{
    cpu_set_t before, one, after;
    struct cores cores;
    (void)state;
    cores_detect(&cores);
    if (cores.n < 2)
        skip();
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    struct pool *pool = new_pool(0, UNSTIR_PIN_AUTO);
    CPU_ZERO(&one);
    CPU_SET((unsigned)cores.cpu[cores.n - 1], &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    pool_hold(pool);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    pool_release(pool);
    assert_true(CPU_EQUAL(&one, &after));
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gangs_find_their_place),
        cmocka_unit_test(gangs_honour_cores_and_quota),
        cmocka_unit_test(siblings_are_one_core),
        cmocka_unit_test(a_second_pool_does_not_spin),
        cmocka_unit_test(threads_are_pinned_and_callers_lent),
        cmocka_unit_test(threads_stay_free_when_told),
        cmocka_unit_test(pinned_callers_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
