/* attention_avx512bf16.c - attention of 32 queries at once.
 *
 * Products are tiles of up to 14 x 32, as in gemm_avx512bf16.c.  Those of few
 * dimensions have few steps, so a block's tiles are one call, rows are evenly
 * spaced, and sums are stored as they are or begin where the last block left
 * them.  A store of 64 bytes takes two cycles of a Zen 4, in which no product
 * was seen to start: scores that were stored cost a tenth of their products.
 * So powers are taken while scores are in registers, and half as many bytes of
 * pairs are stored.
 *
 * A power of two: x = n + r, |r| <= 1/2; 2^r by a polynomial that is 1 at 0,
 * fitted for the least relative error; times 2^n by scalef, which underflows
 * gradually.  Of degree 3, 1.0e-4, for what becomes bf16, a twentieth of what
 * that rounding takes; of degree 4, 2.9e-6, for factors.  x is finite: scores
 * that count for nothing are large numbers.  Sums, roundscale, scalef (twice)
 * and conversion share a port of that machine, which would have 7 cycles of
 * work for 16 scores: so products begin at -max, and powers are added as
 * products with 1.  Taking n by a large number added, or 2^n by whole numbers,
 * is slower.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/attention_kernels.h"
#include "kernels/avx512bf16/lanes_avx512bf16.h"

#define MR   14
#define COLS ATTENTION_COLS

/* -- powers of two --------------------------------------------------------- */

/* 2^x for what is then rounded to bf16. */
INLINE __m512 coarse_power2(__m512 x)
{
    __m512 n =
        _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(x, n);
    __m512 p = set16(5.50089292e-2f);

    p = _mm512_fmadd_ps(p, r, set16(2.42210954e-1f));
    p = _mm512_fmadd_ps(p, r, set16(6.93282902e-1f));
    p = _mm512_fmadd_ps(p, r, set16(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* 2^x; exactly 1 of 0. */
INLINE __m512 power2(__m512 x)
{
    __m512 n =
        _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(x, n);
    __m512 p = set16(9.58285388e-3f);

    p = _mm512_fmadd_ps(p, r, set16(5.59064262e-2f));
    p = _mm512_fmadd_ps(p, r, set16(2.40240991e-1f));
    p = _mm512_fmadd_ps(p, r, set16(6.93124175e-1f));
    p = _mm512_fmadd_ps(p, r, set16(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* -- products -------------------------------------------------------------- */

/* m rows, `step` bytes apart, of n_pairs pairs are multiplied into acc. */
INLINE void multiply(__m512 (*acc)[2], const char *a, ptrdiff_t step,
                     const char *b, size_t n_pairs, const unsigned m)
{
    const char *at[4] = {a, a + 4 * step, a + 8 * step, a + 12 * step};
    const ptrdiff_t apart[4] = {0, step, 2 * step, 3 * step};
    const char *end = b + n_pairs * 4 * COLS;

    for (; b < end; b += 4 * COLS) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b);
        __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + 64);
#pragma GCC unroll 14
        for (unsigned r = 0; r < m; r++) {
            __m512bh x = pair_at(at[r / 4] + apart[r % 4]);
            acc[r][0] = _mm512_dpbf16_ps(acc[r][0], x, b0);
            acc[r][1] = _mm512_dpbf16_ps(acc[r][1], x, b1);
        }
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; i++)
            at[i] += 4;
    }
}

/* Rows i .. i + m times the panel, less max of their column. */
INLINE void below_max(const struct attention_product *p, size_t i,
                      const float *max, __m512 (*acc)[2], const unsigned m)
{
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; h++) {
        __m512 start =
            _mm512_sub_ps(_mm512_setzero_ps(), _mm512_loadu_ps(max + 16 * h));
#pragma GCC unroll 14
        for (unsigned r = 0; r < m; r++)
            acc[r][h] = start;
    }
    multiply(acc, (const char *)p->rows + i * p->pitch * 2,
             (ptrdiff_t)p->pitch * 2, p->panel, p->k / 2, m);
}

INLINE void scores_rows(const struct attention_product *p, size_t i,
                        const float *max, float *s, const unsigned m)
{
    __m512 acc[MR][2];
    below_max(p, i, max, acc, m);
    s += i * COLS;
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++)
            _mm512_storeu_ps(s + r * COLS + 16 * h, acc[r][h]);
}

