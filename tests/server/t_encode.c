/* t_encode.c - how large a sheet of pictures may be.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encode.h"

static const struct fits_row {
    struct encode_sheet sheet;
    bool fits;
    uint32_t columns, zoom; /* that are wanted after it                      */
} rows[] = {
    {{16, 16, 11, 2, 0, 2}, true, 11, 2},
    {{28, 28, 64, 2, 0, 16}, true, 36, 16},
    {{28, 28, 64, 2, 1, 16}, false, 1, 9},    /* 16,254 pixels high         */
    {{1024, 1024, 16, 2, 0, 1}, true, 15, 1}, /* 16 are 16,414 pixels wide  */
    {{1024, 1024, 16, 2, 16, 1}, false, 16, 0},
    {{1024, 1024, 1, 0, 0, 4}, true, 1, 4}, /* the most pixels there are  */
    {{1024, 1024, 1, 0, 0, 16}, false, 0, 4},
    {{4096, 4096, 1, 0, 0, 1}, true, 1, 1},
    {{16383, 16383, 1, 2, 0, 1}, true, 1, 1},
    {{16383, 16383, 2, 2, 0, 1}, false, 0, 0},
    {{16383, 16383, 64, 2, 64, 16}, false, 64, 0},
};

static void test_fits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct encode_sheet got = rows[i].sheet;
        bool fits = encode_fits(&got);

        if (fits != rows[i].fits || got.columns != rows[i].columns ||
            got.zoom != rows[i].zoom)
            fail_msg("row %zu: got %d, %u columns, zoom %u; wanted %d, %u, %u",
                     i, fits, got.columns, got.zoom, rows[i].fits,
                     rows[i].columns, rows[i].zoom);
    }
}

/* One alone may be larger than the budget; beside it there is no room. */
static void test_budget(void **state)
{
    static uint8_t pixels[4 * 4];
    struct budget budget = {.max_bytes = 40};
    struct encode *a = encode_new(&budget, 4, 4, 1), *b;

    (void)state;
    assert_true(encode_add(a, pixels));
    assert_true(encode_add(a, pixels));
    b = encode_new(&budget, 4, 4, 1);
    assert_false(encode_add(b, pixels));
    assert_true(encode_add(a, pixels)); /* b holds nothing                  */
    assert_int_equal(budget.n_bytes, 48);
    encode_free(a);
    assert_int_equal(budget.n_bytes, 0);
    for (int i = 0; i < 5; i++)
        assert_true(encode_add(b, pixels));
    assert_int_equal(budget.n_bytes, 80);
    a = encode_new(&budget, 1, 1, 1);
    assert_false(encode_add(a, pixels));
    encode_free(a);
    encode_free(b);
    assert_int_equal(budget.n_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fits),
                                       cmocka_unit_test(test_budget)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
