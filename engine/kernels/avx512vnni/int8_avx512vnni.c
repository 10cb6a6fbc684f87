/* int8_avx512vnni.c - 14 x 32 tiles of 8-bit products, four k a step.
 *
 * vpdpbusd multiplies unsigned by signed bytes and adds four such products to
 * each sum, exactly.  Rows of A are kept shifted by 128; 128 times the sum of
 * a column's weights is taken off at the end.
 *
 * 28 accumulators, two registers of the panel, one broadcast.  The instruction
 * stands as assembly: GCC 12 keeps the accumulators of its intrinsic in memory
 * (half of the speed on Zen 4).  A build for tests has it emulated
 * (tests/support/emulate_avx512.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/int8_kernels.h"

#ifndef UNSTIR_EMULATE_AVX512
#include <immintrin.h>
#endif
#include <string.h>

#define MR 14
#define NR 32

#define SHIFT 128

#define INLINE static inline __attribute__((__always_inline__))

/* Lanes below n of 16. */
INLINE __mmask16 lanes(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

/* -- tiles ----------------------------------------------------------------- */

/* sum += a . b of four bytes a lane, a unsigned. */
INLINE __m512i dot(__m512i sum, __m512i a, __m512i b)
{
#ifdef UNSTIR_EMULATE_AVX512
    return _mm512_dpbusd_epi32(sum, a, b);
#else
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#endif
}

/* Four k at p, in all lanes. */
INLINE __m512i four_at(const char *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

/* What is the same for all rows of sixteen columns: shift undoes that of A. */
struct columns {
    __mmask16 mask;
    __m512i shift;
    __m512 scale;
};

INLINE struct columns columns_of(const struct int8_tile *t, unsigned h)
{
    return (struct columns){
        lanes(t->n - 16 * h),
        _mm512_slli_epi32(_mm512_loadu_si512(t->b_sum + 16 * h), 7),
        _mm512_loadu_ps(t->b_scale + 16 * h)};
}

/* *t is the caller's own, which no store of a vector can be thought to change.
 */
INLINE void store_half(const struct int8_tile *t, const struct columns *f,
                       __m512i sum, unsigned r, unsigned h)
{
    size_t at = r * t->ldc + 16 * h;
    __m512 v =
        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, f->shift)),
                      _mm512_mul_ps(_mm512_set1_ps(t->a_scale[r]), f->scale));
    if (t->bias)
        v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(
                                 f->mask, t->bias[r] + t->bias_at + 16 * h));
    if (t->res)
        v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(f->mask, t->res + at));
    _mm512_mask_storeu_ps(t->c + at, f->mask,
                          _mm512_mul_ps(v, _mm512_set1_ps(t->out)));
}

/* Steps between two looks ahead, a cache line of A; looks between asking for
 * lines of A and using them; bytes of A of a look. */
#define LOOK       16
#define AHEAD      4
#define LOOK_BYTES ((ptrdiff_t)4 * LOOK)

/* Lines of A from a on, m rows, `left` bytes before their ends; behind them
 * those of the next tile, which follow.  And the lines of some sums. */
INLINE void look_ahead(const struct int8_tile *t, const char *a, ptrdiff_t left,
                       size_t at, size_t looks, const unsigned m)
{
    ptrdiff_t step = (ptrdiff_t)t->a_row, ahead = AHEAD * LOOK_BYTES;
    const char *line =
        ahead < left ? a + ahead : a + left + (m - 1) * step + ahead - left;
    for (unsigned r = 0; r < m; r++)
        _mm_prefetch(line + r * step, _MM_HINT_T0);
    for (size_t r = at * m / looks; r < (at + 1) * m / looks; r++) {
        __builtin_prefetch(t->c + r * t->ldc, 1, 3);
        __builtin_prefetch(t->c + r * t->ldc + 16, 1, 3);
        if (!t->res)
            continue;
        __builtin_prefetch(t->res + r * t->ldc, 0, 3);
        __builtin_prefetch(t->res + r * t->ldc + 16, 0, 3);
    }
}

#define STEP(r, from)                      \
    if ((r) < m) {                         \
        __m512i x = four_at(from);         \
        acc[r][0] = dot(acc[r][0], x, b0); \
        acc[r][1] = dot(acc[r][1], x, b1); \
    }

