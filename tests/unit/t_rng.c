/* t_rng.c - the generator against values of the reference (torch 2.15.0, CPU).
 *
 * Every expected number was printed by torch with Generator().manual_seed();
 * comparisons are of bits.
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
#include "base/rng.h"

#define BIG_SEED UINT64_C(1234567890123)
#define N_IMAGE  3072

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void assert_f32(const char *what, uint64_t seed, float got, float wanted)
{
    if (bits_of(got) != bits_of(wanted))
        fail_msg("%s, seed %llu: got %a, wanted %a", what,
                 (unsigned long long)seed, (double)got, (double)wanted);
}

static void test_block_of_16(void **state)
{
    static const size_t at[] = {0, 1, 7, 8, 15};
    static const struct {
        uint64_t seed;
        float wanted[5];
    } rows[] = {
        {0,
         {-0x1.20370ap+0f, -0x1.270114p+0f, -0x1.0ebf82p+1f, 0x1.4a027p-2f,
          -0x1.fa6cf8p-3f}},
        {42,
         {0x1.ed4a52p+0f, 0x1.7cbea6p+0f, -0x1.9acb74p+0f, -0x1.8117ep-1f,
          0x1.865f3ep-1f}},
        {BIG_SEED,
         {-0x1.2317ep-1f, -0x1.97ff1ap-3f, 0x1.d3cd6ep-1f, -0x1.7d5c1p-1f,
          -0x1.1970a2p-2f}},
    };

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct rng rng;
        float x[16];

        rng_seed(&rng, rows[r].seed);
        rng_normal_f32(&rng, x, 16);
        for (size_t i = 0; i < ARRAY_LEN(at); i++)
            assert_f32("randn(16)", rows[r].seed, x[at[i]], rows[r].wanted[i]);
    }
}

/* 17 numbers: the last 16 are drawn anew; a uniform number follows. */
static void test_tail_is_drawn_again(void **state)
{
    static const struct {
        uint64_t seed;
        float first, second, third, last, uniform;
    } rows[] = {
        {0, -0x1.20370ap+0f, -0x1.b2288cp+0f, 0x1.222008p-1f, 0x1.dd186p-1f,
         0x1.144f4p-2f},
        {42, 0x1.ed4a52p+0f, -0x1.46db0ap-3f, -0x1.fd55c8p-2f, -0x1.3d2904p-2f,
         0x1.2a9a72p-1f},
        {BIG_SEED, -0x1.2317ep-1f, -0x1.ccefd8p-1f, -0x1.c4d31ep-1f,
         0x1.ffa994p-2f, 0x1.3bffd2p-1f},
    };

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct rng rng;
        float x[17];

        rng_seed(&rng, rows[r].seed);
        rng_normal_f32(&rng, x, 17);
        assert_f32("randn(17)[0]", rows[r].seed, x[0], rows[r].first);
        assert_f32("randn(17)[1]", rows[r].seed, x[1], rows[r].second);
        assert_f32("randn(17)[2]", rows[r].seed, x[2], rows[r].third);
        assert_f32("randn(17)[16]", rows[r].seed, x[16], rows[r].last);
        assert_f32("rand after it", rows[r].seed, rng_uniform_f32(&rng),
                   rows[r].uniform);
    }
}

/* Below 16 numbers; the second value of a pair waits for the next request. */
static void test_short_requests_share_pairs(void **state)
{
    static const struct {
        uint64_t seed;
        float three[3], two[2], uniform[3];
    } rows[] = {
        {0,
         {0x1.8a7eb8p+0f, -0x1.2c78ap-2f, -0x1.16e292p+1f},
         {0x1.23096cp-1f, -0x1.15a342p+0f},
         {0x1.6dc9p-6f, 0x1.59d2b8p-3f, 0x1.2cf118p-2f}},
        {42,
         {0x1.58c55cp-2f, 0x1.07cd3ap-3f, 0x1.e02dcep-3f},
         {0x1.d7b8d8p-3f, -0x1.1f7384p+0f},
         {0x1.bd2294p-1f, 0x1.22ab94p-1f, 0x1.7b70aep-1f}},
        {BIG_SEED,
         {0x1.39650cp-1f, -0x1.dc3b0ep-1f, 0x1.7236b4p-4f},
         {0x1.2c4f22p-2f, 0x1.8cb31ep-2f},
         {0x1.94efe8p-3f, 0x1.2f3186p-1f, 0x1.1b5474p-1f}},
    };

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct rng rng;
        float x[5], u[3];

        rng_seed(&rng, rows[r].seed);
        rng_normal_f32(&rng, x, 3);
        rng_normal_f32(&rng, x + 3, 2);
        rng_fill_uniform_f32(&rng, u, 3);
        for (int i = 0; i < 3; i++) {
            assert_f32("randn(3)", rows[r].seed, x[i], rows[r].three[i]);
            assert_f32("rand(3)", rows[r].seed, u[i], rows[r].uniform[i]);
        }
        for (int i = 0; i < 2; i++)
            assert_f32("randn(2)", rows[r].seed, x[3 + i], rows[r].two[i]);
    }
}

