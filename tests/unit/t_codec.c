/* t_codec.c - JPEG and WebP both ways, formats by content, EXIF, films.
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
#include <webp/mux.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/json.h"
#include "image/exif.h"
#include "json_file.h"
#include "unstir.h"

#define W 24
#define H 16

/* A smooth picture: lossy formats come close to it. */
static struct unstir_image picture(uint8_t *pixels, uint32_t channels)
{
    for (uint32_t y = 0; y < H; y++)
        for (uint32_t x = 0; x < W; x++)
            for (uint32_t c = 0; c < channels; c++)
                pixels[(y * W + x) * channels + c] =
                    (uint8_t)(40 + 4 * x + 5 * y + 20 * c);
    return (struct unstir_image){W, H, channels, pixels};
}

static void encode(const struct unstir_image *image, enum unstir_format format,
                   int quality, const struct unstir_text *texts, size_t n_texts,
                   unsigned char **bytes, size_t *n)
{
    struct unstir_error err = {0};
    const struct unstir_encode_options o = {format, -1, quality};
    if (unstir_image_encode(image, &o, texts, n_texts, bytes, n, &err) !=
        UNSTIR_OK)
        fail_msg("%s: %s", unstir_format_info(format)->name, err.detail);
}

static void decode(const unsigned char *bytes, size_t n,
                   struct unstir_image *image)
{
    struct unstir_error err = {0};
    if (unstir_image_decode(bytes, n, 0, image, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
}

static int largest_difference(const struct unstir_image *a,
                              const struct unstir_image *b)
{
    int most = 0;
    for (size_t i = 0; i < (size_t)b->width * b->height; i++)
        for (size_t c = 0; c < b->channels; c++) {
            int d = a->pixels[i * a->channels + (a->channels == 3 ? c : 0)] -
                    b->pixels[i * b->channels + c];
            most = abs(d) > most ? abs(d) : most;
        }
    return most;
}

/* Quantisation steps at quality 95 are at most 12 and those of low
 * frequencies, which a smooth picture has, 2: errors stay at a few levels. */
static void test_round_trips(void **state)
{
    static const struct {
        enum unstir_format format;
        int quality, error;
        uint32_t grey_channels;
    } rows[] = {
        {UNSTIR_FORMAT_PNG, 0, 0, 1},    {UNSTIR_FORMAT_JPEG, 95, 6, 1},
        {UNSTIR_FORMAT_WEBP, 95, 10, 3}, {UNSTIR_FORMAT_WEBP, 100, 0, 3},
        {UNSTIR_FORMAT_JPEG, 50, 24, 1},
    };
    uint8_t pixels[W * H * 3];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (uint32_t channels = 1; channels <= 3; channels += 2) {
            struct unstir_image image = picture(pixels, channels), back, shape;
            enum unstir_format found;
            unsigned char *bytes;
            size_t n;
            encode(&image, rows[i].format, rows[i].quality, NULL, 0, &bytes,
                   &n);
            assert_int_equal(
                unstir_image_probe(bytes, n, 0, &found, &shape, NULL),
                UNSTIR_OK);
            assert_int_equal(found, rows[i].format);
            decode(bytes, n, &back);
            assert_int_equal(back.width, W);
            assert_int_equal(back.height, H);
            assert_int_equal(shape.width, W);
            assert_int_equal(shape.channels, back.channels);
            assert_null(shape.pixels);
            assert_int_equal(back.channels,
                             channels == 1 ? rows[i].grey_channels : 3);
            int error = largest_difference(&image, &back);
            if (error > rows[i].error)
                fail_msg("row %zu, %u channels: error %d, at most %d", i,
                         channels, error, rows[i].error);
            unstir_image_fini(&back);
            unstir_free(bytes);
        }
}

static void test_same_picture_same_bytes(void **state)
{
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3);
    for (int format = 0; format < UNSTIR_N_FORMATS; format++) {
        unsigned char *a, *b;
        size_t n, m;
        encode(&image, (enum unstir_format)format, 80, NULL, 0, &a, &n);
        encode(&image, (enum unstir_format)format, 80, NULL, 0, &b, &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n);
        unstir_free(a);
        unstir_free(b);
    }
}

static const unsigned char *find(const unsigned char *bytes, size_t n,
                                 const void *what, size_t m)
{
    return memmem(bytes, n, what, m);
}

static void test_texts(void **state)
{
    static const struct unstir_text texts[] = {
        {"parameters", "a\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"XML:com.adobe.xmp", "<x:xmpmeta/>"},
        {"unstir", "{}"}};
    /* UTF-16, big-endian, with a surrogate pair */
    static const char comment[] = "UNICODE\0\0a\x20\xac\xd8\x3d\xde\0";
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3), back;
    for (int format = UNSTIR_FORMAT_JPEG; format < UNSTIR_N_FORMATS; format++) {
        unsigned char *bytes;
        size_t n;
        encode(&image, (enum unstir_format)format, 90, texts, 3, &bytes, &n);
        assert_non_null(find(bytes, n, comment, sizeof comment - 1));
        assert_non_null(find(bytes, n, "<x:xmpmeta/>", 12));
        decode(bytes, n, &back);
        unstir_image_fini(&back);
        unstir_free(bytes);
    }
    const struct unstir_text bad = {"parameters", "\xff"};
    const struct unstir_encode_options o = {UNSTIR_FORMAT_JPEG, -1, 0};
    unsigned char *bytes;
    size_t n;
    assert_int_equal(unstir_image_encode(&image, &o, &bad, 1, &bytes, &n, NULL),
                     UNSTIR_ERR_ARG);
    assert_null(bytes);
}

/* A segment's length is at most 65535, itself (2) and the name of an XMP packet
 * (29) counted. */
#define XMP_MOST (65535 - 2 - 29)

static size_t jpeg_bytes_with_xmp(const struct unstir_image *image,
                                  size_t n_xmp)
{
    static char xmp[XMP_MOST + 2];
    const struct unstir_text text = {"XML:com.adobe.xmp", xmp};
    unsigned char *bytes;
    size_t n;

    memset(xmp, 'q', n_xmp);
    xmp[n_xmp] = '\0';
    encode(image, UNSTIR_FORMAT_JPEG, 90, &text, 1, &bytes, &n);
    unstir_free(bytes);
    return n;
}

static void test_longest_text(void **state)
{
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3);

