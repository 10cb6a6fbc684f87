/* gemm_avx512bf16.c - 14 x 32 tiles of bf16 products with f32 sums.
 *
 * 28 accumulators, two registers of the panel and one broadcast: 31 of the 32
 * registers.  A step takes two k: each 32-bit lane of the panel holds a pair,
 * and a pair of A is broadcast.  That is 28 dot products and 16 loads.
 *
 * There are not sixteen address registers for fourteen rows, so the inner loop
 * wants rows evenly spaced: four of them and twice, thrice the distance.  Rows
 * that are not (the end of an image row) are done in even pieces; a piece has
 * its own instance with m a constant.  Each instance runs the same sequence an
 * element and gives the same bits.
 *
 * Of 14 rows side by side no prefetcher of the machine keeps track.  Where rows
 * are known to follow one another (rows()), a tile asks for their lines four
 * looks of 16 pairs ahead, and for the lines of its sums and of what is added.
 *
 * The instruction rounds nothing but sums: products of two bf16 are exact in
 * f32; it adds the odd product first, then the even one, each sum rounded to
 * nearest, and takes numbers too small to be normal as 0.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/avx512bf16/lanes_avx512bf16.h"
#include "kernels/gemm_kernels.h"
#include "kernels/with_act.h"

#define MR 14
#define NR 32

/* -- tiles ----------------------------------------------------------------- */

/* Rows r0 .. r0 + m of the tile, some columns of it. */
INLINE void store_columns(const struct gemm_tile *t, __m512 acc[MR][2],
                          unsigned r0, const unsigned m)
{
    __m512 scale = set16(t->scale);
    __mmask16 mask[2] = {lanes16(t->n), lanes16(t->n > 16 ? t->n - 16 : 0)};
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++) {
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) {
            if (16 * h >= t->n) /* a pointer there may be out of the array */
                continue;
            size_t at = (r0 + r) * t->ldc + 16 * h;
            __m512 v = acc[r][h];
            if (t->bias)
                v = _mm512_add_ps(
                    v, _mm512_maskz_loadu_ps(mask[h], t->bias[r0 + r] +
                                                          t->bias_at + 16 * h));
            if (t->res)
                v = _mm512_add_ps(v,
                                  _mm512_maskz_loadu_ps(mask[h], t->res + at));
            _mm512_mask_storeu_ps(t->c + at, mask[h], _mm512_mul_ps(v, scale));
        }
    }
}

/* Sums of whole rows: c[r][] = acc[r] + bias + res[r][]. */
struct sums {
    float *c;
    const float *bias, *res; /* or NULL                                      */
    size_t ldc;
};

INLINE void store_rows(const struct sums *to, __m512 acc[MR][2],
                       const bool has_bias, const bool has_res,
                       const unsigned m)
{
    const float *bias = to->bias, *res = to->res;
    float *c = to->c;
    size_t ldc = to->ldc;
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++) {
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) {
            __m512 v = acc[r][h];
            if (has_bias)
                v = _mm512_add_ps(v, _mm512_loadu_ps(bias + 16 * h));
            if (has_res)
                v = _mm512_add_ps(v, _mm512_loadu_ps(res + 16 * h));
            _mm512_storeu_ps(c + 16 * h, v);
        }
        c += ldc;
        if (has_res)
            res += ldc;
    }
}

INLINE void store_whole(const struct sums *to, __m512 acc[MR][2],
                        const unsigned m)
{
    if (to->bias && to->res)
        store_rows(to, acc, true, true, m);
    else if (to->bias)
        store_rows(to, acc, true, false, m);
    else if (to->res)
        store_rows(to, acc, false, true, m);
    else
        store_rows(to, acc, false, false, m);
}

INLINE bool has_one_bias(const struct gemm_tile *t, unsigned r0,
                         const unsigned m)
{
    bool is_one = true;
    for (unsigned r = 1; r < m; r++)
        is_one &= t->bias[r0 + r] == t->bias[r0];
    return is_one;
}

/* Most tiles of a network are whole.  No product starts while they are stored,
 * so what their stores need is read once: for all that the compiler knows the
 * store of a vector may change *t. */
INLINE void store(const struct gemm_tile *t, __m512 acc[MR][2], unsigned r0,
                  const unsigned m)
{
    size_t at = r0 * t->ldc;
    struct sums whole = {.c = t->c + at,
                         .bias = t->bias ? t->bias[r0] + t->bias_at : NULL,
                         .res = t->res ? t->res + at : NULL,
                         .ldc = t->ldc};

    if (t->n != NR || t->scale != 1.0f || (t->bias && !has_one_bias(t, r0, m)))
        store_columns(t, acc, r0, m);
    else
        store_whole(&whole, acc, m);
}

