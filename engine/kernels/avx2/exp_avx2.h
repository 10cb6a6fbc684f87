/* exp_avx2.h - exponential and activations of eight floats.
 *
 * exp8: 2^(n + f) with n + f = x log2 e and |f| <= 1/2.  f is left by two fused
 * steps, of log2 e in two parts, and errs by its own rounding, 3e-8.  2^f is
 * 1 + f P(f), P of degree 5 our own minimax fit (weighted least squares,
 * relative error 1.6e-8 with rounded coefficients; evaluated in f32 8e-8).
 * Together with ln 2 times f's error the relative error is at most 1.0e-7, 0.9
 * ulp.  Below -126.5 ln 2 the result is 0, above 127.5 ln 2 infinity; NaN
 * stays NaN.
 *
 * erfc of a >= 0 is exp(-a a) t P(t), t = 1 / (1 + a / 2): P of degree 9 is
 * our own minimax fit for a in 0 .. 11 (weighted least squares, relative error
 * 2.4e-8; evaluated in f32 2.5e-7).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_AVX2_EXP_AVX2_H
#define KERNELS_AVX2_EXP_AVX2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/avx2/lanes_avx2.h"
#include "tensor/act.h"

#define LOG2_E      1.44269502F /* and what is left of it */
#define LOG2_E_REST 1.92596299e-8F

/* Whole vectors by plain loads, the last part of a row by masked ones. */
INLINE __m256 load8(const float *p, const bool is_part, __m256i mask)
{
    return is_part ? _mm256_maskload_ps(p, mask) : _mm256_loadu_ps(p);
}

INLINE void store8(float *p, const bool is_part, __m256i mask, __m256 v)
{
    if (is_part)
        _mm256_maskstore_ps(p, mask, v);
    else
        _mm256_storeu_ps(p, v);
}

/* e to the x[i].  Step by step, so that `count` chains run side by side: a
 * single one is mostly waiting.  If is_falling, no x is above 0. */
INLINE void exp8_each(const int count, const bool is_falling, __m256 *x)
{
    static const float power[] = {1.535336196e-4F,
                                  1.339887502e-3F,
                                  9.618436918e-3F,
                                  5.550332367e-2F,
                                  2.402264774e-1F,
                                  6.931471825e-1F,
                                  1};
    /* Below 2^22 in magnitude the sum's last bits are the nearest integer:
     * n + 127, of which the shift leaves the 8 bits of an exponent. */
    const __m256 magic = set8(0x1.8p23F + 127);
    __m256 n[4], p[4];

    for (int i = 0; i < count; i++) {
        /* Operand order: the second one is kept when the first is compared
         * with a NaN. */
        if (!is_falling)
            x[i] = _mm256_min_ps(set8(89), x[i]);
        x[i] = _mm256_max_ps(set8(-88), x[i]);
    }
    for (int i = 0; i < count; i++)
        n[i] = _mm256_fmadd_ps(x[i], set8(LOG2_E), magic);
    for (int i = 0; i < count; i++)
        p[i] = _mm256_sub_ps(n[i], magic);
    for (int i = 0; i < count; i++)
        p[i] = _mm256_fmsub_ps(x[i], set8(LOG2_E), p[i]);
    for (int i = 0; i < count; i++)
        x[i] = _mm256_fmadd_ps(x[i], set8(LOG2_E_REST), p[i]);
    for (int i = 0; i < count; i++)
        p[i] = _mm256_fmadd_ps(x[i], set8(power[0]), set8(power[1]));
    for (int k = 2; k < 7; k++)
        for (int i = 0; i < count; i++)
            p[i] = _mm256_fmadd_ps(p[i], x[i], set8(power[k]));
    for (int i = 0; i < count; i++)
        x[i] = _mm256_mul_ps(p[i], _mm256_castsi256_ps(_mm256_slli_epi32(
                                       _mm256_castps_si256(n[i]), 23)));
}

