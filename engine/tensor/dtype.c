/* dtype.c - exact conversions between f32 and the narrower formats.
 *
 * Narrowing rounds to nearest even in one place, encode_small(), for every
 * binary format with e exponent and m mantissa bits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "tensor/blocks.h"

static const struct {
    const char *name;
    size_t size, block;
} types[] = {
    [DTYPE_F32] = {"F32", 4, 1},
    [DTYPE_F16] = {"F16", 2, 1},
    [DTYPE_BF16] = {"BF16", 2, 1},
    [DTYPE_F64] = {"F64", 8, 1},
    [DTYPE_F8_E4M3] = {"F8_E4M3", 1, 1},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 1, 1},
    [DTYPE_I8] = {"I8", 1, 1},
    [DTYPE_U8] = {"U8", 1, 1},
    [DTYPE_I32] = {"I32", 4, 1},
    [DTYPE_I64] = {"I64", 8, 1},
    [DTYPE_Q8_0] = {"Q8_0", Q8_0_BYTES, Q8_0_BLOCK},
    [DTYPE_Q4_0] = {"Q4_0", Q4_0_BYTES, Q4_0_BLOCK},
    [DTYPE_Q4_K] = {"Q4_K", Q4_K_BYTES, Q4_K_BLOCK},
    [DTYPE_Q4_1] = {"Q4_1", Q4_1_BYTES, Q4_1_BLOCK},
    [DTYPE_Q5_0] = {"Q5_0", Q5_0_BYTES, Q5_0_BLOCK},
    [DTYPE_Q5_1] = {"Q5_1", Q5_1_BYTES, Q5_1_BLOCK},
    [DTYPE_Q2_K] = {"Q2_K", Q2_K_BYTES, Q2_K_BLOCK},
    [DTYPE_Q3_K] = {"Q3_K", Q3_K_BYTES, Q3_K_BLOCK},
    [DTYPE_Q5_K] = {"Q5_K", Q5_K_BYTES, Q5_K_BLOCK},
    [DTYPE_Q6_K] = {"Q6_K", Q6_K_BYTES, Q6_K_BLOCK},
};
_Static_assert(ARRAY_LEN(types) == DTYPE_COUNT, "a row for every type");

size_t dtype_size(enum dtype t)
{
    return (size_t)t < DTYPE_COUNT ? types[t].size : 0;
}

size_t dtype_block(enum dtype t)
{
    return (size_t)t < DTYPE_COUNT ? types[t].block : 1;
}

const char *dtype_name(enum dtype t)
{
    return (size_t)t < DTYPE_COUNT ? types[t].name : "?";
}

bool dtype_parse(const char *name, enum dtype *out)
{
    for (size_t i = 0; i < DTYPE_FIRST_BLOCK; i++) {
        if (strcmp(name, types[i].name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    }
    return false;
}

static uint32_t to_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Code of |x|, x finite, in a format with m mantissa bits whose least normal
 * exponent is e_min.  With q the exponent of the last place, r = |x| / 2^q
 * rounded to a whole number is at most 2^(m+1), and adding it to the exponent
 * field carries correctly for subnormal, normal and rounded-up values alike.
 * The result may exceed the largest finite code: the caller decides. */
static uint32_t encode_small(float x, int m, int e_min)
{
    int e;
    float a = fabsf(x);
    if (a == 0.0f)
        return 0;
    (void)frexpf(a, &e); /* a = f * 2^e, f in [1/2, 1) */
    int top = e - 1 > e_min ? e - 1 : e_min;
    float r = rintf(ldexpf(a, m - top));
    return ((uint32_t)(top - e_min) << m) + (uint32_t)r;
}

float dtype_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t body = (uint32_t)(bits & 0x7fffu) << 13;
    if ((bits & 0x7c00u) == 0x7c00u) /* infinity, NaN */
        return from_bits(sign | body | 0x7f800000u);
    /* As f32 the exponent is 112 too low; exact for subnormals as well. */
    float a = from_bits(body) * 0x1p112f;
    return from_bits(sign | to_bits(a));
}

uint16_t dtype_to_f16(float x)
{
    uint32_t u = to_bits(x);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    if (isnan(x))
        return (uint16_t)(sign | 0x7e00u | (u >> 13 & 0x1ffu));
    if (isinf(x))
        return (uint16_t)(sign | 0x7c00u);
    uint32_t code = encode_small(x, 10, -14);
    return (uint16_t)(sign | (code < 0x7c00u ? code : 0x7c00u));
}

float dtype_from_bf16(uint16_t bits)
{
    return from_bits((uint32_t)bits << 16);
}

