/* t_dtype.c - conversions of element types, exhaustively where that is cheap.
 *
 * Narrowing is checked by its definition: the result is the representable
 * number nearest to x, the even one of two that are equally near.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "tensor/dtype.h"

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void names_and_sizes(void **state)
{
    (void)state;
    static const struct {
        enum dtype t;
        const char *name;
        size_t size;
    } rows[] = {
        {DTYPE_F32, "F32", 4},         {DTYPE_F16, "F16", 2},
        {DTYPE_BF16, "BF16", 2},       {DTYPE_F64, "F64", 8},
        {DTYPE_F8_E4M3, "F8_E4M3", 1}, {DTYPE_F8_E5M2, "F8_E5M2", 1},
        {DTYPE_I8, "I8", 1},           {DTYPE_U8, "U8", 1},
        {DTYPE_I32, "I32", 4},         {DTYPE_I64, "I64", 8},
    };
    enum dtype t;
    assert_int_equal(ARRAY_LEN(rows), DTYPE_FIRST_BLOCK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(dtype_name(rows[i].t), rows[i].name);
        assert_int_equal(dtype_size(rows[i].t), rows[i].size);
        assert_true(dtype_parse(rows[i].name, &t));
        assert_int_equal(t, rows[i].t);
    }
    for (int k = DTYPE_FIRST_BLOCK; k < DTYPE_COUNT; k++) {
        assert_false(dtype_parse(dtype_name((enum dtype)k), &t));
        assert_int_equal(dtype_bytes((enum dtype)k, 512),
                         512 / dtype_block((enum dtype)k) *
                             dtype_size((enum dtype)k));
    }
    assert_false(dtype_parse("f32", &t));
    assert_false(dtype_parse("", &t));
    assert_int_equal(dtype_size(DTYPE_COUNT), 0);
}

/* Value of a binary format by its definition. */
static double value_of(uint32_t code, int m, int bias, int e_bits)
{
    uint32_t e = code >> m & ((1u << e_bits) - 1);
    double f = (double)(code & ((1u << m) - 1));
    double v = e == 0 ? ldexp(f, 1 - bias - m)
                      : ldexp(f + (double)(1u << m), (int)e - bias - m);
    return code >> (m + e_bits) & 1 ? -v : v;
}

static void f16_widens_exactly(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < 0x10000; u++) {
        float x = dtype_from_f16((uint16_t)u);
        if ((u & 0x7c00) == 0x7c00) {
            assert_true(u & 0x3ff ? isnan(x) : isinf(x));
            assert_int_equal(signbit(x) != 0, u >> 15);
        } else if (x != value_of(u, 10, 15, 5) ||
                   (signbit(x) != 0) != (u >> 15)) {
            fail_msg("f16 %04x: want %a, got %a", u, value_of(u, 10, 15, 5), x);
        }
    }
}

static void f16_survives_the_way_there_and_back(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < 0x10000; u++) {
        uint16_t back = dtype_to_f16(dtype_from_f16((uint16_t)u));
        if ((u & 0x7c00) == 0x7c00 && (u & 0x3ff))
            assert_true((back & 0x7c00) == 0x7c00 && (back & 0x3ff));
        else if (back != u)
            fail_msg("f16 %04x comes back as %04x", u, back);
    }
}

/* Around every boundary between neighbours a < b: the middle goes to the even
 * one, a hair below it to a, a hair above it to b. */
static void check_middle(uint32_t code, float middle, uint32_t below,
                         uint32_t tie, uint32_t above)
{
    if (below != code || tie != code + (code & 1) || above != code + 1)
        fail_msg("between %x and %x (middle %a): got %x, %x, %x", code,
                 code + 1, middle, below, tie, above);
}

static void f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < 0x7c00; u++) {
        double a = value_of(u, 10, 15, 5), b = value_of(u + 1, 10, 15, 5);
        float middle = (float)((a + b) / 2); /* exact: 12 bits */
        check_middle(u, middle, dtype_to_f16(nextafterf(middle, 0)),
                     dtype_to_f16(middle),
                     dtype_to_f16(nextafterf(middle, INFINITY)));
        assert_int_equal(dtype_to_f16(-middle), 0x8000 | dtype_to_f16(middle));
    }
    assert_int_equal(dtype_to_f16(1e30f), 0x7c00);
    assert_int_equal(dtype_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(dtype_to_f16(0x1p-149f), 0);
    assert_int_equal(dtype_to_f16(-0.0f), 0x8000);
}