INLINE __m256 exp8(__m256 x)
{
    exp8_each(1, false, &x);
    return x;
}

INLINE __m256 negate8(__m256 x)
{
    return _mm256_xor_ps(x, set8(-0.0f));
}

/* tanh(softplus(x)), and its derivative if wanted; see vector_scalar.c. */
INLINE __m256 mish_gate8(__m256 x, __m256 *slope)
{
    __m256 e = exp8(_mm256_min_ps(set8(20.0f), x));
    __m256 n = _mm256_mul_ps(e, _mm256_add_ps(e, set8(2.0f)));
    __m256 m = _mm256_add_ps(n, set8(2.0f));

    if (slope)
        *slope = _mm256_div_ps(_mm256_mul_ps(_mm256_mul_ps(set8(4.0f), e),
                                             _mm256_add_ps(e, set8(1.0f))),
                               _mm256_mul_ps(m, m));
    return _mm256_div_ps(n, m);
}

/* The normal distribution's integral up to x; *bell = exp(-x x / 2). */
INLINE __m256 normal_cdf8(__m256 x, __m256 *bell)
{
    __m256 a =
        _mm256_mul_ps(_mm256_andnot_ps(set8(-0.0f), x), set8(0.70710678f));
    __m256 t =
        _mm256_div_ps(set8(1.0f), _mm256_fmadd_ps(a, set8(0.5f), set8(1.0f)));
    __m256 p = set8(9.441992268e-03f);
    __m256 upper;

    p = _mm256_fmadd_ps(p, t, set8(-1.082234532e-01f));
    p = _mm256_fmadd_ps(p, t, set8(3.946538568e-01f));
    p = _mm256_fmadd_ps(p, t, set8(-6.259284019e-01f));
    p = _mm256_fmadd_ps(p, t, set8(3.861130476e-01f));
    p = _mm256_fmadd_ps(p, t, set8(-8.035405725e-02f));
    p = _mm256_fmadd_ps(p, t, set8(2.196815461e-01f));
    p = _mm256_fmadd_ps(p, t, set8(2.398182899e-01f));
    p = _mm256_fmadd_ps(p, t, set8(2.827265263e-01f));
    p = _mm256_fmadd_ps(p, t, set8(2.820706367e-01f));
    *bell = exp8(_mm256_mul_ps(_mm256_mul_ps(x, x), set8(-0.5f)));
    upper =
        _mm256_mul_ps(_mm256_mul_ps(p, t), _mm256_mul_ps(*bell, set8(0.5f)));
    return _mm256_blendv_ps(_mm256_sub_ps(set8(1.0f), upper), upper, x);
}

/* 1 / (1 + exp(-x)) */
INLINE __m256 sigmoid8(__m256 x)
{
    return _mm256_div_ps(set8(1.0f),
                         _mm256_add_ps(set8(1.0f), exp8(negate8(x))));
}

/* The argument of gelu-tanh's sigmoid; see vector_scalar.c. */
INLINE __m256 gelu_tanh_arg8(__m256 x)
{
    __m256 cube =
        _mm256_mul_ps(_mm256_mul_ps(set8(0.044715f), x), _mm256_mul_ps(x, x));

    return _mm256_mul_ps(set8(1.59576912f), _mm256_add_ps(x, cube));
}

/* Below 0.625 Cephes' odd polynomial (tanhf.c), relative error 1e-7; above it
 * 1 - 2 / (exp(2 a) + 1), where nothing cancels. */