    (void)state;
    assert_true(jpeg_bytes_with_xmp(&image, XMP_MOST) > XMP_MOST);
    assert_true(jpeg_bytes_with_xmp(&image, XMP_MOST + 1) < 10000);
}

/* A text longer than a segment is left out; the picture stays. */
static void test_long_text(void **state)
{
    static char text[70001];
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3), back;
    unsigned char *bytes;
    size_t n;
    memset(text, 'q', sizeof text - 1);
    const struct unstir_text texts[] = {{"parameters", text},
                                        {"XML:com.adobe.xmp", text}};
    encode(&image, UNSTIR_FORMAT_JPEG, 90, texts, 2, &bytes, &n);
    assert_true(n < 10000);
    decode(bytes, n, &back);
    unstir_image_fini(&back);
    unstir_free(bytes);
    encode(&image, UNSTIR_FORMAT_WEBP, 90, texts, 2, &bytes, &n);
    assert_true(n > 210000); /* WebP has the room */
    unstir_free(bytes);
}

/* What EXIF's numbers mean for a picture of 2 x 3 stored as 1 2 / 3 4 / 5 6:
 * the table of the standard. */
static void test_orientations(void **state)
{
    static const uint8_t wanted[9][6] = {
        {1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 5, 6}, {2, 1, 4, 3, 6, 5},
        {6, 5, 4, 3, 2, 1}, {5, 6, 3, 4, 1, 2}, {1, 3, 5, 2, 4, 6},
        {5, 3, 1, 6, 4, 2}, {6, 4, 2, 5, 3, 1}, {2, 4, 6, 1, 3, 5}};
    for (unsigned o = 0; o < 9; o++) {
        unsigned char block[] = {
            'M', 'M',  0, 42, 0, 0, 0, 8, 0, 1,
            1,   0x12, 0, 3,  0, 0, 0, 1, 0, (unsigned char)o,
            0,   0,    0, 0,  0, 0};
        void *memory;
        assert_int_equal(alloc_zero(&memory, 6, 1, NULL), UNSTIR_OK);
        struct unstir_image image = {2, 3, 1, memory};
        for (uint8_t i = 0; i < 6; i++)
            image.pixels[i] = i + 1;
        assert_int_equal(exif_orientation(block, sizeof block), o ? o : 1);
        for (size_t cut = 0; cut < 18; cut++)
            assert_int_equal(exif_orientation(block, cut), 1);
        assert_int_equal(
            exif_turn(&image, exif_orientation(block, sizeof block), NULL),
            UNSTIR_OK);
        assert_int_equal(image.width, o > 4 ? 3 : 2);
        assert_memory_equal(image.pixels, wanted[o], 6);
        unstir_image_fini(&image);
    }
}

