/* t_tiled.c - an autoencoder in tiles against the whole picture.
 *
 * A drawn AutoencoderKL of three levels decodes noise of 96 x 96 and encodes
 * as many pixels in tiles of 64 (256).  PSNR is that of bytes: 255 for the
 * range -1 .. 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "format/json.h"
#include "golden.h"
#include "model/network.h"
#include "model/tiled.h"

static const char config_text[] =
    "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":[16,32,32],"
    "\"norm_num_groups\":8,\"down_block_"
    "types\":[\"DownEncoderBlock2D\","
    "\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],\"up_block_types\":"
    "[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}";

static void *floats(size_t n)
{
    void *p;

    assert_int_equal(alloc_aligned(&p, n, sizeof(float), NULL), UNSTIR_OK);
    return p;
}

static struct network *open_network(const char *part)
{
    struct network_options options = {.part = part, .mode = LOWER_FUSED};
    struct unstir_error err = {0};
    struct network *net;
    struct json *config;

    assert_int_equal(
        json_parse(&config, config_text, sizeof config_text - 1, NULL),
        UNSTIR_OK);
    if (network_open(&net, config, NULL, 5, &options, &err))
        fail_msg("%s", err.detail);
    json_free(config);
    return net;
}

static float *noise(uint32_t n, uint32_t h, uint32_t w, uint32_t c)
{
    size_t total = (size_t)n * h * w * c;
    float *x = floats(total);
    struct rng rng;

    rng_seed(&rng, 3);
    rng_normal_f32(&rng, x, total);
    return x;
}

static double psnr(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += pow(127.5 * ((double)a[i] - b[i]), 2);
    return 10 * log10(255 * 255 / (sum / (double)n));
}

static void check_part(const char *part, uint32_t n, uint32_t h, uint32_t w,
                       struct tiling tiling, double least)
{
    struct network *net = open_network(part);
    const struct network_info *info = network_info(net);
    size_t n_out = (size_t)n * (h * info->up / info->down) *
                   (w * info->up / info->down) * info->out_channels;
    float *x = noise(n, h, w, info->in_channels);
    float *whole = floats(n_out), *tiled = floats(n_out);
    struct network_io io = {.n = n, .h = h, .w = w, .sample = x, .out = whole};
    struct unstir_error err = {0};
    struct executor *executor;

    assert_int_equal(executor_new(&executor, 2, 0, 0, NULL), UNSTIR_OK);
    if (network_eval(net, executor, &io, NULL, &err))
        fail_msg("%s", err.detail);
    io.out = tiled;
    if (tiled_eval(net, executor, &io, &tiling, NULL, &err))
        fail_msg("%s", err.detail);
    printf("    %s %u x %u in tiles of %u, overlap %u: %.1f dB\n", part, w, h,
           tiling.edge, tiling.overlap, psnr(whole, tiled, n_out));
    if (!(psnr(whole, tiled, n_out) >= least))
        fail_msg("%s: %.1f dB, wanted %.0f", part, psnr(whole, tiled, n_out),
                 least);
    executor_free(executor);
    alloc_free(x);
    alloc_free(whole);
    alloc_free(tiled);
    network_free(net);
}

static void test_decode(void **state)
{
    (void)state;
    check_part("decode", 1, 96, 96, (struct tiling){64, 16}, 35);
}

static void test_encode(void **state)
{
    (void)state;
    check_part("encode", 1, 288, 352, (struct tiling){256, 64}, 35);
}

/* One axis fits a tile, or both: then nothing differs. */
static void test_fits(void **state)
{
    (void)state;
    check_part("decode", 2, 24, 64, (struct tiling){48, 16}, 25);
    check_part("decode", 2, 24, 16, (struct tiling){48, 16}, INFINITY);
}

static void test_refused(void **state)
{
    static const struct tiling bad[] = {{48, 48}, {50, 16}, {48, 18}};
    struct network *net = open_network("encode");
    struct network_io io = {.n = 1, .h = 64, .w = 64};
    struct executor *executor;

    (void)state;
    assert_int_equal(executor_new(&executor, 1, 0, 0, NULL), UNSTIR_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(tiled_eval(net, executor, &io, &bad[i], NULL, NULL),
                         UNSTIR_ERR_ARG);
    executor_free(executor);
    network_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
