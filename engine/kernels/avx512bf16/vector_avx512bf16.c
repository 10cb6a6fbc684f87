/* vector_avx512bf16.c - the softmax of attention, sixteen queries at once, and
 * what stands around a norm.
 *
 * Beside products of bf16 the exponentials of the scores take the most time.
 * An estimate, not measured (llvm-mca 14, sapphirerapids): 4 cycles for the
 * maximum and 13 for the exponential of sixteen scores.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/avx512bf16/lanes_avx512bf16.h"
#include "kernels/vector_kernels.h"
#include "kernels/with_act.h"

/* The columns of one vector; lanes outside of the mask hold zeros. */
INLINE void softmax_block(__mmask16 mask, size_t rows, float *s, size_t ld,
                          float *max, float *sum, float *factor)
{
    __m512 old = _mm512_maskz_loadu_ps(mask, max), top = old;
    __m512 total = _mm512_setzero_ps(), change;

    for (size_t i = 0; i < rows; i++)
        top = _mm512_max_ps(top, _mm512_maskz_loadu_ps(mask, s + i * ld));
    for (size_t i = 0; i < rows; i++) {
        __m512 x = _mm512_maskz_loadu_ps(mask, s + i * ld);
        __m512 e = exp16(_mm512_sub_ps(x, top));

        _mm512_mask_storeu_ps(s + i * ld, mask, e);
        total = _mm512_add_ps(total, e);
    }
    change = exp16(_mm512_sub_ps(old, top));
    total = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, sum), change, total);
    _mm512_mask_storeu_ps(factor, mask, change);
    _mm512_mask_storeu_ps(sum, mask, total);
    _mm512_mask_storeu_ps(max, mask, top);
}

static void softmax_columns(size_t rows, size_t cols, float *s, size_t ld,
                            float *max, float *sum, float *factor)
{
    for (size_t j = 0; j < cols; j += 16)
        softmax_block(lanes16(cols - j), rows, s + j, ld, max + j, sum + j,
                      factor + j);
}

/* act(scale x + shift) of a row, the lanes of its last vector masked. */
INLINE void affine_row(const enum act act, const bool is_affine, size_t c,
                       const float *x, const float *scale, const float *shift,
                       float *y)
{
    size_t j = 0;

    for (; j + 16 <= c; j += 16) {
        __m512 u = _mm512_loadu_ps(x + j);

        if (is_affine)
            u = _mm512_fmadd_ps(_mm512_loadu_ps(scale + j), u,
                                _mm512_loadu_ps(shift + j));
        _mm512_storeu_ps(y + j, act16(act, u));
    }
    if (j < c) {
        __mmask16 mask = lanes16(c - j);
        __m512 u = _mm512_maskz_loadu_ps(mask, x + j);

        if (is_affine)
            u = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, scale + j), u,
                                _mm512_maskz_loadu_ps(mask, shift + j));
        _mm512_mask_storeu_ps(y + j, mask, act16(act, u));
    }
}

INLINE void affine_rows(const enum act act, size_t rows, size_t c,
                        const float *x, size_t ldx, const float *scale,
                        const float *shift, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++)
        if (scale)
            affine_row(act, true, c, x + r * ldx, scale, shift, y + r * ldy);
        else
            affine_row(act, false, c, x + r * ldx, NULL, NULL, y + r * ldy);
}

static void affine_act(enum act act, size_t rows, size_t c, const float *x,
                       size_t ldx, const float *scale, const float *shift,
                       float *y, size_t ldy){
    WITH_ACT(act, affine_rows, rows, c, x, ldx, scale, shift, y, ldy)}

INLINE void glu_rows(const enum act act, size_t rows, size_t c, const float *x,
                     size_t ldx, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy)
        for (size_t j = 0; j < c; j += 16) {
            __mmask16 mask = lanes16(c - j);
            __m512 gate = act16(act, _mm512_maskz_loadu_ps(mask, x + c + j));

            _mm512_mask_storeu_ps(
                y + j, mask,
                _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + j), gate));
        }
}

static void glu(enum act act, size_t rows, size_t c, const float *x, size_t ldx,
                float *y,
                size_t ldy){WITH_ACT(act, glu_rows, rows, c, x, ldx, y, ldy)}

/* Sums down nv vectors of columns, the lanes outside of `mask` 0; with mean, of
 * squares about it.  Even rows and odd ones apart, as avx2's are. */
INLINE
    void column_block(const size_t nv, __mmask16 mask, size_t rows,
                      const float *x, size_t ldx, const float *mean, float *out)
{
    __m512 sum[2][8], centre[8];

    for (size_t v = 0; v < nv; v++) {
        sum[0][v] = sum[1][v] = _mm512_setzero_ps();
        if (mean)
            centre[v] = _mm512_maskz_loadu_ps(mask, mean + 16 * v);
    }
    for (size_t r = 0; r < rows; r += 2) {
        for (size_t h = 0; h < 2 && r + h < rows; h++, x += ldx)
            for (size_t v = 0; v < nv; v++) {
                __m512 e = _mm512_maskz_loadu_ps(mask, x + 16 * v);

                if (mean) {
                    e = _mm512_sub_ps(e, centre[v]);
                    sum[h][v] = _mm512_fmadd_ps(e, e, sum[h][v]);
                } else {
                    sum[h][v] = _mm512_add_ps(sum[h][v], e);
                }
            }
    }
    for (size_t v = 0; v < nv; v++)
        _mm512_mask_storeu_ps(out + 16 * v, mask,
                              _mm512_add_ps(sum[0][v], sum[1][v]));
}

INLINE void columns(size_t rows, size_t c, const float *x, size_t ldx,
                    const float *mean, float *out)
{
    size_t j = 0;

    for (; j + 128 <= c; j += 128)
        column_block(8, 0xffff, rows, x + j, ldx, mean ? mean + j : NULL,
                     out + j);
    for (; j + 64 <= c; j += 64)
        column_block(4, 0xffff, rows, x + j, ldx, mean ? mean + j : NULL,
                     out + j);
    for (; j < c; j += 16)
        column_block(1, lanes16(c - j), rows, x + j, ldx,
                     mean ? mean + j : NULL, out + j);
}

static void moments(size_t rows, size_t c, const float *x, size_t ldx,
                    float *mean, float *m2)
{
    columns(rows, c, x, ldx, NULL, mean);
    for (size_t j = 0; j < c; j++)
        mean[j] /= (float)rows;
    columns(rows, c, x, ldx, mean, m2);
}

void vector_kernels_avx512bf16(struct vector_kernels *v)
{
    v->moments = moments;
    v->affine_act = affine_act;
    v->glu = glu;
    v->softmax_columns = softmax_columns;
}
