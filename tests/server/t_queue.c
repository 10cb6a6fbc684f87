/* t_queue.c - order, ceilings and predictions of the queue, and of costs.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cost.h"
#include "queue.h"

/* Sums of a few doubles: exact to some ulps, far below a microsecond. */
static void assert_seconds(double got, double wanted)
{
    if (!(fabs(got - wanted) < 1e-9)) {
        print_error("wanted %.9f s, got %.9f s\n", wanted, got);
        fail();
    }
}

static const struct queue_load idle = {.n_workers = 1};

static void test_first_come_first_served(void **state)
{
    struct queue_item items[5] = {{.cost_s = 1},
                                  {.cost_s = 1},
                                  {.cost_s = 1},
                                  {.cost_s = 1},
                                  {.cost_s = 1}};
    struct queue queue;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    for (int i = 0; i < 5; i++)
        queue_push(&queue, &items[i]);
    queue_remove(&queue, &items[2]);
    assert_ptr_equal(queue_pop(&queue), &items[0]);
    assert_ptr_equal(queue_pop(&queue), &items[1]);
    assert_ptr_equal(queue_pop(&queue), &items[3]);
    assert_ptr_equal(queue_pop(&queue), &items[4]);
    assert_null(queue_pop(&queue));
    assert_int_equal(queue.n, 0);
    assert_int_equal(queue.n_fresh, 0);
}

static void test_priority_goes_first(void **state)
{
    struct queue_item low = {.priority = -1}, normal = {.priority = 0},
                      high = {.priority = 1};
    struct queue queue;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    queue_push(&queue, &low);
    queue_push(&queue, &normal);
    queue_push(&queue, &high);
    assert_ptr_equal(queue_pop(&queue), &high);
    assert_ptr_equal(queue_pop(&queue), &normal);
    assert_ptr_equal(queue_pop(&queue), &low);
}

static bool is_cheap(void *user, struct queue_item *item)
{
    ++*(int *)user;
    return item->cost_s < 10;
}

/* Who may not run keeps its place. */
static void test_pop_if(void **state)
{
    struct queue_item a = {.cost_s = 50}, b = {.cost_s = 1};
    struct queue_item urgent = {.cost_s = 50, .priority = 1};
    struct queue queue;
    int n_asked = 0;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    queue_push(&queue, &a);
    queue_push(&queue, &b);
    queue_push(&queue, &urgent);
    assert_ptr_equal(queue_pop_if(&queue, is_cheap, &n_asked), &b);
    assert_int_equal(n_asked, 3);
    assert_null(queue_pop_if(&queue, is_cheap, &n_asked));
    assert_int_equal(n_asked, 5);
    assert_int_equal(queue.n_fresh, 2);
    assert_ptr_equal(queue_pop(&queue), &urgent);
    assert_ptr_equal(queue_pop(&queue), &a);
}

/* While urgent work keeps coming, a batch job still gets every eighth turn. */
static void test_nobody_starves(void **state)
{
    struct queue_item low = {.priority = -1}, high = {.priority = 1};
    struct queue queue;
    int n_low = 0;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    queue_push(&queue, &low);
    queue_push(&queue, &high);
    for (int i = 0; i < 80; i++) {
        struct queue_item *item = queue_pop(&queue);

        n_low += item == &low;
        queue_push(&queue, item);
    }
    assert_int_equal(n_low, 80 / QUEUE_LOW_TURN);
}

static void test_handed_back_goes_behind_and_takes_no_place(void **state)
{
    struct queue_item a = {.cost_s = 50}, b = {.cost_s = 1};
    struct queue queue;
    double wait_s;

    (void)state;
    queue_init(&queue, 1, 1000, 2);
    queue_push(&queue, &a);
    assert_false(queue_admits(&queue, 1, &idle, &wait_s));
    assert_ptr_equal(queue_pop(&queue), &a);
    queue_push(&queue, &a); /* has begun: its place is free */
    assert_int_equal(queue.n_fresh, 0);
    assert_true(queue_admits(&queue, 1, &idle, &wait_s));
    queue_push(&queue, &b);
    assert_ptr_equal(queue_pop(&queue), &a);
    assert_ptr_equal(queue_pop(&queue), &b);
}

/* Three workers' worth of numbers: full by count, the next place is free when
 * the turn in hand is over. */
static void test_full_by_count_says_when(void **state)
{
    struct queue_item a = {.cost_s = 1}, b = {.cost_s = 1},
                      begun = {.cost_s = 30, .has_begun = true};
    struct queue_load load = {.turn_s = 1.5, .rest_s = 8, .n_workers = 1};
    struct queue queue;
    double wait_s;

    (void)state;
    queue_init(&queue, 2, 1000, 2);
    queue_push(&queue, &a);
    queue_push(&queue, &b);
    assert_false(queue_admits(&queue, 1, &load, &wait_s));
    assert_seconds(wait_s, 1.5);
    queue_remove(&queue, &a);
    queue_remove(&queue, &b);
    queue_push(&queue, &begun); /* its turn comes before theirs */
    queue_push(&queue, &a);
    queue_push(&queue, &b);
    assert_false(queue_admits(&queue, 1, &load, &wait_s));
    assert_seconds(wait_s, 1.5 + 2);
}

static void test_full_by_seconds(void **state)
{
    struct queue_item a = {.cost_s = 60};
    struct queue_load load = {.turn_s = 2, .rest_s = 30, .n_workers = 1};
    struct queue queue;
    double wait_s;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    queue_push(&queue, &a);
    assert_true(queue_admits(&queue, 10, &load, &wait_s));
    assert_false(queue_admits(&queue, 25, &load, &wait_s));
    assert_seconds(wait_s, 60 + 30 + 25 - 100);
    assert_seconds(queue_backlog_s(&queue, &load), 90);
}