uint16_t dtype_to_bf16(float x)
{
    uint32_t u = to_bits(x);
    if (isnan(x))
        return (uint16_t)(u >> 16 | 0x40u); /* quiet, never infinity */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

/* E4M3 without infinities ("fn"): S.1111.111 is NaN, 448 the largest. */
static float from_e4m3(uint8_t b)
{
    int e = b >> 3 & 15, m = b & 7;
    float a = (b & 0x7f) == 0x7f ? NAN
              : e == 0           ? ldexpf((float)m, -9)
                                 : ldexpf((float)(8 + m), e - 10);
    return b & 0x80 ? -a : a;
}

static uint8_t to_e4m3(float x)
{
    uint8_t sign = signbit(x) ? 0x80 : 0;
    if (!isfinite(x) || fabsf(x) >= 512.0f)
        return sign | 0x7f;
    uint32_t code = encode_small(x, 3, -6);
    return (uint8_t)(sign | (code < 0x7f ? code : 0x7f));
}

static float from_e5m2(uint8_t b)
{
    return dtype_from_f16((uint16_t)(b << 8));
}

static uint8_t to_e5m2(float x)
{
    uint8_t sign = signbit(x) ? 0x80 : 0;
    if (isnan(x))
        return sign | 0x7f;
    if (isinf(x))
        return sign | 0x7c;
    uint32_t code = encode_small(x, 2, -14);
    return (uint8_t)(sign | (code < 0x7c ? code : 0x7c));
}

#define LOAD_LOOP(type, convert)                                    \
    do {                                                            \
        for (size_t i = 0; i < n; i++) {                            \
            type v;                                                 \
            memcpy(&v, (const char *)src + i * sizeof v, sizeof v); \
            dst[i] = convert(v);                                    \
        }                                                           \
    } while (0)

void dtype_load(float *dst, const void *src, enum dtype t, size_t n)
{
    switch (t) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case DTYPE_F16:
        LOAD_LOOP(uint16_t, dtype_from_f16);
        break;
    case DTYPE_BF16:
        LOAD_LOOP(uint16_t, dtype_from_bf16);
        break;
    case DTYPE_F64:
        LOAD_LOOP(double, (float));
        break;
    case DTYPE_F8_E4M3:
        LOAD_LOOP(uint8_t, from_e4m3);
        break;
    case DTYPE_F8_E5M2:
        LOAD_LOOP(uint8_t, from_e5m2);
        break;
    case DTYPE_I8:
        LOAD_LOOP(int8_t, (float));
        break;
    case DTYPE_U8:
        LOAD_LOOP(uint8_t, (float));
        break;
    case DTYPE_I32:
        LOAD_LOOP(int32_t, (float));
        break;
    case DTYPE_I64:
        LOAD_LOOP(int64_t, (float));
        break;
    case DTYPE_Q8_0:
        blocks_load_q8_0(dst, src, n / Q8_0_BLOCK);
        break;
    case DTYPE_Q4_0:
        blocks_load_q4_0(dst, src, n / Q4_0_BLOCK);
        break;
    case DTYPE_Q4_K:
        blocks_load_q4_k(dst, src, n / Q4_K_BLOCK);
        break;
    case DTYPE_Q4_1:
        blocks_load_q4_1(dst, src, n / Q4_1_BLOCK);
        break;
    case DTYPE_Q5_0:
        blocks_load_q5_0(dst, src, n / Q5_0_BLOCK);
        break;
    case DTYPE_Q5_1:
        blocks_load_q5_1(dst, src, n / Q5_1_BLOCK);
        break;
    case DTYPE_Q2_K:
        blocks_load_q2_k(dst, src, n / Q2_K_BLOCK);
        break;
    case DTYPE_Q3_K:
        blocks_load_q3_k(dst, src, n / Q3_K_BLOCK);
        break;
    case DTYPE_Q5_K:
        blocks_load_q5_k(dst, src, n / Q5_K_BLOCK);
        break;
    case DTYPE_Q6_K:
        blocks_load_q6_k(dst, src, n / Q6_K_BLOCK);
        break;
    case DTYPE_COUNT:
        break;
    }
}

/* Whole number nearest to x within [lo, hi]; NaN is 0. */
static int64_t to_whole(float x, int64_t lo, int64_t hi)
{
    if (isnan(x))
        return 0;
    double v = rint((double)x);
    if (v <= (double)lo)
        return lo;
    if (v >= (double)hi)
        return hi;
    return (int64_t)v;
}

static int8_t to_i8(float x)
{
    return (int8_t)to_whole(x, INT8_MIN, INT8_MAX);
}
static uint8_t to_u8(float x)
{
    return (uint8_t)to_whole(x, 0, UINT8_MAX);
}
static int32_t to_i32(float x)
{
    return (int32_t)to_whole(x, INT32_MIN, INT32_MAX);
}
static int64_t to_i64(float x)
{
    return to_whole(x, INT64_MIN, INT64_MAX);
}

#define STORE_LOOP(type, convert)                             \
    do {                                                      \
        for (size_t i = 0; i < n; i++) {                      \
            type v = convert(src[i]);                         \
            memcpy((char *)dst + i * sizeof v, &v, sizeof v); \
        }                                                     \
    } while (0)

void dtype_store(void *dst, enum dtype t, const float *src, size_t n)
{
    switch (t) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *src);
        break;
    case DTYPE_F16:
        STORE_LOOP(uint16_t, dtype_to_f16);
        break;
    case DTYPE_BF16:
        STORE_LOOP(uint16_t, dtype_to_bf16);
        break;
    case DTYPE_F64:
        STORE_LOOP(double, (double));
        break;
    case DTYPE_F8_E4M3:
        STORE_LOOP(uint8_t, to_e4m3);
        break;
    case DTYPE_F8_E5M2:
        STORE_LOOP(uint8_t, to_e5m2);
        break;
    case DTYPE_I8:
        STORE_LOOP(int8_t, to_i8);
        break;
    case DTYPE_U8:
        STORE_LOOP(uint8_t, to_u8);
        break;
    case DTYPE_I32:
        STORE_LOOP(int32_t, to_i32);
        break;
    case DTYPE_I64:
        STORE_LOOP(int64_t, to_i64);
        break;
    case DTYPE_Q8_0:
    case DTYPE_Q4_0:
    case DTYPE_Q4_K:
    case DTYPE_Q4_1:
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
    case DTYPE_Q5_K:
    case DTYPE_Q6_K:
    case DTYPE_COUNT:
        break;
    }
}
