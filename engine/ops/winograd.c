/* winograd.c - blocking and threads around the Winograd kernels.
 *
 * A picture is a grid of tiles_h x tiles_w tiles of e x e outputs, e = 4 or 2
 * by the flavour of the rung.  For some rows of tiles the needed rows of the
 * input are copied into a band: two sources side by side, norm and activation
 * applied, upsampled, zeros around; every patch is then a window of the band.
 * Transformed patches are V[points][block][C] in operands of the flavour,
 * products M[points][block][N] of floats, N = cout rounded up to whole panels.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/winograd.h"

#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/band.h"
#include "ops/chunks.h"
#include "ops/weight_rows.h"
#include "ops/winograd_parts.h"

/* V and M of all tiles may take this much before blocks are preferred. */
#define PHASES_MAX_BYTES ((size_t)48 << 20)

/* So many bytes of weights do not stay in a core's share of the last cache. */
#define STREAMED_BYTES ((size_t)4 << 20)

/* Of weights that are transformed when used, for F(2x2), a slice of panels at a
 * time is there: by phases as many as stay in the last caches of the threads,
 * by blocks, which transform their inputs anew for each slice, far more. */
#define SLICE_THREAD_BYTES ((size_t)2 << 20)
#define SLICE_BLOCKS_BYTES ((size_t)64 << 20)

/* Points of a slice stand a cache line further apart than they must, or all of
 * one place would fall into one set of a cache. */
#define SKEW_BYTES ((size_t)64)

/* Channels of a panel that are transformed as one piece of work. */
#define TRANSFORM_CHANNELS (4 * WEIGHT_FILTER_CHANNELS)

static bool is_f2(const struct kernel_table *k)
{
    return k->wino.edge == 2;
}

struct forward {
    const struct op_ctx *ctx;
    const struct conv2d_args *a;
    struct winograd_grid g;
    struct winograd_cut cut;
    unsigned char *scratch;
    size_t per_thread; /* bytes of band, sums and, by blocks, V and M     */
    size_t band_floats, small; /* of the band; bytes in front of V         */
    char *v; /* by phases: of all tiles                         */
    float *m;
    size_t all_tiles, panel_step;
    /* Transformed weights: panel p is `panel` bytes behind the one before, a
     * point `plane` bytes behind the one before.  Either of all panels, or of
     * those of a slice, made of rows. */
    const char *u;
    size_t plane;
    char *made;    /* room for a slice                                       */
    size_t slice;  /* panels of one, at most                                 */
    size_t p0, p1; /* panels of this one                                     */
    size_t n_m;    /* columns of M                                           */
};

/* Rows of tiles from `row` on whose input one band holds: of one picture. */
static size_t rows_of_band(const struct winograd_grid *g, size_t row,
                           size_t n_rows)
{
    size_t left = g->tiles_h - row % g->tiles_h;

    left = left < n_rows ? left : n_rows;
    return left < g->band_rows ? left : g->band_rows;
}

/* Input rows for n_rows rows of tiles of one picture, and their patches to v,
 * `plane` values from point to point. */
static void transform_band(const struct forward *f, size_t row, size_t n_rows,
                           float *band, char *v, size_t plane)
{
    const struct winograd_grid *g = &f->g;
    size_t line = (size_t)g->band_w * g->c;

    winograd_fill_band(f->ctx->k, g, f->a, row, n_rows, band);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t x = 0; x < g->tiles_w; x++, v += g->c * g->v_size)
            f->ctx->k->wino.input(v, plane,
                                  band + g->e * r * line + g->e * x * g->c,
                                  line, g->c, g->c);
}