/* One pair of k of row `r`, at `from`. */
#define STEP(r, from)                                   \
    if ((r) < m) {                                      \
        __m512bh x = pair_at(from);                     \
        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], x, b0); \
        acc[r][1] = _mm512_dpbf16_ps(acc[r][1], x, b1); \
    }

/* Pairs of k from a on up to `end`, of the panel at b: a4 is four rows behind
 * a, step3 three steps.  a, a4, a8, a12 and b move on. */
#define PAIRS_UP_TO_END                                     \
    for (; a < end; b += 4 * NR) {                          \
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b);      \
        __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + 64); \
        STEP(0, a)                                          \
        STEP(1, a + step)                                   \
        STEP(2, a + 2 * step)                               \
        STEP(3, a + step3)                                  \
        STEP(4, a4)                                         \
        STEP(5, a4 + step)                                  \
        STEP(6, a4 + 2 * step)                              \
        STEP(7, a4 + step3)                                 \
        STEP(8, a8)                                         \
        STEP(9, a8 + step)                                  \
        STEP(10, a8 + 2 * step)                             \
        STEP(11, a8 + step3)                                \
        STEP(12, a12)                                       \
        STEP(13, a12 + step)                                \
        a += 4;                                             \
        a4 += 4;                                            \
        a8 += 4;                                            \
        a12 += 4;                                           \
    }

/* m rows from row r0 on, `step` bytes apart. */
INLINE void even_rows(const struct gemm_tile *t, unsigned r0, ptrdiff_t step,
                      const unsigned m)
{
    __m512 acc[MR][2];
    const char *a = t->a[r0], *b = t->b;
    ptrdiff_t run_bytes = (ptrdiff_t)t->run_len * 2, step3 = 3 * step;
    ptrdiff_t skip = (ptrdiff_t)t->run_stride * 2 - run_bytes;
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (size_t run = 0; run < t->n_runs; run++) {
        const char *end = a + run_bytes;
        const char *a4 = a + 4 * step, *a8 = a + 8 * step, *a12 = a + 12 * step;
        PAIRS_UP_TO_END
        a += skip;
    }
    store(t, acc, r0, m);
}

#define EVEN_ROWS(m)                                                  \
    static void even_rows_##m(const struct gemm_tile *t, unsigned r0, \
                              ptrdiff_t step)                         \
    {                                                                 \
        even_rows(t, r0, step, m);                                    \
    }
EVEN_ROWS(1)
EVEN_ROWS(2)
EVEN_ROWS(3)
EVEN_ROWS(4)
EVEN_ROWS(5)
EVEN_ROWS(6)
EVEN_ROWS(7)
EVEN_ROWS(8)
EVEN_ROWS(9)
EVEN_ROWS(10)
EVEN_ROWS(11)
EVEN_ROWS(12)
EVEN_ROWS(13)
EVEN_ROWS(14)

typedef void (*even_rows_fn)(const struct gemm_tile *, unsigned, ptrdiff_t);
static const even_rows_fn by_rows[MR + 1] = {
    NULL,         even_rows_1,  even_rows_2,  even_rows_3,  even_rows_4,
    even_rows_5,  even_rows_6,  even_rows_7,  even_rows_8,  even_rows_9,
    even_rows_10, even_rows_11, even_rows_12, even_rows_13, even_rows_14};

/* Bytes from row r to the next; addresses of two arrays, so as numbers. */
INLINE ptrdiff_t distance(const struct gemm_tile *t, unsigned r)
{
    return (ptrdiff_t)((uintptr_t)t->a[r + 1] - (uintptr_t)t->a[r]);
}

static void tile(const struct gemm_tile *t)
{
    for (unsigned r0 = 0, r1; r0 < t->m; r0 = r1) {
        ptrdiff_t step = r0 + 1 < t->m ? distance(t, r0) : 0;
        for (r1 = r0 + 1; r1 < t->m && distance(t, r1 - 1) == step; r1++)
            ;
        by_rows[r1 - r0](t, r0, step);
    }
}

/* -- rows ------------------------------------------------------------------ */

/* Pairs of k between two looks ahead: a cache line of A. */
#define LOOK 16

/* Looks between asking for lines of A and using them: 4 are 2 KB of rows and
 * 8 KB of the panel, which the first cache holds whatever k is. */
#define AHEAD 4

/* What the tile at hand fetches for those behind it. */
struct ahead {
    const char *a;  /* rows of the next tile                                 */
    const char *b;  /* of the next panel, this tile's share                  */
    size_t b_lines; /* at each look                                          */
};

