/* t_tiled.c - an autoencoder in bands against the whole picture.
 *
 * A drawn AutoencoderKL of three levels, on latents and pictures that look
 * alike everywhere (noise) and on such that differ from place to place.
 *
 * Tolerance.  The norms are those of the whole and every sum is the same, but
 * Winograd's tiles begin elsewhere, and BLAS is given blocks of another shape:
 * 1e-5 of the largest output, as any evaluation by two ways (t_blocks.c).  The
 * scalar rung has neither: there the bytes are the same.  35 dB of bytes would
 * be 2e-2.  Operands of bf16 are rounded in tiles that begin elsewhere: 3.5e-3
 * a layer, by ten layers sqrt(10) of that.
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
#include "base/compiler.h"
#include "base/rng.h"
#include "format/json.h"
#include "golden.h"
#include "model/network.h"
#include "model/tiled.h"

#define LEVELS 3

static void *floats(size_t n)
{
    void *p;

    assert_int_equal(alloc_aligned(&p, n, sizeof(float), NULL), UNSTIR_OK);
    return p;
}

/* attends: bit i, whether level i does, 0 being the picture's. */
static void write_config(char *text, size_t size, uint32_t attends)
{
    size_t n = (size_t)snprintf(
        text, size,
        "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":"
        "[16,32,32],\"norm_num_groups\":8,\"down_block_types\":[");

    for (uint32_t i = 0; i < LEVELS; i++)
        n += (size_t)snprintf(text + n, size - n, "\"%sDownEncoderBlock2D\"%s",
                              attends >> i & 1 ? "Attn" : "",
                              i + 1 < LEVELS ? "," : "],");
    n += (size_t)snprintf(text + n, size - n, "\"up_block_types\":[");
    for (uint32_t i = LEVELS; i-- > 0;)
        n += (size_t)snprintf(text + n, size - n, "\"%sUpDecoderBlock2D\"%s",
                              attends >> i & 1 ? "Attn" : "",
                              i > 0 ? "," : "]}");
    assert_true(n < size);
}

static struct network *open_network(const char *part, const char *isa,
                                    uint32_t attends)
{
    char config_text[400];
    struct network_options options = {
        .part = part, .isa = isa, .mode = LOWER_FUSED};
    struct unstir_error err = {0};
    struct network *net;
    struct json *config;

    write_config(config_text, sizeof config_text, attends);
    assert_int_equal(
        json_parse(&config, config_text, strlen(config_text), NULL), UNSTIR_OK);
    if (network_open(&net, config, NULL, 5, &options, &err))
        fail_msg("%s", err.detail);
    json_free(config);
    return net;
}

/* Noise, or a bright disc on a slope with noise in one corner alone. */
static float *picture(uint32_t n, uint32_t h, uint32_t w, uint32_t c,
                      bool is_smooth)
{
    size_t total = (size_t)n * h * w * c;
    float *x = floats(total);
    struct rng rng;

    rng_seed(&rng, 3);
    rng_normal_f32(&rng, x, total);
    for (size_t i = 0; is_smooth && i < total; i++) {
        double v = (double)(i / c / w % h) / h, u = (double)(i / c % w) / w;
        double disc = hypot(u - 0.6, v - 0.7) < 0.2 ? 2 : 0;
        double share = u < 0.3 && v < 0.3 ? 0.5 : 0.01;

        x[i] = (float)(share * (double)x[i] + 2 * u - v + disc);
    }
    return x;
}

struct row {
    const char *part;
    uint32_t n, h, w, rows;
    bool is_smooth;
    uint32_t attends;
};