/* Some channels of rows row .. row + n_rows of a block, of one picture. */
static void transform_slice(const struct forward *f,
                            const struct winograd_block *b, size_t row,
                            size_t n_rows, uint32_t c0, float *band, char *v)
{
    const struct winograd_grid *g = &f->g;
    const struct conv2d_shape *s = &f->a->s;
    size_t plane = f->cut.tiles * g->c;
    struct band_window window = {
        .image = (uint32_t)(row / g->tiles_h),
        .y0 = (int64_t)(g->e * (row % g->tiles_h)) - s->pad_t,
        .x0 = (int64_t)g->e * b->x - s->pad_l,
        .rows = (uint32_t)(g->e * n_rows + 2),
        .cols = g->e * b->n_cols + 2,
        .c0 = c0,
        .c = g->c - c0 < f->cut.slice ? g->c - c0 : f->cut.slice,
    };
    size_t line = (size_t)window.cols * window.c;

    band_fill_window(f->ctx->k, f->a, &window, band);
    v += c0 * g->v_size;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t x = 0; x < b->n_cols; x++, v += g->c * g->v_size)
            f->ctx->k->wino.input(v, plane,
                                  band + g->e * r * line + g->e * x * window.c,
                                  line, window.c, window.c);
}

static void transform_block(const struct forward *f,
                            const struct winograd_block *b, float *band,
                            char *v)
{
    const struct winograd_grid *g = &f->g;

    for (size_t at = 0, n; at < b->n_rows; at += n) {
        size_t row = b->row + at, left = g->tiles_h - row % g->tiles_h;
        n = b->n_rows - at < f->cut.band_rows ? b->n_rows - at
                                              : f->cut.band_rows;
        n = n < left ? n : left;
        for (uint32_t c0 = 0; c0 < g->c; c0 += f->cut.slice)
            transform_slice(f, b, row, n, c0, band,
                            v + at * b->n_cols * g->c * g->v_size);
    }
}

/* Sums of n tiles of row `row` of tiles, from x0 on, to the picture: columns of
 * the slice, which are the first of M's. */
static void output_tiles(const struct forward *f, size_t row, size_t x0,
                         size_t n, float *add, const float *m, size_t plane)
{
    const struct winograd_grid *g = &f->g;
    size_t c0 = f->p0 * g->panel, end = f->p1 * g->panel;
    struct winograd_columns columns = {.c0 = (uint32_t)c0, .add = add};

    end = end < f->a->s.cout ? end : f->a->s.cout;
    columns.n = (uint32_t)(end - c0);
    winograd_fill_add(&columns, f->a, row / g->tiles_h);
    for (size_t x = 0; x < n; x++, m += f->n_m)
        winograd_put_tile(f->ctx->k, g, f->a, &columns, row, x0 + x, m, plane);
}

/* Point q, panel p of the products of `tiles` tiles, by the rung's tile. */
static void multiply_tiles(const struct forward *f, const char *u,
                           const char *v, float *m, size_t tiles)
{
    const struct winograd_grid *g = &f->g;
    const struct gemm_kernels *k = &f->ctx->k->gemm;
    const void *rows[GEMM_MAX_MR];
    size_t row = g->c * g->v_size;
    struct gemm_tile t = {
        .a = rows,
        .b = u,
        .n_runs = 1,
        .run_len = g->c,
        .run_stride = g->c,
        .ldc = f->n_m,
        .scale = 1,
        .n = g->panel,
    };

    for (size_t i = 0; i < tiles; i += t.m) {
        t.m = tiles - i < k->mr ? (unsigned)(tiles - i) : k->mr;
        t.c = m + i * f->n_m;
        for (unsigned r = 0; r < t.m; r++)
            rows[r] = v + (i + r) * row;
        k->tile(&t);
    }
}

/* Point q, panel p of the slice, whose first column is M's first: V and M have
 * room for plane_tiles tiles. */
