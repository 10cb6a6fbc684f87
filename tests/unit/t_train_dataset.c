/* t_train_dataset.c - IDX files good and hostile, and folders of pictures.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "scratch.h"
#include "train/dataset.h"

static char folder[SCRATCH_PATH];

static int setup(void **state)
{
    (void)state;
    scratch_make(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* Three pictures of 2x3 pixels, numbered, and their labels. */
static const unsigned char images[] = {
    0, 0, 8, 3, 0, 0, 0, 3, 0,  0,  0,  2,  0,  0,  0,  3,  1,
    2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};
static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 1};

/* A copy of `base` with one byte changed, cut or extended to n bytes. */
struct hostile {
    const char *what;
    const unsigned char *base;
    size_t base_n;
    long at; /* -1: no byte changed                                          */
    unsigned char value;
    size_t n;
    enum unstir_status wanted;
    const char *says;
};

#define IMAGES images, sizeof images
#define LABELS labels, sizeof labels

static const struct hostile hostile[] = {
    {"empty", IMAGES, -1, 0, 0, UNSTIR_ERR_FORMAT, "magic number"},
    {"magic cut", IMAGES, -1, 0, 3, UNSTIR_ERR_FORMAT, "magic number"},
    {"first byte", IMAGES, 0, 1, sizeof images, UNSTIR_ERR_FORMAT,
     "not an IDX file"},
    {"second byte", IMAGES, 1, 9, sizeof images, UNSTIR_ERR_FORMAT,
     "not an IDX file"},
    {"floats", IMAGES, 2, 0x0d, sizeof images, UNSTIR_ERR_UNSUPPORTED, "0x0d"},
    {"no type", IMAGES, 2, 0, sizeof images, UNSTIR_ERR_UNSUPPORTED, "0x00"},
    {"rank 0", IMAGES, 3, 0, sizeof images, UNSTIR_ERR_FORMAT, "0 dimensions"},
    {"rank 2", IMAGES, 3, 2, sizeof images, UNSTIR_ERR_FORMAT, "2 dimensions"},
    {"rank 255", IMAGES, 3, 255, sizeof images, UNSTIR_ERR_FORMAT,
     "255 dimensions"},
    {"sizes cut", IMAGES, -1, 0, 10, UNSTIR_ERR_FORMAT, "sizes"},
    {"no pictures", IMAGES, 7, 0, sizeof images, UNSTIR_ERR_FORMAT,
     "dimension 0 is 0"},
    {"no columns", IMAGES, 15, 0, sizeof images, UNSTIR_ERR_FORMAT,
     "dimension 2 is 0"},
    {"2^24 more pictures", IMAGES, 4, 1, sizeof images, UNSTIR_ERR_LIMIT, NULL},
    {"2^31 pictures", IMAGES, 4, 255, sizeof images, UNSTIR_ERR_LIMIT, NULL},
    {"product above the ceiling", IMAGES, 8, 255, sizeof images,
     UNSTIR_ERR_LIMIT, "dimension 1"},
    {"four pictures named", IMAGES, 7, 4, sizeof images, UNSTIR_ERR_FORMAT,
     "elements"},
    {"two pictures named", IMAGES, 7, 2, sizeof images, UNSTIR_ERR_FORMAT,
     "behind the last"},
    {"last pixel missing", IMAGES, -1, 0, sizeof images - 1, UNSTIR_ERR_FORMAT,
     "elements"},
    {"a byte too many", IMAGES, -1, 0, sizeof images + 1, UNSTIR_ERR_FORMAT,
     "behind the last"},
};

static void test_hostile_idx(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        const struct hostile *h = &hostile[i];
        struct unstir_error err = {0};
        char path[SCRATCH_PATH];
        unsigned char bytes[64] = {0};
        struct idx x;
        memcpy(bytes, h->base, h->base_n);
        if (h->at >= 0)
            bytes[h->at] = h->value;
        scratch_write(folder, "x", bytes, h->n);
        scratch_path(path, folder, "x");
        enum unstir_status got = idx_read(&x, path, 3, 1 << 20, &err);
        if (got != h->wanted || (h->says && !strstr(err.detail, h->says)))
            fail_msg("%s: wanted %s and \"%s\", got %s: %s", h->what,
                     unstir_status_name(h->wanted), h->says ? h->says : "",
                     unstir_status_name(got), err.detail);
        assert_null(x.data);
    }
}

static void write_set(const unsigned char *x, size_t n, const unsigned char *y,
                      size_t m)
{
    scratch_write(folder, "train-images-idx3-ubyte", x, n);
    scratch_write(folder, "train-labels-idx1-ubyte", y, m);
}

