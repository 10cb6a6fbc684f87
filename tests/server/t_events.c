/* t_events.c - the ring of a job's events.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "buf.h"
#include "events.h"

static void add_n(struct event_ring *ring, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        events_add(ring, (struct event){.kind = EVENT_PROGRESS, .step = i});
}

static void test_ids_rise_from_one(void **state)
{
    struct event_ring ring;
    uint32_t cursor = 0;
    const struct event *at;

    (void)state;
    events_init(&ring, 1000);
    assert_null(events_next(&ring, 0));
    assert_int_equal(events_first_id(&ring), 0);
    add_n(&ring, 300);
    while ((at = events_next(&ring, cursor)) != NULL) {
        assert_int_equal(at->id, cursor + 1);
        assert_int_equal(at->step, cursor);
        cursor = at->id;
    }
    assert_int_equal(cursor, 300);
    assert_null(events_next(&ring, 300));
    assert_null(events_next(&ring, 4000000000u));
    events_fini(&ring);
}

/* 1,000 steps of progress and preview: nothing may fall out. */
static void test_holds_a_whole_job(void **state)
{
    struct event_ring ring;

    (void)state;
    events_init(&ring, 2 * 1001 + 80);
    add_n(&ring, 2 * 1001 + 80);
    assert_int_equal(events_first_id(&ring), 1);
    assert_int_equal(ring.n, 2082);
    events_fini(&ring);
}

static void test_oldest_fall_out(void **state)
{
    static const struct {
        uint32_t after, wanted; /* 0: nothing */
    } rows[] = {{0, 51}, {20, 51}, {50, 51}, {51, 52}, {149, 150}, {150, 0}};
    struct event_ring ring;

    (void)state;
    events_init(&ring, 100);
    add_n(&ring, 150);
    assert_int_equal(events_first_id(&ring), 51);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct event *at = events_next(&ring, rows[i].after);

        assert_int_equal(at != NULL ? at->id : 0, rows[i].wanted);
    }
    assert_true(events_bytes(&ring) >= 100 * sizeof(struct event));
    events_fini(&ring);
}

/* With 64 held and no memory for more, the 64 newest stay. */
static void test_without_memory_the_oldest_makes_room(void **state)
{
    struct event_ring ring;

    (void)state;
    events_init(&ring, 1000);
    add_n(&ring, 64);
    while (ring.n < ring.n_room)
        add_n(&ring, 1);
    mem_test_fail_after(1);
    add_n(&ring, 1);
    mem_test_fail_after(0);
    assert_int_equal(events_first_id(&ring), 2);
    assert_int_equal(events_next(&ring, ring.last_id - 1)->id, ring.last_id);
    events_fini(&ring);
}

static void test_ceiling_is_cut(void **state)
{
    struct event_ring ring;

    (void)state;
    events_init(&ring, SIZE_MAX);
    assert_int_equal(ring.n_max, EVENTS_MAX);
    events_init(&ring, 0);
    assert_int_equal(ring.n_max, 1);
    add_n(&ring, 5);
    assert_int_equal(events_next(&ring, 0)->id, 5);
    events_fini(&ring);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_rise_from_one),
        cmocka_unit_test(test_holds_a_whole_job),
        cmocka_unit_test(test_oldest_fall_out),
        cmocka_unit_test(test_without_memory_the_oldest_makes_room),
        cmocka_unit_test(test_ceiling_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
