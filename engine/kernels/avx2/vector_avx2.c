/* vector_avx2.c - the streaming kernels of the avx2 rung.
 *
 * Loops are written once with the activation, the presence of a part vector
 * and the like as constants of forced inline functions; the outer functions
 * choose.  Sums down columns keep two rows' worth of accumulators, so that
 * they are bound by loads and not by the latency of additions.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/vector_kernels.h"

#include <math.h>

#include "kernels/avx2/exp_avx2.h"
#include "kernels/avx2/product_avx2.h"
#include "kernels/vector_loops.h"
#include "kernels/with_act.h"

/* -- activations ---------------------------------------------------------- */

INLINE void affine_step(const enum act act, const bool is_part, __m256i mask,
                        const float *x, const float *scale, const float *shift,
                        float *y)
{
    __m256 u = load8(x, is_part, mask);

    if (scale)
        u = _mm256_fmadd_ps(load8(scale, is_part, mask), u,
                            load8(shift, is_part, mask));
    store8(y, is_part, mask, act8(act, u));
}

INLINE void affine_row(const enum act act, size_t c, const float *x,
                       const float *scale, const float *shift, float *y)
{
    size_t j = 0;

    for (; j + 8 <= c; j += 8)
        affine_step(act, false, mask8(8), x + j, scale ? scale + j : NULL,
                    scale ? shift + j : NULL, y + j);
    if (j < c)
        affine_step(act, true, mask8(c - j), x + j, scale ? scale + j : NULL,
                    scale ? shift + j : NULL, y + j);
}

INLINE void affine_rows(const enum act act, size_t rows, size_t c,
                        const float *x, size_t ldx, const float *scale,
                        const float *shift, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++)
        affine_row(act, c, x + r * ldx, scale, shift, y + r * ldy);
}

INLINE void affine_choose(const enum act act, size_t rows, size_t c,
                          const float *x, size_t ldx, const float *scale,
                          const float *shift, float *y, size_t ldy)
{
    if (scale)
        affine_rows(act, rows, c, x, ldx, scale, shift, y, ldy);
    else
        affine_rows(act, rows, c, x, ldx, NULL, NULL, y, ldy);
}

static void affine_act_avx2(enum act act, size_t rows, size_t c, const float *x,
                            size_t ldx, const float *scale, const float *shift,
                            float *y, size_t ldy){
    WITH_ACT(act, affine_choose, rows, c, x, ldx, scale, shift, y, ldy)}

INLINE void act_bwd_step(const enum act act, const bool is_part, __m256i mask,
                         const float *x, const float *dy, float *dx, bool acc)
{
    __m256 d = act_bwd8(act, load8(x, is_part, mask), load8(dy, is_part, mask));

    if (acc)
        d = _mm256_add_ps(load8(dx, is_part, mask), d);
    store8(dx, is_part, mask, d);
}

INLINE void act_bwd_all(const enum act act, size_t n, const float *x,
                        const float *dy, float *dx, bool acc)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        act_bwd_step(act, false, mask8(8), x + i, dy + i, dx + i, acc);
    if (i < n)
        act_bwd_step(act, true, mask8(n - i), x + i, dy + i, dx + i, acc);
}

static void act_bwd_avx2(enum act act, size_t n, const float *x,
                         const float *dy, float *dx, bool acc){
    WITH_ACT(act, act_bwd_all, n, x, dy, dx, acc)}

/* -- sums down columns ------------------------------------------------------ */

/* Sum (or, with mean, sum of squares about the mean) of nv vectors of columns,
 * the last of them a part if is_part. */
