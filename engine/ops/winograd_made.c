/* winograd_made.c - F(4x4) on filters that are transformed when used.
 *
 * A network of many weights keeps them where its file has them.  Transformed
 * they are 36 floats for nine numbers of maybe two bytes: to write and read
 * them through memory costs as much as the products do.  Here a piece of them,
 * some channels of two panels at all points, is made in a core's second-level
 * cache and meets all patches of a block before the next piece takes its
 * place; sums of the block's outputs wait there too:
 *
 *     V  patches of a block     [channels / DEPTH][36][patches][DEPTH]
 *     U  a piece of filters     [36][PANELS][DEPTH][16]
 *     M  sums                   [36][patches][PANELS * 16]
 *
 * V comes from the last cache piece by piece.  Filters are made anew for each
 * block, which costs less the more patches it has.  A sum runs over channels in
 * order, whatever its pieces are, so bits are those of packed filters.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/winograd.h"

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/chunks.h"
#include "ops/weight_rows.h"
#include "ops/winograd_parts.h"

/* Channels and panels of a piece: U takes 147 KB. */
#define DEPTH   WEIGHT_FILTER_CHANNELS
#define PANELS  2u
#define COLUMNS (PANELS * WINOGRAD_PANEL)

/* Patches of a block, at most: whole strips of the 6-row kernel.  A piece of V
 * and M take as much again each, twice. */
#define STRIP       6u
#define BLOCK_TILES 66u

/* V of the blocks that are there at once, unless threads want more of them or
 * of its rows. */
#define V_BYTES       ((size_t)8 << 20)
#define THREAD_CHUNKS 4u

#define POINTS 36u

/* Points stand a cache line further apart than they must, or all of one place
 * would fall into one set of a cache. */
#define SKEW    16u
#define U_PLANE (PANELS * DEPTH * WINOGRAD_PANEL + SKEW)

struct made {
    const struct op_ctx *ctx;
    const struct conv2d_args *a;
    struct winograd_grid g;
    size_t n_groups;        /* of PANELS panels                         */
    size_t n_pieces;        /* of DEPTH channels                        */
    size_t rows_at_once;    /* rows of tiles whose V is there           */
    size_t block, n_blocks; /* patches of a block; blocks of those rows */
    size_t first, n_rows;   /* the rows at hand                         */
    size_t v_bytes, thread_bytes;
    float *v;
    unsigned char *scratch;
};

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* Cut n patches into blocks of nearly one size. */
static void cut_blocks(struct made *m, size_t n)
{
    size_t even = ceil_div(n, ceil_div(n, BLOCK_TILES));

    m->block = ceil_div(even, STRIP) * STRIP;
    m->n_blocks = ceil_div(n, m->block);
}

/* Floats of V of a block. */
static size_t block_floats(const struct made *m)
{
    return POINTS * m->n_pieces * DEPTH * m->block;
}

/* Of a thread: a band; or U, M, what is added to outputs and room.  As for the
 * largest block: a plan for n threads may be run by fewer, which may cut the
 * patches into larger ones. */
static size_t thread_bytes(const struct kernel_table *k, const struct made *m)
{
    size_t band = m->g.band_floats * sizeof(float);
    size_t own =
        (POINTS * (U_PLANE + BLOCK_TILES * COLUMNS) + COLUMNS) * sizeof(float) +
        weight_room_bytes(k);

    return size_align(band > own ? band : own, 64);
}

static struct made made_of(const struct kernel_table *k, unsigned n_threads,
                           const struct conv2d_shape *s)
{
    struct made m = {.g = winograd_grid_of(k, s)};
    size_t row = POINTS * (size_t)m.g.c * m.g.tiles_w * sizeof(float), rows;

    m.n_groups = ceil_div(m.g.n_pad, COLUMNS);
    m.n_pieces = ceil_div(m.g.c, DEPTH);
    rows = ceil_div(THREAD_CHUNKS * n_threads, m.n_groups) * BLOCK_TILES /
           m.g.tiles_w;
    rows = rows > V_BYTES / row ? rows : V_BYTES / row;
    rows = rows > n_threads ? rows : n_threads; /* a row each to transform */
    m.rows_at_once = ceil_div(m.g.n_rows, ceil_div(m.g.n_rows, rows));
    cut_blocks(&m, m.rows_at_once * m.g.tiles_w);
    m.v_bytes = size_align(m.n_blocks * block_floats(&m) * sizeof(float), 64);
    m.thread_bytes = thread_bytes(k, &m);
    return m;
}

static unsigned char *thread_scratch(const struct made *m, unsigned worker)
{
    return m->scratch + worker * m->thread_bytes;
}

/* -- patches --------------------------------------------------------------- */

/* Row `i` of the tiles at hand. */
static void transform_row(void *arg, size_t i, unsigned worker)
{
    const struct made *m = arg;
    const struct winograd_grid *g = &m->g;
    float *band = (float *)(void *)thread_scratch(m, worker);
    size_t line = (size_t)g->band_w * g->c, plane = m->block * DEPTH;

    winograd_fill_band(m->ctx->k, g, m->a, m->first + i, 1, band);
    for (size_t x = 0; x < g->tiles_w; x++) {
        size_t tile = i * g->tiles_w + x;
        const float *from = band + 4 * x * g->c;
        float *to =
            m->v + tile / m->block * block_floats(m) + tile % m->block * DEPTH;

        for (size_t c = 0; c < g->c; c += DEPTH, to += POINTS * plane)
            m->ctx->k->wino.input(to, plane, from + c, line, g->c,
                                  g->c - c < DEPTH ? g->c - c : DEPTH);
    }
}

