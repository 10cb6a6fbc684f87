/* gemm_avx2.c - 6 x 16 tiles of f32 products for AVX2 and FMA.
 *
 * Twelve accumulators, two registers of the panel and one broadcast: 15 of
 * the 16 registers.  A step of k is 12 multiply-adds (6 cycles on two ports)
 * and 8 loads.  m is a constant in each instance, so short tiles run the same
 * sequence an element and give the same bits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/gemm_kernels.h"

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/bf16_loops.h"

#define MR 6
#define NR 16

INLINE void store_full(const struct gemm_tile *t, __m256 acc[MR][2], unsigned m)
{
    __m256 scale = _mm256_set1_ps(t->scale);
#pragma GCC unroll 6
    for (unsigned r = 0; r < m; r++) {
        float *c = t->c + r * t->ldc;
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) {
            __m256 v = acc[r][h];
            if (t->bias)
                v = _mm256_add_ps(
                    v, _mm256_loadu_ps(t->bias[r] + t->bias_at + 8 * h));
            if (t->res)
                v = _mm256_add_ps(v,
                                  _mm256_loadu_ps(t->res + r * t->ldc + 8 * h));
            _mm256_storeu_ps(c + 8 * h, _mm256_mul_ps(v, scale));
        }
    }
}

INLINE void store_tail(const struct gemm_tile *t, __m256 acc[MR][2], unsigned m)
{
    __m256 scale = _mm256_set1_ps(t->scale);
    __m256i mask[2] = {mask8(t->n), mask8(t->n > 8 ? t->n - 8 : 0)};
#pragma GCC unroll 6
    for (unsigned r = 0; r < m; r++) {
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) {
            if (8 * h >= t->n) /* a pointer there may be out of the array */
                continue;
            size_t at = r * t->ldc + 8 * h;
            __m256 v = acc[r][h];
            if (t->bias)
                v = _mm256_add_ps(
                    v, _mm256_maskload_ps(t->bias[r] + t->bias_at + 8 * h,
                                          mask[h]));
            if (t->res)
                v = _mm256_add_ps(v, _mm256_maskload_ps(t->res + at, mask[h]));
            _mm256_maskstore_ps(t->c + at, mask[h], _mm256_mul_ps(v, scale));
        }
    }
}

INLINE void tile_m(const struct gemm_tile *t, const unsigned m)
{
    __m256 acc[MR][2];
    const float *a[MR];
    const float *b = t->b;
    size_t n_k = t->run_len;
#pragma GCC unroll 6
    for (unsigned r = 0; r < m; r++) {
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
        a[r] = t->a[r];
    }
    for (size_t run = 0; run < t->n_runs; run++) {
        for (size_t k = 0; k < n_k; k++, b += NR) {
            __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
#pragma GCC unroll 6
            for (unsigned r = 0; r < m; r++) {
                __m256 v = _mm256_broadcast_ss(a[r] + k);
                acc[r][0] = _mm256_fmadd_ps(v, b0, acc[r][0]);
                acc[r][1] = _mm256_fmadd_ps(v, b1, acc[r][1]);
            }
        }
#pragma GCC unroll 6
        for (unsigned r = 0; r < m; r++)
            a[r] += t->run_stride;
    }
    if (t->n == NR)
        store_full(t, acc, m);
    else
        store_tail(t, acc, m);
}

static void tile(const struct gemm_tile *t){BY_ROWS(t->m, tile_m, t)}

/* m rows times n columns, both constants; the last lanes of a run masked. */
INLINE void dots_mn(const struct gemm_tile *t, unsigned r0, const unsigned m,
                    const unsigned n)
{
    __m256 acc[2][GEMM_MAX_DOTS];
    size_t len = t->run_len, n_k = t->n_runs * len, whole = len / 8 * 8;
    __m256i mask = mask8(len - whole);
#pragma GCC unroll 2
    for (unsigned r = 0; r < m; r++)
#pragma GCC unroll 4
        for (unsigned j = 0; j < n; j++)
            acc[r][j] = _mm256_setzero_ps();
    for (size_t run = 0; run < t->n_runs; run++) {
        const float *b = (const float *)t->b + run * len;
        const float *a0 = (const float *)t->a[r0] + run * t->run_stride;
        const float *a1 = (const float *)t->a[r0 + m - 1] + run * t->run_stride;
        for (size_t k = 0; k < whole; k += 8) {
            __m256 v[2] = {_mm256_loadu_ps(a0 + k), _mm256_loadu_ps(a1 + k)};
#pragma GCC unroll 4
            for (unsigned j = 0; j < n; j++) {
                __m256 w = _mm256_loadu_ps(b + j * n_k + k);
#pragma GCC unroll 2
                for (unsigned r = 0; r < m; r++)
                    acc[r][j] = _mm256_fmadd_ps(v[r], w, acc[r][j]);
            }
        }
        if (whole == len)
            continue;
        __m256 v[2] = {_mm256_maskload_ps(a0 + whole, mask),
                       _mm256_maskload_ps(a1 + whole, mask)};
#pragma GCC unroll 4
        for (unsigned j = 0; j < n; j++) {
            __m256 w = _mm256_maskload_ps(b + j * n_k + whole, mask);
#pragma GCC unroll 2
            for (unsigned r = 0; r < m; r++)
                acc[r][j] = _mm256_fmadd_ps(v[r], w, acc[r][j]);
        }
    }
#pragma GCC unroll 2
    for (unsigned r = 0; r < m; r++) {
#pragma GCC unroll 4
        for (unsigned j = 0; j < n; j++) {
            size_t at = (r0 + r) * t->ldc + j;
            float v = sum8(acc[r][j]);
            if (t->bias)
                v += t->bias[r0 + r][t->bias_at + j];
            if (t->res)
                v += t->res[at];
            t->c[at] = v * t->scale;
        }
    }
}