/* Operands that come next, those of the tile at hand from a on, and the sums'
 * lines. */
INLINE void look_ahead(struct ahead *to, const char *a, ptrdiff_t step,
                       const struct sums *sums, size_t at, size_t looks,
                       const unsigned m)
{
    const char *line = at + AHEAD < looks
                           ? a + 64 * AHEAD
                           : to->a + 64 * (ptrdiff_t)(at + AHEAD - looks);
    for (unsigned r = 0; r < m; r++)
        _mm_prefetch(line + r * step, _MM_HINT_T0);
    for (size_t i = 0; i < to->b_lines; i++, to->b += 64)
        _mm_prefetch(to->b, _MM_HINT_T1);
    for (size_t r = at * m / looks; r < (at + 1) * m / looks; r++) {
        __builtin_prefetch(sums->c + r * sums->ldc, 1, 3);
        __builtin_prefetch(sums->c + r * sums->ldc + 16, 1, 3);
        if (!sums->res)
            continue;
        __builtin_prefetch(sums->res + r * sums->ldc, 0, 3);
        __builtin_prefetch(sums->res + r * sums->ldc + 16, 0, 3);
    }
}

/* m rows of a, `step` bytes apart, of `pairs` pairs of k. */
INLINE void some_rows(const struct sums *sums, const char *a, ptrdiff_t step,
                      const char *b, size_t pairs, struct ahead *to,
                      const unsigned m)
{
    __m512 acc[MR][2];
    size_t looks = (pairs + LOOK - 1) / LOOK;
    ptrdiff_t step3 = 3 * step;
#pragma GCC unroll 14
    for (unsigned r = 0; r < m; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (size_t at = 0; at < looks; at++) {
        size_t left = pairs - at * LOOK;
        const char *end = a + 4 * (left < LOOK ? left : LOOK);
        const char *a4 = a + 4 * step, *a8 = a + 8 * step, *a12 = a + 12 * step;
        look_ahead(to, a, step, sums, at, looks, m);
        PAIRS_UP_TO_END
    }
    store_whole(sums, acc, m);
}

#define SOME_ROWS(m)                                                       \
    static void some_rows_##m(const struct sums *sums, const char *a,      \
                              ptrdiff_t step, const char *b, size_t pairs, \
                              struct ahead *to)                            \
    {                                                                      \
        some_rows(sums, a, step, b, pairs, to, m);                         \
    }
SOME_ROWS(1)
SOME_ROWS(2)
SOME_ROWS(3)
SOME_ROWS(4)
SOME_ROWS(5)
SOME_ROWS(6)
SOME_ROWS(7)
SOME_ROWS(8)
SOME_ROWS(9)
SOME_ROWS(10)
SOME_ROWS(11)
SOME_ROWS(12)
SOME_ROWS(13)
SOME_ROWS(14)

typedef void (*some_rows_fn)(const struct sums *, const char *, ptrdiff_t,
                             const char *, size_t, struct ahead *);
static const some_rows_fn some_by_rows[MR + 1] = {
    NULL,         some_rows_1,  some_rows_2,  some_rows_3,  some_rows_4,
    some_rows_5,  some_rows_6,  some_rows_7,  some_rows_8,  some_rows_9,
    some_rows_10, some_rows_11, some_rows_12, some_rows_13, some_rows_14};

/* Tiles of one height or one row fewer. */
static void rows(const struct gemm_rows *g)
{
    ptrdiff_t step = (ptrdiff_t)g->k * 2;
    const char *a = g->a;
    size_t pairs = g->k / 2, looks = (pairs + LOOK - 1) / LOOK;
    size_t tiles = (g->m + MR - 1) / MR;
    struct sums sums = {
        .c = g->c, .bias = g->bias, .res = g->res, .ldc = g->ldc};
    struct ahead to = {.b = g->next};

    if (g->next)
        to.b_lines = (2 * pairs + tiles * looks - 1) / (tiles * looks);
    for (size_t left = g->m, m; left > 0; left -= m, tiles--) {
        m = (left + tiles - 1) / tiles;
        to.a = left > m ? a + (ptrdiff_t)m * step : (const char *)g->a;
        some_by_rows[m](&sums, a, step, g->b, pairs, &to);
        a += (ptrdiff_t)m * step;
        sums.c += m * g->ldc;
        if (sums.res)
            sums.res += m * g->ldc;
    }
}

/* -- operands -------------------------------------------------------------- */

INLINE void store_part(uint16_t *to, __m512 v, size_t n)
{
    _mm256_mask_storeu_epi16(to, lanes16(n), narrow16(v));
}