INLINE void column_block(const int nv, const bool is_part, __m256i mask,
                         size_t rows, const float *x, size_t ldx,
                         const float *mean, float *out)
{
    __m256 even[4], odd[4], centre[4];
    size_t r = 0;

    for (int v = 0; v < nv; v++) {
        even[v] = odd[v] = _mm256_setzero_ps();
        if (mean)
            centre[v] = load8(mean + 8 * v, is_part && v == nv - 1, mask);
    }
    for (; r < rows; r++, x += ldx) {
        for (int v = 0; v < nv; v++) {
            __m256 e = load8(x + 8 * v, is_part && v == nv - 1, mask);

            if (mean) {
                e = _mm256_sub_ps(e, centre[v]);
                even[v] = _mm256_fmadd_ps(e, e, even[v]);
            } else {
                even[v] = _mm256_add_ps(even[v], e);
            }
        }
        if (++r == rows)
            break;
        x += ldx;
        for (int v = 0; v < nv; v++) {
            __m256 e = load8(x + 8 * v, is_part && v == nv - 1, mask);

            if (mean) {
                e = _mm256_sub_ps(e, centre[v]);
                odd[v] = _mm256_fmadd_ps(e, e, odd[v]);
            } else {
                odd[v] = _mm256_add_ps(odd[v], e);
            }
        }
    }
    for (int v = 0; v < nv; v++)
        store8(out + 8 * v, is_part && v == nv - 1, mask,
               _mm256_add_ps(even[v], odd[v]));
}

INLINE void columns(size_t rows, size_t c, const float *x, size_t ldx,
                    const float *mean, float *out)
{
    __m256i mask = mask8(c % 8);
    size_t j = 0;

    for (; j + 32 <= c; j += 32)
        column_block(4, false, mask, rows, x + j, ldx, mean ? mean + j : NULL,
                     out + j);
    for (; j + 8 <= c; j += 8)
        column_block(1, false, mask, rows, x + j, ldx, mean ? mean + j : NULL,
                     out + j);
    if (j < c)
        column_block(1, true, mask, rows, x + j, ldx, mean ? mean + j : NULL,
                     out + j);
}

static void column_sums_avx2(size_t rows, size_t c, const float *x, size_t ldx,
                             float *sums)
{
    columns(rows, c, x, ldx, NULL, sums);
}

INLINE void dots_block(const int nv, const bool is_part, __m256i mask,
                       size_t rows, const float *x, const float *y, size_t ld,
                       float *out)
{
    __m256 sum[4];

    for (int v = 0; v < nv; v++)
        sum[v] = _mm256_setzero_ps();
    for (size_t r = 0; r < rows; r++, x += ld, y += ld)
        for (int v = 0; v < nv; v++)
            sum[v] = _mm256_fmadd_ps(load8(x + 8 * v, is_part, mask),
                                     load8(y + 8 * v, is_part, mask), sum[v]);
    for (int v = 0; v < nv; v++)
        store8(out + 8 * v, is_part, mask, sum[v]);
}

static void column_dots_avx2(size_t rows, size_t c, const float *x,
                             const float *y, size_t ld, float *sums)
{
    size_t j = 0;

    for (; j + 32 <= c; j += 32)
        dots_block(4, false, mask8(8), rows, x + j, y + j, ld, sums + j);
    for (; j + 8 <= c; j += 8)
        dots_block(1, false, mask8(8), rows, x + j, y + j, ld, sums + j);
    if (j < c)
        dots_block(1, true, mask8(c - j), rows, x + j, y + j, ld, sums + j);
}

static void moments_avx2(size_t rows, size_t c, const float *x, size_t ldx,
                         float *mean, float *m2)
{
    columns(rows, c, x, ldx, NULL, mean);
    for (size_t j = 0; j < c; j++)
        mean[j] /= (float)rows;
    columns(rows, c, x, ldx, mean, m2);
}

/* -- the norm's adjoint ----------------------------------------------------- */

INLINE __m256 du8(const enum act act, const struct norm_bwd_rows *r, size_t at,
                  size_t j, const bool is_part, __m256i mask)
{
    __m256 u = load8(r->x + at, is_part, mask);

    if (r->scale)
        u = _mm256_fmadd_ps(load8(r->scale + j, is_part, mask), u,
                            load8(r->shift + j, is_part, mask));
    return act_bwd8(act, u, load8(r->dy + at, is_part, mask));
}