/* A JPEG with an orientation in front of its frame is turned. */
static void test_turned_jpeg(void **state)
{
    static const unsigned char app1[] = {
        0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0,    0, 'I', 'I',
        42,   0,    8, 0,  0,   0,   1,   0,   0x12, 1, 3,   0,
        1,    0,    0, 0,  6,   0,   0,   0,   0,    0, 0,   0};
    uint8_t pixels[W * H];
    struct unstir_image image = picture(pixels, 1), back, shape;
    unsigned char *bytes, turned[4096];
    size_t n;
    encode(&image, UNSTIR_FORMAT_JPEG, 95, NULL, 0, &bytes, &n);
    memcpy(turned, bytes, 2);
    memcpy(turned + 2, app1, sizeof app1);
    memcpy(turned + 2 + sizeof app1, bytes + 2, n - 2);
    n += sizeof app1;
    assert_int_equal(unstir_image_probe(turned, n, 0, NULL, &shape, NULL),
                     UNSTIR_OK);
    assert_int_equal(shape.width, H);
    decode(turned, n, &back);
    assert_int_equal(back.width, H);
    assert_int_equal(back.height, W);
    /* rows grow by 4 a pixel, columns fall by 5: turned to the right */
    assert_in_range(back.pixels[0], 115 - 6, 115 + 6);
    assert_in_range(back.pixels[H - 1], 40 - 6, 40 + 6);
    unstir_image_fini(&back);
    unstir_free(bytes);
}

static void unhex(unsigned char *out, const char *hex, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned byte;

        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (unsigned char)byte;
    }
}

/* PNG files of another writer stand as it shows them. */
static void test_turned_png(void **state)
{
    struct json *rows = json_file_open("tests/data/exif.json");

    for (size_t i = 0; i < json_len(rows); i++) {
        const struct json *row = json_at(rows, i);
        const char *hex = json_string(json_get(row, "file"));
        size_t n = strlen(hex) / 2, n_pixels;
        unsigned char file[512], wanted[64];
        struct unstir_image shape, back;

        assert_true(n <= sizeof file);
        unhex(file, hex, n);
        hex = json_string(json_get(row, "pixels"));
        n_pixels = strlen(hex) / 2;
        unhex(wanted, hex, n_pixels);
        assert_int_equal(unstir_image_probe(file, n, 0, NULL, &shape, NULL),
                         UNSTIR_OK);
        assert_int_equal(shape.width, json_int(json_get(row, "width")));
        assert_int_equal(shape.height, json_int(json_get(row, "height")));
        for (int k = 0; k < 2; k++) {
            if (k == 0)
                decode(file, n, &back);
            else
                assert_int_equal(unstir_png_decode(file, n, 0, &back, NULL),
                                 UNSTIR_OK);
            assert_int_equal(back.width, shape.width);
            assert_int_equal(back.height, shape.height);
            assert_memory_equal(back.pixels, wanted, n_pixels);
            unstir_image_fini(&back);
        }
        for (size_t cut = 26; cut < n; cut++) /* no byte behind the end */
            (void)unstir_image_probe(file, cut, 0, NULL, &shape, NULL);
    }
    json_free(rows);
}

/* Inks on white as Pillow mixes them, to the level that two libraries'
 * upsampling differs by. */