/* -- products -------------------------------------------------------------- */

/* A group of panels. */
struct group {
    size_t first, n; /* panels                                               */
    float *u, *sums;
    struct winograd_columns columns;
    void *room;
};

static struct group group_of(const struct made *m, size_t i, unsigned worker)
{
    size_t panels = m->g.n_pad / WINOGRAD_PANEL, end;
    struct group g = {.first = i * PANELS};

    g.n = chunk_len(panels, PANELS, i);
    g.u = (float *)(void *)thread_scratch(m, worker);
    g.sums = g.u + POINTS * U_PLANE;
    g.columns.c0 = (uint32_t)(g.first * WINOGRAD_PANEL);
    end = g.columns.c0 + g.n * WINOGRAD_PANEL;
    end = end < m->a->s.cout ? end : m->a->s.cout;
    g.columns.n = (uint32_t)(end - g.columns.c0);
    g.columns.add = g.sums + POINTS * m->block * COLUMNS;
    g.room = g.columns.add + COLUMNS;
    return g;
}

static void make_filters(const struct made *m, const struct group *g,
                         uint32_t c, uint32_t n)
{
    char *to = (char *)g->u;

    for (size_t p = 0; p < g->n;
         p++, to += DEPTH * WINOGRAD_PANEL * sizeof(float))
        weight_filters(m->ctx->k, to, U_PLANE * sizeof(float), m->a->rows,
                       (uint32_t)(g->first + p), c, n, g->room);
}

/* The products of a piece with n_tiles patches of a block. */
static void multiply_piece(const struct made *m, const struct group *g,
                           const float *v, size_t n_tiles, size_t depth,
                           bool is_adding)
{
    for (size_t q = 0; q < POINTS; q++, v += m->block * DEPTH)
        for (size_t p = 0; p < g->n; p++)
            m->ctx->k->wino.gemm(
                g->sums + q * m->block * COLUMNS + p * WINOGRAD_PANEL, COLUMNS,
                v, DEPTH, n_tiles,
                g->u + q * U_PLANE + p * DEPTH * WINOGRAD_PANEL, depth,
                is_adding);
}

/* Outputs of patches `from` .. `end` of those at hand. */
static void put_tiles(const struct made *m, const struct group *g, size_t from,
                      size_t end)
{
    size_t plane = m->block * COLUMNS, image = SIZE_MAX;
    const float *sums = g->sums;

    for (size_t t = from; t < end; t++, sums += COLUMNS) {
        size_t row = m->first + t / m->g.tiles_w;

        if (row / m->g.tiles_h != image) {
            image = row / m->g.tiles_h;
            winograd_fill_add(&g->columns, m->a, image);
        }
        winograd_put_tile(m->ctx->k, &m->g, m->a, &g->columns, row,
                          t % m->g.tiles_w, sums, plane);
    }
}

/* Blocks vary fastest: rows of weights come from a near cache the next time. */
static void multiply_block(void *arg, size_t i, unsigned worker)
{
    const struct made *m = arg;
    size_t b = i % m->n_blocks, all = m->n_rows * m->g.tiles_w;
    size_t from = b * m->block, n = chunk_len(all, m->block, b);
    struct group g = group_of(m, i / m->n_blocks, worker);
    const float *v = m->v + b * block_floats(m);

    for (uint32_t c = 0; c < m->g.c; c += DEPTH) {
        uint32_t depth = m->g.c - c < DEPTH ? m->g.c - c : DEPTH;

        make_filters(m, &g, c, depth);
        multiply_piece(m, &g, v, n, depth, c > 0);
        v += POINTS * m->block * DEPTH;
    }
    put_tiles(m, &g, from, from + n);
}

/* -- all ------------------------------------------------------------------- */

size_t winograd_made_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct conv2d_shape *s)
{
    struct made m = made_of(k, n_threads, s);

    return m.v_bytes + n_threads * m.thread_bytes;
}

void winograd_made_run(const struct op_ctx *ctx, const struct conv2d_args *args)
{
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    struct made m = made_of(ctx->k, n_threads, &args->s);
    size_t all = m.g.n_rows;

    m.ctx = ctx;
    m.a = args;
    m.v = (float *)(void *)ctx->scratch;
    m.scratch = ctx->scratch + m.v_bytes;
    for (; m.first < all; m.first += m.n_rows) {
        m.n_rows =
            all - m.first < m.rows_at_once ? all - m.first : m.rows_at_once;
        m.n_blocks = ceil_div(m.n_rows * m.g.tiles_w, m.block);
        pool_run(ctx->pool, m.n_rows, transform_row, &m);
        pool_run(ctx->pool, m.n_groups * m.n_blocks, multiply_block, &m);
    }
}