INLINE void dots_n(const struct gemm_tile *t, const unsigned n)
{
    unsigned r = 0;
    for (; r + 2 <= t->m; r += 2)
        dots_mn(t, r, 2, n);
    if (r < t->m)
        dots_mn(t, r, 1, n);
}

static void dots(const struct gemm_tile *t)
{
    switch (t->n) {
    case 4:
        dots_n(t, 4);
        break;
    case 3:
        dots_n(t, 3);
        break;
    case 2:
        dots_n(t, 2);
        break;
    default:
        dots_n(t, 1);
        break;
    }
}

/* acc += the pixels of one row: n_cols of them, a and b stepping on. */
#define OUTER_STEP(r, from)                        \
    v = _mm256_broadcast_ss(from);                 \
    acc[r][0] = _mm256_fmadd_ps(v, b0, acc[r][0]); \
    acc[r][1] = _mm256_fmadd_ps(v, b1, acc[r][1])

/* Six neighbours in memory, the usual case: one pointer instead of six. */
INLINE void outer_dense(const struct gemm_outer *o, __m256 acc[MR][2])
{
    size_t a_step = o->a_step, b_step = o->b_step, n_cols = o->n_cols;
    for (size_t y = 0; y < o->n_rows; y++) {
        const float *a = o->a[0] + y * o->a_row;
        const float *b = o->b + y * o->b_row;
        for (size_t x = 0; x < n_cols; x++, a += a_step, b += b_step) {
            __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8), v;
            OUTER_STEP(0, a);
            OUTER_STEP(1, a + 1);
            OUTER_STEP(2, a + 2);
            OUTER_STEP(3, a + 3);
            OUTER_STEP(4, a + 4);
            OUTER_STEP(5, a + 5);
        }
    }
}

INLINE void outer_sparse(const struct gemm_outer *o, __m256 acc[MR][2])
{
    const float *a0 = o->a[0], *a1 = o->a[1], *a2 = o->a[2];
    const float *a3 = o->a[3], *a4 = o->a[4], *a5 = o->a[5];
    size_t a_step = o->a_step, b_step = o->b_step;
    for (size_t y = 0; y < o->n_rows; y++) {
        const float *b = o->b + y * o->b_row;
        size_t at = y * o->a_row;
        for (size_t x = 0; x < o->n_cols; x++, at += a_step, b += b_step) {
            __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8), v;
            OUTER_STEP(0, a0 + at);
            OUTER_STEP(1, a1 + at);
            OUTER_STEP(2, a2 + at);
            OUTER_STEP(3, a3 + at);
            OUTER_STEP(4, a4 + at);
            OUTER_STEP(5, a5 + at);
        }
    }
}

static void outer(const struct gemm_outer *o)
{
    __m256 acc[MR][2];
    bool is_dense = true;
#pragma GCC unroll 6
    for (unsigned r = 0; r < MR; r++) {
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
        is_dense &= o->a[r] == o->a[0] + r;
    }
    if (is_dense)
        outer_dense(o, acc);
    else
        outer_sparse(o, acc);
#pragma GCC unroll 6
    for (unsigned r = 0; r < MR; r++) {
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) {
            float *c = o->c + r * NR + 8 * h;
            _mm256_store_ps(c, _mm256_add_ps(_mm256_load_ps(c), acc[r][h]));
        }
    }
}

static void add_rows(float *sums, const float *x, size_t rows, size_t n)
{
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        __m256 s = _mm256_loadu_ps(sums + j);
        for (size_t r = 0; r < rows; r++)
            s = _mm256_add_ps(s, _mm256_loadu_ps(x + r * n + j));
        _mm256_storeu_ps(sums + j, s);
    }
    for (; j < n; j++)
        for (size_t r = 0; r < rows; r++)
            sums[j] += x[r * n + j];
}

static uint64_t burst(size_t rounds, float *sink)
{
    __m256 acc[MR][2], x = _mm256_set1_ps(*sink);
#pragma GCC unroll 6
    for (unsigned r = 0; r < MR; r++)
        for (unsigned h = 0; h < 2; h++) /* all different, or they merge */
            acc[r][h] = _mm256_set1_ps((float)(2 * r + h));
    for (size_t i = 0; i < rounds; i++) {
#pragma GCC unroll 6
        for (unsigned r = 0; r < MR; r++) {
            acc[r][0] = _mm256_fmadd_ps(acc[r][0], x, x);
            acc[r][1] = _mm256_fmadd_ps(acc[r][1], x, x);
        }
    }
#pragma GCC unroll 6
    for (unsigned r = 0; r < MR; r++)
        x = _mm256_add_ps(x, _mm256_add_ps(acc[r][0], acc[r][1]));
    *sink = _mm256_cvtss_f32(x);
    return (uint64_t)rounds * MR * NR * 2;
}

void gemm_kernels_avx2(struct gemm_kernels *g)
{
    *g = (struct gemm_kernels){
        .operand = DTYPE_F32,
        .mr = MR,
        .nr = NR,
        .ku = 1,
        .tile = tile,
        .dots = dots,
        .outer_mr = MR,
        .outer_nr = NR,
        .outer = outer,
        .add_rows = add_rows,
        .burst = burst,
        .round = loops_round_bf16,
    };
}