static void test_inks(void **state)
{
    struct json *rows = json_file_open("tests/data/inks.json");

    for (size_t i = 0; i < json_len(rows); i++) {
        const char *hex = json_string(json_get(json_at(rows, i), "file"));
        size_t n = strlen(hex) / 2;
        unsigned char file[1024], wanted[8 * 8 * 3];
        struct unstir_image back;

        assert_true(n <= sizeof file);
        unhex(file, hex, n);
        hex = json_string(json_get(json_at(rows, i), "pixels"));
        assert_int_equal(strlen(hex), 2 * sizeof wanted);
        unhex(wanted, hex, sizeof wanted);
        decode(file, n, &back);
        assert_int_equal(back.channels, 3);
        for (size_t k = 0; k < sizeof wanted; k++)
            if (abs(back.pixels[k] - wanted[k]) > 1)
                fail_msg("row %zu: byte %zu is %u, wanted %u", i, k,
                         back.pixels[k], wanted[k]);
        unstir_image_fini(&back);
    }
    json_free(rows);
}

static void expect_refusal(const char *what, const unsigned char *bytes,
                           size_t n, uint32_t max_edge,
                           enum unstir_status wanted)
{
    struct unstir_error err = {0};
    struct unstir_image image;
    uint64_t allocations = alloc_test_count();
    enum unstir_status got =
        unstir_image_decode(bytes, n, max_edge, &image, &err);
    if (got != wanted || image.pixels)
        fail_msg("%s: wanted %s, got %s (%s)", what, unstir_status_name(wanted),
                 unstir_status_name(got), err.detail);
    if (alloc_test_count() != allocations)
        fail_msg("%s: memory was taken before the limit was checked", what);
}

/* Sets the two sizes of the first frame. */
static void claim(unsigned char *jpeg, size_t n, unsigned w, unsigned h)
{
    static const unsigned char sof[] = {0xff, 0xc0};
    unsigned char *p = memmem(jpeg, n, sof, 2);
    assert_non_null(p);
    p[5] = (unsigned char)(h >> 8);
    p[6] = (unsigned char)h;
    p[7] = (unsigned char)(w >> 8);
    p[8] = (unsigned char)w;
}

static void test_limits_before_memory(void **state)
{
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3);
    unsigned char *bytes;
    size_t n;
    for (int format = 0; format < UNSTIR_N_FORMATS; format++) {
        encode(&image, (enum unstir_format)format, 90, NULL, 0, &bytes, &n);
        expect_refusal("edge", bytes, n, W - 1, UNSTIR_ERR_LIMIT);
        unstir_free(bytes);
    }
    encode(&image, UNSTIR_FORMAT_JPEG, 90, NULL, 0, &bytes, &n);
    claim(bytes, n, 16384, 16384);
    expect_refusal("bomb", bytes, n, 0, UNSTIR_ERR_FORMAT);
    claim(bytes, n, 65535, 1);
    expect_refusal("wide", bytes, n, 0, UNSTIR_ERR_LIMIT);
    claim(bytes, n, 0, 1);
    expect_refusal("no pixels", bytes, n, 0, UNSTIR_ERR_FORMAT);
    claim(bytes, n, W, H);
    unsigned char *sof = memmem(bytes, n, "\xff\xc0", 2);
    sof[9] = 2;
    expect_refusal("two components", bytes, n, 0, UNSTIR_ERR_UNSUPPORTED);
    sof[9] = 3;
    sof[1] = 0xc9;
    expect_refusal("arithmetic coding", bytes, n, 0, UNSTIR_ERR_UNSUPPORTED);
    unstir_free(bytes);
    expect_refusal("nothing", (const unsigned char *)"", 0, 0,
                   UNSTIR_ERR_FORMAT);
    expect_refusal("a GIF", (const unsigned char *)"GIF89a", 6, 0,
                   UNSTIR_ERR_FORMAT);
}

/* No cut file is taken for a whole one, no flipped byte does harm. */
static void test_damage(void **state)
{
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3), back;
    static const struct unstir_text text = {"parameters", "p"};
    for (int format = UNSTIR_FORMAT_JPEG; format < UNSTIR_N_FORMATS; format++) {
        unsigned char *bytes;
        size_t n;
        encode(&image, (enum unstir_format)format, 90, &text, 1, &bytes, &n);
        for (size_t cut = 0; cut < n; cut++) {
            unsigned char *part = malloc(cut + 1); /* ASan sees its end */
            memcpy(part, bytes, cut);
            enum unstir_status st =
                unstir_image_decode(part, cut, 0, &back, NULL);
            /* Of WebP the EXIF behind the pixels may be missing. */
            if (st == UNSTIR_OK && format == UNSTIR_FORMAT_JPEG && cut + 2 < n)
                fail_msg("format %d cut to %zu of %zu: read", format, cut, n);
            unstir_image_fini(&back);
            free(part);
        }
        for (size_t i = 0; i < n; i++) {
            bytes[i] ^= 0x55;
            (void)unstir_image_decode(bytes, n, 512, &back, NULL);
            bytes[i] ^= 0x55;
            unstir_image_fini(&back);
        }
        unstir_free(bytes);
    }
}