static void multiply(const struct forward *f, size_t q, size_t p, const char *v,
                     float *m, size_t tiles, size_t plane_tiles)
{
    const struct winograd_grid *g = &f->g;
    size_t row = g->c * g->v_size;
    const char *u = f->u + q * f->plane + p * g->panel * row;

    v += q * plane_tiles * row;
    m += q * plane_tiles * f->n_m + p * g->panel;
    if (f->ctx->k->wino.gemm)
        f->ctx->k->wino.gemm(m, f->n_m, (const float *)(const void *)v, g->c,
                             tiles, (const float *)(const void *)u, g->c,
                             false);
    else if (f->ctx->k->gemm.rows)
        f->ctx->k->gemm.rows(&(struct gemm_rows){.a = v,
                                                 .b = u,
                                                 .next = u + g->panel * row,
                                                 .c = m,
                                                 .m = tiles,
                                                 .k = g->c,
                                                 .ldc = f->n_m});
    else
        multiply_tiles(f, u, v, m, tiles);
}

static unsigned char *thread_scratch(const struct forward *f, unsigned worker)
{
    return f->scratch + worker * f->per_thread;
}

/* Of a thread: its band and what it adds to a row of outputs; or room to make
 * operands of weights. */
static size_t small_bytes(const struct kernel_table *k,
                          const struct winograd_grid *g, size_t band_floats,
                          bool is_made)
{
    size_t band = (band_floats + g->n_pad) * sizeof(float);
    size_t room = is_made ? weight_room_bytes(k) : 0;

    return size_align(band > room ? band : room, 64);
}

static size_t v_bytes(const struct winograd_grid *g, size_t tiles)
{
    return size_align(g->points * tiles * g->c * g->v_size, 64);
}

static size_t m_bytes(const struct winograd_grid *g, size_t tiles,
                      size_t columns)
{
    return size_align(g->points * tiles * columns * sizeof(float), 64);
}

static size_t n_panels(const struct winograd_grid *g)
{
    return g->n_pad / g->panel;
}

/* -- transformed weights ------------------------------------------------- */

/* Bytes of a panel of one point. */
static size_t panel_bytes(const struct winograd_grid *g)
{
    return g->panel * g->c * g->v_size;
}

/* Panels of a slice that takes about so many bytes. */
static size_t slice_panels(const struct winograd_grid *g, size_t bytes)
{
    size_t n = bytes / (g->points * panel_bytes(g)), all = n_panels(g);

    return n < 1 ? 1 : n < all ? n : all;
}

static size_t slice_plane(const struct winograd_grid *g, size_t panels)
{
    return size_align(panels * panel_bytes(g), 64) + SKEW_BYTES;
}

static size_t slice_bytes(const struct winograd_grid *g, size_t panels)
{
    return g->points * slice_plane(g, panels);
}

/* Channels from `c` on of a panel of the slice. */
static void transform_piece(void *arg, size_t i, unsigned worker)
{
    const struct forward *f = arg;
    const struct winograd_grid *g = &f->g;
    size_t pieces = chunks_of(g->c, TRANSFORM_CHANNELS), p = i / pieces;
    uint32_t c = (uint32_t)(i % pieces) * TRANSFORM_CHANNELS;
    uint32_t end =
        g->c - c < TRANSFORM_CHANNELS ? g->c : c + TRANSFORM_CHANNELS;
    char *to = f->made + p * panel_bytes(g);

    for (uint32_t n; c < end; c += n) {
        n = end - c < WEIGHT_FILTER_CHANNELS ? end - c : WEIGHT_FILTER_CHANNELS;
        weight_filters(f->ctx->k, to + c * g->panel * g->v_size, f->plane,
                       f->a->rows, (uint32_t)(f->p0 + p), c, n,
                       thread_scratch(f, worker));
    }
}

/* Let the slice begin with panel p0; false behind the last.  Packed weights
 * are one slice. */
static bool next_slice(struct forward *f, size_t p0)
{
    size_t all = n_panels(&f->g);

    if (p0 >= all)
        return false;
    f->p0 = p0;
    f->p1 = all - p0 < f->slice ? all : p0 + f->slice;
    if (!f->a->rows)
        return true;
    f->plane = slice_plane(&f->g, f->p1 - f->p0);
    f->u = f->made;
    pool_run(f->ctx->pool,
             (f->p1 - f->p0) * chunks_of(f->g.c, TRANSFORM_CHANNELS),
             transform_piece, f);
    return true;
}

