/* t_image.c - resizing, sheets, and the nearest word.
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
#include <unistd.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "unstir.h"

static void expect_bytes(const char *what, const struct unstir_image *image,
                         const uint8_t *wanted, size_t n)
{
    assert_int_equal((size_t)image->width * image->height * image->channels, n);
    for (size_t i = 0; i < n; i++)
        if (image->pixels[i] != wanted[i])
            fail_msg("%s: byte %zu is %u, wanted %u", what, i, image->pixels[i],
                     wanted[i]);
}

static void test_resize_by_hand(void **state)
{
    static const struct {
        const char *what;
        uint32_t from_w, from_h, to_w, to_h;
        uint8_t from[8], to[8];
    } rows[] = {
        {"same size", 2, 2, 2, 2, {1, 2, 3, 4}, {1, 2, 3, 4}},
        /* centres at 0.25 and 0.75 of the pair, borders held */
        {"twice as wide", 2, 1, 4, 1, {0, 100}, {0, 25, 75, 100}},
        {"twice as high", 1, 2, 1, 4, {0, 100}, {0, 25, 75, 100}},
        /* new pixel 0 at 0.5 with radius 2: weights .75 .75 .25 */
        {"half", 4, 1, 2, 1, {0, 70, 140, 210}, {50, 160}},
        {"to one pixel", 2, 2, 1, 1, {0, 100, 100, 200}, {100}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t from[8];
        memcpy(from, rows[i].from, 8);
        const struct unstir_image image = {rows[i].from_w, rows[i].from_h, 1,
                                           from};
        struct unstir_image out;
        assert_int_equal(
            unstir_image_resize(&image, rows[i].to_w, rows[i].to_h, &out, NULL),
            UNSTIR_OK);
        expect_bytes(rows[i].what, &out, rows[i].to,
                     (size_t)rows[i].to_w * rows[i].to_h);
        unstir_image_fini(&out);
    }
}

/* A flat picture stays flat at every pair of sizes. */
static void test_resize_keeps_flat_pictures(void **state)
{
    static uint8_t flat[17 * 17 * 3];
    memset(flat, 201, sizeof(flat));
    for (uint32_t from = 1; from <= 17; from += 4)
        for (uint32_t to = 1; to <= 40; to += 3) {
            const struct unstir_image image = {from, from, 3, flat};
            struct unstir_image out;
            assert_int_equal(unstir_image_resize(&image, to, to, &out, NULL),
                             UNSTIR_OK);
            for (size_t i = 0; i < (size_t)to * to * 3; i++)
                if (out.pixels[i] != 201)
                    fail_msg("%u to %u: byte %zu is %u", from, to, i,
                             out.pixels[i]);
            unstir_image_fini(&out);
        }
}

static void test_bad_sizes(void **state)
{
    static uint8_t bytes[4];
    const struct unstir_image good = {2, 2, 1, bytes};
    const struct unstir_image bad[] = {
        {0, 2, 1, bytes}, {2, 0, 1, bytes}, {2, 2, 2, bytes}, {2, 2, 1, NULL}};
    struct unstir_image out;
    assert_int_equal(unstir_image_resize(&good, 0, 1, &out, NULL),
                     UNSTIR_ERR_ARG);
    assert_int_equal(unstir_image_resize(&good, 1, 20000, &out, NULL),
                     UNSTIR_ERR_ARG);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(unstir_image_resize(&bad[i], 1, 1, &out, NULL),
                         UNSTIR_ERR_ARG);
        assert_null(out.pixels);
    }
}

