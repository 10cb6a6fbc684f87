/* emulate_avx512.h - the avx512 rungs on CPUs without them.
 *
 * A build for tests includes this file before each source of
 * engine/kernels/avx512bf16/ and avx512vnni/ (gcc -include): the same source, its intrinsics
 * emulated by SIMDe (Debian: libsimde-dev), and its entries renamed so that
 * both fit into one program.  SIMDe 0.7.4 lacks some; they follow here, with
 * the meaning that Intel's manual gives them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_SUPPORT_EMULATE_AVX512_H
#define TESTS_SUPPORT_EMULATE_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <stdint.h>
#include <string.h>

#define kernels_fill_avx512bf16        kernels_fill_emulated
#define kernels_fill_avx512vnni        kernels_fill_emulated_vnni
#define int8_kernels_avx512vnni        int8_kernels_emulated
#define attention_kernels_avx512bf16   attention_kernels_emulated
#define gemm_kernels_avx512bf16        gemm_kernels_emulated
#define vector_kernels_avx512bf16      vector_kernels_emulated
#define winograd_kernels_f2_avx512bf16 winograd_kernels_f2_emulated

/* Numbers too small to be normal count as 0; ties to even; NaN stays NaN. */
static inline uint16_t emulate_bf16(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    if ((u & 0x7f800000u) == 0)
        return (uint16_t)(u >> 16 & 0x8000u);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline __m256i emulate_cvtneps_pbh(__m512 a)
{
    float x[16];
    uint16_t y[16];
    __m256i out;

    memcpy(x, &a, sizeof x);
    for (int i = 0; i < 16; i++)
        y[i] = emulate_bf16(x[i]);
    memcpy(&out, y, sizeof out);
    return out;
}

/* The second operand fills the lower half. */
static inline __m512i emulate_cvtne2ps_pbh(__m512 a, __m512 b)
{
    __m256i halves[2] = {emulate_cvtneps_pbh(b), emulate_cvtneps_pbh(a)};
    __m512i out;

    memcpy(&out, halves, sizeof out);
    return out;
}

static inline __m512 emulate_maskz_loadu_ps(__mmask16 k, const float *p)
{
    float x[16];
    __m512 out;

    for (int i = 0; i < 16; i++)
        x[i] = k >> i & 1 ? p[i] : 0;
    memcpy(&out, x, sizeof out);
    return out;
}

static inline void emulate_mask_storeu_ps(float *p, __mmask16 k, __m512 a)
{
    float x[16];

    memcpy(x, &a, sizeof x);
    for (int i = 0; i < 16; i++)
        if (k >> i & 1)
            p[i] = x[i];
}

static inline void emulate_mask_storeu_epi16(uint16_t *p, __mmask16 k,
                                             __m256i a)
{
    uint16_t x[16];

    memcpy(x, &a, sizeof x);
    for (int i = 0; i < 16; i++)
        if (k >> i & 1)
            p[i] = x[i];
}

static inline void emulate_mask_storeu_epi32(void *p, __mmask16 k, __m512i a)
{
    int32_t x[16];

    memcpy(x, &a, sizeof x);
    for (int i = 0; i < 16; i++)
        if (k >> i & 1)
            memcpy((char *)p + 4 * i, &x[i], sizeof x[i]);
}

/* Two quarters of a, two of b. */
static inline __m512i emulate_shuffle_i32x4(__m512i a, __m512i b, int which)
{
    int32_t x[2][16], y[16];
    __m512i out;

    memcpy(x[0], &a, sizeof x[0]);
    memcpy(x[1], &b, sizeof x[1]);
    for (int i = 0; i < 16; i++)
        y[i] = x[i / 8][4 * (which >> (i / 4 * 2) & 3) + i % 4];
    memcpy(&out, y, sizeof out);
    return out;
}

static inline __m512 emulate_cvtepi32_ps(__m512i a)
{
    int32_t x[16];
    float y[16];
    __m512 out;

    memcpy(x, &a, sizeof x);
    for (int i = 0; i < 16; i++)
        y[i] = (float)x[i];
    memcpy(&out, y, sizeof out);
    return out;
}

/* To nearest even. */
static inline __m512i emulate_cvtps_epi32(__m512 a)
{
    __m256 x[2];
    __m256i y[2];
    __m512i out;

    memcpy(x, &a, sizeof x);
    for (int i = 0; i < 2; i++)
        y[i] = _mm256_cvtps_epi32(x[i]);
    memcpy(&out, y, sizeof out);
    return out;
}

/* The lowest byte of each. */
static inline __m128i emulate_cvtepi32_epi8(__m512i a)
{
    int32_t x[16];
    int8_t y[16];
    __m128i out;

    memcpy(x, &a, sizeof x);
    for (int i = 0; i < 16; i++)
        y[i] = (int8_t)(uint8_t)x[i];
    memcpy(&out, y, sizeof out);
    return out;
}

/* Four products of an unsigned and a signed byte are added to each sum. */
static inline __m512i emulate_dpbusd_epi32(__m512i sum, __m512i a, __m512i b)
{
    int32_t s[16];
    uint8_t x[64];
    int8_t y[64];

    memcpy(s, &sum, sizeof s);
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 64; i++)
        s[i / 4] += x[i] * y[i];
    memcpy(&sum, s, sizeof sum);
    return sum;
}

#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_epi32
#undef _mm512_cvtepi32_epi8
#undef _mm512_dpbusd_epi32
#define _mm512_cvtepi32_ps   emulate_cvtepi32_ps
#define _mm512_cvtps_epi32   emulate_cvtps_epi32
#define _mm512_cvtepi32_epi8 emulate_cvtepi32_epi8
#define _mm512_dpbusd_epi32  emulate_dpbusd_epi32

#undef _mm512_cvtneps_pbh
#undef _mm512_cvtne2ps_pbh
#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_mask_storeu_epi32
#undef _mm512_shuffle_i32x4
#undef _mm256_mask_storeu_epi16
#define _mm512_cvtneps_pbh       emulate_cvtneps_pbh
#define _mm512_cvtne2ps_pbh      emulate_cvtne2ps_pbh
#define _mm512_maskz_loadu_ps    emulate_maskz_loadu_ps
#define _mm512_mask_storeu_ps    emulate_mask_storeu_ps
#define _mm512_mask_storeu_epi32 emulate_mask_storeu_epi32
#define _mm512_shuffle_i32x4     emulate_shuffle_i32x4
#define _mm256_mask_storeu_epi16 emulate_mask_storeu_epi16

#endif