INLINE void tile_m(const struct int8_tile *tile, const unsigned m)
{
    const struct int8_tile t = *tile;
    __m512i acc[MR][2];
    ptrdiff_t step = (ptrdiff_t)t.a_row, step3 = 3 * step;
    const char *a = t.a, *ends = a + t.k;
    const char *a4 = a + 4 * step, *a8 = a + 8 * step, *a12 = a + 12 * step;
    const int8_t *b = t.b;
    size_t looks = (t.k + 4 * LOOK - 1) / (4 * LOOK);
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_si512();
    for (size_t at = 0; at < looks; at++) {
        ptrdiff_t left = ends - a;
        const char *end = a + (left < LOOK_BYTES ? left : LOOK_BYTES);
        look_ahead(&t, a, left, at, looks, m);
        for (; a < end; b += 4 * NR) {
            __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
            STEP(0, a)
            STEP(1, a + step)
            STEP(2, a + 2 * step)
            STEP(3, a + step3)
            STEP(4, a4)
            STEP(5, a4 + step)
            STEP(6, a4 + 2 * step)
            STEP(7, a4 + step3)
            STEP(8, a8)
            STEP(9, a8 + step)
            STEP(10, a8 + 2 * step)
            STEP(11, a8 + step3)
            STEP(12, a12)
            STEP(13, a12 + step)
            a += 4;
            a4 += 4;
            a8 += 4;
            a12 += 4;
        }
    }
    struct columns low = columns_of(&t, 0), high = low;
    if (t.n > 16)
        high = columns_of(&t, 1);
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++) {
        store_half(&t, &low, acc[r][0], r, 0);
        if (t.n > 16)
            store_half(&t, &high, acc[r][1], r, 1);
    }
}

#define ROWS(m)                                     \
    static void rows_##m(const struct int8_tile *t) \
    {                                               \
        tile_m(t, m);                               \
    }
ROWS(1)
ROWS(2)
ROWS(3)
ROWS(4)
ROWS(5)
ROWS(6)
ROWS(7)
ROWS(8)
ROWS(9)
ROWS(10)
ROWS(11)
ROWS(12)
ROWS(13)
ROWS(14)

static void tile(const struct int8_tile *t)
{
    static void (*const by_rows[MR + 1])(const struct int8_tile *) = {
        NULL,   rows_1, rows_2,  rows_3,  rows_4,  rows_5,  rows_6, rows_7,
        rows_8, rows_9, rows_10, rows_11, rows_12, rows_13, rows_14};
    by_rows[t->m](t);
}

/* -- rows ------------------------------------------------------------------ */

static uint32_t largest(const float *x, size_t n)
{
    __m512i most = _mm512_setzero_si512();
    __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (size_t i = 0; i < n; i += 16)
        most = _mm512_max_epu32(
            most, _mm512_and_si512(magnitude,
                                   _mm512_castps_si512(_mm512_maskz_loadu_ps(
                                       lanes(n - i), x + i))));
    uint32_t each[16], max = 0;
    _mm512_storeu_si512(each, most);
    for (unsigned i = 0; i < 16; i++)
        max = each[i] > max ? each[i] : max;
    return max;
}

static float quantise(void *dst, const float *x, size_t n)
{
    uint32_t bits = largest(x, n);
    size_t padded = (n + 3) / 4 * 4;
    uint8_t *q = dst, bytes[16];
    float d;
    memcpy(&d, &bits, sizeof d);
    if (bits < INT8_TINY || bits >= INT8_INFINITE) {
        memset(q, SHIFT, padded);
        return bits < INT8_TINY ? 0.0f : d;
    }
    __m512 inverse = _mm512_set1_ps(127.0f / d);
    for (size_t i = 0; i < n; i += 16) {
        __m512 v =
            _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes(n - i), x + i), inverse);
        __m512i whole =
            _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(SHIFT));
        _mm_storeu_si128((__m128i *)(void *)bytes, _mm512_cvtepi32_epi8(whole));
        memcpy(q + i, bytes, padded - i < 16 ? padded - i : 16);
    }
    return d / 127.0f;
}

void int8_kernels_avx512vnni(struct int8_kernels *k)
{
    *k = (struct int8_kernels){.mr = MR,
                               .nr = NR,
                               .ku = 4,
                               .a_bytes = 1,
                               .quantise = quantise,
                               .tile = tile};
}
