/* winograd_avx512bf16.c - transforms of F(2x2, 3x3), sixteen channels at once.
 *
 * The matrices hold 0, 1 and -1: a patch of the input is 32 sums a channel,
 * in f32, rounded to bf16 as they are stored.  Products are the tiles of
 * gemm_avx512bf16.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/avx512bf16/lanes_avx512bf16.h"
#include "kernels/winograd_kernels.h"

/* One line of BT: d[0..3] at stride s, in place. */
INLINE void line_input(__m512 *d, const size_t s)
{
    __m512 d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s];
    d[0] = _mm512_sub_ps(d0, d2);
    d[s] = _mm512_add_ps(d1, d2);
    d[2 * s] = _mm512_sub_ps(d2, d1);
    d[3 * s] = _mm512_sub_ps(d1, d3);
}

/* One line of AT: m[0..3] at stride s to o[0], o[t]. */
INLINE void line_output(const __m512 *m, const size_t s, __m512 *o,
                        const size_t t)
{
    o[0] = _mm512_add_ps(m[0], _mm512_add_ps(m[s], m[2 * s]));
    o[t] = _mm512_sub_ps(_mm512_sub_ps(m[s], m[2 * s]), m[3 * s]);
}

static void input_f2(void *dst, size_t plane, const float *x, size_t row_stride,
                     size_t col_stride, size_t c)
{
    uint16_t *v = dst;
    for (size_t i = 0; i < c; i += 16) {
        __m512 d[16];
#pragma GCC unroll 16
        for (size_t q = 0; q < 16; q++)
            d[q] = _mm512_loadu_ps(x + q / 4 * row_stride + q % 4 * col_stride +
                                   i);
#pragma GCC unroll 4
        for (size_t s = 0; s < 4; s++)
            line_input(d + s, 4);
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; r++)
            line_input(d + 4 * r, 1);
#pragma GCC unroll 16
        for (size_t q = 0; q < 16; q++)
            _mm256_storeu_si256((__m256i *)(void *)(v + q * plane + i),
                                narrow16(d[q]));
    }
}

static void output_f2(const struct winograd_out *out)
{
    __m512 scale = set16(out->scale);
    for (size_t i = 0; i < out->c; i += 16) {
        __m512 d[16], t[8], o[4], add = _mm512_loadu_ps(out->add + i);
#pragma GCC unroll 16
        for (size_t q = 0; q < 16; q++)
            d[q] = _mm512_loadu_ps(out->m + q * out->plane + i);
#pragma GCC unroll 4
        for (size_t s = 0; s < 4; s++)
            line_output(d + s, 4, t + s, 4);
#pragma GCC unroll 2
        for (size_t r = 0; r < 2; r++)
            line_output(t + 4 * r, 1, o + 2 * r, 1);
#pragma GCC unroll 4
        for (size_t q = 0; q < 4; q++) {
            size_t r = q / 2, s = q % 2;
            size_t at = r * out->row_stride + s * out->col_stride + i;
            if (r >= out->rows || s >= out->cols)
                continue;
            __m512 sum = _mm512_add_ps(o[q], add);
            if (out->res)
                sum = _mm512_add_ps(sum, _mm512_loadu_ps(out->res + at));
            _mm512_storeu_ps(out->y + at, _mm512_mul_ps(sum, scale));
        }
    }
}

/* -- the adjoint for the weights ------------------------------------------- */

INLINE void patch(__m512 d[16], const float *x, size_t row_stride,
                  size_t col_stride)
{
#pragma GCC unroll 16
    for (size_t q = 0; q < 16; q++)
        d[q] = x ? _mm512_loadu_ps(x + q / 4 * row_stride + q % 4 * col_stride)
                 : _mm512_setzero_ps();
#pragma GCC unroll 4
    for (size_t s = 0; s < 4; s++)
        line_input(d + s, 4);
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++)
        line_input(d + 4 * r, 1);
}

INLINE void store_pairs(char *v, size_t plane, const __m512 *even,
                        const __m512 *odd)
{
    __m512i order = order_of_pairs();
#pragma GCC unroll 16
    for (size_t q = 0; q < 16; q++)
        _mm512_storeu_si512(v + q * plane * 4, paired(order, even[q], odd[q]));
}

static void input_pair(void *v, size_t plane, const float *x0, const float *x1,
                       size_t row_stride, size_t col_stride, size_t c)
{
    for (size_t i = 0; i < c; i += 16) {
        __m512 even[16], odd[16];
        patch(even, x0 + i, row_stride, col_stride);
        patch(odd, x1 ? x1 + i : NULL, row_stride, col_stride);
        store_pairs((char *)v + i * 4, plane, even, odd);
    }
}

/* One line of A: y0, y1 to four. */
INLINE void line_grad(__m512 y0, __m512 y1, __m512 *o, const size_t t)
{
    o[0] = y0;
    o[t] = _mm512_add_ps(y0, y1);
    o[2 * t] = _mm512_sub_ps(y0, y1);
    o[3 * t] = _mm512_sub_ps(_mm512_setzero_ps(), y1);
}

