/* t_bench_parts.c - what `unstir bench` says of the parts of an XL model:
 * network, decoder and text encoders.
 *
 * Sizes are the picture's, not its latent's.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "format/json.h"
#include "format/weights.h"
#include "golden.h"
#include "scratch.h"
#include "text_folder.h"
#include "unstir_bench.h"

typedef enum unstir_status (*bench_fn)(const struct unstir_bench_options *,
                                       char **, struct unstir_error *);

static char folder[SCRATCH_PATH];

static int write_model(void **state)
{
    struct weights *golden =
        golden_open("tests/data/text_pipelines/sdxl.safetensors");
    struct text_folder f = text_folder_of(golden);

    (void)state;
    scratch_make(folder);
    text_folder_write(folder, &f);
    weights_close(golden);
    return 0;
}

static int remove_model(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* -- what is told ------------------------------------------------------------ */

static const struct {
    bench_fn run;
    const char *what, *count; /* a whole number that is told                 */
    double value;
} rows[] = {
    {unstir_bench_eval, "eval", "width", 64},
    {unstir_bench_eval, "eval", "batch", 2},
    {unstir_bench_decode, "decode", "width", 64},
    {unstir_bench_decode, "decode", "height", 32},
    {unstir_bench_text, "text", "encoders", 2},
    {unstir_bench_text, "text", "batch", 2},
};

static void test_parts(void **state)
{
    const struct unstir_bench_options o = {.model = folder,
                                           .width = 64,
                                           .height = 32,
                                           .batch = 2,
                                           .n_threads = 1,
                                           .repeat = 1,
                                           .warmup = 1};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct json *told;
        char *text;

        if (rows[i].run(&o, &text, &err))
            fail_msg("%s: %s", rows[i].what, err.detail);
        assert_int_equal(json_parse(&told, text, strlen(text), &err), 0);
        assert_string_equal(json_string(json_get(told, "what")), rows[i].what);
        double value = json_real(json_get(told, rows[i].count));
        if (value != rows[i].value)
            fail_msg("%s: %s %g, wanted %g", rows[i].what, rows[i].count, value,
                     rows[i].value);
        assert_true(json_real(json_get(told, "ms_min")) > 0);
        json_free(told);
        unstir_free(text);
    }
}

/* -- what has no such part --------------------------------------------------- */

static void test_absent(void **state)
{
    static const bench_fn absent[] = {unstir_bench_decode, unstir_bench_text};
    const struct unstir_bench_options o = {.model = "tests/data/models/tiny"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
        struct unstir_error err = {0};
        char *text;

        assert_int_equal(absent[i](&o, &text, &err), UNSTIR_ERR_ARG);
        assert_string_equal(err.field, "model");
        assert_null(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_absent),
    };

    return cmocka_run_group_tests(tests, write_model, remove_model);
}
