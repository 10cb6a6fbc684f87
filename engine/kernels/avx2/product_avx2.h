/* product_avx2.h - small products in registers, and transposition.
 *
 * A tile of 6 rows by 16 columns keeps 12 accumulators, enough to hide the
 * latency of two fused multiply-adds a cycle (4 cycles); a step loads two
 * vectors of B and broadcasts six floats of A.  A has any strides, so that a
 * product with a transposed operand costs nothing extra.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_AVX2_PRODUCT_AVX2_H
#define KERNELS_AVX2_PRODUCT_AVX2_H

#include "kernels/avx2/exp_avx2.h"

#define PRODUCT_ROWS    6
#define PRODUCT_COLUMNS 16

struct product {
    size_t k;
    const float *a;
    size_t a_row, a_col;
    const float *b;
    size_t ldb;
    float *c;
    size_t ldc;
    bool acc;
};

/* nr rows by nv vectors; the last vector is a part if is_part. */
INLINE void product_tile(const int nv, const bool is_part, __m256i mask,
                         const struct product *p, const int nr)
{
    const float *a = p->a, *b = p->b;
    __m256 sum[PRODUCT_ROWS][2];

    for (int i = 0; i < nr; i++)
        for (int v = 0; v < nv; v++)
            sum[i][v] = p->acc ? load8(p->c + (size_t)i * p->ldc + 8 * v,
                                       is_part && v == nv - 1, mask)
                               : _mm256_setzero_ps();
    for (size_t k = 0; k < p->k; k++, a += p->a_col, b += p->ldb) {
        __m256 row[2];

        for (int v = 0; v < nv; v++)
            row[v] = load8(b + 8 * v, is_part && v == nv - 1, mask);
        for (int i = 0; i < nr; i++) {
            __m256 x = _mm256_broadcast_ss(a + (size_t)i * p->a_row);

            for (int v = 0; v < nv; v++)
                sum[i][v] = _mm256_fmadd_ps(x, row[v], sum[i][v]);
        }
    }
    for (int i = 0; i < nr; i++)
        for (int v = 0; v < nv; v++)
            store8(p->c + (size_t)i * p->ldc + 8 * v, is_part && v == nv - 1,
                   mask, sum[i][v]);
}

INLINE void product_rows(size_t nr, const int nv, const bool is_part,
                         __m256i mask, const struct product *p)
{
    BY_ROWS(nr, product_tile, nv, is_part, mask, p)
}

/* All rows of up to 16 columns. */
static void product_columns(size_t m, size_t n, struct product p)
{
    __m256i mask = mask8(n % 8 ? n % 8 : 8);

    while (m > 0) {
        size_t nr = m < PRODUCT_ROWS ? m : PRODUCT_ROWS;

        if (n == 16)
            product_rows(nr, 2, false, mask, &p);
        else if (n > 8)
            product_rows(nr, 2, true, mask, &p);
        else if (n == 8)
            product_rows(nr, 1, false, mask, &p);
        else
            product_rows(nr, 1, true, mask, &p);
        p.a += nr * p.a_row;
        p.c += nr * p.ldc;
        m -= nr;
    }
}

static void product_avx2(size_t m, size_t n, size_t k, const float *a,
                         size_t a_row, size_t a_col, const float *b, size_t ldb,
                         float *c, size_t ldc, bool acc)
{
    for (size_t j = 0; j < n; j += PRODUCT_COLUMNS) {
        size_t left = n - j < PRODUCT_COLUMNS ? n - j : PRODUCT_COLUMNS;

        product_columns(
            m, left,
            (struct product){k, a, a_row, a_col, b + j, ldb, c + j, ldc, acc});
    }
}

/* 8x8 floats: pairs, then quarters, then halves of registers. */
INLINE void transpose8x8(const float *src, size_t ld_src, __m256 alpha,
                         float *dst, size_t ld_dst)
{
    __m256 r[8], t[8];

    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_mul_ps(alpha, _mm256_loadu_ps(src + i * ld_src));
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (size_t i = 0; i < 4; i++) {
        _mm256_storeu_ps(dst + i * ld_dst,
                         _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(dst + (i + 4) * ld_dst,
                         _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

static void transpose_avx2(size_t rows, size_t cols, const float *src,
                           size_t ld_src, float alpha, float *dst,
                           size_t ld_dst)
{
    size_t full_rows = rows & ~(size_t)7, full_cols = cols & ~(size_t)7;

    for (size_t i = 0; i < full_rows; i += 8)
        for (size_t j = 0; j < full_cols; j += 8)
            transpose8x8(src + i * ld_src + j, ld_src, set8(alpha),
                         dst + j * ld_dst + i, ld_dst);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = i < full_rows ? full_cols : 0; j < cols; j++)
            dst[j * ld_dst + i] = alpha * src[i * ld_src + j];
}

#endif
