/* weight_avx2.c - weights of files to operands, for AVX2 and F16C.
 *
 * Spreading is a transposition of 8 x 8 numbers at a time, widened on the way
 * in; all columns of eight lines are written before the next eight, so that
 * cache lines fill up while they are near.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/weight_kernels.h"

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/weight_loops.h"

/* Eight numbers of a row. */
INLINE __m256 load8(const char *p, const enum dtype type)
{
    __m128i half;

    if (type == DTYPE_F32)
        return _mm256_loadu_ps((const float *)(const void *)p);
    half = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (type == DTYPE_F16)
        return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

INLINE void transpose8(__m256 x[8])
{
    __m256 t[8], s[8];

#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; h++) {
        __m256 *a = t + 4 * h, *b = s + 4 * h;
        b[0] = _mm256_shuffle_ps(a[0], a[2], 0x44);
        b[1] = _mm256_shuffle_ps(a[0], a[2], 0xee);
        b[2] = _mm256_shuffle_ps(a[1], a[3], 0x44);
        b[3] = _mm256_shuffle_ps(a[1], a[3], 0xee);
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(s[i], s[4 + i], 0x20);
        x[4 + i] = _mm256_permute2f128_ps(s[i], s[4 + i], 0x31);
    }
}

/* The lines of `count` numbers of each row from number i on, count <= 8. */
INLINE void spread_some(const struct weight_spread *s, const char *const *rows,
                        size_t i, float *const lines[8], size_t count,
                        const enum dtype type)
{
    size_t size = type == DTYPE_F32 ? 4 : 2;

    for (unsigned j = 0; j < s->nr; j += 8) {
        __m256 x[8];

        for (unsigned r = 0; r < 8; r++) {
            char tail[8 * sizeof(float)] = {0};

            if (j + r >= s->n) {
                x[r] = _mm256_setzero_ps();
            } else if (count == 8) {
                x[r] = load8(rows[j + r] + i * size, type);
            } else { /* nothing behind the end of a file is there to read */
                __builtin_memcpy(tail, rows[j + r] + i * size, count * size);
                x[r] = load8(tail, type);
            }
        }
        transpose8(x);
        for (size_t r = 0; r < count; r++)
            _mm256_store_ps(lines[r] + j, x[r]);
    }
}

/* Eight full lines of sixteen full columns: the usual case. */
INLINE void spread_16(const char *const *rows, size_t at, float *const lines[8],
                      const enum dtype type)
{
#pragma GCC unroll 2
    for (unsigned j = 0; j < 16; j += 8) {
        __m256 x[8];
#pragma GCC unroll 8
        for (unsigned r = 0; r < 8; r++)
            x[r] = load8(rows[j + r] + at, type);
        transpose8(x);
#pragma GCC unroll 8
        for (unsigned r = 0; r < 8; r++)
            _mm256_store_ps(lines[r] + j, x[r]);
    }
}

INLINE void spread_all(const struct weight_spread *s, const enum dtype type)
{
    const char *const *rows = (const char *const *)s->rows;
    size_t all = s->channels * s->taps, tap = 0;
    size_t size = type == DTYPE_F32 ? 4 : 2;
    float *line = s->dst; /* of tap 0                                        */

    for (size_t i = 0, count; i < all; i += count) {
        float *lines[8];

        count = all - i < 8 ? all - i : 8;
        for (size_t r = 0; r < count; r++) {
            lines[r] = line + tap * s->tap_step;
            if (++tap == s->taps) {
                tap = 0;
                line += s->nr;
            }
        }
        if (count == 8 && s->n == 16 && s->nr == 16)
            spread_16(rows, i * size, lines, type);
        else
            spread_some(s, rows, i, lines, count, type);
    }
}

static void spread(const struct weight_spread *s)
{
    if (s->type == DTYPE_F16)
        spread_all(s, DTYPE_F16);
    else if (s->type == DTYPE_BF16)
        spread_all(s, DTYPE_BF16);
    else
        spread_all(s, DTYPE_F32);
}

/* One line of G of F(4x4), three to six. */
INLINE void line_filter(__m256 x0, __m256 x1, __m256 x2, __m256 o[6])
{
    const __m256 sixth = _mm256_set1_ps(1.0F / 6),
                 twelfth = _mm256_set1_ps(1.0F / 12);
    __m256 p = _mm256_mul_ps(_mm256_add_ps(x0, x2), _mm256_set1_ps(-1.0F / 6));
    __m256 q = _mm256_fmadd_ps(x0, _mm256_set1_ps(1.0F / 24),
                               _mm256_mul_ps(x2, sixth));

    o[0] = _mm256_mul_ps(x0, _mm256_set1_ps(1.0F / 4));
    o[1] = _mm256_fnmadd_ps(x1, sixth, p);
    o[2] = _mm256_fmadd_ps(x1, sixth, p);
    o[3] = _mm256_fmadd_ps(x1, twelfth, q);
    o[4] = _mm256_fnmadd_ps(x1, twelfth, q);
    o[5] = x2;
}

static void filters_f4(float *u, size_t plane, const float *w, size_t tap_step,
                       size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 t[3][6], o[6];

#pragma GCC unroll 3
        for (size_t s = 0; s < 3; s++)
            line_filter(_mm256_loadu_ps(w + s * tap_step + i),
                        _mm256_loadu_ps(w + (3 + s) * tap_step + i),
                        _mm256_loadu_ps(w + (6 + s) * tap_step + i), t[s]);
#pragma GCC unroll 6
        for (size_t r = 0; r < 6; r++) {
            line_filter(t[0][r], t[1][r], t[2][r], o);
#pragma GCC unroll 6
            for (size_t s = 0; s < 6; s++)
                _mm256_storeu_ps(u + (6 * r + s) * plane + i, o[s]);
        }
    }
}

void weight_kernels_avx2(struct weight_kernels *k)
{
    *k = (struct weight_kernels){
        .spread = spread,
        .filters_f4 = filters_f4,
        .filters_f2 = loops_filters_f2,
        .phase = loops_phase,
    };
}