INLINE void tile_of(__m512 d[16], const float *dy, size_t row_stride,
                    size_t col_stride)
{
    __m512 y[4], t[8];
#pragma GCC unroll 4
    for (size_t q = 0; q < 4; q++)
        y[q] =
            dy ? _mm512_loadu_ps(dy + q / 2 * row_stride + q % 2 * col_stride)
               : _mm512_setzero_ps();
#pragma GCC unroll 2
    for (size_t s = 0; s < 2; s++)
        line_grad(y[s], y[s + 2], t + s, 2);
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++)
        line_grad(t[2 * r], t[2 * r + 1], d + 4 * r, 1);
}

static void grad_pair(void *v, size_t plane, const float *dy0, const float *dy1,
                      size_t row_stride, size_t col_stride, size_t c)
{
    for (size_t i = 0; i < c; i += 16) {
        __m512 even[16], odd[16];
        tile_of(even, dy0 + i, row_stride, col_stride);
        tile_of(odd, dy1 ? dy1 + i : NULL, row_stride, col_stride);
        store_pairs((char *)v + i * 4, plane, even, odd);
    }
}

/* Up to 14 rows by one or two vectors of columns: as the tiles of
 * gemm_avx512bf16.c, but the rows are neighbours. */
#define MR 14

struct pairs {
    float *c;
    const char *a, *b;
    size_t ldc, lda, ldb, k; /* lda, ldb: bytes                              */
};

INLINE void pairs_tile(const struct pairs *p, const unsigned m,
                       const unsigned nv)
{
    __m512 s[MR][2];
    const char *a = p->a, *b = p->b;
    size_t lda = p->lda, ldb = p->ldb;
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
#pragma GCC unroll 2
        for (unsigned h = 0; h < nv; h++)
            s[r][h] = _mm512_loadu_ps(p->c + r * p->ldc + 16 * h);
    for (size_t k = 0; k < p->k; k++, a += lda, b += ldb) {
        __m512bh y[2];
#pragma GCC unroll 2
        for (unsigned h = 0; h < nv; h++)
            y[h] = (__m512bh)_mm512_loadu_si512(b + 64 * h);
#pragma GCC unroll 14
        for (unsigned r = 0; r < m; r++) {
            __m512bh x = pair_at(a + 4 * r);
#pragma GCC unroll 2
            for (unsigned h = 0; h < nv; h++)
                s[r][h] = _mm512_dpbf16_ps(s[r][h], x, y[h]);
        }
    }
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
#pragma GCC unroll 2
        for (unsigned h = 0; h < nv; h++)
            _mm512_storeu_ps(p->c + r * p->ldc + 16 * h, s[r][h]);
}

#define PAIRS(m)                                     \
    static void pairs_##m##_1(const struct pairs *p) \
    {                                                \
        pairs_tile(p, m, 1);                         \
    }                                                \
    static void pairs_##m##_2(const struct pairs *p) \
    {                                                \
        pairs_tile(p, m, 2);                         \
    }
PAIRS(8)
PAIRS(10)
PAIRS(11)
PAIRS(12)
PAIRS(13)
PAIRS(14)

typedef void (*pairs_fn)(const struct pairs *);

/* Strips of m rows, a multiple of 16: none is shorter than 8 rows. */
static const pairs_fn by_rows[MR + 1][2] = {
    [8] = {pairs_8_1, pairs_8_2},    [10] = {pairs_10_1, pairs_10_2},
    [11] = {pairs_11_1, pairs_11_2}, [12] = {pairs_12_1, pairs_12_2},
    [13] = {pairs_13_1, pairs_13_2}, [14] = {pairs_14_1, pairs_14_2}};

static void gemm_pairs(float *cc, size_t ldc, const void *a, size_t lda,
                       const void *b, size_t ldb, size_t m, size_t n, size_t k)
{
    size_t strips = (m + MR - 1) / MR;
    for (size_t j = 0; j < n; j += 32) {
        for (size_t i = 0, s = 0, end; s < strips; s++, i = end) {
            end = m * (s + 1) / strips;
            struct pairs p = {.c = cc + i * ldc + j,
                              .a = (const char *)a + i * 4,
                              .b = (const char *)b + j * 4,
                              .ldc = ldc,
                              .lda = lda * 4,
                              .ldb = ldb * 4,
                              .k = k};
            by_rows[end - i][n - j >= 32](&p);
        }
    }
}

void winograd_kernels_f2_avx512bf16(struct winograd_kernels *k)
{
    *k = (struct winograd_kernels){
        .is_used = true,
        .edge = 2,
        .input = input_f2,
        .output = output_f2,
        .input_pair = input_pair,
        .grad_pair = grad_pair,
        .gemm_pairs = gemm_pairs,
    };
}
