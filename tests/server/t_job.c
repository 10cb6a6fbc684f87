/* t_job.c - states of a job, its ids, its watchers.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "job.h"

/* Every move there is, row from, column to: the contract of the wire. */
static void test_moves(void **state)
{
    static const char *const wanted[JOB_N_STATES] = {
        /*                 adm que run can suc fai can exp */
        [JOB_ADMITTING] = "-   x   -   -   -   x   x   -",
        [JOB_QUEUED] = "-   -   x   -   -   x   x   -",
        [JOB_RUNNING] = "-   -   -   x   x   x   x   -",
        [JOB_CANCELING] = "-   -   -   -   x   x   x   -",
        [JOB_SUCCEEDED] = "-   -   -   -   -   -   -   x",
        [JOB_FAILED] = "-   -   -   -   -   -   -   x",
        [JOB_CANCELED] = "-   -   -   -   -   -   -   x",
        [JOB_EXPIRED] = "-   -   -   -   -   -   -   -"};

    (void)state;
    for (int from = 0; from < JOB_N_STATES; from++)
        for (int to = 0; to < JOB_N_STATES; to++) {
            bool got =
                job_state_may_follow((enum job_state)from, (enum job_state)to);

            if (got != (wanted[from][4 * to] == 'x'))
                print_error("%s to %s: got %d\n",
                            job_state_name((enum job_state)from),
                            job_state_name((enum job_state)to), got);
            assert_true(got == (wanted[from][4 * to] == 'x'));
        }
}

static void test_names(void **state)
{
    static const char *const words[] = {"queued",    "running", "canceling",
                                        "succeeded", "failed",  "canceled",
                                        "expired"};

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        enum job_state got = job_state_by_name(words[i]);

        assert_int_not_equal(got, JOB_N_STATES);
        assert_string_equal(job_state_name(got), words[i]);
        assert_true(job_state_is_terminal(got) == (i >= 3));
    }
    assert_int_equal(job_state_by_name("done"), JOB_N_STATES);
}

static void test_ids(void **state)
{
    char ids[64][JOB_ID_SIZE];

    (void)state;
    for (size_t i = 0; i < 64; i++) {
        assert_true(job_make_id(ids[i]));
        assert_true(job_is_id(ids[i]));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(ids[i], ids[k]);
    }
    assert_false(job_is_id(""));
    assert_false(job_is_id("job_"));
    assert_false(job_is_id("job_0000000000000000000000000"));   /* 25 */
    assert_false(job_is_id("job_000000000000000000000000000")); /* 27 */
    assert_false(job_is_id("job_0000000000000000000000000u"));
    assert_false(job_is_id("JOB_00000000000000000000000000"));
}

/* -------------------------------------------------------------- watchers -- */

struct watcher {
    struct job_watch watch;
    int n_called;
    bool leaves;
    struct watcher *removes;
};

static void called(struct job_watch *watch)
{
    struct watcher *w = (struct watcher *)watch;

    w->n_called++;
    if (w->leaves)
        job_watch_remove(watch);
    if (w->removes != NULL)
        job_watch_remove(&w->removes->watch);
}

static void init_job(struct job *job)
{
    memset(job, 0, sizeof *job);
    ring_init(&job->watches);
    events_init(&job->events, 100);
}

static void test_watchers_may_leave_while_called(void **state)
{
    struct watcher a = {.leaves = true}, b = {0}, c = {0}, d = {0};
    struct job job;

    (void)state;
    init_job(&job);
    b.removes = &c; /* c is due after b: it must not be called */
    job_watch_add(&job, &a.watch, called);
    job_watch_add(&job, &b.watch, called);
    job_watch_add(&job, &c.watch, called);
    job_watch_add(&job, &d.watch, called);
    job_emit(&job, (struct event){.kind = EVENT_PROGRESS});
    assert_int_equal(a.n_called, 1);
    assert_int_equal(b.n_called, 1);
    assert_int_equal(c.n_called, 0);
    assert_int_equal(d.n_called, 1);
    job_emit(&job, (struct event){.kind = EVENT_PROGRESS});
    assert_int_equal(a.n_called, 1);
    assert_int_equal(b.n_called, 2);
    assert_int_equal(d.n_called, 2);
    assert_int_equal(job_version(&job), 2);
    job_watch_remove(&a.watch); /* twice is allowed */
    job_watch_remove(&b.watch);
    job_watch_remove(&d.watch);
    assert_true(ring_is_empty(&job.watches));
    events_fini(&job.events);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_watchers_may_leave_while_called),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
