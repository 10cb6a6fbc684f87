/* int8_avx2.c - 6 x 16 tiles of 8-bit products for AVX2.
 *
 * vpmaddubsw, the byte product of AVX2, saturates sums of two products at 15
 * bits, which 8-bit numbers exceed.  vpmaddwd on numbers widened to 16 bits
 * cannot: 2 * 127 * 127 fits by far.  It does 16 products where an f32
 * multiply-add does 8, but the sum takes an instruction of its own.  Rows of A
 * are kept widened, so that a pair is one broadcast; the panel is widened as it
 * is loaded, one instruction for six rows.
 *
 * Twelve accumulators, two registers of the panel, two products.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/int8_kernels.h"

#include <string.h>

#include "kernels/avx2/lanes_avx2.h"

#define MR 6
#define NR 16

/* -- tiles ----------------------------------------------------------------- */

INLINE void store_half(const struct int8_tile *t, __m256i sum, unsigned r,
                       unsigned h)
{
    size_t at = r * t->ldc + 8 * h;
    __m256i mask = mask8(t->n - 8 * h);
    __m256 v =
        _mm256_mul_ps(_mm256_cvtepi32_ps(sum),
                      _mm256_mul_ps(_mm256_broadcast_ss(t->a_scale + r),
                                    _mm256_loadu_ps(t->b_scale + 8 * h)));
    if (t->bias)
        v = _mm256_add_ps(
            v, _mm256_maskload_ps(t->bias[r] + t->bias_at + 8 * h, mask));
    if (t->res)
        v = _mm256_add_ps(v, _mm256_maskload_ps(t->res + at, mask));
    _mm256_maskstore_ps(t->c + at, mask,
                        _mm256_mul_ps(v, _mm256_set1_ps(t->out)));
}

/* Adds a pair of k at p times those of 16 columns.  As assembly: left to
 * itself GCC 12 loads the pairs of all rows first and has no registers left
 * for the sums. */
INLINE void add_pair(__m256i sum[2], const char *p, __m256i b0, __m256i b1)
{
    __m256i v, w;
    __asm__("vpbroadcastd %[p], %[v]\n\t"
            "vpmaddwd %[b1], %[v], %[w]\n\t"
            "vpmaddwd %[b0], %[v], %[v]\n\t"
            "vpaddd %[w], %[s1], %[s1]\n\t"
            "vpaddd %[v], %[s0], %[s0]"
            : [s0] "+x"(sum[0]), [s1] "+x"(sum[1]), [v] "=&x"(v), [w] "=&x"(w)
            : [p] "m"(*(const char(*)[4])p), [b0] "x"(b0), [b1] "x"(b1));
}

INLINE void tile_m(const struct int8_tile *t, const unsigned m)
{
    __m256i acc[MR][2];
    const char *a[MR];
    const int8_t *b = t->b, *end = b + t->k * NR;
#pragma GCC unroll 6
    for (unsigned r = 0; r < m; r++) {
        acc[r][0] = acc[r][1] = _mm256_setzero_si256();
        a[r] = (const char *)t->a + r * t->a_row;
    }
    for (size_t k = 0; b < end; k += 4, b += 2 * NR) {
        __m256i b0 = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)b));
        __m256i b1 =
            _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(b + NR)));
#pragma GCC unroll 6
        for (unsigned r = 0; r < m; r++)
            add_pair(acc[r], a[r] + k, b0, b1);
    }
#pragma GCC unroll 6
    for (unsigned r = 0; r < m; r++) {
        store_half(t, acc[r][0], r, 0);
        if (t->n > 8)
            store_half(t, acc[r][1], r, 1);
    }
}

static void tile(const struct int8_tile *t)
{
    BY_ROWS(t->m, tile_m, t)
}

/* -- rows ------------------------------------------------------------------ */

/* Bits of the largest magnitude. */
static uint32_t largest(const float *x, size_t n)
{
    __m256i most = _mm256_setzero_si256();
    __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        most = _mm256_max_epu32(
            most, _mm256_and_si256(
                      magnitude, _mm256_loadu_si256(
                                     (const __m256i *)(const void *)(x + i))));
    if (i < n)
        most = _mm256_max_epu32(
            most,
            _mm256_and_si256(magnitude, _mm256_castps_si256(_mm256_maskload_ps(
                                            x + i, mask8(n - i)))));
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(most),
                              _mm256_extracti128_si256(most, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* Eight floats to eight 16-bit numbers. */
INLINE __m128i words(__m256 v)
{
    __m256i q = _mm256_cvtps_epi32(v); /* to nearest even */
    return _mm_packs_epi32(_mm256_castsi256_si128(q),
                           _mm256_extracti128_si256(q, 1));
}

static float quantise(void *dst, const float *x, size_t n)
{
    uint32_t bits = largest(x, n);
    int16_t *q = dst;
    size_t i = 0;
    float d;
    memcpy(&d, &bits, sizeof d);
    if (bits < INT8_TINY || bits >= INT8_INFINITE) {
        memset(q, 0, (n + n % 2) * sizeof *q);
        return bits < INT8_TINY ? 0.0f : d;
    }
    __m256 inverse = _mm256_set1_ps(127.0f / d);
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(q + i),
                         words(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse)));
    if (i < n) {
        int16_t last[8];
        _mm_storeu_si128(
            (__m128i *)(void *)last,
            words(_mm256_mul_ps(_mm256_maskload_ps(x + i, mask8(n - i)),
                                inverse)));
        memcpy(q + i, last, (n - i + n % 2) * sizeof *q);
    }
    return d / 127.0f;
}

void int8_kernels_avx2(struct int8_kernels *k)
{
    *k = (struct int8_kernels){.mr = MR,
                               .nr = NR,
                               .ku = 2,
                               .a_bytes = 2,
                               .quantise = quantise,
                               .tile = tile};
}