static void narrow(void *dst, const float *src, size_t n)
{
    uint16_t *d = dst;
    size_t j = 0;
    for (; j + 32 <= n; j += 32)
        _mm512_storeu_si512(d + j, narrow32(_mm512_loadu_ps(src + j),
                                            _mm512_loadu_ps(src + j + 16)));
    for (; j < n; j += 16)
        store_part(d + j, _mm512_maskz_loadu_ps(lanes16(n - j), src + j),
                   n - j);
}

/* act(scale x + shift) of the lanes of `mask`. */
INLINE __m512 acted(const enum act act, const bool is_affine, __mmask16 mask,
                    const float *x, const float *scale, const float *shift)
{
    __m512 v = _mm512_maskz_loadu_ps(mask, x);
    if (is_affine)
        v = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, scale), v,
                            _mm512_maskz_loadu_ps(mask, shift));
    return act16(act, v);
}

INLINE void narrow_acted(const enum act act, const bool is_affine, uint16_t *d,
                         size_t n, const float *x, const float *scale,
                         const float *shift)
{
    size_t j = 0;
    for (; j + 16 <= n; j += 16)
        _mm256_storeu_si256((__m256i *)(void *)(d + j),
                            narrow16(acted(act, is_affine, 0xffff, x + j,
                                           is_affine ? scale + j : NULL,
                                           is_affine ? shift + j : NULL)));
    if (j < n)
        store_part(d + j,
                   acted(act, is_affine, lanes16(n - j), x + j,
                         is_affine ? scale + j : NULL,
                         is_affine ? shift + j : NULL),
                   n - j);
}

INLINE void narrow_row(const enum act act, uint16_t *d, size_t n,
                       const float *x, const float *scale, const float *shift)
{
    if (scale)
        narrow_acted(act, true, d, n, x, scale, shift);
    else
        narrow_acted(act, false, d, n, x, NULL, NULL);
}

static void narrow_act(void *dst, enum act act, size_t n, const float *x,
                       const float *scale, const float *shift)
{
    WITH_ACT(act, narrow_row, dst, n, x, scale, shift)
}

static void panel(void *dst, const float *src, size_t ld, size_t k, unsigned n)
{
    __m512i order = order_of_pairs();
    char *d = dst;
    __mmask16 mask[2] = {lanes16(n), lanes16(n > 16 ? n - 16 : 0)};
    for (size_t i = 0; i < k; i += 2, src += 2 * ld)
        for (unsigned h = 0; h < 2; h++, d += 64) {
            __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
            if (16 * h < n) {
                even = _mm512_maskz_loadu_ps(mask[h], src + 16 * h);
                if (i + 1 < k)
                    odd = _mm512_maskz_loadu_ps(mask[h], src + ld + 16 * h);
            }
            _mm512_storeu_si512(d, paired(order, even, odd));
        }
}

/* -- the machine ----------------------------------------------------------- */

static uint64_t burst(size_t rounds, float *sink)
{
    __m512 acc[MR][2], sum = set16(*sink);
    __m512bh x = (__m512bh)narrow32(sum, sum);
#pragma GCC unroll 14
    for (unsigned r = 0; r < MR; r++)
#pragma GCC unroll 2
        for (unsigned h = 0; h < 2; h++) /* all different, or they merge */
            acc[r][h] = set16((float)(2 * r + h));
    for (size_t i = 0; i < rounds; i++) {
#pragma GCC unroll 14
        for (unsigned r = 0; r < MR; r++) {
            acc[r][0] = _mm512_dpbf16_ps(acc[r][0], x, x);
            acc[r][1] = _mm512_dpbf16_ps(acc[r][1], x, x);
        }
    }
#pragma GCC unroll 14
    for (unsigned r = 0; r < MR; r++)
        sum = _mm512_add_ps(sum, _mm512_add_ps(acc[r][0], acc[r][1]));
    float first[16];
    _mm512_storeu_ps(first, sum);
    *sink = first[0];
    return (uint64_t)rounds * MR * NR * 2 * 2;
}

void gemm_kernels_avx512bf16(struct gemm_kernels *g)
{
    g->operand = DTYPE_BF16;
    g->is_bf16 = true;
    g->is_even = true;
    g->mr = MR;
    g->nr = NR;
    g->ku = 2;
    g->is_blas = false;
    g->tile = tile;
    g->rows = rows;
    g->dots = NULL;
    g->narrow = narrow;
    g->narrow_act = narrow_act;
    g->panel = panel;
    g->round = NULL;
    g->burst = burst;
}
