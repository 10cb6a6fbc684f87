/* winograd_grid.c - tiles of pictures: how many go together, where they read,
 * where they write.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/winograd_parts.h"

#include "kernels/kernels.h"
#include "ops/band.h"
#include "ops/winograd.h"

/* Rows of tiles that share a band.  The band of one row of F(4x4) computes
 * each pixel 1.5 times, of four rows of F(2x2) 1.25 times. */
#define BAND_ROWS_F2 4u

/* Tiles in a block: with V and M about half a megabyte, the second-level
 * cache of the CPUs at hand; at least three strips of the 6-row kernel. */
#define BLOCK_BYTES (4096u * 36u * sizeof(float))
#define BLOCK_MAX   64u
#define BLOCK_MIN   18u

/* Of F(2x2): at least two strips of the 14-row kernel; a panel of its weights
 * is read once a block. */
#define BLOCK_MAX_F2 112u
#define BLOCK_MIN_F2 28u

struct winograd_grid winograd_grid_of(const struct kernel_table *k,
                                      const struct conv2d_shape *s)
{
    bool is_f2 = k->wino.edge == 2;
    struct winograd_grid g = {.e = k->wino.edge,
                              .c = s->c0 + s->c1,
                              .panel = winograd_panel_width(k),
                              .band_rows = is_f2 ? BAND_ROWS_F2 : 1};

    g.points = (g.e + 2) * (g.e + 2);
    g.n_pad = (s->cout + g.panel - 1) / g.panel * g.panel;
    g.v_size = is_f2 ? dtype_size(k->gemm.operand) : sizeof(float);
    g.tiles_h = (s->oh + g.e - 1) / g.e;
    g.tiles_w = (s->ow + g.e - 1) / g.e;
    g.band_w = g.e * g.tiles_w + 2;
    g.band_floats = (size_t)(g.e * g.band_rows + 2) * g.band_w * g.c;
    g.n_rows = (size_t)s->n * g.tiles_h;
    return g;
}

static uint32_t clamp(size_t x, uint32_t low, uint32_t high)
{
    return x < low ? low : x > high ? high : (uint32_t)x;
}

struct winograd_blocks winograd_blocks_of(const struct kernel_table *k,
                                          const struct winograd_grid *g)
{
    bool is_f2 = k->wino.edge == 2;
    struct winograd_blocks b;
    uint32_t wanted = clamp(
        BLOCK_BYTES /
            (g->points * (g->c * g->v_size + g->n_pad * sizeof(float))),
        is_f2 ? BLOCK_MIN_F2 : BLOCK_MIN, is_f2 ? BLOCK_MAX_F2 : BLOCK_MAX);

    b.rows = (wanted + g->tiles_w - 1) / g->tiles_w;
    b.tiles = (size_t)b.rows * g->tiles_w;
    b.n = (g->n_rows + b.rows - 1) / b.rows;
    return b;
}

void winograd_fill_band(const struct kernel_table *k,
                        const struct winograd_grid *g,
                        const struct conv2d_args *a, size_t row, size_t n_rows,
                        float *band)
{
    band_fill(k, a, (uint32_t)(row / g->tiles_h),
              (int64_t)(g->e * (row % g->tiles_h)) - a->s.pad_t,
              (uint32_t)(g->e * n_rows + 2), g->band_w, band);
}

void winograd_fill_add(const struct winograd_columns *to,
                       const struct conv2d_args *a, size_t image)
{
    for (size_t i = 0; i < to->n; i++) {
        size_t c = to->c0 + i;

        to->add[i] = (a->bias ? a->bias[c] : 0) +
                     (a->vec ? a->vec[image * a->vec_stride + c] : 0);
    }
}

static uint32_t inside(size_t edge, size_t at, uint32_t e)
{
    return edge - at < e ? (uint32_t)(edge - at) : e;
}

void winograd_put_tile(const struct kernel_table *k,
                       const struct winograd_grid *g,
                       const struct conv2d_args *a,
                       const struct winograd_columns *columns, size_t row,
                       size_t tx, const float *m, size_t plane)
{
    const struct conv2d_shape *s = &a->s;
    size_t image = row / g->tiles_h, y = g->e * (row % g->tiles_h),
           x = g->e * tx;
    size_t at = ((image * s->oh + y) * s->ow + x) * s->cout + columns->c0;

    k->wino.output(&(struct winograd_out){
        .y = a->y + at,
        .res = a->res ? a->res + at : NULL,
        .add = columns->add,
        .row_stride = (size_t)s->ow * s->cout,
        .col_stride = s->cout,
        .rows = inside(s->oh, y, g->e),
        .cols = inside(s->ow, x, g->e),
        .c = columns->n,
        .scale = a->out_scale,
        .m = m,
        .plane = plane,
    });
}