INLINE __m256 centred8(const struct norm_bwd_rows *r, size_t at, size_t j,
                       const bool is_part, __m256i mask)
{
    __m256 x = load8(r->x + at, is_part, mask);

    return r->mean ? _mm256_sub_ps(x, load8(r->mean + j, is_part, mask)) : x;
}

INLINE void norm_sums_block(const enum act act, const int nv,
                            const bool is_part, __m256i mask,
                            const struct norm_bwd_rows *r, size_t j, float *s1,
                            float *s2, float *kept)
{
    __m256 sum[4], dot[4];

    for (int v = 0; v < nv; v++)
        sum[v] = dot[v] = _mm256_setzero_ps();
    for (size_t row = 0; row < r->rows; row++)
        for (int v = 0; v < nv; v++) {
            size_t at = row * r->c + j + 8 * (size_t)v;
            size_t col = j + 8 * (size_t)v;
            __m256 du = du8(act, r, at, col, is_part, mask);

            sum[v] = _mm256_add_ps(sum[v], du);
            dot[v] = _mm256_fmadd_ps(du, centred8(r, at, col, is_part, mask),
                                     dot[v]);
            if (kept)
                store8(kept + at, is_part, mask, du);
        }
    for (int v = 0; v < nv; v++) {
        store8(s1 + j + 8 * (size_t)v, is_part, mask, sum[v]);
        store8(s2 + j + 8 * (size_t)v, is_part, mask, dot[v]);
    }
}

INLINE void norm_sums_all(const enum act act, const struct norm_bwd_rows *r,
                          float *s1, float *s2, float *kept)
{
    __m256i mask = mask8(r->c % 8);
    size_t j = 0;

    for (; j + 32 <= r->c; j += 32)
        norm_sums_block(act, 4, false, mask, r, j, s1, s2, kept);
    for (; j + 8 <= r->c; j += 8)
        norm_sums_block(act, 1, false, mask, r, j, s1, s2, kept);
    if (j < r->c)
        norm_sums_block(act, 1, true, mask, r, j, s1, s2, kept);
}

static void norm_bwd_sums_avx2(const struct norm_bwd_rows *rows, float *s1,
                               float *s2, float *kept)
{
    const struct norm_bwd_rows r = *rows;

    if (kept) {
        WITH_ACT(r.act, norm_sums_all, &r, s1, s2, kept)
    } else {
        WITH_ACT(r.act, norm_sums_all, &r, s1, s2, NULL)
    }
}

/* The weights of one call of norm_bwd_apply. */
struct dx_weights {
    const float *a, *b, *d;
    bool acc;
};

INLINE void norm_apply_step(const enum act act, const bool is_part,
                            __m256i mask, const struct norm_bwd_rows *r,
                            size_t at, size_t j, const struct dx_weights *w,
                            float *dx)
{
    __m256 du = du8(act, r, at, j, is_part, mask);
    __m256 v = _mm256_fmadd_ps(load8(w->b + j, is_part, mask),
                               centred8(r, at, j, is_part, mask),
                               load8(w->d + j, is_part, mask));

    v = _mm256_fmadd_ps(load8(w->a + j, is_part, mask), du, v);
    if (w->acc)
        v = _mm256_add_ps(load8(dx + at, is_part, mask), v);
    store8(dx + at, is_part, mask, v);
}

INLINE void norm_apply_all(const enum act act, const struct norm_bwd_rows *r,
                           const struct dx_weights *w, float *dx)
{
    __m256i mask = mask8(r->c % 8);

    for (size_t row = 0; row < r->rows; row++) {
        size_t j = 0, at = row * r->c;

        for (; j + 8 <= r->c; j += 8)
            norm_apply_step(act, false, mask, r, at + j, j, w, dx);
        if (j < r->c)
            norm_apply_step(act, true, mask, r, at + j, j, w, dx);
    }
}

