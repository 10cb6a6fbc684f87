/* vector_avx512bf16.c - the softmax of attention, sixteen queries at once.
 *
 * Beside products of bf16 the exponentials of the scores take the most time.
 * An estimate, not measured (llvm-mca 14, sapphirerapids): 4 cycles for the
 * maximum and 13 for the exponential of sixteen scores.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/avx512bf16/lanes_avx512bf16.h"
#include "kernels/vector_kernels.h"

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

void vector_kernels_avx512bf16(struct vector_kernels *v)
{
    v->softmax_columns = softmax_columns;
}