static void test_sheet(void **state)
{
    static uint8_t one[1] = {10}, two[1] = {20}, rgb[3] = {1, 2, 3};
    const struct unstir_image grey[] = {
        {1, 1, 1, one}, {1, 1, 1, two}, {1, 1, 1, one}};
    const struct unstir_image mixed[] = {{1, 1, 1, one}, {1, 1, 3, rgb}};
    struct unstir_image out;
    assert_int_equal(unstir_image_sheet(grey, 3, 2, 1, 2, &out, NULL),
                     UNSTIR_OK);
    assert_int_equal(out.width, 5);
    assert_int_equal(out.height, 5);
    static const uint8_t wanted[25] = {
        10,  10,  255, 20, 20,  10,  10,  255, 20, 20,  255, 255, 255,
        255, 255, 10,  10, 255, 255, 255, 10,  10, 255, 255, 255};
    expect_bytes("sheet", &out, wanted, 25);
    unstir_image_fini(&out);
    assert_int_equal(unstir_image_sheet(mixed, 2, 9, 0, 1, &out, NULL),
                     UNSTIR_OK);
    static const uint8_t both[6] = {10, 10, 10, 1, 2, 3};
    expect_bytes("grey beside RGB", &out, both, 6);
    unstir_image_fini(&out);
}

static void test_bad_sheets(void **state)
{
    static uint8_t bytes[4];
    const struct unstir_image images[] = {{1, 1, 1, bytes}, {2, 2, 1, bytes}};
    struct unstir_image out;
    struct unstir_error err = {0};
    assert_int_equal(unstir_image_sheet(images, 0, 1, 0, 1, &out, &err),
                     UNSTIR_ERR_ARG);
    assert_int_equal(unstir_image_sheet(images, 1, 0, 0, 1, &out, &err),
                     UNSTIR_ERR_ARG);
    assert_int_equal(unstir_image_sheet(images, 2, 2, 0, 1, &out, &err),
                     UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "2 x 2"));
    assert_int_equal(unstir_image_sheet(images, 1, 1, 0, 100, &out, &err),
                     UNSTIR_OK);
    unstir_image_fini(&out);
    assert_int_equal(unstir_image_sheet(images + 1, 1, 1, 0, 8193, &out, &err),
                     UNSTIR_ERR_LIMIT);
    assert_null(out.pixels);
}

static void test_nearest(void **state)
{
    static const char *const words[] = {"euler", "euler_a", "ddim",
                                        "ddpm",  "steps",   "ankle boot"};
    static const struct {
        const char *text;
        int wanted;
    } rows[] = {
        {"euller", 0}, {"EULER", 0}, {"ddmi", 2},       {"ddp", 3},
        {"step", 4},   {"stesp", 4}, {"ankle", 5},      {"zebra", -1},
        {"", -1},      {"x", -1},    {"Ankle-Boot", 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int got = unstir_nearest(rows[i].text, words, ARRAY_LEN(words));
        if (got != rows[i].wanted)
            fail_msg("\"%s\": got %d, wanted %d", rows[i].text, got,
                     rows[i].wanted);
    }
    char long_text[200];
    memset(long_text, 'e', 199);
    long_text[199] = '\0';
    assert_int_equal(unstir_nearest(long_text, words, ARRAY_LEN(words)), -1);
}

static void test_tensors_write(void **state)
{
    char path[] = "/tmp/unstir-tensors-XXXXXX";
    static const float x[6] = {1, 2, 3, 4, 5, 6};
    const struct unstir_tensor t = {"sample", x, 3, {1, 2, 3}};
    const struct unstir_text meta = {"request", "{}"};
    struct weights *w;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(unstir_tensors_write(path, &t, 1, &meta, 1, NULL),
                     UNSTIR_OK);
    assert_int_equal(safetensors_open(&w, path, NULL), UNSTIR_OK);
    assert_memory_equal(weights_find(w, "sample")->data, x, sizeof(x));
    assert_string_equal(weights_metadata(w, "request"), "{}");
    weights_close(w);
    /* also a rank that 32 bits would cut to an allowed one */
    const size_t bad_ranks[] = {9, ((size_t)1 << 32) + 3};
    for (size_t i = 0; i < ARRAY_LEN(bad_ranks); i++) {
        const struct unstir_tensor bad = {"r", x, bad_ranks[i], {1, 2, 3}};
        assert_int_equal(unstir_tensors_write(path, &bad, 1, NULL, 0, NULL),
                         UNSTIR_ERR_ARG);
    }
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resize_by_hand),
        cmocka_unit_test(test_resize_keeps_flat_pictures),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_sheet),
        cmocka_unit_test(test_bad_sheets),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_tensors_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
