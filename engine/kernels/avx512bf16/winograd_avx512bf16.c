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

void winograd_kernels_f2_avx512bf16(struct winograd_kernels *k)
{
    *k = (struct winograd_kernels){
        .is_used = true,
        .edge = 2,
        .input = input_f2,
        .output = output_f2,
    };
}