static void must_open(struct dataset *d, uint32_t size, uint32_t most)
{
    struct unstir_error err;
    if (dataset_open(d, folder, size, most, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
}

static void test_idx_set(void **state)
{
    struct dataset d;
    (void)state;
    write_set(images, sizeof images, labels, sizeof labels);
    must_open(&d, 0, 0);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.height, 2);
    assert_int_equal(d.width, 3);
    assert_int_equal(d.channels, 1);
    assert_int_equal(d.n_classes, 3);
    assert_int_equal(d.labels[0], 2);
    assert_string_equal(d.class_names[2], "2");
    float x[6];
    dataset_picture(&d, 1, 0, x);
    assert_float_equal(x[0], 7 / 127.5f - 1, 1e-7f);
    dataset_picture(&d, 1, 1, x); /* mirrored: 9 8 7 */
    assert_float_equal(x[0], 9 / 127.5f - 1, 1e-7f);
    assert_float_equal(x[2], 7 / 127.5f - 1, 1e-7f);
    dataset_close(&d);
    must_open(&d, 0, 2);
    assert_int_equal(d.n, 2);
    dataset_close(&d);
}

static void test_idx_resized(void **state)
{
    struct dataset d;
    (void)state;
    write_set(images, sizeof images, labels, sizeof labels);
    must_open(&d, 4, 0);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.width, 4);
    assert_int_equal(d.height, 4);
    assert_int_equal(d.labels[2], 1);
    dataset_close(&d);
}

static void test_labels_must_match(void **state)
{
    struct dataset d;
    struct unstir_error err;
    unsigned char fewer[] = {0, 0, 8, 1, 0, 0, 0, 2, 2, 0};
    (void)state;
    write_set(images, sizeof images, fewer, sizeof fewer);
    assert_int_equal(dataset_open(&d, folder, 0, 0, &err), UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "2 labels for 3 pictures"));
    assert_null(d.pixels);
}

/* Labels of a named set are its own words; a label beyond them is refused. */
static void test_named_set(void **state)
{
    struct dataset d;
    struct unstir_error err;
    unsigned char high[sizeof labels];
    (void)state;
    write_set(images, sizeof images, labels, sizeof labels);
    assert_int_equal(setenv("UNSTIR_DATA", folder, 1), 0);
    if (dataset_open(&d, "fashion-mnist", 0, 0, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    assert_string_equal(d.class_names[1], "trouser");
    assert_string_equal(d.licence, "MIT");
    dataset_close(&d);
    memcpy(high, labels, sizeof labels);
    high[sizeof high - 1] = 10;
    write_set(images, sizeof images, high, sizeof high);
    assert_int_equal(dataset_open(&d, "fashion-mnist", 0, 0, &err),
                     UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "label 10"));
    assert_int_equal(unsetenv("UNSTIR_DATA"), 0);
}

/* -- PNG ------------------------------------------------------------------ */

static void write_png(const char *name, uint32_t w, uint32_t h,
                      uint32_t channels, uint8_t value)
{
    struct unstir_error err;
    uint8_t pixels[16 * 16 * 3];
    unsigned char *bytes;
    size_t n;
    memset(pixels, value, sizeof pixels);
    struct unstir_image im = {w, h, channels, pixels};
    if (unstir_png_encode(&im, -1, NULL, 0, &bytes, &n, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    scratch_write(folder, name, bytes, n);
    unstir_free(bytes);
}

static void test_png_classes(void **state)
{
    struct dataset d;
    (void)state;
    scratch_mkdir(folder, "cat");
    scratch_mkdir(folder, "ant");
    write_png("cat/2.png", 4, 4, 1, 20);
    write_png("cat/1.png", 4, 4, 1, 10);
    write_png("ant/9.png", 4, 4, 3, 90); /* RGB among grey: luma */
    scratch_write(folder, "cat/notes.txt", "x", 1);
    must_open(&d, 0, 0);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.n_classes, 2);
    assert_string_equal(d.class_names[0], "ant");
    assert_int_equal(d.labels[0], 0);
    assert_int_equal(d.labels[1], 1);
    assert_int_equal(d.channels, 3); /* as the first picture */
    assert_int_equal(d.pixels[0], 90);
    assert_int_equal(d.pixels[4 * 4 * 3], 10);
    assert_int_equal(d.pixels[2 * 4 * 4 * 3], 20);
    dataset_close(&d);
}

static void test_png_plain(void **state)
{
    struct dataset d;
    (void)state;
    write_png("a.png", 8, 4, 1, 1);
    write_png("b.png", 4, 4, 1, 2);
    must_open(&d, 4, 0);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.n_classes, 0);
    assert_null(d.labels);
    assert_int_equal(d.width, 4);
    dataset_close(&d);
}

static void refuse_size(const char *where)
{
    struct dataset d;
    struct unstir_error err = {0};
    assert_int_equal(dataset_open(&d, where, 8, 0, &err), UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "size of its own"));
}

