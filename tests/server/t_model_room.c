/* t_model_room.c - which models give way, and which is loaded next.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model_room.h"

#define N_MODELS 4

/* Four models of 10, 20, 30 and 40 bytes with files of their own, all ready
 * and used in that order. */
struct room {
    struct models table;
    struct unstir_model_info infos[N_MODELS];
    struct model models[N_MODELS];
    struct model derived[2]; /* of models[1], 5 bytes each                   */
};

static void set_up(struct room *r, uint64_t max_bytes)
{
    memset(r, 0, sizeof *r);
    r->table.max_bytes = max_bytes;
    r->table.max_derived = 2;
    for (size_t i = 0; i < N_MODELS; i++) {
        struct model *model = &r->models[i];

        r->infos[i].weight_bytes = 10 * (i + 1);
        model->models = &r->table;
        model->info = &r->infos[i];
        model->state = MODEL_READY;
        model->used_bytes = 10 * (i + 1);
        model->order = i + 1;
        model->next = i + 1 < N_MODELS ? model + 1 : NULL;
        r->table.used_bytes += model->used_bytes;
    }
    r->table.first = r->models;
    r->table.next_order = 100;
}

static void derive(struct room *r, size_t i, enum model_state state)
{
    struct model *model = &r->derived[i];

    model->models = &r->table;
    model->base = &r->models[1];
    model->info = &r->infos[1];
    model->state = state;
    model->need_bytes = 5;
    model->order = 10 + i;
    model->next = r->table.first_derived;
    r->table.first_derived = model;
    if (state != MODEL_READY)
        return;
    model->used_bytes = 5;
    r->table.used_bytes += 5;
    r->table.n_derived++;
    model->base->n_derived++;
}

static void unload(struct room *r, size_t i)
{
    r->table.used_bytes -= r->models[i].used_bytes;
    r->models[i].used_bytes = 0;
    r->models[i].state = MODEL_UNLOADED;
}

/* "0-1-": a digit for who shall leave; derived ones behind. */
static void check_leaving(const struct room *r, const char *wanted)
{
    char got[N_MODELS + 3] = "";

    for (size_t i = 0; i < N_MODELS; i++)
        got[i] = r->models[i].is_leaving ? (char)('0' + i) : '-';
    for (size_t i = 0; i < 2; i++)
        got[N_MODELS + i] = r->derived[i].is_leaving ? (char)('a' + i) : '-';
    assert_string_equal(got, wanted);
}

static void test_fits(void **state)
{
    struct room r;

    (void)state;
    set_up(&r, 100); /* full                                                 */
    unload(&r, 2);
    assert_true(room_fits(&r.models[2]));
    unload(&r, 3);
    assert_true(room_fits(&r.models[3]));
    r.table.max_bytes = 60; /* of which 30 are used                          */
    assert_false(room_fits(&r.models[3]));
    r.table.max_bytes = 39;
    assert_false(room_fits(&r.models[3]));
    r.table.max_bytes = 0; /* no ceiling                                     */
    assert_true(room_fits(&r.models[3]));
    derive(&r, 0, MODEL_READY);
    derive(&r, 1, MODEL_UNLOADED);
    assert_true(room_fits(&r.derived[1]));
    r.table.max_derived = 1;
    assert_false(room_fits(&r.derived[1]));
}

static void test_least_recent_leaves(void **state)
{
    struct room r;

    (void)state;
    set_up(&r, 70);
    unload(&r, 3); /* 60 of 70 are used, 40 wanted                           */
    room_make(&r.table, &r.models[3]);
    check_leaving(&r, "01----");
    assert_ptr_equal(room_next_leaver(&r.table), &r.models[0]);

    set_up(&r, 70); /* the least recent one is busy: another goes first      */
    unload(&r, 3);
    r.models[0].n_users = 1;
    room_make(&r.table, &r.models[3]);
    check_leaving(&r, "-12---");

    set_up(&r, 70); /* all are busy: none leaves yet, but it is decided      */
    unload(&r, 3);
    for (size_t i = 0; i < 3; i++)
        r.models[i].n_users = 1;
    room_make(&r.table, &r.models[3]);
    check_leaving(&r, "01----");
    assert_null(room_next_leaver(&r.table));

    room_make(&r.table, &r.models[3]); /* who leaves already counts          */
    check_leaving(&r, "01----");
}

