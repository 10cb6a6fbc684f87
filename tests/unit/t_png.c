/* t_png.c - PNG both ways: formats put together here byte by byte, hostile
 * files, text chunks.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "unstir.h"

#define SIGNATURE "\x89PNG\r\n\x1a\n"

/* -- putting files together ------------------------------------------------ */

struct file {
    unsigned char bytes[1 << 16];
    size_t n;
};

static void put_u32(unsigned char *p, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(x >> (24 - 8 * i));
}

static void chunk(struct file *f, const char *type, const void *data, size_t n)
{
    unsigned char *p = f->bytes + f->n;
    assert_true(f->n + n + 12 <= sizeof(f->bytes));
    put_u32(p, (uint32_t)n);
    memcpy(p + 4, type, 4);
    if (n > 0)
        memcpy(p + 8, data, n);
    put_u32(p + 8 + n, (uint32_t)crc32(0, p + 4, (uInt)(n + 4)));
    f->n += n + 12;
}

static void begin(struct file *f, uint32_t w, uint32_t h, unsigned depth,
                  unsigned colour, unsigned interlace)
{
    unsigned char ihdr[13] = {0};
    memcpy(f->bytes, SIGNATURE, 8);
    f->n = 8;
    put_u32(ihdr, w);
    put_u32(ihdr + 4, h);
    ihdr[8] = (unsigned char)depth;
    ihdr[9] = (unsigned char)colour;
    ihdr[12] = (unsigned char)interlace;
    chunk(f, "IHDR", ihdr, 13);
}

static void pixels(struct file *f, const void *rows, size_t n)
{
    unsigned char packed[4096];
    uLongf n_packed = sizeof(packed);
    assert_int_equal(compress(packed, &n_packed, rows, (uLong)n), Z_OK);
    /* Two chunks: a reader must join them. */
    chunk(f, "IDAT", packed, n_packed / 2);
    chunk(f, "IDAT", packed + n_packed / 2, n_packed - n_packed / 2);
}

static void end(struct file *f)
{
    chunk(f, "IEND", NULL, 0);
}

static void expect_pixels(const char *what, const struct file *f, uint32_t w,
                          uint32_t h, uint32_t channels, const uint8_t *wanted)
{
    struct unstir_image image;
    struct unstir_error err = {0};
    if (unstir_png_decode(f->bytes, f->n, 0, &image, &err) != UNSTIR_OK)
        fail_msg("%s: %s", what, err.detail);
    if (image.width != w || image.height != h || image.channels != channels)
        fail_msg("%s: %ux%ux%u, wanted %ux%ux%u", what, image.width,
                 image.height, image.channels, w, h, channels);
    for (size_t i = 0; i < (size_t)w * h * channels; i++)
        if (image.pixels[i] != wanted[i])
            fail_msg("%s: byte %zu is %u, wanted %u", what, i, image.pixels[i],
                     wanted[i]);
    unstir_image_fini(&image);
}

/* -- reading --------------------------------------------------------------- */

static void test_every_filter(void **state)
{
    /* 2 x 5 grey, one filter a row, worked out by hand: each row is
     * {10, 20}, {15, 26}, {20, 31}, {25, 30}, {26, 36}. */
    static const unsigned char rows[] = {
        0, 10, 20, /* none                                             */
        1, 15, 11, /* sub: 15, 26 - 15                                 */
        2, 5,  5,  /* up: 20 - 15, 31 - 26                             */
        3, 15, 2,  /* average: 25 - 20 / 2, 30 - (25 + 31) / 2         */
        4, 1,  6,  /* Paeth: 26 - 25, 36 - 30                          */
    };
    static const uint8_t wanted[] = {10, 20, 15, 26, 20, 31, 25, 30, 26, 36};
    static struct file f;
    begin(&f, 2, 5, 8, 0, 0);
    pixels(&f, rows, sizeof(rows));
    end(&f);
    expect_pixels("filters", &f, 2, 5, 1, wanted);
}

struct octets {
    const char *at;
    size_t n;
};
#define OCTETS(text)           \
    {                          \
        text, sizeof(text) - 1 \
    }

