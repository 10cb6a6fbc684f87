/* lanes_avx512bf16.h - sixteen floats: parts of vectors, rounding to bf16,
 * the exponential and the activations.
 *
 * A build for tests computes the same source with emulated instructions
 * (tests/support/emulate_avx512.h) and has them included before this file.
 *
 * exp16: x = n ln 2 + r in two fused steps, |r| <= 0.3466; e^r by Cephes'
 * polynomial (expf.c); times 2^n by scalef, which underflows gradually and
 * overflows to infinity.  Relative error 1.1 ulp (exp_avx2.h derives it).
 * The polynomial of erfc is that of exp_avx2.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_AVX512BF16_LANES_AVX512BF16_H
#define KERNELS_AVX512BF16_LANES_AVX512BF16_H

#ifndef UNSTIR_EMULATE_AVX512
#include <immintrin.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tensor/act.h"

#define INLINE static inline __attribute__((__always_inline__))

INLINE __m512 set16(float x)
{
    return _mm512_set1_ps(x);
}

/* Lanes below n of 16. */
INLINE __mmask16 lanes16(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

/* Sixteen bf16, and 32: b behind a. */
INLINE __m256i narrow16(__m512 a)
{
    return (__m256i)_mm512_cvtneps_pbh(a);
}

INLINE __m512i narrow32(__m512 a, __m512 b)
{
    return (__m512i)_mm512_cvtne2ps_pbh(b, a);
}

INLINE __m512i order_of_pairs(void)
{
    static const uint16_t order[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_loadu_si512(order);
}

/* Two rows of 16 floats, even | odd, become sixteen pairs. */
INLINE __m512i paired(__m512i order, __m512 even, __m512 odd)
{
    return _mm512_permutexvar_epi16(order, narrow32(even, odd));
}

/* The pair at p, in all lanes. */
INLINE __m512bh pair_at(const char *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

INLINE __m512 exp16(__m512 x)
{
    /* Operand order: of a NaN and a number the second operand is kept. */
    __m512 v = _mm512_max_ps(set16(-110.0f), _mm512_min_ps(set16(89.0f), x));
    __m512 n =
        _mm512_roundscale_ps(_mm512_mul_ps(v, set16(1.44269504f)),
                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, set16(0.693359375f), v);
    __m512 p = set16(1.9875691500E-4f);

    r = _mm512_fnmadd_ps(n, set16(-2.12194440e-4f), r);
    p = _mm512_fmadd_ps(p, r, set16(1.3981999507E-3f));
    p = _mm512_fmadd_ps(p, r, set16(8.3334519073E-3f));
    p = _mm512_fmadd_ps(p, r, set16(4.1665795894E-2f));
    p = _mm512_fmadd_ps(p, r, set16(1.6666665459E-1f));
    p = _mm512_fmadd_ps(p, r, set16(5.0000001201E-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), set16(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* x tanh(softplus(x)); see vector_scalar.c. */
INLINE __m512 mish16(__m512 x)
{
    __m512 e = exp16(_mm512_min_ps(set16(20.0f), x));
    __m512 n = _mm512_mul_ps(e, _mm512_add_ps(e, set16(2.0f)));
    __m512 gate = _mm512_div_ps(n, _mm512_add_ps(n, set16(2.0f)));
    return _mm512_mul_ps(x, gate);
}

/* x times the normal distribution's integral up to x. */
INLINE __m512 gelu16(__m512 x)
{
    __m512 a = _mm512_mul_ps(_mm512_abs_ps(x), set16(0.70710678f));
    __m512 t = _mm512_div_ps(set16(1.0f),
                             _mm512_fmadd_ps(a, set16(0.5f), set16(1.0f)));
    __m512 p = set16(9.441992268e-03f), upper;

    p = _mm512_fmadd_ps(p, t, set16(-1.082234532e-01f));
    p = _mm512_fmadd_ps(p, t, set16(3.946538568e-01f));
    p = _mm512_fmadd_ps(p, t, set16(-6.259284019e-01f));
    p = _mm512_fmadd_ps(p, t, set16(3.861130476e-01f));
    p = _mm512_fmadd_ps(p, t, set16(-8.035405725e-02f));
    p = _mm512_fmadd_ps(p, t, set16(2.196815461e-01f));
    p = _mm512_fmadd_ps(p, t, set16(2.398182899e-01f));
    p = _mm512_fmadd_ps(p, t, set16(2.827265263e-01f));
    p = _mm512_fmadd_ps(p, t, set16(2.820706367e-01f));
    upper = _mm512_mul_ps(
        _mm512_mul_ps(p, t),
        _mm512_mul_ps(exp16(_mm512_mul_ps(_mm512_mul_ps(x, x), set16(-0.5f))),
                      set16(0.5f)));
    __mmask16 is_positive =
        _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
    return _mm512_mul_ps(
        x, _mm512_mask_sub_ps(upper, is_positive, set16(1.0f), upper));
}

/* As tanh8() of exp_avx2.h. */
INLINE __m512 tanh16(__m512 x)
{
    __m512 a = _mm512_abs_ps(x), z = _mm512_mul_ps(x, x);
    __m512 p = set16(-5.70498872745e-3f);
    __m512 e = exp16(_mm512_add_ps(a, a)), far;

    p = _mm512_fmadd_ps(p, z, set16(2.06390887954e-2f));
    p = _mm512_fmadd_ps(p, z, set16(-5.37397155531e-2f));
    p = _mm512_fmadd_ps(p, z, set16(1.33314422036e-1f));
    p = _mm512_fmadd_ps(p, z, set16(-3.33332819422e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, z), x, x);
    far = _mm512_sub_ps(
        set16(1.0f), _mm512_div_ps(set16(2.0f), _mm512_add_ps(e, set16(1.0f))));
    far = _mm512_mask_sub_ps(
        far, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ),
        _mm512_setzero_ps(), far);
    return _mm512_mask_mov_ps(
        far, _mm512_cmp_ps_mask(a, set16(0.625f), _CMP_LT_OQ), p);
}

/* x / (1 + exp(-u)) */
INLINE __m512 gated16(__m512 x, __m512 u)
{
    __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), u));
    return _mm512_div_ps(x, _mm512_add_ps(set16(1.0f), e));
}

INLINE __m512 gelu_tanh16(__m512 x)
{
    __m512 cube =
        _mm512_mul_ps(_mm512_mul_ps(set16(0.044715f), x), _mm512_mul_ps(x, x));
    return gated16(x,
                   _mm512_mul_ps(set16(1.59576912f), _mm512_add_ps(x, cube)));
}

INLINE __m512 act16(const enum act act, __m512 x)
{
    switch (act) {
    case ACT_SILU:
        return gated16(x, x);
    case ACT_MISH:
        return mish16(x);
    case ACT_GELU:
        return gelu16(x);
    case ACT_RELU:
        return _mm512_max_ps(_mm512_setzero_ps(), x);
    case ACT_GELU_TANH:
        return gelu_tanh16(x);
    case ACT_QUICK_GELU:
        return gated16(x, _mm512_mul_ps(set16(1.702f), x));
    case ACT_TANH:
        return tanh16(x);
    default:
        return x;
    }
}

#endif