static void norm_bwd_apply_avx2(const struct norm_bwd_rows *rows,
                                const float *a, const float *b, const float *d,
                                float *dx, bool acc)
{
    const struct norm_bwd_rows r = *rows;
    const struct dx_weights w = {a, b, d, acc};

    WITH_ACT(r.act, norm_apply_all, &r, &w, dx)
}

/* -- softmax ---------------------------------------------------------------- */

/* nr rows by nv vectors from s on: s = exp(s - top), added to total. */
INLINE void softmax_exp(const int nr, const int nv, const bool is_part,
                        __m256i mask, float *s, size_t ld, const __m256 *top,
                        __m256 *total)
{
    __m256 e[4];

    for (int i = 0; i < nr * nv; i++)
        e[i] = _mm256_sub_ps(
            load8(s + (size_t)(i / nv) * ld + 8 * (i % nv), is_part, mask),
            top[i % nv]);
    exp8_each(nr * nv, true, e);
    for (int i = 0; i < nr * nv; i++) {
        store8(s + (size_t)(i / nv) * ld + 8 * (i % nv), is_part, mask, e[i]);
        total[i % nv] = _mm256_add_ps(total[i % nv], e[i]);
    }
}

/* Columns of nv vectors; four vectors at a time. */
INLINE void softmax_block(const int nv, const bool is_part, __m256i mask,
                          size_t rows, float *s, size_t ld, float *max,
                          float *sum, float *factor)
{
    const int nr = 4 / nv;
    __m256 old[2], top[2], total[2];
    size_t i = 0;

    for (int v = 0; v < nv; v++) {
        __m256 top2 = old[v] = top[v] = load8(max + 8 * v, is_part, mask);

        for (i = 0; i + 2 <= rows; i += 2) {
            const float *at = s + i * ld + 8 * v;

            top[v] = _mm256_max_ps(top[v], load8(at, is_part, mask));
            top2 = _mm256_max_ps(top2, load8(at + ld, is_part, mask));
        }
        if (i < rows)
            top[v] =
                _mm256_max_ps(top[v], load8(s + i * ld + 8 * v, is_part, mask));
        top[v] = _mm256_max_ps(top[v], top2);
        total[v] = _mm256_setzero_ps();
    }
    for (i = 0; i + (size_t)nr <= rows; i += (size_t)nr)
        softmax_exp(nr, nv, is_part, mask, s + i * ld, ld, top, total);
    for (; i < rows; i++)
        softmax_exp(1, nv, is_part, mask, s + i * ld, ld, top, total);
    for (int v = 0; v < nv; v++) {
        __m256 f = exp8(_mm256_sub_ps(old[v], top[v]));
        __m256 before = load8(sum + 8 * v, is_part, mask);

        store8(factor + 8 * v, is_part, mask, f);
        store8(sum + 8 * v, is_part, mask,
               _mm256_fmadd_ps(before, f, total[v]));
        store8(max + 8 * v, is_part, mask, top[v]);
    }
}

static void softmax_columns_avx2(size_t rows, size_t cols, float *s, size_t ld,
                                 float *max, float *sum, float *factor)
{
    __m256i mask = mask8(cols % 8);
    size_t j = 0;

    for (; j + 16 <= cols; j += 16)
        softmax_block(2, false, mask, rows, s + j, ld, max + j, sum + j,
                      factor + j);
    for (; j + 8 <= cols; j += 8)
        softmax_block(1, false, mask, rows, s + j, ld, max + j, sum + j,
                      factor + j);
    if (j < cols)
        softmax_block(1, true, mask, rows, s + j, ld, max + j, sum + j,
                      factor + j);
}

INLINE void softmax_bwd_step(const bool is_part, __m256i mask, float *s,
                             float *ds, const float *lse, const float *dot,
                             __m256 alpha)
{
    __m256 p =
        exp8(_mm256_sub_ps(load8(s, is_part, mask), load8(lse, is_part, mask)));
    __m256 d =
        _mm256_sub_ps(load8(ds, is_part, mask), load8(dot, is_part, mask));

    store8(s, is_part, mask, p);
    store8(ds, is_part, mask, _mm256_mul_ps(_mm256_mul_ps(p, d), alpha));
}