/* A row of pixels of every colour type and depth, and what it means. */
static const struct kind {
    const char *what;
    struct form {
        unsigned depth, colour;
        uint32_t w, channels;
    } form;
    struct octets row;
    uint8_t wanted[12];
    struct octets palette, trns;
} kinds[] = {
    {"grey 1", {1, 0, 4, 1}, OCTETS("\0\xa0"), .wanted = {255, 0, 255, 0}},
    {"grey 2", {2, 0, 4, 1}, OCTETS("\0\x1b"), .wanted = {0, 85, 170, 255}},
    {"grey 4", {4, 0, 2, 1}, OCTETS("\0\x1f"), .wanted = {17, 255}},
    {"grey 8", {8, 0, 2, 1}, OCTETS("\0\x07\xff"), .wanted = {7, 255}},
    {"grey 16",
     {16, 0, 2, 1},
     OCTETS("\0\x07\xff\xfe\x01"),
     .wanted = {7, 254}},
    {"grey key",
     {8, 0, 2, 1},
     OCTETS("\0\x07\x08"),
     .wanted = {255, 8},
     .trns = OCTETS("\0\x07")},
    {"rgb 8", {8, 2, 1, 3}, OCTETS("\0\x01\x02\x03"), .wanted = {1, 2, 3}},
    {"rgb 16",
     {16, 2, 1, 3},
     OCTETS("\0\x01\xff\x02\xff\x03\xff"),
     .wanted = {1, 2, 3}},
    {"rgb key",
     {8, 2, 2, 3},
     OCTETS("\0\x01\x02\x03\x01\x02\x04"),
     .wanted = {255, 255, 255, 1, 2, 4},
     .trns = OCTETS("\0\x01\0\x02\0\x03")},
    {"palette 1",
     {1, 3, 2, 3},
     OCTETS("\0\x40"),
     .wanted = {10, 11, 12, 20, 21, 22},
     .palette = OCTETS("\x0a\x0b\x0c\x14\x15\x16")},
    {"palette 8 alpha",
     {8, 3, 2, 3},
     OCTETS("\0\x01\0"),
     .wanted = {20, 21, 22, 255, 255, 255},
     .palette = OCTETS("\x0a\x0b\x0c\x14\x15\x16"),
     .trns = OCTETS("\0")},
    {"grey alpha",
     {8, 4, 2, 1},
     OCTETS("\0\x64\xff\x64\0"),
     .wanted = {100, 255}},
    {"grey alpha 16",
     {16, 4, 1, 1},
     OCTETS("\0\x64\x01\xff\xff"),
     .wanted = {100}},
    /* (10 * 51 + 255 * 204) / 255 = 206 */
    {"rgba",
     {8, 6, 1, 3},
     OCTETS("\0\x0a\0\xff\x33"),
     .wanted = {206, 204, 255}},
};

static void test_every_kind(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct kind *kind = &kinds[i];
        static struct file f;
        begin(&f, kind->form.w, 1, kind->form.depth, kind->form.colour, 0);
        if (kind->palette.at)
            chunk(&f, "PLTE", kind->palette.at, kind->palette.n);
        if (kind->trns.at)
            chunk(&f, "tRNS", kind->trns.at, kind->trns.n);
        pixels(&f, kind->row.at, kind->row.n);
        end(&f);
        expect_pixels(kind->what, &f, kind->form.w, 1, kind->form.channels,
                      kind->wanted);
    }
}

/* Chunks that change no pixel may break their rules. */
static void test_broken_side_chunks(void **state)
{
    static const struct {
        const char *type, *body;
        size_t n;
    } rows[] = {
        {"iCCP", "sRGB\0\0x", 7}, {"sRGB", "\x09", 1},
        {"sBIT", "\x09\x09", 2},  {"gAMA", "\0\0\0\0", 4},
        {"cHRM", "\xff\xff", 2},  {"bKGD", "", 0},
        {"hIST", "\1", 1},        {"tIME", "\1\1\x0d\1\1\1\1", 7},
        {"zTXt", "k\0\0x", 4},    {"eXIf", "??", 2},
    };
    static const unsigned char row[] = {0, 10, 200};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static struct file f;
        begin(&f, 2, 1, 8, 0, 0);
        chunk(&f, rows[i].type, rows[i].body, rows[i].n);
        pixels(&f, row, sizeof row);
        end(&f);
        expect_pixels(rows[i].type, &f, 2, 1, 1, row + 1);
    }
}