/* Of rows i .. i + m, i even: powers of two as rows of a panel; they are added
 * to total, by products with 1, since that port has no other work.  Behind an
 * odd number of rows are zeros. */
INLINE void powers_rows(const struct attention_product *p, size_t i,
                        const float *max, float *total, char *panel,
                        const unsigned m)
{
    __m512 acc[MR][2], one = set16(1.0f);
    __m512i order = order_of_pairs();
    below_max(p, i, max, acc, m);
    panel += i * COLS * 2;
    __m512 sum[2] = {_mm512_loadu_ps(total), _mm512_loadu_ps(total + 16)};
#pragma GCC unroll 7
    for (unsigned r = 0; r < m; r += 2)
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) {
            __m512 even = coarse_power2(acc[r][h]);
            __m512 odd = _mm512_setzero_ps();
            sum[h] = _mm512_fmadd_ps(even, one, sum[h]);
            if (r + 1 < m) {
                odd = coarse_power2(acc[r + 1][h]);
                sum[h] = _mm512_fmadd_ps(odd, one, sum[h]);
            }
            _mm512_storeu_si512(panel + r * COLS * 2 + 64 * h,
                                paired(order, even, odd));
        }
    _mm512_storeu_ps(total, sum[0]);
    _mm512_storeu_ps(total + 16, sum[1]);
}

INLINE void weigh_rows(const struct attention_product *p, size_t i,
                       const float *factor, float *o, const unsigned m)
{
    __m512 acc[MR][2];
    o += i * COLS;
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++)
            acc[r][h] = _mm512_loadu_ps(o + r * COLS + 16 * h);
    if (factor) {
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) {
            __m512 f = _mm512_loadu_ps(factor + 16 * h);
#pragma GCC unroll 14
            for (unsigned r = 0; r < m; r++)
                acc[r][h] = _mm512_mul_ps(acc[r][h], f);
        }
    }
    multiply(acc, (const char *)p->rows + i * p->pitch * 2,
             (ptrdiff_t)p->pitch * 2, p->panel, p->k / 2, m);
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++)
            _mm512_storeu_ps(o + r * COLS + 16 * h, acc[r][h]);
}