/* -- by blocks ----------------------------------------------------------- */

static void run_block(void *arg, size_t i, unsigned worker)
{
    const struct forward *f = arg;
    const struct winograd_grid *g = &f->g;
    struct winograd_block b = winograd_block_at(g, &f->cut, i);
    float *band = (float *)(void *)thread_scratch(f, worker);
    float *add = band + f->band_floats;
    char *v = (char *)band + f->small;
    float *m = (float *)(void *)(v + v_bytes(g, f->cut.tiles));

    transform_block(f, &b, band, v);
    for (size_t q = 0; q < g->points; q++)
        for (size_t p = 0; p < f->p1 - f->p0; p++)
            multiply(f, q, p, v, m, b.n_rows * b.n_cols, f->cut.tiles);
    for (size_t r = 0; r < b.n_rows; r++)
        output_tiles(f, b.row + r, b.x, b.n_cols, add,
                     m + r * b.n_cols * f->n_m, f->cut.tiles * f->n_m);
}

static void run_blocks(struct forward *f)
{
    for (size_t p = 0; next_slice(f, p); p = f->p1) {
        f->n_m = (f->p1 - f->p0) * f->g.panel;
        pool_run(f->ctx->pool, f->cut.n, run_block, f);
    }
}

/* -- by phases ----------------------------------------------------------- */

/* Bands of a picture; the last may be short. */
static size_t n_bands(const struct winograd_grid *g)
{
    return (g->tiles_h + g->band_rows - 1) / g->band_rows;
}

static void phase_input(void *arg, size_t band, unsigned worker)
{
    const struct forward *f = arg;
    const struct winograd_grid *g = &f->g;
    size_t row =
        band / n_bands(g) * g->tiles_h + band % n_bands(g) * g->band_rows;

    transform_band(f, row, rows_of_band(g, row, g->band_rows),
                   (float *)(void *)thread_scratch(f, worker),
                   f->v + row * g->tiles_w * g->c * g->v_size,
                   f->all_tiles * g->c);
}

/* Some panels one after the other, as they lie: kernels fetch the next one
 * ahead. */
static void phase_multiply(void *arg, size_t i, unsigned worker)
{
    const struct forward *f = arg;
    size_t panels = f->p1 - f->p0, all = f->g.points * panels;
    size_t end = (i + 1) * f->panel_step;

    (void)worker;
    for (size_t at = i * f->panel_step; at < end && at < all; at++)
        multiply(f, at / panels, at % panels, f->v, f->m + f->p0 * f->g.panel,
                 f->all_tiles, f->all_tiles);
}

/* Panels of a chunk: enough chunks to share out evenly. */
static size_t panels_at_once(size_t n, unsigned n_threads)
{
    size_t some = n / (16 * (size_t)n_threads);

    return some < 1 ? 1 : some > 8 ? 8 : some;
}

static void phase_output(void *arg, size_t row, unsigned worker)
{
    const struct forward *f = arg;
    float *band = (float *)(void *)thread_scratch(f, worker);

    output_tiles(f, row, 0, f->g.tiles_w, band + f->band_floats,
                 f->m + row * f->g.tiles_w * f->g.n_pad,
                 f->all_tiles * f->g.n_pad);
}

static void run_phases(struct forward *f, unsigned n_threads)
{
    struct pool *pool = f->ctx->pool;

    f->n_m = f->g.n_pad;
    pool_run(pool, f->a->s.n * n_bands(&f->g), phase_input, f);
    for (size_t p = 0; next_slice(f, p); p = f->p1) {
        size_t n = f->g.points * (f->p1 - f->p0);

        f->panel_step = panels_at_once(n, n_threads);
        pool_run(pool, chunks_of(n, f->panel_step), phase_multiply, f);
    }
    f->p0 = 0;
    pool_run(pool, f->g.n_rows, phase_output, f);
}

/* -- either -------------------------------------------------------------- */