static void softmax_columns_bwd_avx2(size_t rows, size_t cols, float *s,
                                     float *ds, size_t ld, const float *lse,
                                     const float *dot, float alpha)
{
    __m256i mask = mask8(cols % 8);

    for (size_t i = 0; i < rows; i++, s += ld, ds += ld) {
        size_t j = 0;

        for (; j + 8 <= cols; j += 8)
            softmax_bwd_step(false, mask, s + j, ds + j, lse + j, dot + j,
                             set8(alpha));
        if (j < cols)
            softmax_bwd_step(true, mask, s + j, ds + j, lse + j, dot + j,
                             set8(alpha));
    }
}

/* -- rows of tokens --------------------------------------------------------- */

/* Sum of x - centre, or of its square, along a row. */
INLINE float row_sum(const bool is_square, size_t c, const float *x,
                     float centre)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m256 m = set8(centre);
    size_t j = 0;

    for (; j < c; j += 16)
        for (size_t v = 0; v < 2 && j + 8 * v < c; v++) {
            size_t left = c - j - 8 * v;
            __m256i mask = mask8(left < 8 ? left : 8);
            __m256 d = _mm256_sub_ps(load8(x + j + 8 * v, left < 8, mask), m);

            if (left < 8)
                d = _mm256_and_ps(d, _mm256_castsi256_ps(mask));
            sum[v] = is_square ? _mm256_fmadd_ps(d, d, sum[v])
                               : _mm256_add_ps(sum[v], d);
        }
    return sum8(_mm256_add_ps(sum[0], sum[1]));
}

INLINE void norm_step(const bool is_part, __m256i mask, const float *x,
                      __m256 mean, __m256 rstd, const float *gamma,
                      const float *beta, float *y)
{
    __m256 v =
        _mm256_mul_ps(_mm256_sub_ps(load8(x, is_part, mask), mean), rstd);

    if (gamma)
        v = _mm256_fmadd_ps(load8(gamma, is_part, mask), v,
                            load8(beta, is_part, mask));
    store8(y, is_part, mask, v);
}

/* The mean is found in two passes: the sum of what a first, rounded mean
 * leaves corrects it, so that a mean far from 0 costs nothing. */
static void layer_norm_avx2(size_t rows, size_t c, const float *x, size_t ldx,
                            const float *gamma, const float *beta, float eps,
                            float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        float mean = row_sum(false, c, x, 0) / (float)c;
        float rstd;
        size_t j = 0;

        mean += row_sum(false, c, x, mean) / (float)c;
        rstd = 1.0f / sqrtf(row_sum(true, c, x, mean) / (float)c + eps);
        for (; j + 8 <= c; j += 8)
            norm_step(false, mask8(8), x + j, set8(mean), set8(rstd),
                      gamma ? gamma + j : NULL, gamma ? beta + j : NULL, y + j);
        if (j < c)
            norm_step(true, mask8(c - j), x + j, set8(mean), set8(rstd),
                      gamma ? gamma + j : NULL, gamma ? beta + j : NULL, y + j);
    }
}

INLINE void glu_rows(const enum act act, size_t rows, size_t c, const float *x,
                     size_t ldx, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        size_t j = 0;

        for (; j + 8 <= c; j += 8)
            _mm256_storeu_ps(
                y + j, _mm256_mul_ps(_mm256_loadu_ps(x + j),
                                     act8(act, _mm256_loadu_ps(x + c + j))));
        if (j < c) {
            __m256i mask = mask8(c - j);
            __m256 gate = act8(act, _mm256_maskload_ps(x + c + j, mask));

            _mm256_maskstore_ps(
                y + j, mask,
                _mm256_mul_ps(_mm256_maskload_ps(x + j, mask), gate));
        }
    }
}

