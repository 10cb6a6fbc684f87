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

/* Pictures of fewer columns of tiles are cut by whole rows; and rows of strips
 * of F(4x4), whose kernel has six. */
#define STRIPS_MIN_WIDTH 16u
#define STRIP_ROWS_F4    6u

/* A band in a block, and channels whose multiple it holds. */
#define BAND_BYTES    ((size_t)128 << 10)
#define BAND_CHANNELS 32u

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

static uint32_t wanted_tiles(const struct kernel_table *k,
                             const struct winograd_grid *g)
{
    bool is_f2 = k->wino.edge == 2;

    return clamp(BLOCK_BYTES / (g->points *
                                (g->c * g->v_size + g->n_pad * sizeof(float))),
                 is_f2 ? BLOCK_MIN_F2 : BLOCK_MIN,
                 is_f2 ? BLOCK_MAX_F2 : BLOCK_MAX);
}

struct winograd_blocks winograd_blocks_of(const struct kernel_table *k,
                                          const struct winograd_grid *g)
{
    uint32_t wanted = wanted_tiles(k, g);
    struct winograd_blocks b;

    b.rows = (wanted + g->tiles_w - 1) / g->tiles_w;
    b.tiles = (size_t)b.rows * g->tiles_w;
    b.n = (g->n_rows + b.rows - 1) / b.rows;
    return b;
}

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t band_pixels(const struct winograd_grid *g, size_t rows,
                          size_t cols)
{
    return (g->e * rows + 2) * (g->e * cols + 2);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Channels of a band so that it stays in the cache beside V. */
static void cut_bands(struct winograd_cut *cut, const struct winograd_grid *g)
{
    size_t rows = cut->rows < cut->band_rows ? cut->rows : cut->band_rows;
    size_t pixels = larger(band_pixels(g, rows, cut->cols),
                           band_pixels(g, cut->low_rows, cut->low_cols));
    size_t slice = BAND_BYTES / (pixels * sizeof(float)) / BAND_CHANNELS;

    slice = larger(slice, 1) * BAND_CHANNELS;
    cut->slice = slice < g->c ? (uint32_t)slice : g->c;
    cut->band_floats = pixels * cut->slice;
}

static struct winograd_cut cut_rows(const struct kernel_table *k,
                                    const struct winograd_grid *g)
{
    struct winograd_blocks b = winograd_blocks_of(k, g);
    struct winograd_cut cut = {.rows = b.rows,
                               .cols = g->tiles_w,
                               .tiles = b.tiles,
                               .n = b.n,
                               .band_rows = g->band_rows};

    cut_bands(&cut, g);
    return cut;
}

/* Strips that are half as high as the kernel's tile of products, or as high:
 * pieces of an even number of columns are whole tiles. */
struct winograd_cut winograd_cut_of(const struct kernel_table *k,
                                    const struct winograd_grid *g)
{
    uint32_t mr = k->wino.edge == 2 ? k->gemm.mr : STRIP_ROWS_F4;
    uint32_t rows = mr >= 8 && mr % 2 == 0 ? mr / 2 : mr;
    uint32_t tiles = wanted_tiles(k, g) / mr * mr, strips;
    struct winograd_cut cut = {.rows = rows, .band_rows = rows};

    if (g->tiles_h < rows || g->tiles_w < STRIPS_MIN_WIDTH)
        return cut_rows(k, g);
    strips = g->tiles_h / rows;
    cut.tiles = tiles;
    cut.cols = clamp(tiles / rows, 1, g->tiles_w);
    cut.per_strip = ceil_div(g->tiles_w, cut.cols);
    cut.low_rows = g->tiles_h % rows;
    if (cut.low_rows > 0) {
        cut.low_cols = clamp(tiles / cut.low_rows, 1, g->tiles_w);
        cut.per_low = ceil_div(g->tiles_w, cut.low_cols);
    }
    cut.per_picture = strips * cut.per_strip + cut.per_low;
    cut.n = g->n_rows / g->tiles_h * cut.per_picture;
    cut_bands(&cut, g);
    return cut;
}

struct winograd_block winograd_block_at(const struct winograd_grid *g,
                                        const struct winograd_cut *cut,
                                        size_t i)
{
    struct winograd_block b = {0, cut->rows, 0, cut->cols};
    size_t at;

    if (cut->per_picture == 0) {
        b.row = i * cut->rows;
        b.n_rows = g->n_rows - b.row < b.n_rows ? g->n_rows - b.row : b.n_rows;
        return b;
    }
    at = i % cut->per_picture;
    b.row = i / cut->per_picture * g->tiles_h + at / cut->per_strip * cut->rows;
    b.x = (uint32_t)(at % cut->per_strip) * cut->cols;
    if (at >= cut->per_picture - cut->per_low) {
        at -= cut->per_picture - cut->per_low;
        b.row = (i / cut->per_picture + 1) * g->tiles_h - cut->low_rows;
        b.n_rows = cut->low_rows;
        b.n_cols = cut->low_cols;
        b.x = (uint32_t)at * b.n_cols;
    }
    if (g->tiles_w - b.x < b.n_cols)
        b.n_cols = g->tiles_w - b.x;
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