/* The picture of value 10 y + x, sizes around the 8 x 8 pattern. */
static void test_interlacing(void **state)
{
    static const unsigned passes[7][4] = {
        {0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
        {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    for (unsigned size = 1; size <= 11; size++) {
        static struct file f;
        unsigned char rows[400];
        uint8_t wanted[121];
        size_t n = 0;
        for (int p = 0; p < 7; p++)
            for (unsigned y = passes[p][1]; y < size; y += passes[p][3]) {
                if (passes[p][0] >= size)
                    break;
                rows[n++] = 0;
                for (unsigned x = passes[p][0]; x < size; x += passes[p][2])
                    rows[n++] = (unsigned char)(10 * y + x);
            }
        for (unsigned i = 0; i < size * size; i++)
            wanted[i] = (uint8_t)(10 * (i / size) + i % size);
        begin(&f, size, size, 8, 0, 1);
        pixels(&f, rows, n);
        end(&f);
        expect_pixels("interlaced", &f, size, size, 1, wanted);
    }
}

static void expect_refused(const char *what, const unsigned char *bytes,
                           size_t n, enum unstir_status status)
{
    struct unstir_image image;
    struct unstir_error err = {0};
    enum unstir_status got = unstir_png_decode(bytes, n, 64, &image, &err);
    if (got != status || !strstr(err.detail, "PNG"))
        fail_msg("%s: wanted %d, got %d \"%s\"", what, status, got, err.detail);
    assert_null(image.pixels);
}

static void test_hostile_headers(void **state)
{
    static const struct {
        const char *what;
        uint32_t w, h;
        unsigned depth, colour, interlace;
        enum unstir_status status;
    } rows[] = {
        {"no width", 0, 1, 8, 0, 0, UNSTIR_ERR_FORMAT},
        {"no height", 1, 0, 8, 0, 0, UNSTIR_ERR_FORMAT},
        {"above the limit", 65, 1, 8, 0, 0, UNSTIR_ERR_LIMIT},
        {"huge", 0x7fffffff, 0x7fffffff, 16, 6, 0, UNSTIR_ERR_LIMIT},
        {"negative", 0x80000000, 1, 8, 0, 0, UNSTIR_ERR_LIMIT},
        {"depth 3", 1, 1, 3, 0, 0, UNSTIR_ERR_FORMAT},
        {"depth 16 of a palette", 1, 1, 16, 3, 0, UNSTIR_ERR_FORMAT},
        {"depth 4 of RGB", 1, 1, 4, 2, 0, UNSTIR_ERR_FORMAT},
        {"colour 1", 1, 1, 8, 1, 0, UNSTIR_ERR_FORMAT},
        {"colour 7", 1, 1, 8, 7, 0, UNSTIR_ERR_FORMAT},
        {"interlace 2", 1, 1, 8, 0, 2, UNSTIR_ERR_FORMAT},
        {"palette missing", 1, 1, 8, 3, 0, UNSTIR_ERR_FORMAT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static struct file f;
        begin(&f, rows[i].w, rows[i].h, rows[i].depth, rows[i].colour,
              rows[i].interlace);
        pixels(&f, "\0\0\0\0\0\0\0\0", 8);
        end(&f);
        expect_refused(rows[i].what, f.bytes, f.n, rows[i].status);
    }
}

/* 60 x 60 x 16 bits of RGBA in a file without any: refused by arithmetic. */
static void test_claims_without_bytes(void **state)
{
    static struct file f;
    begin(&f, 64, 64, 16, 6, 0);
    chunk(&f, "IDAT", "", 0);
    assert_true(f.n * 1032 > 64 * 64 * 8); /* plausible: must fail later     */
    expect_refused("no pixels", f.bytes, f.n, UNSTIR_ERR_FORMAT);
    struct unstir_image image;
    struct unstir_error err = {0};
    begin(&f, 16384, 16384, 16, 6, 0);
    pixels(&f, "\0\0", 2);
    end(&f);
    assert_int_equal(unstir_png_decode(f.bytes, f.n, 0, &image, &err),
                     UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "cannot hold"));
}

static void sample(struct file *f)
{
    begin(f, 2, 2, 8, 0, 0);
    pixels(f, "\0\1\2\0\3\4", 6);
    end(f);
}

static void test_every_truncation(void **state)
{
    static struct file f;
    sample(&f);
    for (size_t n = 0; n < f.n; n++) {
        unsigned char *part = malloc(n + 1);
        memcpy(part, f.bytes, n);
        expect_refused("truncated", part, n, UNSTIR_ERR_FORMAT);
        free(part);
    }
}

/* Any changed byte is noticed by a checksum, or changes nothing. */
static void test_every_flipped_byte(void **state)
{
    static const uint8_t wanted[] = {1, 2, 3, 4};
    static struct file f;
    sample(&f);
    for (size_t i = 0; i < f.n; i++) {
        struct unstir_image image;
        f.bytes[i] ^= 0x20;
        if (unstir_png_decode(f.bytes, f.n, 64, &image, NULL) == UNSTIR_OK &&
            memcmp(image.pixels, wanted, 4) != 0)
            fail_msg("byte %zu flipped: accepted with other pixels", i);
        unstir_image_fini(&image);
        f.bytes[i] ^= 0x20;
    }
}

static void test_index_outside_of_the_palette(void **state)
{
    static struct file f;
    struct unstir_image image;
    begin(&f, 2, 1, 8, 3, 0);
    chunk(&f, "PLTE", "\1\2\3", 3);
    pixels(&f, "\0\0\xff", 3);
    end(&f);
    /* Refused or made black, but nothing outside of the palette is read. */
    if (unstir_png_decode(f.bytes, f.n, 64, &image, NULL) == UNSTIR_OK)
        assert_int_equal(image.pixels[3] + image.pixels[4] + image.pixels[5],
                         0);
    unstir_image_fini(&image);
}

/* -- writing --------------------------------------------------------------- */

static void fill(struct unstir_image *image)
{
    size_t n = (size_t)image->width * image->height * image->channels;
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        image->pixels[i] = (uint8_t)(i / 3 + (x >> 30));
    }
}

static void test_round_trip_at_every_level(void **state)
{
    static const uint32_t shapes[][3] = {
        {1, 1, 1}, {1, 1, 3}, {28, 28, 1}, {33, 17, 3}, {5, 64, 3}};
    static uint8_t bytes[33 * 64 * 3];
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (int level = -1; level <= 9; level++) {
            struct unstir_image image = {shapes[s][0], shapes[s][1],
                                         shapes[s][2], bytes};
            struct unstir_image back;
            struct unstir_error err = {0};
            unsigned char *png;
            size_t n;
            fill(&image);
            if (unstir_png_encode(&image, level, NULL, 0, &png, &n, &err) !=
                    UNSTIR_OK ||
                unstir_png_decode(png, n, 0, &back, &err) != UNSTIR_OK)
                fail_msg("level %d: %s", level, err.detail);
            assert_int_equal(back.channels, image.channels);
            assert_memory_equal(back.pixels, bytes,
                                (size_t)image.width * image.height *
                                    image.channels);
            unstir_image_fini(&back);
            unstir_free(png);
        }
}

static void test_same_picture_same_bytes(void **state)
{
    static uint8_t bytes[16 * 16];
    struct unstir_image image = {16, 16, 1, bytes};
    const struct unstir_text text = {"parameters", "a"};
    unsigned char *a, *b;
    size_t n, m;
    fill(&image);
    assert_int_equal(unstir_png_encode(&image, -1, &text, 1, &a, &n, NULL), 0);
    assert_int_equal(unstir_png_encode(&image, -1, &text, 1, &b, &m, NULL), 0);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    unstir_free(a);
    unstir_free(b);
}

/* The chunk of this type whose data begin with key and NUL. */
static const unsigned char *find_chunk(const unsigned char *png, size_t n,
                                       const char *type, const char *key,
                                       size_t *n_data)
{
    for (size_t at = 8; at + 12 <= n;) {
        *n_data = (size_t)png[at] << 24 | (size_t)png[at + 1] << 16 |
                  (size_t)png[at + 2] << 8 | png[at + 3];
        if (memcmp(png + at + 4, type, 4) == 0 &&
            strncmp((const char *)png + at + 8, key, *n_data) == 0)
            return png + at + 8;
        at += *n_data + 12;
    }
    return NULL;
}

static void test_texts(void **state)
{
    static uint8_t bytes[4];
    const struct unstir_image image = {2, 2, 1, bytes};
    static const struct unstir_text texts[] = {
        {"latin", "caf\xc3\xa9\nline"},
        {"euro", "\xe2\x82\xac"},
        {"XML:com.adobe.xmp", "<x/>"},
    };
    static const struct {
        const char *type, *key, *data;
        size_t n;
    } rows[] = {
        {"tEXt", "latin", "latin\0caf\xe9\nline", 15},
        {"iTXt", "euro", "euro\0\0\0\0\0\xe2\x82\xac", 12},
        {"iTXt", "XML:com.adobe.xmp", "XML:com.adobe.xmp\0\0\0\0\0<x/>", 26},
    };
    unsigned char *png;
    size_t n;
    struct unstir_error err = {0};
    if (unstir_png_encode(&image, -1, texts, 3, &png, &n, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n_data;
        const unsigned char *data =
            find_chunk(png, n, rows[i].type, rows[i].key, &n_data);
        if (!data || n_data != rows[i].n ||
            memcmp(data, rows[i].data, n_data) != 0)
            fail_msg("%s %s is not as wanted (%zu bytes)", rows[i].type,
                     rows[i].key, data ? n_data : 0);
    }
    unstir_free(png);
}

static void test_bad_texts_and_levels(void **state)
{
    static uint8_t bytes[4];
    const struct unstir_image image = {2, 2, 1, bytes};
    char long_key[81];
    memset(long_key, 'k', 80);
    long_key[80] = '\0';
    const struct unstir_text texts[] = {
        {"", "v"},     {long_key, "v"}, {"\xe2\x82\xac", "v"},
        {"k", "\xff"}, {"k", "\xc3"},   {"k", "\xed\xa0\x80"},
        {"a\nb", "v"},
    };
    unsigned char *png;
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        enum unstir_status got =
            unstir_png_encode(&image, -1, &texts[i], 1, &png, &n, NULL);
        if (got != UNSTIR_ERR_ARG)
            fail_msg("text %zu: wanted ERR_ARG, got %d", i, got);
        assert_null(png);
    }
    assert_int_equal(unstir_png_encode(&image, 10, NULL, 0, &png, &n, NULL),
                     UNSTIR_ERR_ARG);
    assert_int_equal(unstir_png_encode(&image, -2, NULL, 0, &png, &n, NULL),
                     UNSTIR_ERR_ARG);
}

/* Each allocation of both directions fails once: no leak, no crash. */
static void test_failed_memory(void **state)
{
    static uint8_t bytes[64];
    const struct unstir_image image = {8, 8, 1, bytes};
    const struct unstir_text text = {"euro", "\xe2\x82\xac"};
    unsigned char *png;
    size_t n;
    for (long k = 1;; k++) {
        alloc_test_fail_after(k);
        enum unstir_status status =
            unstir_png_encode(&image, -1, &text, 1, &png, &n, NULL);
        alloc_test_fail_after(0);
        if (status == UNSTIR_OK)
            break;
        assert_null(png);
        assert_true(k < 1000);
    }
    for (long k = 1;; k++) {
        struct unstir_image back;
        alloc_test_fail_after(k);
        enum unstir_status status = unstir_png_decode(png, n, 0, &back, NULL);
        alloc_test_fail_after(0);
        unstir_image_fini(&back);
        if (status == UNSTIR_OK)
            break;
        assert_true(k < 1000);
    }
    unstir_free(png);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_filter),
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_broken_side_chunks),
        cmocka_unit_test(test_interlacing),
        cmocka_unit_test(test_hostile_headers),
        cmocka_unit_test(test_claims_without_bytes),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_flipped_byte),
        cmocka_unit_test(test_index_outside_of_the_palette),
        cmocka_unit_test(test_round_trip_at_every_level),
        cmocka_unit_test(test_same_picture_same_bytes),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bad_texts_and_levels),
        cmocka_unit_test(test_failed_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