static uint64_t fnv1a(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* A whole picture of noise, by the hash of its bytes (little endian). */
static void test_whole_picture(void **state)
{
    static const struct {
        uint64_t seed, hash;
    } rows[] = {{0, UINT64_C(0xd37902514be5cd05)},
                {42, UINT64_C(0x2ce4bfc6e4c94d16)},
                {BIG_SEED, UINT64_C(0x086e434ccbde76c1)}};
    static float x[N_IMAGE];

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct rng rng;

        rng_seed(&rng, rows[r].seed);
        rng_normal_f32(&rng, x, N_IMAGE);
        assert_int_equal(fnv1a(x, sizeof x), rows[r].hash);
    }
}

static void test_only_low_half_of_seed(void **state)
{
    struct rng a, b;

    rng_seed(&a, 7);
    rng_seed(&b, (UINT64_C(5) << 32) + 7);
    for (int i = 0; i < 1300; i++)
        assert_int_equal(rng_u32(&a), rng_u32(&b));
}

/* The first word of MT19937 with the seed of its paper, 5489, and the
 * 10,000th, as the C++ standard states it. */
static void test_words_of_the_paper(void **state)
{
    struct rng rng;
    uint32_t word = 0;

    rng_seed(&rng, 5489);
    assert_int_equal(rng_u32(&rng), 3499211612u);
    for (int i = 1; i < 10000; i++)
        word = rng_u32(&rng);
    assert_int_equal(word, 4123659995u);
}

static void test_permutation(void **state)
{
    static const struct {
        uint64_t seed;
        uint32_t order[10];
    } rows[] = {{0, {4, 1, 7, 5, 3, 9, 0, 8, 6, 2}},
                {42, {2, 6, 1, 8, 4, 5, 0, 9, 3, 7}},
                {BIG_SEED, {1, 2, 6, 4, 8, 0, 3, 9, 5, 7}}};

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct rng rng;
        uint32_t order[10];

        rng_seed(&rng, rows[r].seed);
        rng_permutation(&rng, order, 10);
        for (int i = 0; i < 10; i++)
            assert_int_equal(order[i], rows[r].order[i]);
    }
}

static void test_permutation_of_none_and_one(void **state)
{
    struct rng rng;
    uint32_t order[1] = {9};

    rng_seed(&rng, 1);
    rng_permutation(&rng, order, 0);
    assert_int_equal(order[0], 9);
    rng_permutation(&rng, order, 1);
    assert_int_equal(order[0], 0);
}

/* As printed: behind the permutation of ten, which takes nine words. */
static void test_below(void **state)
{
    static const uint64_t small[] = {3, 1, 6, 6, 9};
    static const uint64_t large[] = {UINT64_C(300891291096),
                                     UINT64_C(379128171916)};
    struct rng rng;
    uint32_t order[10];

    rng_seed(&rng, 0);
    rng_permutation(&rng, order, 10);
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        assert_int_equal(rng_below(&rng, 10), small[i]);
    for (size_t i = 0; i < ARRAY_LEN(large); i++)
        assert_int_equal(rng_below(&rng, UINT64_C(1) << 40), large[i]);
}

static void test_uniform_f64(void **state)
{
    struct rng rng;
    double a, b;

    rng_seed(&rng, 0);
    a = rng_uniform_f64(&rng);
    b = rng_uniform_f64(&rng);
    if (a != 0.9700530018065531 || b != 0.707819864399788)
        fail_msg("got %.17g %.17g, wanted 0.97005... 0.70781...", a, b);
}

/* A saved generator goes on as the original does: the state is all there is. */
static void test_copy_continues(void **state)
{
    struct rng a, b;
    float x[21], y[21];

    rng_seed(&a, 11);
    rng_normal_f32(&a, x, 3);
    b = a;
    rng_normal_f32(&a, x, 1);
    rng_normal_f32(&a, x + 1, 20);
    rng_normal_f32(&b, y, 1);
    rng_normal_f32(&b, y + 1, 20);
    assert_memory_equal(x, y, sizeof x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block_of_16),
        cmocka_unit_test(test_tail_is_drawn_again),
        cmocka_unit_test(test_short_requests_share_pairs),
        cmocka_unit_test(test_whole_picture),
        cmocka_unit_test(test_only_low_half_of_seed),
        cmocka_unit_test(test_words_of_the_paper),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_permutation_of_none_and_one),
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_uniform_f64),
        cmocka_unit_test(test_copy_continues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