static void glu_avx2(enum act act, size_t rows, size_t c, const float *x,
                     size_t ldx, float *y, size_t ldy)
{
    WITH_ACT(act, glu_rows, rows, c, x, ldx, y, ldy)
}

/* -- sums along rows and plain streams ------------------------------------- */

static void row_dots_avx2(size_t rows, size_t c, const float *a, size_t lda,
                          const float *b, size_t ldb, float *out)
{
    for (size_t i = 0; i < rows; i++, a += lda, b += ldb) {
        __m256 sum = _mm256_setzero_ps();
        size_t j = 0;

        for (; j + 8 <= c; j += 8)
            sum = _mm256_fmadd_ps(_mm256_loadu_ps(a + j),
                                  _mm256_loadu_ps(b + j), sum);
        if (j < c)
            sum = _mm256_fmadd_ps(_mm256_maskload_ps(a + j, mask8(c - j)),
                                  _mm256_maskload_ps(b + j, mask8(c - j)), sum);
        out[i] = sum8(sum);
    }
}

INLINE void weighted_block(const int nv, const bool is_part, __m256i mask,
                           size_t n_terms, const float *const *x,
                           const float *w, size_t at, float *y)
{
    __m256 sum[4];

    for (int v = 0; v < nv; v++)
        sum[v] = _mm256_setzero_ps();
    for (size_t i = 0; i < n_terms; i++)
        for (int v = 0; v < nv; v++)
            sum[v] = _mm256_fmadd_ps(
                set8(w[i]), load8(x[i] + at + 8 * v, is_part, mask), sum[v]);
    for (int v = 0; v < nv; v++)
        store8(y + at + 8 * v, is_part, mask, sum[v]);
}

static void weighted_sum_avx2(size_t n_terms, const float *const *x,
                              const float *w, size_t c, float *y)
{
    __m256i mask = mask8(c % 8);
    size_t j = 0;

    for (; j + 32 <= c; j += 32)
        weighted_block(4, false, mask, n_terms, x, w, j, y);
    for (; j + 8 <= c; j += 8)
        weighted_block(1, false, mask, n_terms, x, w, j, y);
    if (j < c)
        weighted_block(1, true, mask, n_terms, x, w, j, y);
}

/* Add the squares of v to two vectors of double. */
INLINE void add_squares(__m256 v, __m256d *low, __m256d *high)
{
    __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));

    *low = _mm256_fmadd_pd(a, a, *low);
    *high = _mm256_fmadd_pd(b, b, *high);
}

static double sum_lanes_f64(__m256d v)
{
    __m128d s =
        _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));

    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

static double sum_squares_avx2(size_t n, const float *x)
{
    __m256d s[4];
    size_t i = 0;

    for (int k = 0; k < 4; k++)
        s[k] = _mm256_setzero_pd();
    for (; i + 16 <= n; i += 16) {
        add_squares(_mm256_loadu_ps(x + i), &s[0], &s[1]);
        add_squares(_mm256_loadu_ps(x + i + 8), &s[2], &s[3]);
    }
    for (; i < n; i += 8)
        add_squares(_mm256_maskload_ps(x + i, mask8(n - i < 8 ? n - i : 8)),
                    &s[0], &s[1]);
    return sum_lanes_f64(
        _mm256_add_pd(_mm256_add_pd(s[0], s[2]), _mm256_add_pd(s[1], s[3])));
}

INLINE void error_step(const bool is_part, __m256i mask, const float *y,
                       const float *target, float a, float *dy, __m256d *low,
                       __m256d *high)
{
    __m256 d =
        _mm256_sub_ps(load8(y, is_part, mask), load8(target, is_part, mask));

    add_squares(d, low, high);
    if (dy)
        store8(dy, is_part, mask, _mm256_mul_ps(set8(a), d));
}

