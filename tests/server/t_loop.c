/* t_loop.c - messages from other threads, timers, work elsewhere.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "buf.h"
#include "loop.h"

#define N_THREADS  4
#define N_MESSAGES 5000

struct letter {
    struct loop_message message; /* first */
    int sender, number;
};

struct post_office {
    struct loop *loop;
    int sender;
};

static int next_of[N_THREADS];
static int n_read;
static struct loop *reading_loop;

static void read_letter(struct loop_message *message)
{
    struct letter *letter = (struct letter *)message;

    assert_true(loop_is_mine(reading_loop));
    assert_int_equal(letter->number, next_of[letter->sender]);
    next_of[letter->sender]++;
    mem_free(letter);
    if (++n_read == N_THREADS * N_MESSAGES)
        loop_stop(reading_loop);
}

static void *send_letters(void *arg)
{
    struct post_office *office = arg;
    int i;

    assert_false(loop_is_mine(office->loop));
    for (i = 0; i < N_MESSAGES; i++) {
        struct letter *letter = mem_zero(1, sizeof *letter);

        letter->message.run = read_letter;
        letter->sender = office->sender;
        letter->number = i;
        loop_post(office->loop, &letter->message);
    }
    return NULL;
}

static void test_mailbox_keeps_all_in_order(void **state)
{
    struct post_office offices[N_THREADS];
    pthread_t threads[N_THREADS];
    int i;

    (void)state;
    reading_loop = loop_new();
    assert_non_null(reading_loop);
    for (i = 0; i < N_THREADS; i++) {
        offices[i] = (struct post_office){reading_loop, i};
        assert_int_equal(
            pthread_create(&threads[i], NULL, send_letters, &offices[i]), 0);
    }
    loop_run(reading_loop);
    for (i = 0; i < N_THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_int_equal(next_of[i], N_MESSAGES);
    }
    loop_free(reading_loop);
}

static bool was_run;

static void note_run(struct loop_message *message)
{
    (void)message;
    was_run = true;
}

/* Who keeps the loop long reads the mail itself: once, and at once. */
static void test_mail_can_be_read_early(void **state)
{
    struct loop *loop = loop_new();
    struct loop_message message = {.run = note_run};

    (void)state;
    was_run = false;
    loop_post(loop, &message);
    loop_read_mail(loop);
    assert_true(was_run);
    was_run = false;
    loop_run_once(loop, 0); /* its wake-up finds nothing left */
    assert_false(was_run);
    loop_post(loop, &message);
    loop_run_once(loop, 1000);
    assert_true(was_run);
    loop_free(loop);
}

static void test_free_reads_the_rest(void **state)
{
    struct loop *loop = loop_new();
    struct loop_message message = {.run = note_run};

    (void)state;
    was_run = false;
    loop_post(loop, &message);
    loop_free(loop);
    assert_true(was_run);
}

struct ticking {
    struct loop *loop;
    struct loop_timer *timer;
    int n;
    uint64_t started_ms;
};

static void tick(void *user)
{
    struct ticking *ticking = user;

    if (++ticking->n < 3)
        return;
    loop_timer_free(ticking->timer); /* inside its own callback */
    loop_stop(ticking->loop);
}

static void test_timer(void **state)
{
    struct ticking ticking = {.loop = loop_new(), .started_ms = loop_now_ms()};

    (void)state;
    ticking.timer = loop_timer_new(ticking.loop, tick, &ticking);
    loop_timer_start(ticking.timer, 20, 10);
    loop_run(ticking.loop);
    assert_int_equal(ticking.n, 3);
    if (loop_now_ms() - ticking.started_ms < 39) /* 20 + 10 + 10, truncated */
        fail_msg("3 ticks after %d ms, wanted 40",
                 (int)(loop_now_ms() - ticking.started_ms));
    loop_free(ticking.loop);
}

struct errand {
    struct loop_task task; /* first */
    struct loop *loop;
    bool was_elsewhere, is_back;
};

static void run_errand(struct loop_task *task)
{
    struct errand *errand = (struct errand *)task;

    errand->was_elsewhere = !loop_is_mine(errand->loop);
}

static void errand_done(struct loop_task *task)
{
    struct errand *errand = (struct errand *)task;

    errand->is_back = loop_is_mine(errand->loop);
    loop_stop(errand->loop);
}

static void test_offload(void **state)
{
    struct errand errand = {.task = {run_errand, errand_done},
                            .loop = loop_new()};

    (void)state;
    assert_true(loop_offload(errand.loop, &errand.task));
    loop_run(errand.loop);
    assert_true(errand.was_elsewhere);
    assert_true(errand.is_back);
    mem_test_fail_after(1);
    assert_false(loop_offload(errand.loop, &errand.task));
    mem_test_fail_after(0);
    loop_free(errand.loop);
}

static void note_readable(void *user)
{
    struct ticking *ticking = user;

    ticking->n++;
    loop_stop(ticking->loop);
}

static void test_watch(void **state)
{
    struct ticking ticking = {.loop = loop_new()};
    struct loop_watch *watch;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    watch = loop_watch_new(ticking.loop, ends[0], note_readable, &ticking);
    loop_run_once(ticking.loop, 1);
    assert_int_equal(ticking.n, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    loop_run(ticking.loop);
    assert_int_equal(ticking.n, 1);
    loop_watch_free(watch);
    loop_free(ticking.loop);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailbox_keeps_all_in_order),
        cmocka_unit_test(test_mail_can_be_read_early),
        cmocka_unit_test(test_free_reads_the_rest),
        cmocka_unit_test(test_timer),
        cmocka_unit_test(test_offload),
        cmocka_unit_test(test_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
