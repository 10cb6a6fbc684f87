/* band.c - rows of input side by side, normed, activated, upsampled, padded.
 *
 * Norm and activation act before upsampling: they commute with it, and each
 * source pixel is computed once a row.  A row is written at the width of the
 * source, then spread from right to left.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/band.h"

#include <string.h>

#include "kernels/kernels.h"

/* Row sy of the sources to c0 | c1 columns of `to`. */
static void source_row(const struct kernel_table *k,
                       const struct conv2d_args *a, uint32_t image, size_t sy,
                       float *to)
{
    const struct conv2d_shape *s = &a->s;
    uint32_t c = s->c0 + s->c1, widths[2] = {s->c0, s->c1};
    const float *sources[2] = {a->x0, a->x1};
    size_t at = 0;

    for (int i = 0; i < 2; i++) {
        uint32_t w = widths[i];
        const float *x, *scale = NULL, *shift = NULL;
        if (w == 0)
            continue;
        x = sources[i] + ((size_t)image * s->h + sy) * s->w * w;
        if (a->scale) {
            scale = a->scale + (size_t)image * c + at;
            shift = a->shift + (size_t)image * c + at;
        }
        if (w == c && !scale && a->act == ACT_NONE)
            memcpy(to, x, (size_t)s->w * w * sizeof *to);
        else
            k->vec.affine_act(a->act, s->w, w, x, w, scale, shift, to + at, c);
        at += w;
    }
}

/* Nearest neighbour along a row, in place: the source stands in front. */
static void spread_row(float *row, const struct conv2d_shape *s, uint32_t c)
{
    for (size_t x = s->up_w; x-- > 0;) {
        size_t from = x * s->w / s->up_w;
        if (from != x)
            memcpy(row + x * c, row + from * c, c * sizeof *row);
    }
}

void band_fill(const struct kernel_table *k, const struct conv2d_args *args,
               uint32_t image, int64_t y0, uint32_t n_rows, uint32_t band_w,
               float *band)
{
    const struct conv2d_shape *s = &args->s;
    uint32_t c = s->c0 + s->c1;
    size_t row_floats = (size_t)band_w * c;
    size_t left = (size_t)s->pad_l * c;
    size_t inside =
        (size_t)(band_w - s->pad_l < s->up_w ? band_w - s->pad_l : s->up_w) * c;
    size_t last = SIZE_MAX;

    for (uint32_t r = 0; r < n_rows; r++) {
        float *to = band + r * row_floats;
        int64_t y = y0 + r;
        size_t sy;
        if (y < 0 || y >= (int64_t)s->up_h) {
            memset(to, 0, row_floats * sizeof *to);
            continue;
        }
        sy = (size_t)y * s->h / s->up_h;
        if (sy == last) {
            memcpy(to, to - row_floats, row_floats * sizeof *to);
            continue;
        }
        last = sy;
        memset(to, 0, left * sizeof *to);
        source_row(k, args, image, sy, to + left);
        if (s->up_w != s->w)
            spread_row(to + left, s, c);
        memset(to + left + inside, 0,
               (row_floats - left - inside) * sizeof *to);
    }
}