INLINE __m256 tanh8(__m256 x)
{
    const __m256 sign = set8(-0.0f);
    __m256 a = _mm256_andnot_ps(sign, x), z = _mm256_mul_ps(x, x);
    __m256 p = set8(-5.70498872745e-3f);
    __m256 e = exp8(_mm256_add_ps(a, a)), far;

    p = _mm256_fmadd_ps(p, z, set8(2.06390887954e-2f));
    p = _mm256_fmadd_ps(p, z, set8(-5.37397155531e-2f));
    p = _mm256_fmadd_ps(p, z, set8(1.33314422036e-1f));
    p = _mm256_fmadd_ps(p, z, set8(-3.33332819422e-1f));
    p = _mm256_fmadd_ps(_mm256_mul_ps(p, z), x, x);
    far = _mm256_sub_ps(
        set8(1.0f), _mm256_div_ps(set8(2.0f), _mm256_add_ps(e, set8(1.0f))));
    far = _mm256_or_ps(far, _mm256_and_ps(sign, x));
    return _mm256_blendv_ps(far, p, _mm256_cmp_ps(a, set8(0.625f), _CMP_LT_OQ));
}

INLINE __m256 act8(const enum act act, __m256 x)
{
    __m256 bell;

    switch (act) {
    case ACT_SILU:
        return _mm256_div_ps(x, _mm256_add_ps(set8(1.0f), exp8(negate8(x))));
    case ACT_MISH:
        return _mm256_mul_ps(x, mish_gate8(x, NULL));
    case ACT_GELU:
        return _mm256_mul_ps(x, normal_cdf8(x, &bell));
    case ACT_RELU:
        return _mm256_max_ps(_mm256_setzero_ps(), x);
    case ACT_GELU_TANH:
        return _mm256_div_ps(
            x, _mm256_add_ps(set8(1.0f), exp8(negate8(gelu_tanh_arg8(x)))));
    case ACT_QUICK_GELU:
        return _mm256_div_ps(
            x,
            _mm256_add_ps(set8(1.0f), exp8(_mm256_mul_ps(set8(-1.702f), x))));
    case ACT_TANH:
        return tanh8(x);
    default:
        return x;
    }
}

/* dy * act'(x) */
INLINE __m256 act_bwd8(const enum act act, __m256 x, __m256 dy)
{
    const __m256 one = set8(1.0f);
    __m256 s, aux;

    switch (act) {
    case ACT_SILU:
        s = _mm256_div_ps(one, _mm256_add_ps(one, exp8(negate8(x))));
        aux = _mm256_fmadd_ps(x, _mm256_sub_ps(one, s), one);
        return _mm256_mul_ps(dy, _mm256_mul_ps(s, aux));
    case ACT_MISH:
        s = mish_gate8(x, &aux);
        return _mm256_mul_ps(dy, _mm256_fmadd_ps(x, aux, s));
    case ACT_GELU:
        s = normal_cdf8(x, &aux);
        aux = _mm256_mul_ps(aux, set8(0.39894228f));
        return _mm256_mul_ps(dy, _mm256_fmadd_ps(x, aux, s));
    case ACT_RELU:
        return _mm256_and_ps(dy,
                             _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ));
    case ACT_GELU_TANH:
        s = sigmoid8(gelu_tanh_arg8(x));
        x = _mm256_max_ps(set8(-12.0f), _mm256_min_ps(set8(12.0f), x));
        aux = _mm256_fmadd_ps(_mm256_mul_ps(set8(3 * 0.044715f), x), x, one);
        aux = _mm256_mul_ps(_mm256_mul_ps(set8(1.59576912f), x), aux);
        aux = _mm256_mul_ps(aux, _mm256_mul_ps(s, _mm256_sub_ps(one, s)));
        return _mm256_mul_ps(dy, _mm256_add_ps(s, aux));
    case ACT_QUICK_GELU:
        s = sigmoid8(_mm256_mul_ps(set8(1.702f), x));
        aux = _mm256_mul_ps(set8(1.702f), x);
        aux = _mm256_fmadd_ps(aux, _mm256_sub_ps(one, s), one);
        return _mm256_mul_ps(dy, _mm256_mul_ps(s, aux));
    case ACT_TANH:
        s = tanh8(x);
        aux = _mm256_mul_ps(_mm256_sub_ps(one, s), _mm256_add_ps(one, s));
        return _mm256_mul_ps(dy, aux);
    default:
        return dy;
    }
}

#endif
