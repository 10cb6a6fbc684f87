/* band.c - rows of input side by side, normed, activated, upsampled, padded.
 *
 * Norm and activation act before upsampling: they commute with it, and each
 * source pixel is computed once a row.  A row is written at the width of the
 * source, then spread from right to left: a column of the source stands no
 * further right than those that show it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/band.h"

#include <string.h>

#include "base/compiler.h"
#include "kernels/kernels.h"

/* Columns of a window that are inside of the picture, and the columns of the
 * source that they show. */
struct shown {
    size_t from, n; /* columns of the window                                */
    size_t at;      /* of the picture, the first                             */
    size_t src, n_src;
};

static struct shown shown_of(const struct conv2d_shape *s,
                             const struct band_window *w)
{
    int64_t end = w->x0 + w->cols;
    struct shown v = {.from = w->x0 < 0 ? (size_t)-w->x0 : 0};

    end = end < (int64_t)s->up_w ? end : (int64_t)s->up_w;
    if (end <= 0 || v.from >= w->cols || w->x0 >= (int64_t)s->up_w)
        return (struct shown){0};
    v.at = (size_t)(w->x0 + (int64_t)v.from);
    v.n = (size_t)end - v.at;
    v.src = v.at * s->w / s->up_w;
    v.n_src = ((size_t)end - 1) * s->w / s->up_w + 1 - v.src;
    return v;
}

/* A source's channels in a window. */
struct part {
    size_t width;     /* channels of the source                              */
    size_t at, n;     /* those in the window                                 */
    size_t among_all; /* the first of them                                   */
};

static struct part part_of(const struct conv2d_shape *s,
                           const struct band_window *win, int source)
{
    size_t before = source == 0 ? 0 : s->c0, end = win->c0 + win->c;
    struct part p = {.width = source == 0 ? s->c0 : s->c1};

    p.among_all = win->c0 > before ? win->c0 : before;
    end = end < before + p.width ? end : before + p.width;
    if (p.among_all >= end)
        return (struct part){0};
    p.at = p.among_all - before;
    p.n = end - p.among_all;
    return p;
}

/* Row sy of the sources' channels in the window: n_src pixels of them. */
static void source_row(const struct kernel_table *k,
                       const struct conv2d_args *a,
                       const struct band_window *win, const struct shown *v,
                       size_t sy, float *to)
{
    const struct conv2d_shape *s = &a->s;
    size_t pixel = ((size_t)win->image * s->h + sy) * s->w + v->src;

    for (int i = 0; i < 2; i++) {
        struct part p = part_of(s, win, i);
        size_t of = (size_t)win->image * (s->c0 + s->c1) + p.among_all;
        const float *x = i == 0 ? a->x0 : a->x1;
        if (p.n == 0)
            continue;
        x += pixel * p.width + p.at;
        if (p.width == win->c && !a->scale && a->act == ACT_NONE)
            memcpy(to, x, v->n_src * p.width * sizeof *to);
        else
            k->vec.affine_act(a->act, v->n_src, p.n, x, p.width,
                              a->scale ? a->scale + of : NULL,
                              a->scale ? a->shift + of : NULL,
                              to + p.among_all - win->c0, win->c);
    }
}

/* Rows of a window are pieces of the picture's, too short for the core to see
 * what comes next. */
static void fetch_row(const struct conv2d_args *a,
                      const struct band_window *win, const struct shown *v,
                      size_t sy)
{
    const struct conv2d_shape *s = &a->s;
    size_t line = 64 / sizeof(float);
    size_t pixel = ((size_t)win->image * s->h + sy) * s->w + v->src;

    if (sy >= s->h)
        return;
    for (int i = 0; i < 2; i++) {
        struct part part = part_of(s, win, i);
        const float *x = i == 0 ? a->x0 : a->x1;
        for (size_t p = 0; p < v->n_src && part.n > 0; p++)
            for (size_t c = 0; c < part.n; c += line)
                PREFETCH(x + (pixel + p) * part.width + part.at + c);
    }
}

/* Nearest neighbour along a row, in place: the source stands in front. */
static void spread_row(float *row, const struct conv2d_shape *s,
                       const struct shown *v, size_t c)
{
    for (size_t x = v->n; x-- > 0;) {
        size_t from = (v->at + x) * s->w / s->up_w - v->src;
        if (from != x)
            memcpy(row + x * c, row + from * c, c * sizeof *row);
    }
}

void band_fill_window(const struct kernel_table *k,
                      const struct conv2d_args *args,
                      const struct band_window *win, float *band)
{
    const struct conv2d_shape *s = &args->s;
    struct shown v = shown_of(s, win);
    size_t row_floats = (size_t)win->cols * win->c, last = SIZE_MAX;
    size_t left = v.from * win->c, inside = v.n * win->c;

    for (uint32_t r = 0; r < win->rows; r++) {
        float *to = band + r * row_floats;
        int64_t y = win->y0 + r;
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
        fetch_row(args, win, &v, sy + 1);
        source_row(k, args, win, &v, sy, to + left);
        if (s->up_w != s->w)
            spread_row(to + left, s, &v, win->c);
        memset(to + left + inside, 0,
               (row_floats - left - inside) * sizeof *to);
    }
}

void band_fill(const struct kernel_table *k, const struct conv2d_args *args,
               uint32_t image, int64_t y0, uint32_t n_rows, uint32_t band_w,
               float *band)
{
    const struct conv2d_shape *s = &args->s;

    band_fill_window(k, args,
                     &(struct band_window){.image = image,
                                           .y0 = y0,
                                           .x0 = -(int64_t)s->pad_l,
                                           .rows = n_rows,
                                           .cols = band_w,
                                           .c = s->c0 + s->c1},
                     band);
}