#define ROWS(m)                                                         \
    static void scores_##m(const struct attention_product *p, size_t i, \
                           const float *max, float *s)                  \
    {                                                                   \
        scores_rows(p, i, max, s, m);                                   \
    }                                                                   \
    static void powers_##m(const struct attention_product *p, size_t i, \
                           const float *max, float *total, char *panel) \
    {                                                                   \
        powers_rows(p, i, max, total, panel, m);                        \
    }                                                                   \
    static void weigh_##m(const struct attention_product *p, size_t i,  \
                          const float *factor, float *o)                \
    {                                                                   \
        weigh_rows(p, i, factor, o, m);                                 \
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

#define EACH(name)                                                         \
    {                                                                      \
        NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6,  \
            name##_7, name##_8, name##_9, name##_10, name##_11, name##_12, \
            name##_13, name##_14                                           \
    }

typedef void (*scores_fn)(const struct attention_product *, size_t,
                          const float *, float *);
typedef void (*powers_fn)(const struct attention_product *, size_t,
                          const float *, float *, char *);
typedef void (*weigh_fn)(const struct attention_product *, size_t,
                         const float *, float *);
static const scores_fn scores_by_rows[MR + 1] = EACH(scores);
static const powers_fn powers_by_rows[MR + 1] = EACH(powers);
static const weigh_fn weigh_by_rows[MR + 1] = EACH(weigh);

/* Rows of the next tile: those left, in tiles of one size or one fewer. */
INLINE size_t next_rows(size_t left)
{
    size_t tiles = (left + MR - 1) / MR;
    return (left + tiles - 1) / tiles;
}

static void scores(const struct attention_product *p, const float *max,
                   float *s)
{
    for (size_t i = 0, m; i < p->m; i += m) {
        m = next_rows(p->m - i);
        scores_by_rows[m](p, i, max, s);
    }
}

static bool powers(const struct attention_product *p, size_t n,
                   struct attention_sums *sums, void *panel)
{
    __mmask16 is_far = 0;

    memset(sums->total, 0, sizeof sums->total);
    for (size_t i = 0, m; i < p->m; i += m) {
        m = next_rows(p->m - i);
        m += m % 2 && i + m < p->m; /* a panel's rows are pairs */
        powers_by_rows[m](p, i, sums->max, sums->total, panel);
    }
    for (size_t h = 0; h < n; h += 16) {
        __m512 total = _mm512_loadu_ps(sums->total + h);
        __m512 sum = _mm512_add_ps(_mm512_loadu_ps(sums->sum + h), total);
        is_far |=
            lanes16(n - h) &
            (_mm512_cmp_ps_mask(total, set16(ATTENTION_FAR), _CMP_NLE_UQ) |
             _mm512_cmp_ps_mask(sum, set16(1 / ATTENTION_FAR), _CMP_NGE_UQ));
    }
    if (is_far)
        return false;
    for (size_t h = 0; h < n; h += 16)
        _mm512_storeu_ps(sums->sum + h,
                         _mm512_add_ps(_mm512_loadu_ps(sums->sum + h),
                                       _mm512_loadu_ps(sums->total + h)));
    return true;
}

static void weigh(const struct attention_product *p, const float *factor,
                  float *o)
{
    for (size_t i = 0, m; i < p->m; i += m) {
        m = next_rows(p->m - i);
        weigh_by_rows[m](p, i, factor, o);
    }
}

/* -- softmax --------------------------------------------------------------- */

INLINE void softmax_columns(const unsigned halves, size_t rows, const float *s,
                            const float *top, __m512 *total, char *panel)
{
    __m512i order = order_of_pairs();
    __m512 most[2];
    size_t i = 0;

#pragma GCC unroll 2
    for (unsigned h = 0; h < halves; h++) {
        most[h] = _mm512_loadu_ps(top + 16 * h);
        total[h] = _mm512_setzero_ps();
    }
    for (; i + 2 <= rows; i += 2, s += 2 * COLS, panel += 4 * COLS) {
        __m512i pairs[2];
#pragma GCC unroll 2
        for (unsigned h = 0; h < halves; h++) {
            __m512 even = coarse_power2(
                _mm512_sub_ps(_mm512_loadu_ps(s + 16 * h), most[h]));
            __m512 odd = coarse_power2(
                _mm512_sub_ps(_mm512_loadu_ps(s + COLS + 16 * h), most[h]));
            total[h] = _mm512_add_ps(total[h], even);
            total[h] = _mm512_add_ps(total[h], odd);
            pairs[h] = paired(order, even, odd);
        }
#pragma GCC unroll 2
        for (unsigned h = 0; h < halves; h++)
            _mm512_storeu_si512(panel + 64 * h, pairs[h]);
    }
    if (i < rows) {
#pragma GCC unroll 2
        for (unsigned h = 0; h < halves; h++) {
            __m512 even = coarse_power2(
                _mm512_sub_ps(_mm512_loadu_ps(s + 16 * h), most[h]));
            total[h] = _mm512_add_ps(total[h], even);
            _mm512_storeu_si512(panel + 64 * h,
                                paired(order, even, _mm512_setzero_ps()));
        }
    }
}

static bool softmax(size_t rows, size_t n, const float *s,
                    struct attention_sums *sums, void *panel)
{
    __m512 total[2];
    __mmask16 changed = 0;
    const unsigned halves = n > 16 ? 2 : 1;

    if (n > 16)
        softmax_columns(2, rows, s, sums->top, total, panel);
    else
        softmax_columns(1, rows, s, sums->top, total, panel);
    for (unsigned h = 0; h < halves; h++) {
        __m512 top = _mm512_loadu_ps(sums->top + 16 * h);
        __m512 down = _mm512_sub_ps(_mm512_setzero_ps(), top);
        __m512 factor = power2(_mm512_min_ps(down, _mm512_setzero_ps()));
        __m512 sum = _mm512_loadu_ps(sums->sum + 16 * h);
        __m512 max = _mm512_loadu_ps(sums->max + 16 * h);

        _mm512_storeu_ps(sums->sum + 16 * h,
                         _mm512_fmadd_ps(sum, factor, total[h]));
        _mm512_storeu_ps(sums->factor + 16 * h, factor);
        _mm512_storeu_ps(sums->max + 16 * h, _mm512_add_ps(max, top));
        changed |= lanes16(n - 16 * h) &
                   _mm512_cmp_ps_mask(factor, set16(1), _CMP_NEQ_UQ);
    }
    return changed;
}

/* -- transposing ----------------------------------------------------------- */

/* Lane j of r[i] becomes lane i of r[j]. */
INLINE void transpose16(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (unsigned i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* r[4 q + c]: of each quarter, lane c of rows 4 q .. 4 q + 3 */
#pragma GCC unroll 4
    for (unsigned c = 0; c < 4; c++) {
        t[c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
        t[4 + c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
        t[8 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
        t[12 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    }
#pragma GCC unroll 4
    for (unsigned c = 0; c < 4; c++) {
        r[c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88);
        r[8 + c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0xdd);
        r[4 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0x88);
        r[12 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0xdd);
    }
}

static void queries(void *panel, size_t n, size_t d, const float *q, size_t ldq,
                    float alpha)
{
    char *to = panel;
    __m512 scale = set16(alpha);

    for (size_t h = 0; h < COLS; h += 16)
        for (size_t c = 0; c < d; c += 32) {
            size_t n_pairs = d - c < 32 ? (d - c + 1) / 2 : 16;
            __mmask16 low = lanes16(d - c);
            __mmask16 high = lanes16(d - c > 16 ? d - c - 16 : 0);
            __m512i r[16];

#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; i++) {
                r[i] = _mm512_setzero_si512();
                if (h + i < n) {
                    const float *row = q + (h + i) * ldq + c;
                    __m512 x = _mm512_maskz_loadu_ps(low, row);
                    __m512 y = _mm512_setzero_ps();
                    if (high)
                        y = _mm512_maskz_loadu_ps(high, row + 16);
                    r[i] = narrow32(_mm512_mul_ps(x, scale),
                                    _mm512_mul_ps(y, scale));
                }
            }
            transpose16(r);
#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; i++)
                if (i < n_pairs)
                    _mm512_storeu_si512(to + ((c / 2 + i) * COLS + h) * 4,
                                        r[i]);
        }
}

static void values(void *block, size_t pitch, size_t n, size_t d,
                   const float *v, size_t ldv)
{
    uint16_t *to = block;
    __m512i order = order_of_pairs();

    for (size_t k = 0; k < pitch; k += 32)
        for (size_t c = 0; c < d; c += 16) {
            __mmask16 mask = lanes16(d - c), keys = lanes16((pitch - k) / 2);
            __m512i r[16];

#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; i++) {
                size_t row = k + 2 * i;
                __m512 x = _mm512_setzero_ps(), y = x;
                if (row < n)
                    x = _mm512_maskz_loadu_ps(mask, v + row * ldv + c);
                if (row + 1 < n)
                    y = _mm512_maskz_loadu_ps(mask, v + (row + 1) * ldv + c);
                r[i] = paired(order, x, y);
            }
            transpose16(r);
#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; i++)
                if (c + i < d)
                    _mm512_mask_storeu_epi32(to + (c + i) * pitch + k, keys,
                                             r[i]);
        }
}

static void outputs(size_t d, size_t n, const float *o, const float *sum,
                    float *out, size_t ldo)
{
    for (size_t h = 0; h < n; h += 16) {
        __m512 factor = _mm512_div_ps(set16(1), _mm512_loadu_ps(sum + h));
        for (size_t c = 0; c < d; c += 16) {
            __mmask16 mask = lanes16(d - c);
            __m512i r[16];

#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; i++) {
                __m512 x = _mm512_setzero_ps();
                if (c + i < d)
                    x = _mm512_mul_ps(factor,
                                      _mm512_loadu_ps(o + (c + i) * COLS + h));
                r[i] = _mm512_castps_si512(x);
            }
            transpose16(r);
#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; i++)
                if (h + i < n)
                    _mm512_mask_storeu_ps(out + (h + i) * ldo + c, mask,
                                          _mm512_castsi512_ps(r[i]));
        }
    }
}

void attention_kernels_avx512bf16(struct attention_kernels *a)
{
    *a = (struct attention_kernels){.queries = queries,
                                    .values = values,
                                    .scores = scores,
                                    .softmax = softmax,
                                    .powers = powers,
                                    .weigh = weigh,
                                    .outputs = outputs};
}
