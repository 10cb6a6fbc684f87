/* t_rows.c - rows by key: found again, the oldest going first.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "model/rows.h"

#define N_KEY 2
#define N_ROW 3

static struct rows *new_rows(size_t capacity)
{
    struct rows *rows;

    assert_int_equal(rows_new(&rows, N_KEY, N_ROW,
                              capacity * (N_KEY + N_ROW) * sizeof(float), NULL),
                     UNSTIR_OK);
    return rows;
}

static void put(struct rows *rows, float a, float b)
{
    float key[N_KEY] = {a, b}, *row = rows_put(rows, key);

    for (size_t i = 0; i < N_ROW; i++)
        row[i] = 100 * a + 10 * b + (float)i;
}

static void check(const struct rows *rows, float a, float b, bool is_there)
{
    float key[N_KEY] = {a, b};
    const float *row = rows_find(rows, key);

    if ((row != NULL) != is_there)
        fail_msg("%g, %g: got %s", (double)a, (double)b,
                 row ? "a row" : "none");
    for (size_t i = 0; row && i < N_ROW; i++)
        if (row[i] != 100 * a + 10 * b + (float)i)
            fail_msg("%g, %g: got %g at %zu", (double)a, (double)b,
                     (double)row[i], i);
}

static void test_found_again(void **state)
{
    struct rows *rows = new_rows(1000);

    (void)state;
    assert_int_equal(rows_capacity(rows), 1000);
    check(rows, 0, 0, false);
    for (int i = 0; i < 1000; i++)
        put(rows, (float)i, (float)(i % 7));
    for (int i = 0; i < 1000; i++) {
        check(rows, (float)i, (float)(i % 7), true);
        check(rows, (float)i, (float)(i % 7 + 1), false);
    }
    rows_free(rows);
}

/* At every moment the last `capacity` rows are there and no others. */
static void check_ring(size_t capacity)
{
    struct rows *rows = new_rows(capacity);

    for (int i = 0; i < 50; i++) {
        put(rows, (float)i, 1);
        for (int k = 0; k <= i; k++)
            check(rows, (float)k, 1, k > i - (int)capacity);
    }
    rows_free(rows);
}

static void test_the_oldest_goes(void **state)
{
    (void)state;
    check_ring(1);
    check_ring(2);
    check_ring(7);
}

static void test_a_ceiling_below_one_row(void **state)
{
    struct rows *rows;

    (void)state;
    assert_int_equal(rows_new(&rows, N_KEY, N_ROW, 1, NULL), UNSTIR_OK);
    assert_int_equal(rows_capacity(rows), 1);
    put(rows, 5, 6);
    check(rows, 5, 6, true);
    rows_free(rows);
}

static void test_no_memory_is_told(void **state)
{
    struct rows *rows;

    (void)state;
    for (long k = 1; k <= 3; k++) {
        alloc_test_fail_after(k);
        assert_int_equal(rows_new(&rows, N_KEY, N_ROW, 1000, NULL),
                         UNSTIR_ERR_NOMEM);
        assert_null(rows);
    }
    alloc_test_fail_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_again),
        cmocka_unit_test(test_the_oldest_goes),
        cmocka_unit_test(test_a_ceiling_below_one_row),
        cmocka_unit_test(test_no_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
