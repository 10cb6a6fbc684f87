/* t_company.c - a picture gets the same bytes with any number of threads and
 * in any company, on every rung and in every precision.
 *
 * Each of eight different pictures is evaluated alone by one thread.  Then 1 to
 * 5 threads evaluate batches of 1, 2, 3 and 5 of them, in other orders and with
 * other companions each time, and every picture is compared with itself alone.
 * The sizes are such that work is cut unevenly: 5 threads of 3 rows of tiles,
 * edges that are no multiple of a tile, channels below, at and above a panel.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/json.h"
#include "golden.h"
#include "model/network.h"

#define N_PICTURES 8u
#define MAX_BATCH  5u
#define HEIGHT     10u
#define WIDTH      12u
#define CHANNELS   2u
#define N_FLOATS   (HEIGHT * WIDTH * CHANNELS)

/* The thread sanitizer makes a scalar evaluation take seconds, and its subject
 * is the same on every rung: the best one stands for all. */
#ifdef __SANITIZE_THREAD__
#define ONLY_BEST_RUNG true
#else
#define ONLY_BEST_RUNG false
#endif

static const char config_text[] =
    "{\"in_channels\":2,\"out_channels\":2,\"sample_size\":16,"
    "\"block_out_channels\":[16,40],\"layers_per_block\":1,"
    "\"norm_num_groups\":8,\"num_class_embeds\":5,\"attention_head_dim\":8,"
    "\"down_block_types\":[\"DownBlock2D\",\"AttnDownBlock2D\"],"
    "\"up_block_types\":[\"AttnUpBlock2D\",\"UpBlock2D\"]}";

struct pictures {
    float sample[N_PICTURES][N_FLOATS];
    float timestep[N_PICTURES], label[N_PICTURES];
    float alone[N_PICTURES][N_FLOATS];
};

static void draw_pictures(struct pictures *p)
{
    struct rng rng;

    rng_seed(&rng, 7);
    for (uint32_t i = 0; i < N_PICTURES; i++) {
        rng_normal_f32(&rng, p->sample[i], N_FLOATS);
        p->timestep[i] = (float)(3 + 131 * i);
        p->label[i] = (float)(i % 5);
    }
}

static struct executor *new_executor(unsigned n_threads)
{
    struct unstir_error err = {0};
    struct executor *x;

    if (executor_new(&x, n_threads, 0, 0, &err))
        fail_msg("%s", err.detail);
    return x;
}

/* The pictures `which`, in this order, as one batch. */
static void eval(const struct network *net, struct executor *x,
                 const struct pictures *p, const uint32_t *which, uint32_t n,
                 float *out)
{
    static float sample[MAX_BATCH][N_FLOATS];
    float timestep[MAX_BATCH], label[MAX_BATCH];
    struct network_io io = {.n = n,
                            .h = HEIGHT,
                            .w = WIDTH,
                            .sample = sample[0],
                            .timestep = timestep,
                            .label = label,
                            .out = out};
    struct unstir_error err = {0};

    for (uint32_t k = 0; k < n; k++) {
        memcpy(sample[k], p->sample[which[k]], sizeof sample[k]);
        timestep[k] = p->timestep[which[k]];
        label[k] = p->label[which[k]];
    }
    memset(out, 0xff, n * sizeof sample[0]);
    if (network_eval(net, x, &io, NULL, &err))
        fail_msg("%s", err.detail);
}

static void compare(const struct network *net, const struct pictures *p,
                    const uint32_t *which, uint32_t n, unsigned n_threads,
                    const float *out)
{
    for (uint32_t k = 0; k < n; k++) {
        const float *want = p->alone[which[k]], *got = out + k * N_FLOATS;

        if (memcmp(want, got, N_FLOATS * sizeof *got) == 0)
            continue;
        uint32_t i = 0;
        while (memcmp(&want[i], &got[i], sizeof *got) == 0)
            i++;
        fail_msg("%s %s, %u threads, picture %u at place %u of %u: number %u "
                 "is %a, alone %a",
                 network_info(net)->isa, network_info(net)->precision,
                 n_threads, which[k], k, n, i, (double)got[i], (double)want[i]);
    }
}

static void check(const struct network *net, struct pictures *p)
{
    static const uint32_t batches[] = {1, 2, 3, 5};
    static float out[MAX_BATCH][N_FLOATS];
    struct executor *one = new_executor(1);
    uint32_t turn = 0;

    for (uint32_t i = 0; i < N_PICTURES; i++)
        eval(net, one, p, &i, 1, p->alone[i]);
    executor_free(one);
    if (memcmp(p->alone[0], p->alone[1], sizeof p->alone[0]) == 0)
        fail_msg("two pictures are equal: the comparison shows nothing");
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        struct executor *x = new_executor(n_threads);

        for (size_t b = 0; b < ARRAY_LEN(batches); b++) {
            uint32_t which[MAX_BATCH];

            turn++; /* another first picture, another order */
            for (uint32_t k = 0; k < batches[b]; k++)
                which[k] = (turn * 3 + k * (2 * turn + 1)) % N_PICTURES;
            eval(net, x, p, which, batches[b], out[0]);
            compare(net, p, which, batches[b], n_threads, out[0]);
        }
        executor_free(x);
    }
}

static void test_precision(enum unstir_precision precision)
{
    static struct pictures pictures;
    struct json *config;

    draw_pictures(&pictures);
    assert_int_equal(
        json_parse(&config, config_text, strlen(config_text), NULL), UNSTIR_OK);
    for (size_t i = 0; golden_rung(i); i++) {
        struct network_options options = {
            .isa = golden_rung(i), .precision = precision, .mode = LOWER_FUSED};
        struct unstir_error err = {0};
        struct network *net;

        if (ONLY_BEST_RUNG && golden_rung(i + 1))
            continue;
        if (network_open(&net, config, NULL, 3, &options, &err))
            fail_msg("%s: %s", golden_rung(i), err.detail);
        check(net, &pictures);
        network_free(net);
    }
    json_free(config);
}

static void test_f32(void **state)
{
    (void)state;
    test_precision(UNSTIR_PRECISION_F32);
}

static void test_int8(void **state)
{
    (void)state;
    test_precision(UNSTIR_PRECISION_INT8);
}

static void test_bf16(void **state)
{
    (void)state;
    test_precision(UNSTIR_PRECISION_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_int8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