static void test_derived_leave_before_their_base(void **state)
{
    struct room r;

    (void)state;
    set_up(&r, 75);
    unload(&r, 3);
    derive(&r, 0, MODEL_READY);
    r.models[0].order = 50; /* the base is the least recent one              */
    room_make(&r.table, &r.models[3]);
    check_leaving(&r, "-12-a-");
    assert_ptr_equal(room_next_leaver(&r.table), &r.models[2]);
    r.models[2].state = MODEL_UNLOADING;
    assert_ptr_equal(room_next_leaver(&r.table), &r.derived[0]);
    r.derived[0].state = MODEL_UNLOADING; /* its base waits for it           */
    assert_null(room_next_leaver(&r.table));
}

static void test_base_of_the_wanted_stays(void **state)
{
    struct room r;

    (void)state;
    set_up(&r, 100);
    derive(&r, 0, MODEL_UNLOADED);
    r.models[1].order = 0;
    room_make(&r.table, &r.derived[0]);
    check_leaving(&r, "0-----");

    set_up(&r, 200); /* a place among the derived ones                       */
    derive(&r, 0, MODEL_READY);
    derive(&r, 1, MODEL_UNLOADED);
    r.table.max_derived = 1;
    room_make(&r.table, &r.derived[1]);
    check_leaving(&r, "----a-");
}

static void test_two_of_one_job(void **state)
{
    struct room r;

    (void)state;
    set_up(&r, 60); /* 40 is wanted beside 10, the least recent one          */
    unload(&r, 3);
    room_want(&r.models[3], &r.models[0], true);
    room_make(&r.table, &r.models[3]);
    check_leaving(&r, "-12---");

    set_up(&r, 60); /* likewise beside a derived one and its base            */
    unload(&r, 3);
    derive(&r, 0, MODEL_READY);
    room_want(&r.models[3], &r.derived[0], true);
    r.models[1].order = r.derived[0].order = 0;
    room_make(&r.table, &r.models[3]);
    check_leaving(&r, "0-2---");

    set_up(&r, 90); /* what is being loaded is awaited by the other          */
    unload(&r, 2);
    unload(&r, 3);
    room_want(&r.models[3], &r.models[0], true);
    r.models[3].state = MODEL_LOADING;
    r.table.used_bytes += 40;
    room_make(&r.table, &r.models[2]);
    check_leaving(&r, "-1----");

    assert_int_equal(room_of_both(&r.models[0], &r.models[3]), 50);
    assert_int_equal(room_of_both(&r.models[3], &r.models[3]), 40);
    derive(&r, 1, MODEL_UNLOADED);
    assert_int_equal(room_of_both(&r.derived[1], &r.models[1]), 25);
}

static void test_wanted_longest_is_next(void **state)
{
    struct room r;

    (void)state;
    set_up(&r, 100);
    for (size_t i = 0; i < N_MODELS; i++)
        unload(&r, i);
    derive(&r, 0, MODEL_UNLOADED);
    assert_null(room_next_wanted(&r.table));
    room_want(&r.derived[0], NULL,
              true); /* and its base                          */
    room_want(&r.models[0], NULL, true);
    room_want(&r.derived[0], NULL,
              true); /* as long as before                     */
    assert_ptr_equal(room_next_wanted(&r.table), &r.models[1]);
    r.models[1].state = MODEL_LOADING;
    r.models[1].is_wanted = false;
    assert_ptr_equal(room_next_wanted(&r.table), &r.models[0]);
    r.models[1].state = MODEL_READY;
    assert_ptr_equal(room_next_wanted(&r.table), &r.derived[0]);
    r.table.used_bytes = 90; /* not at any price: only where it fits         */
    room_want(&r.models[3], NULL, false);
    assert_false(r.models[3].is_wanted);
    room_want(&r.models[3], NULL, true);
    assert_true(r.models[3].is_wanted);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_least_recent_leaves),
        cmocka_unit_test(test_derived_leave_before_their_base),
        cmocka_unit_test(test_base_of_the_wanted_stays),
        cmocka_unit_test(test_two_of_one_job),
        cmocka_unit_test(test_wanted_longest_is_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