static size_t phases_bytes(const struct winograd_grid *g)
{
    size_t tiles = g->n_rows * g->tiles_w;

    return v_bytes(g, tiles) + m_bytes(g, tiles, g->n_pad);
}

/* Few blocks leave threads idle; and a block reads all weights, which large
 * ones do from memory each time. */
static bool by_phases(const struct winograd_grid *g,
                      const struct winograd_cut *b, unsigned n_threads)
{
    size_t weights = (size_t)g->points * g->c * g->n_pad * g->v_size;

    return phases_bytes(g) <= PHASES_MAX_BYTES &&
           (weights >= STREAMED_BYTES || b->n < 4 * (size_t)n_threads);
}

/* Where everything is, and how large it is. */
struct room {
    bool is_by_phases;
    size_t slice; /* panels                                             */
    size_t made;  /* bytes of a slice, in front                         */
    size_t band_floats, small; /* of the band; bytes in front of V           */
    size_t per_thread; /* bytes of each thread, behind it                    */
    size_t bytes;
};

static struct room room_of(const struct kernel_table *k,
                           const struct winograd_grid *g,
                           const struct winograd_cut *b, unsigned n_threads,
                           bool is_made, bool is_by_phases)
{
    struct room r = {.is_by_phases = is_by_phases, .slice = n_panels(g)};

    r.band_floats = is_by_phases ? g->band_floats : b->band_floats;
    r.small = small_bytes(k, g, r.band_floats, is_made);
    r.per_thread = r.small;
    if (is_made) {
        r.slice = slice_panels(g, is_by_phases ? n_threads * SLICE_THREAD_BYTES
                                               : SLICE_BLOCKS_BYTES);
        r.made = slice_bytes(g, r.slice);
    }
    if (!is_by_phases)
        r.per_thread +=
            v_bytes(g, b->tiles) + m_bytes(g, b->tiles, r.slice * g->panel);
    r.bytes = r.made + n_threads * r.per_thread;
    if (is_by_phases)
        r.bytes += phases_bytes(g);
    return r;
}

size_t winograd_scratch(const struct kernel_table *k, unsigned n_threads,
                        const struct conv2d_shape *s, bool is_made)
{
    struct winograd_grid g = winograd_grid_of(k, s);
    struct winograd_cut b = winograd_cut_of(k, &g);
    size_t blocks, phases;

    if (is_made && !is_f2(k))
        return winograd_made_scratch(k, n_threads, s);
    blocks = room_of(k, &g, &b, n_threads, is_made, false).bytes;

    /* A plan for n threads may be run by fewer, which may choose blocks. */
    if (!by_phases(&g, &b, n_threads))
        return blocks;
    phases = room_of(k, &g, &b, n_threads, is_made, true).bytes;
    return phases > blocks ? phases : blocks;
}

void winograd_run(const struct op_ctx *ctx, const struct conv2d_args *args)
{
    struct forward f = {
        .ctx = ctx, .a = args, .g = winograd_grid_of(ctx->k, &args->s)};
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    struct room r;

    if (args->rows && !is_f2(ctx->k)) {
        winograd_made_run(ctx, args);
        return;
    }
    f.cut = winograd_cut_of(ctx->k, &f.g);
    r = room_of(ctx->k, &f.g, &f.cut, n_threads, args->rows != NULL,
                by_phases(&f.g, &f.cut, n_threads));
    f.made = (char *)ctx->scratch;
    f.scratch = ctx->scratch + r.made;
    f.per_thread = r.per_thread;
    f.band_floats = r.band_floats;
    f.small = r.small;
    f.slice = r.slice;
    f.u = args->w;
    f.plane = n_panels(&f.g) * panel_bytes(&f.g);
    if (!r.is_by_phases) {
        run_blocks(&f);
        return;
    }
    f.all_tiles = f.g.n_rows * f.g.tiles_w;
    f.v = (char *)f.scratch + n_threads * f.per_thread;
    f.m = (float *)(void *)(f.v + v_bytes(&f.g, f.all_tiles));
    run_phases(&f, n_threads);
}