static double squared_error_avx2(size_t n, const float *y, const float *target,
                                 float a, float *dy)
{
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        error_step(false, mask8(8), y + i, target + i, a, dy ? dy + i : NULL,
                   &low, &high);
    if (i < n)
        error_step(true, mask8(n - i), y + i, target + i, a, dy ? dy + i : NULL,
                   &low, &high);
    return sum_lanes_f64(_mm256_add_pd(low, high));
}

/* p' = decay p - step_size m / (sqrt(v) / c2_sqrt + eps) */
INLINE __m256 adamw_move(const struct adamw_step *s, __m256 p, __m256 m,
                         __m256 v)
{
    __m256 root = _mm256_div_ps(_mm256_sqrt_ps(v), set8(s->c2_sqrt));
    __m256 step = _mm256_div_ps(m, _mm256_add_ps(root, set8(s->eps)));

    return _mm256_sub_ps(_mm256_mul_ps(p, set8(s->decay)),
                         _mm256_mul_ps(set8(s->step_size), step));
}

/* As the scalar rung, operation by operation, so the bits agree. */
INLINE void adamw_lanes(const bool is_part, __m256i mask,
                        const struct adamw_step *s, float *p, float *g,
                        float *m, float *v, float *ema)
{
    __m256 grad = _mm256_mul_ps(load8(g, is_part, mask), set8(s->grad_scale));
    __m256 m_new = load8(m, is_part, mask);
    __m256 v_new = _mm256_mul_ps(load8(v, is_part, mask), set8(s->beta2));
    __m256 p_new, mean;

    m_new = _mm256_add_ps(
        m_new, _mm256_mul_ps(set8(s->m_weight), _mm256_sub_ps(grad, m_new)));
    v_new = _mm256_add_ps(
        v_new, _mm256_mul_ps(_mm256_mul_ps(set8(s->v_weight), grad), grad));
    p_new = adamw_move(s, load8(p, is_part, mask), m_new, v_new);
    store8(g, is_part, mask, _mm256_setzero_ps());
    store8(m, is_part, mask, m_new);
    store8(v, is_part, mask, v_new);
    store8(p, is_part, mask, p_new);
    if (ema) {
        mean = load8(ema, is_part, mask);
        mean = _mm256_add_ps(mean, _mm256_mul_ps(set8(s->ema_weight),
                                                 _mm256_sub_ps(p_new, mean)));
        store8(ema, is_part, mask, mean);
    }
}

static void adamw_avx2(size_t n, const struct adamw_step *s, float *p, float *g,
                       float *m, float *v, float *ema)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        adamw_lanes(false, mask8(8), s, p + i, g + i, m + i, v + i,
                    ema ? ema + i : NULL);
    if (i < n)
        adamw_lanes(true, mask8(n - i), s, p + i, g + i, m + i, v + i,
                    ema ? ema + i : NULL);
}

void vector_kernels_avx2(struct vector_kernels *v)
{
    *v = (struct vector_kernels){
        .affine_act = affine_act_avx2,
        .act_bwd = act_bwd_avx2,
        .moments = moments_avx2,
        .norm_bwd_sums = norm_bwd_sums_avx2,
        .norm_bwd_apply = norm_bwd_apply_avx2,
        .layer_norm = layer_norm_avx2,
        .glu = glu_avx2,
        .column_sums = column_sums_avx2,
        .column_dots = column_dots_avx2,
        .matmul = product_avx2,
        .transpose = transpose_avx2,
        .softmax_columns = softmax_columns_avx2,
        .softmax_columns_bwd = softmax_columns_bwd_avx2,
        .row_dots = row_dots_avx2,
        .scale_columns = loops_scale_columns,
        .axpby = loops_axpby,
        .div_scalar = loops_div_scalar,
        .scale_shift = loops_scale_shift,
        .weighted_sum = weighted_sum_avx2,
        .mean_cells2 = loops_mean_cells2,
        .sum_squares = sum_squares_avx2,
        .squared_error = squared_error_avx2,
        .adamw = adamw_avx2,
    };
}