/* Every point lies near the spiral r = 15 * angle / 15: the farthest of 20000
 * normal pairs is within 5 deviations of 0.02 in all but 1 of 10 such sets,
 * 6 leave no doubt; plus half a byte's 1/255 in each of two directions. */
static void test_swiss_roll(void **state)
{
    struct dataset d;
    struct unstir_error err;
    double worst = 0, pi = acos(-1.0);
    (void)state;
    assert_int_equal(dataset_open(&d, "swiss-roll", 0, 0, &err), UNSTIR_OK);
    assert_int_equal(d.n, 20000);
    assert_int_equal(d.width * d.height * d.channels, 2);
    for (uint32_t i = 0; i < d.n; i++) {
        float p[2];
        double nearest = 10;
        dataset_picture(&d, i, 0, p);
        for (int k = 0; k <= 600; k++) {
            double a = 1.5 * pi * (1 + k / 300.0);
            nearest = fmin(nearest, hypot(a * cos(a) / 15 - (double)p[0],
                                          a * sin(a) / 15 - (double)p[1]));
        }
        worst = fmax(worst, nearest);
    }
    if (worst > 6 * 0.02 + 2.0 / 255)
        fail_msg("a point is %g from the spiral, wanted %g", worst, 0.128);
    dataset_close(&d);
    refuse_size("swiss-roll");
}

/* A spiral of length l and Gaussian width w holds about log2 of 1 / (l w
 * sqrt(2 pi e)) a point: exactly where it is straight and evenly run through.
 * Its bends and the outer turns' thinner points leave some tenths. */
static void test_known_bits(void **state)
{
    double pi = acos(-1.0), w = hypot(0.02, sqrt(1.0 / 6) / 127.5);
    double length = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        double a = 1.5 * pi * (1 + 2 * (i + 0.5) / 3000);
        length += hypot(1, a) / 15 * 3 * pi / 3000;
    }
    double wanted = -0.5 * log2(length * w * sqrt(2 * pi * exp(1)));
    double got = dataset_known_bits("swiss-roll");
    if (!(fabs(got - wanted) < 0.15))
        fail_msg("swiss-roll: wanted about %.3f bits, got %.3f", wanted, got);
    assert_true(isnan(dataset_known_bits("fashion-mnist")));
    assert_true(fabs(dataset_known_bits("heartbeat-bits") -
                     (log2(127.5) - log2(5) / 20)) < 1e-12);
}

static void test_heartbeat_bits(void **state)
{
    struct dataset d;
    struct unstir_error err;
    uint32_t count[5] = {0};
    (void)state;
    assert_int_equal(dataset_open(&d, "heartbeat-bits", 0, 1000, &err),
                     UNSTIR_OK);
    assert_int_equal(d.n, 1000);
    for (uint32_t i = 0; i < d.n; i++) {
        uint32_t beat = 0;
        while (!d.pixels[i * 20 + beat])
            beat++;
        assert_in_range(beat, 0, 4);
        count[beat]++;
        for (uint32_t j = 0; j < 20; j++)
            assert_int_equal(d.pixels[i * 20 + j], j % 5 == beat ? 255 : 0);
    }
    for (int b = 0; b < 5; b++) /* 200 +- 6 deviations of sqrt(160) */
        assert_in_range(count[b], 124, 276);
    dataset_close(&d);
}

static void refuse(const char *where, uint32_t size, enum unstir_status wanted,
                   const char *says)
{
    struct dataset d;
    struct unstir_error err = {0};
    enum unstir_status got = dataset_open(&d, where, size, 0, &err);
    if (got != wanted || !strstr(err.detail, says))
        fail_msg("wanted %s and \"%s\", got %s: %s", unstir_status_name(wanted),
                 says, unstir_status_name(got), err.detail);
}

static void test_refused_folders(void **state)
{
    (void)state;
    refuse("/nowhere/at/all", 0, UNSTIR_ERR_IO, "/nowhere/at/all");
    refuse(folder, 0, UNSTIR_ERR_FORMAT, "no pictures");
    refuse(folder, 4096, UNSTIR_ERR_ARG, "at most 1024");
    write_png("a.png", 8, 4, 1, 1);
    write_png("b.png", 4, 4, 1, 2);
    refuse(folder, 0, UNSTIR_ERR_FORMAT, "--size");
    scratch_write(folder, "c.png", "not a picture", 13);
    refuse(folder, 4, UNSTIR_ERR_FORMAT, "c.png");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hostile_idx), TEST(test_idx_set),
        TEST(test_idx_resized), TEST(test_labels_must_match),
        TEST(test_named_set),   TEST(test_png_classes),
        TEST(test_png_plain),   TEST(test_refused_folders),
        TEST(test_swiss_roll),  TEST(test_heartbeat_bits),
        TEST(test_known_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
