/* narrow.c - one number between f32 and the narrower floats.
 *
 * Narrowing rounds to nearest even in one place, encode_small(), for every
 * binary format with e exponent and m mantissa bits.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

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
float dtype_from_e4m3(uint8_t b)
{
    int e = b >> 3 & 15, m = b & 7;
    float a = (b & 0x7f) == 0x7f ? NAN
              : e == 0           ? ldexpf((float)m, -9)
                                 : ldexpf((float)(8 + m), e - 10);
    return b & 0x80 ? -a : a;
}

uint8_t dtype_to_e4m3(float x)
{
    uint8_t sign = signbit(x) ? 0x80 : 0;
    if (!isfinite(x) || fabsf(x) >= 512.0f)
        return sign | 0x7f;
    uint32_t code = encode_small(x, 3, -6);
    return (uint8_t)(sign | (code < 0x7f ? code : 0x7f));
}

float dtype_from_e5m2(uint8_t b)
{
    return dtype_from_f16((uint16_t)(b << 8));
}

uint8_t dtype_to_e5m2(float x)
{
    uint8_t sign = signbit(x) ? 0x80 : 0;
    if (isnan(x))
        return sign | 0x7f;
    if (isinf(x))
        return sign | 0x7c;
    uint32_t code = encode_small(x, 2, -14);
    return (uint8_t)(sign | (code < 0x7c ? code : 0x7c));
}