/* Otherwise a job above the limit could never run. */
static void test_a_long_job_may_run_alone(void **state)
{
    struct queue queue;
    double wait_s;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    assert_true(queue_admits(&queue, 5000, &idle, &wait_s));
}

/* Simulate round robin by hand: one worker, quantum 2.
 * a (5 s) and b (1 s) wait, c (3 s) asks: a 0-2, b 2-3, c 3-5, a 5-7, c 7-8. */
static void test_forecast_of_round_robin(void **state)
{
    struct queue_item a = {.cost_s = 5}, b = {.cost_s = 1}, c = {.cost_s = 3};
    struct queue_forecast at;
    struct queue queue;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    queue_push(&queue, &a);
    queue_push(&queue, &b);
    queue_push(&queue, &c);
    at = queue_predict(&queue, &c, &idle);
    assert_int_equal(at.position, 3);
    assert_seconds(at.start_s, 3);
    /* The closed form may be late by a turn of each job, never early. */
    assert_true(at.finish_s >= 8 && at.finish_s <= 8 + 2);
    at = queue_predict(&queue, &a, &idle);
    assert_int_equal(at.position, 1);
    assert_seconds(at.start_s, 0);
    assert_seconds(at.finish_s, 9); /* the last of all */
    at = queue_predict(&queue, &b, &idle);
    assert_int_equal(at.position, 2);
    assert_seconds(at.start_s, 2);
}

static void count_item(void *user, struct queue_item *item, unsigned position,
                       double start_s)
{
    unsigned *n = user;

    ++*n;
    assert_int_equal(position, *n);
    assert_seconds(start_s, item->cost_s); /* by construction below */
}

static void test_each_tells_the_same_places(void **state)
{
    struct queue_item a = {.cost_s = 2}, b = {.cost_s = 4}, c = {.cost_s = 6};
    struct queue_load load = {.turn_s = 2, .rest_s = 2, .n_workers = 1};
    struct queue queue;
    unsigned n = 0;

    (void)state;
    queue_init(&queue, 10, 100, 2);
    queue_push(&queue, &a);
    queue_push(&queue, &b);
    queue_push(&queue, &c);
    queue_each(&queue, &load, count_item, &n);
    assert_int_equal(n, 3);
}

static void test_retry_after(void **state)
{
    static const struct {
        double seconds, jitter;
        unsigned wanted;
    } rows[] = {{0, 0, 1},       {0.01, 1, 1},   {1, 0, 1},     {1.01, 0, 2},
                {20, 0, 20},     {20, 1, 22},    {20, 0.5, 21}, {100, 1, 110},
                {3599, 0, 3599}, {1e9, 0, 3600}, {NAN, 0.5, 1}, {-5, 0, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned got = cost_retry_after(rows[i].seconds, rows[i].jitter);

        if (got != rows[i].wanted)
            print_error("%g s: wanted %u, got %u\n", rows[i].seconds,
                        rows[i].wanted, got);
        assert_int_equal(got, rows[i].wanted);
    }
}

static void test_cost_learns(void **state)
{
    struct cost cost;
    struct cost_average *e = &cost.evaluation;
    double guess;

    (void)state;
    cost_init(&cost, 32, 32, 5, 1);
    guess = cost_of(e, 32, 32);
    assert_true(guess > 0);
    assert_seconds(cost_of(e, 64, 32), 2 * guess);
    assert_seconds(cost_predict(&cost, 32, 32, 10, 2), 10.4 * guess);
    assert_false(cost_is_measured(&cost, 32, 32));
    cost_learn(e, 32, 32, 10, 1.0);
    assert_true(cost_is_measured(&cost, 32, 32));
    assert_seconds(cost_of(e, 32, 32), 0.1);
    assert_false(cost_is_measured(&cost, 64, 64)); /* another size */
    cost_learn(e, 64, 64, 1, 9.0); /* plans are made in the first one */
    cost_learn(e, 64, 64, 1, 0.5);
    assert_seconds(cost_of(e, 64, 64), 0.5);
    cost_learn(e, 64, 64, 1, 0.1);
    assert_seconds(cost_of(e, 64, 64), 0.5 + 0.2 * (0.1 - 0.5));
    for (int i = 0; i < 50; i++)
        cost_learn(e, 32, 32, 1, 0.3);
    assert_true(fabs(cost_of(e, 32, 32) - 0.3) < 1e-4); /* 0.2*0.8^50 */
    cost_learn(&cost.decode, 32, 32, 1, 0.7);
    assert_seconds(cost_predict(&cost, 32, 32, 0, 1), 0.7);
    cost_learn(e, 32, 32, 0, 9);
    cost_learn(e, 32, 32, 1, NAN);
    assert_true(fabs(cost_of(e, 32, 32) - 0.3) < 1e-4);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_priority_goes_first),
        cmocka_unit_test(test_pop_if),
        cmocka_unit_test(test_nobody_starves),
        cmocka_unit_test(test_handed_back_goes_behind_and_takes_no_place),
        cmocka_unit_test(test_full_by_count_says_when),
        cmocka_unit_test(test_full_by_seconds),
        cmocka_unit_test(test_a_long_job_may_run_alone),
        cmocka_unit_test(test_forecast_of_round_robin),
        cmocka_unit_test(test_each_tells_the_same_places),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_cost_learns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