static void bf16_converts_both_ways(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < 0x10000; u++) {
        float x = dtype_from_bf16((uint16_t)u);
        assert_int_equal(bits_of(x), u << 16);
        uint16_t back = dtype_to_bf16(x);
        if (isnan(x))
            assert_true((back & 0x7f80) == 0x7f80 && (back & 0x7f));
        else
            assert_int_equal(back, u);
    }
    for (uint32_t u = 0; u < 0x7f80; u++) {
        uint32_t middle = u << 16 | 0x8000;
        check_middle(u, float_of(middle), dtype_to_bf16(float_of(middle - 1)),
                     dtype_to_bf16(float_of(middle)),
                     dtype_to_bf16(float_of(middle + 1)));
    }
    /* a NaN whose payload lies in the lower half must not become infinite */
    uint16_t nan = dtype_to_bf16(float_of(0x7f800001));
    assert_true((nan & 0x7f80) == 0x7f80 && (nan & 0x7f));
}

struct small_format {
    enum dtype t;
    int m, bias, e_bits;
    uint32_t last; /* largest finite code */
};

static void f8_converts_both_ways(void **state)
{
    (void)state;
    static const struct small_format formats[] = {
        {DTYPE_F8_E4M3, 3, 7, 4, 0x7e}, {DTYPE_F8_E5M2, 2, 15, 5, 0x7b}};
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        const struct small_format *s = &formats[f];
        for (uint32_t u = 0; u < 0x100; u++) {
            uint8_t code = (uint8_t)u, back;
            float x;
            dtype_load(&x, &code, s->t, 1);
            dtype_store(&back, s->t, &x, 1);
            if ((u & 0x7f) <= s->last) {
                assert_true(x == (float)value_of(u, s->m, s->bias, s->e_bits));
                assert_int_equal(back, code);
            } else {
                assert_true(!isfinite(x));
                assert_true((back & 0x7f) > s->last);
            }
        }
        for (uint32_t u = 0; u < s->last; u++) {
            float middle = (float)((value_of(u, s->m, s->bias, s->e_bits) +
                                    value_of(u + 1, s->m, s->bias, s->e_bits)) /
                                   2);
            float x[3] = {nextafterf(middle, 0), middle,
                          nextafterf(middle, INFINITY)};
            uint8_t got[3];
            dtype_store(got, s->t, x, 3);
            check_middle(u, middle, got[0], got[1], got[2]);
        }
    }
    /* E4M3 has no infinity: what is too large is not a number */
    float big = 1e9f, back;
    uint8_t code;
    dtype_store(&code, DTYPE_F8_E4M3, &big, 1);
    dtype_load(&back, &code, DTYPE_F8_E4M3, 1);
    assert_true(isnan(back));
    dtype_store(&code, DTYPE_F8_E5M2, &big, 1);
    dtype_load(&back, &code, DTYPE_F8_E5M2, 1);
    assert_true(isinf(back));
}

static void whole_numbers_are_clamped_and_rounded(void **state)
{
    (void)state;
    static const float x[] = {0, 1.5f, 2.5f, -3.7f, 1e20f, -1e20f, NAN};
    static const int64_t i8[] = {0, 2, 2, -4, 127, -128, 0};
    static const int64_t u8[] = {0, 2, 2, 0, 255, 0, 0};
    static const int64_t i32[] = {0, 2, 2, -4, INT32_MAX, INT32_MIN, 0};
    static const int64_t i64[] = {0, 2, 2, -4, INT64_MAX, INT64_MIN, 0};
    for (size_t i = 0; i < ARRAY_LEN(x); i++) {
        int8_t a;
        uint8_t b;
        int32_t c;
        int64_t d;
        dtype_store(&a, DTYPE_I8, &x[i], 1);
        dtype_store(&b, DTYPE_U8, &x[i], 1);
        dtype_store(&c, DTYPE_I32, &x[i], 1);
        dtype_store(&d, DTYPE_I64, &x[i], 1);
        assert_int_equal(a, i8[i]);
        assert_int_equal(b, u8[i]);
        assert_int_equal(c, i32[i]);
        assert_true(d == i64[i]);
    }
}

/* Every type, at every misalignment, there and back. */
static void unaligned_memory_is_allowed(void **state)
{
    (void)state;
    static const float x[5] = {0, 1, 2, 3, 4};
    for (int t = 0; t < DTYPE_FIRST_BLOCK; t++) {
        for (size_t shift = 0; shift < 8; shift++) {
            char *bytes = malloc(5 * 8 + shift); /* exact: for the sanitizer */
            size_t n = 5 * dtype_size((enum dtype)t);
            char *at = bytes + 5 * 8 + shift - n;
            float back[5];
            dtype_store(at, (enum dtype)t, x, 5);
            dtype_load(back, at, (enum dtype)t, 5);
            assert_memory_equal(x, back, sizeof x);
            free(bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(f16_widens_exactly),
        cmocka_unit_test(f16_survives_the_way_there_and_back),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_converts_both_ways),
        cmocka_unit_test(f8_converts_both_ways),
        cmocka_unit_test(whole_numbers_are_clamped_and_rounded),
        cmocka_unit_test(unaligned_memory_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