static void test_film(void **state)
{
    enum { N = 5 };
    static uint8_t pixels[N][W * H];
    struct unstir_image frames[N];
    const struct unstir_film_options o = {80, 1000, 100};
    unsigned char *bytes;
    size_t n;
    struct unstir_error err = {0};
    for (int i = 0; i < N; i++) {
        frames[i] = picture(pixels[i], 1);
        pixels[i][i] = 255; /* no two alike */
    }
    if (unstir_film_encode(frames, N, &o, &bytes, &n, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    const WebPData data = {bytes, n};
    WebPMux *mux = WebPMuxCreate(&data, 0);
    int n_frames = 0, end = 0;
    assert_non_null(mux);
    WebPMuxNumChunks(mux, WEBP_CHUNK_ANMF, &n_frames);
    for (int i = 1; i <= n_frames; i++) {
        WebPMuxFrameInfo info;
        assert_int_equal(WebPMuxGetFrame(mux, (uint32_t)i, &info), WEBP_MUX_OK);
        end += info.duration;
        WebPDataClear(&info.bitstream);
    }
    WebPMuxDelete(mux);
    assert_int_equal(n_frames, N);
    assert_int_equal(end, 80 * (N - 1) + 1000);
    expect_refusal("a film", bytes, n, 0, UNSTIR_ERR_UNSUPPORTED);
    unstir_free(bytes);
    frames[2].width--;
    assert_int_equal(unstir_film_encode(frames, N, &o, &bytes, &n, NULL),
                     UNSTIR_ERR_ARG);
    assert_int_equal(unstir_film_encode(frames, 0, &o, &bytes, &n, NULL),
                     UNSTIR_ERR_ARG);
}

static void test_bad_quality(void **state)
{
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3);
    unsigned char *bytes;
    size_t n;
    static const int bad[] = {-1, 101};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct unstir_error err = {0};
        const struct unstir_encode_options o = {UNSTIR_FORMAT_JPEG, -1, bad[i]};
        assert_int_equal(
            unstir_image_encode(&image, &o, NULL, 0, &bytes, &n, &err),
            UNSTIR_ERR_ARG);
        assert_string_equal(err.field, "quality");
    }
}

/* Each of our allocations fails once in both directions. */
static void test_failed_memory(void **state)
{
    uint8_t pixels[W * H * 3];
    struct unstir_image image = picture(pixels, 3), back;
    static const struct unstir_text text = {"parameters", "p"};
    for (int format = UNSTIR_FORMAT_JPEG; format < UNSTIR_N_FORMATS; format++) {
        const struct unstir_encode_options o = {(enum unstir_format)format, -1,
                                                90};
        unsigned char *bytes;
        size_t n;
        enum unstir_status st = UNSTIR_ERR_NOMEM;
        for (long k = 1; st; k++) {
            alloc_test_fail_after(k);
            st = unstir_image_encode(&image, &o, &text, 1, &bytes, &n, NULL);
            alloc_test_fail_after(0);
            assert_true(k < 20);
        }
        st = UNSTIR_ERR_NOMEM;
        for (long k = 1; st; k++) {
            alloc_test_fail_after(k);
            st = unstir_image_decode(bytes, n, 0, &back, NULL);
            alloc_test_fail_after(0);
            assert_true(k < 20);
        }
        unstir_image_fini(&back);
        unstir_free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_same_picture_same_bytes),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_longest_text),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_orientations),
        cmocka_unit_test(test_turned_jpeg),
        cmocka_unit_test(test_turned_png),
        cmocka_unit_test(test_inks),
        cmocka_unit_test(test_limits_before_memory),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_film),
        cmocka_unit_test(test_bad_quality),
        cmocka_unit_test(test_failed_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