static void check(const struct row *r, const char *isa)
{
    struct network *net = open_network(r->part, isa, r->attends);
    const struct network_info *info = network_info(net);
    size_t n_out = (size_t)r->n * (r->h * info->up / info->down) *
                   (r->w * info->up / info->down) * info->out_channels;
    float *x = picture(r->n, r->h, r->w, info->in_channels, r->is_smooth);
    float *whole = floats(n_out), *tiled = floats(n_out);
    struct network_io io = {
        .n = r->n, .h = r->h, .w = r->w, .sample = x, .out = whole};
    size_t peak = 0, bytes;
    struct tiling tiling = {.rows = r->rows, .peak_bytes = &peak};
    struct unstir_error err = {0};
    struct executor *executor;
    char what[80];

    assert_int_equal(executor_new(&executor, 2, 0, 0, NULL), UNSTIR_OK);
    if (network_eval(net, executor, &io, NULL, &err))
        fail_msg("%s", err.detail);
    io.out = tiled;
    if (tiled_eval(net, executor, &io, &tiling, NULL, &err))
        fail_msg("%s", err.detail);
    snprintf(what, sizeof what, "%s %s %u x %u%s", isa, r->part, r->w, r->h,
             r->is_smooth ? " smooth" : "");
    golden_check(what, golden_max_error(tiled, whole, n_out),
                 strcmp(info->precision, "bf16") == 0 ? 1.1e-2 : 1e-5);
    if (strcmp(isa, "scalar") == 0)
        assert_memory_equal(tiled, whole, n_out * sizeof *whole);
    assert_int_equal(network_arena_bytes(net, 1, r->h, r->w, &bytes, NULL),
                     UNSTIR_OK);
    printf("    %.1f MB at most, whole %.1f MB\n", (double)peak / 1e6,
           (double)bytes / 1e6);
    if (r->rows == 8 && r->h > 32 && !(peak > 0 && 5 * peak < 4 * bytes))
        fail_msg("%s: %zu bytes held, whole %zu", what, peak, bytes);
    executor_free(executor);
    alloc_free(x);
    alloc_free(whole);
    alloc_free(tiled);
    network_free(net);
}

static void test_bands(void **state)
{
    static const struct row rows[] = {
        {"decode", 1, 16, 6, 4, false, 0},
        {"decode", 1, 16, 6, 4, true, 0},
        {"decode", 2, 13, 5, 3, true, 0}, /* the last band overlaps more   */
        {"encode", 1, 64, 20, 4, false, 0},
        {"encode", 1, 64, 20, 4, true, 0},
        {"encode", 1, 52, 12, 3, true, 0},
        {"decode", 1, 16, 6, 4, true, 4}, /* below the bands                */
        {"encode", 1, 64, 20, 4, true, 4},
        {"decode", 1, 16, 6, 4, true, 2}, /* fewer levels in bands          */
        {"encode", 1, 64, 20, 4, true, 2},
        {"decode", 1, 16, 6, 4, true, 1}, /* none                           */
        {"encode", 1, 64, 20, 4, true, 1},
    };

    (void)state;
    for (size_t r = 0; golden_rung(r); r++)
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
            check(&rows[i], golden_rung(r));
}

/* The same of pictures of many bands, and what they hold, on the best rung. */
static void test_memory(void **state)
{
    static const struct row rows[] = {
        {"decode", 1, 128, 48, 8, true, 0},
        {"encode", 1, 512, 192, 8, true, 0},
    };
    size_t best = 0;

    (void)state;
    while (golden_rung(best + 1))
        best++;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i], golden_rung(best));
}

/* What is one band is evaluated whole. */
static void test_fits(void **state)
{
    static const struct row row = {"decode", 1, 8, 8, 8, true, 0};

    (void)state;
    check(&row, "scalar");
}

static void test_refused(void **state)
{
    struct network *net = open_network("encode", NULL, 0);
    float x[4] = {0};
    struct network_io io = {.n = 1, .h = 62, .w = 64, .sample = x, .out = x};
    struct tiling tiling = {.rows = 8};
    struct executor *executor;

    (void)state;
    assert_int_equal(executor_new(&executor, 1, 0, 1 << 16, NULL), UNSTIR_OK);
    assert_int_equal(tiled_eval(net, executor, &io, &tiling, NULL, NULL),
                     UNSTIR_ERR_ARG);
    network_free(net);
    net = open_network("decode", NULL, 0); /* above the ceiling of the arena */
    io.h = 64;
    assert_int_equal(tiled_eval(net, executor, &io, &tiling, NULL, NULL),
                     UNSTIR_ERR_LIMIT);
    executor_free(executor);
    network_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bands),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
