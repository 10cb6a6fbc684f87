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
#include "ops/choose.h"

/* Packed weights: U[36][N / 16][cin][16]. */
#define PANEL 16u

/* Tiles in a block: with V and M about half a megabyte, the second-level
 * cache of the CPUs at hand; at least three strips of the 6-row kernel. */
#define BLOCK_BYTES (4096u * 36u * sizeof(float))
#define BLOCK_MAX   64u
#define BLOCK_MIN   18u

/* Of F(2x2): at least two strips of the 14-row kernel; a panel of its weights
 * is read once a block. */
#define BLOCK_MAX_F2 112u
#define BLOCK_MIN_F2 28u

/* Rows of tiles that share a band.  The band of one row of F(4x4) computes
 * each pixel 1.5 times, of four rows of F(2x2) 1.25 times. */
#define BAND_ROWS_F2 4u

/* V and M of all tiles may take this much before blocks are preferred. */
#define PHASES_MAX_BYTES ((size_t)48 << 20)

/* Weights of this many bytes do not stay in a core's share of the last cache. */
#define STREAMED_BYTES ((size_t)4 << 20)

/* The adjoint for weights sums groups of pictures apart.  Sums of a group are
 * written, read and transformed back once, so groups are not small: training
 * runs whole micro-batches of this size side by side. */
#define GROUP_PICTURES   16u
#define GROUPS_MAX       8u
#define GROUPS_MAX_BYTES ((size_t)64 << 20)

struct grid {
    uint32_t e, points;        /* edge of a tile; (e + 2)^2                   */
    uint32_t c, n_pad, panel;  /* channels in, out rounded up; of a panel     */
    size_t v_size;             /* bytes of a transformed value                */
    uint32_t tiles_h, tiles_w; /* of one picture                             */
    uint32_t band_w;           /* columns of a band                           */
    uint32_t band_rows;        /* rows of tiles that share one, at most       */
    uint32_t rows_per_block;   /* rows of tiles in a block                    */
    size_t block_tiles;
    size_t n_rows; /* rows of tiles in the batch                  */
    size_t n_blocks;
    size_t band_floats;
};

static bool is_f2(const struct kernel_table *k)
{
    return k->wino.edge == 2;
}

/* Columns of a panel of packed weights. */
static uint32_t panel_width(const struct kernel_table *k)
{
    return is_f2(k) ? k->gemm.nr : PANEL;
}

bool winograd_covers(const struct kernel_table *k, const struct conv2d_shape *s)
{
    uint32_t e = k->wino.edge;

    return s->stride == 1 && s->pad_l + s->up_w <= (s->ow + e - 1) / e * e + 2;
}

bool winograd_fits(const struct kernel_table *k, const struct conv2d_shape *s)
{
    return choose_conv(k, s, false) == CONV_WINOGRAD;
}

static uint32_t clamp(size_t x, uint32_t low, uint32_t high)
{
    return x < low ? low : x > high ? high : (uint32_t)x;
}

static struct grid make_grid(const struct kernel_table *k,
                             const struct conv2d_shape *s)
{
    struct grid g;
    uint32_t wanted;

    g.e = k->wino.edge;
    g.points = (g.e + 2) * (g.e + 2);
    g.c = s->c0 + s->c1;
    g.panel = panel_width(k);
    g.n_pad = (s->cout + g.panel - 1) / g.panel * g.panel;
    g.v_size = is_f2(k) ? dtype_size(k->gemm.operand) : sizeof(float);
    g.tiles_h = (s->oh + g.e - 1) / g.e;
    g.tiles_w = (s->ow + g.e - 1) / g.e;
    g.band_w = g.e * g.tiles_w + 2;
    g.band_rows = is_f2(k) ? BAND_ROWS_F2 : 1;
    g.band_floats = (size_t)(g.e * g.band_rows + 2) * g.band_w * g.c;
    g.n_rows = (size_t)s->n * g.tiles_h;
    wanted = clamp(BLOCK_BYTES /
                       (g.points * (g.c * g.v_size + g.n_pad * sizeof(float))),
                   is_f2(k) ? BLOCK_MIN_F2 : BLOCK_MIN,
                   is_f2(k) ? BLOCK_MAX_F2 : BLOCK_MAX);
    g.rows_per_block = (wanted + g.tiles_w - 1) / g.tiles_w;
    g.block_tiles = (size_t)g.rows_per_block * g.tiles_w;
    g.n_blocks = (g.n_rows + g.rows_per_block - 1) / g.rows_per_block;
    return g;
}

/* -- weights ------------------------------------------------------------- */

/* G of F(4x4, 3x3) on three rows of PANEL filters side by side: written out,
 * since most entries are shared or zero.
 *
 *      1/4    0     0
 *     -1/6  -1/6  -1/6
 *     -1/6   1/6  -1/6
 *     1/24   1/12  1/6
 *     1/24  -1/12  1/6
 *       0     0     1                                                      */
static void apply_g(double out[6][PANEL], const double *x0, const double *x1,
                    const double *x2)
{
    for (size_t i = 0; i < PANEL; i++) {
        double even = (x0[i] + x2[i]) * (-1.0 / 6), odd = x1[i] * (1.0 / 6);
        double wide = x0[i] * (1.0 / 24) + x2[i] * (1.0 / 6);
        double half = x1[i] * (1.0 / 12);
        out[0][i] = x0[i] * (1.0 / 4);
        out[1][i] = even - odd;
        out[2][i] = even + odd;
        out[3][i] = wide + half;
        out[4][i] = wide - half;
        out[5][i] = x2[i];
    }
}

size_t winograd_packed_bytes(const struct kernel_table *k, uint32_t cin,
                             uint32_t cout)
{
    size_t panel = panel_width(k), n = (cout + panel - 1) / panel * panel;

    return is_f2(k) ? 16 * n * cin * dtype_size(k->gemm.operand)
                    : 36 * n * cin * sizeof(float);
}

/* PANEL filters with their taps side by side, to 36 lines of a panel. */
static void transform_filters(float *to, size_t plane, double w[9][PANEL])
{
    double t[3][6][PANEL], u[6][PANEL];

    for (size_t s = 0; s < 3; s++)
        apply_g(t[s], w[s], w[3 + s], w[6 + s]);
    for (size_t r = 0; r < 6; r++) {
        apply_g(u, t[0][r], t[1][r], t[2][r]);
        for (size_t s = 0; s < 6; s++)
            for (size_t i = 0; i < PANEL; i++)
                to[(6 * r + s) * plane + i] = (float)u[s][i];
    }
}

static void pack_f4(float *dst, const float *w, uint32_t cin, uint32_t cout,
                    bool is_adjoint)
{
    uint32_t rows = is_adjoint ? cout : cin, cols = is_adjoint ? cin : cout;
    size_t n16 = (cols + PANEL - 1) / PANEL * PANEL;
    double taps[9][PANEL];

    for (uint32_t o = 0; o < cols; o += PANEL)
        for (uint32_t c = 0; c < rows; c++) {
            memset(taps, 0, sizeof taps);
            for (uint32_t i = 0; i < PANEL && o + i < cols; i++) {
                const float *f =
                    w + 9 * (is_adjoint ? (size_t)c * cin + o + i
                                        : (size_t)(o + i) * cin + c);
                for (size_t tap = 0; tap < 9; tap++)
                    taps[is_adjoint ? 8 - tap : tap][i] = (double)f[tap];
            }
            transform_filters(dst + ((size_t)(o / PANEL) * rows + c) * PANEL,
                              n16 * rows, taps);
        }
}

/* G of F(2x2, 3x3): rows (1 0 0), (1 1 1) / 2, (1 -1 1) / 2, (0 0 1). */
static void apply_g_f2(double out[4], double x0, double x1, double x2)
{
    out[0] = x0;
    out[1] = 0.5 * (x0 + x1 + x2);
    out[2] = 0.5 * (x0 - x1 + x2);
    out[3] = x2;
}

/* G w GT of one filter, taps[3 y + x]. */
static void transform_filter_f2(float u[16], const double taps[9])
{
    double t[3][4], out[4];

    for (size_t x = 0; x < 3; x++)
        apply_g_f2(t[x], taps[x], taps[3 + x], taps[6 + x]);
    for (size_t r = 0; r < 4; r++) {
        apply_g_f2(out, t[0][r], t[1][r], t[2][r]);
        for (size_t s = 0; s < 4; s++)
            u[4 * r + s] = (float)out[s];
    }
}

float winograd_tap(const float *w, uint32_t cin, uint32_t in, uint32_t out,
                   uint32_t tap, bool is_adjoint)
{
    return is_adjoint ? w[((size_t)in * cin + out) * 9 + 8 - tap]
                      : w[((size_t)out * cin + in) * 9 + tap];
}

/* Panel p of all 16 points: U[16][N / nr][rows / ku][nr][ku]. */
static void pack_panel_f2(const struct kernel_table *k, char *dst,
                          const float *w, uint32_t cin, uint32_t rows,
                          uint32_t cols, uint32_t p, bool is_adjoint)
{
    const struct gemm_kernels *g = &k->gemm;
    uint32_t n_panels = (cols + g->nr - 1) / g->nr, o = p * g->nr;
    size_t size = dtype_size(g->operand), unit = (size_t)g->nr * g->ku;
    float u[16][2 * GEMM_MAX_NR], filter[16];
    double taps[9];

    for (uint32_t c = 0; c < rows; c += g->ku) {
        memset(u, 0, sizeof u);
        for (uint32_t i = 0; i < unit; i++) {
            uint32_t column = o + i / g->ku;
            if (column >= cols)
                break;
            for (uint32_t tap = 0; tap < 9; tap++)
                taps[tap] = (double)winograd_tap(w, cin, c + i % g->ku, column,
                                                 tap, is_adjoint);
            transform_filter_f2(filter, taps);
            for (size_t q = 0; q < 16; q++)
                u[q][i] = filter[q];
        }
        for (size_t q = 0; q < 16; q++)
            g->narrow(dst + (((q * n_panels + p) * rows + c) * g->nr) * size,
                      u[q], unit);
    }
}

void winograd_pack(const struct kernel_table *k, void *dst, const float *w,
                   uint32_t cin, uint32_t cout, bool is_adjoint)
{
    uint32_t rows = is_adjoint ? cout : cin, cols = is_adjoint ? cin : cout;

    if (!is_f2(k)) {
        pack_f4(dst, w, cin, cout, is_adjoint);
        return;
    }
    for (uint32_t p = 0; p * k->gemm.nr < cols; p++)
        pack_panel_f2(k, dst, w, cin, rows, cols, p, is_adjoint);
}

/* -- forward ------------------------------------------------------------- */

struct forward {
    const struct op_ctx *ctx;
    const struct conv2d_args *a;
    struct grid g;
    unsigned char *scratch;
    size_t per_thread; /* bytes of band, sums and, by blocks, V and M     */
    char *v;           /* by phases: of all tiles                         */
    float *m;
    size_t all_tiles, panel_step;
};

/* Rows of tiles from `row` on whose input one band holds: of one picture. */
static size_t rows_of_band(const struct grid *g, size_t row, size_t n_rows)
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
    const struct grid *g = &f->g;
    const struct conv2d_shape *s = &f->a->s;
    size_t line = (size_t)g->band_w * g->c;

    band_fill(f->ctx->k, f->a, (uint32_t)(row / g->tiles_h),
              (int64_t)(g->e * (row % g->tiles_h)) - s->pad_t,
              (uint32_t)(g->e * n_rows + 2), g->band_w, band);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t x = 0; x < g->tiles_w; x++, v += g->c * g->v_size)
            f->ctx->k->wino.input(v, plane,
                                  band + g->e * r * line + g->e * x * g->c,
                                  line, g->c, g->c);
}

static void transform_rows_of(const struct forward *f, size_t row,
                              size_t n_rows, float *band, char *v, size_t plane)
{
    const struct grid *g = &f->g;

    for (size_t n; n_rows > 0; n_rows -= n, row += n) {
        n = rows_of_band(g, row, n_rows);
        transform_band(f, row, n, band, v, plane);
        v += n * g->tiles_w * g->c * g->v_size;
    }
}

/* Sums of row `row` of tiles to the picture. */
static void output_row(const struct forward *f, size_t row, float *add,
                       const float *m, size_t plane)
{
    const struct grid *g = &f->g;
    const struct conv2d_args *a = f->a;
    const struct conv2d_shape *s = &a->s;
    size_t image = row / g->tiles_h, ty = row % g->tiles_h, e = g->e;
    size_t base = (image * s->oh + e * ty) * s->ow * s->cout;
    struct winograd_out o = {.add = add,
                             .row_stride = (size_t)s->ow * s->cout,
                             .col_stride = s->cout,
                             .c = s->cout,
                             .scale = a->out_scale,
                             .plane = plane};

    for (size_t c = 0; c < s->cout; c++)
        add[c] = (a->bias ? a->bias[c] : 0) +
                 (a->vec ? a->vec[image * a->vec_stride + c] : 0);
    o.rows = s->oh - e * ty < e ? (uint32_t)(s->oh - e * ty) : g->e;
    for (size_t x = 0; x < g->tiles_w; x++) {
        size_t at = base + e * x * s->cout;
        o.cols = s->ow - e * x < e ? (uint32_t)(s->ow - e * x) : g->e;
        o.y = a->y + at;
        o.res = a->res ? a->res + at : NULL;
        o.m = m + x * g->n_pad;
        f->ctx->k->wino.output(&o);
    }
}

/* Point q, panel p of the products of `tiles` tiles, by the rung's tile. */
static void multiply_tiles(const struct forward *f, size_t q, size_t p,
                           const char *v, float *m, size_t tiles,
                           size_t plane_tiles)
{
    const struct grid *g = &f->g;
    const struct gemm_kernels *k = &f->ctx->k->gemm;
    const void *rows[GEMM_MAX_MR];
    size_t row = g->c * g->v_size;
    struct gemm_tile t = {
        .a = rows,
        .b = (const char *)f->a->w + (q * g->n_pad + p * g->panel) * row,
        .n_runs = 1,
        .run_len = g->c,
        .run_stride = g->c,
        .ldc = g->n_pad,
        .scale = 1,
        .n = g->panel,
    };

    v += q * plane_tiles * row;
    m += q * plane_tiles * g->n_pad + p * g->panel;
    for (size_t i = 0; i < tiles; i += t.m) {
        t.m = tiles - i < k->mr ? (unsigned)(tiles - i) : k->mr;
        t.c = m + i * g->n_pad;
        for (unsigned r = 0; r < t.m; r++)
            rows[r] = v + (i + r) * row;
        k->tile(&t);
    }
}

static void multiply(const struct forward *f, size_t q, size_t p, const char *v,
                     float *m, size_t tiles, size_t plane_tiles)
{
    const struct grid *g = &f->g;

    if (!f->ctx->k->wino.gemm) {
        multiply_tiles(f, q, p, v, m, tiles, plane_tiles);
        return;
    }
    f->ctx->k->wino.gemm(
        m + q * plane_tiles * g->n_pad + PANEL * p, g->n_pad,
        (const float *)v + q * plane_tiles * g->c, g->c, tiles,
        (const float *)f->a->w + q * g->n_pad * g->c + p * g->c * PANEL, g->c);
}

static float *thread_scratch(const struct forward *f, unsigned worker)
{
    return (float *)(f->scratch + worker * f->per_thread);
}

static size_t small_bytes(const struct grid *g)
{
    return size_align((g->band_floats + g->n_pad) * sizeof(float), 64);
}

static size_t v_bytes(const struct grid *g, size_t tiles)
{
    return size_align(g->points * tiles * g->c * g->v_size, 64);
}

static size_t m_bytes(const struct grid *g, size_t tiles)
{
    return g->points * tiles * g->n_pad * sizeof(float);
}

static void run_block(void *arg, size_t block, unsigned worker)
{
    const struct forward *f = arg;
    const struct grid *g = &f->g;
    float *band = thread_scratch(f, worker), *add = band + g->band_floats;
    char *v = (char *)band + small_bytes(g);
    float *m = (float *)(v + v_bytes(g, g->block_tiles));
    size_t first = block * g->rows_per_block;
    size_t rows = g->n_rows - first < g->rows_per_block ? g->n_rows - first
                                                        : g->rows_per_block;
    size_t panels = g->n_pad / g->panel;

    transform_rows_of(f, first, rows, band, v, g->block_tiles * g->c);
    for (size_t q = 0; q < g->points; q++)
        for (size_t p = 0; p < panels; p++)
            multiply(f, q, p, v, m, rows * g->tiles_w, g->block_tiles);
    for (size_t r = 0; r < rows; r++)
        output_row(f, first + r, add, m + r * g->tiles_w * g->n_pad,
                   g->block_tiles * g->n_pad);
}

/* Bands of a picture; the last may be short. */
static size_t n_bands(const struct grid *g)
{
    return (g->tiles_h + g->band_rows - 1) / g->band_rows;
}

static void phase_input(void *arg, size_t band, unsigned worker)
{
    const struct forward *f = arg;
    const struct grid *g = &f->g;
    size_t row =
        band / n_bands(g) * g->tiles_h + band % n_bands(g) * g->band_rows;

    transform_band(
        f, row, rows_of_band(g, row, g->band_rows), thread_scratch(f, worker),
        f->v + row * g->tiles_w * g->c * g->v_size, f->all_tiles * g->c);
}

/* Some panels one after the other, as they lie: kernels fetch the next one
 * ahead. */
static void phase_multiply(void *arg, size_t i, unsigned worker)
{
    const struct forward *f = arg;
    size_t panels = f->g.n_pad / f->g.panel, all = f->g.points * panels;
    size_t end = (i + 1) * f->panel_step;

    (void)worker;
    for (size_t at = i * f->panel_step; at < end && at < all; at++)
        multiply(f, at / panels, at % panels, f->v, f->m, f->all_tiles,
                 f->all_tiles);
}

/* Panels of a chunk: enough chunks to share out evenly. */
static size_t panels_at_once(size_t n_panels, unsigned n_threads)
{
    size_t n = n_panels / (16 * (size_t)n_threads);

    return n < 1 ? 1 : n > 8 ? 8 : n;
}

static void phase_output(void *arg, size_t row, unsigned worker)
{
    const struct forward *f = arg;

    output_row(f, row, thread_scratch(f, worker) + f->g.band_floats,
               f->m + row * f->g.tiles_w * f->g.n_pad,
               f->all_tiles * f->g.n_pad);
}

static size_t phases_bytes(const struct grid *g)
{
    size_t tiles = g->n_rows * g->tiles_w;

    return v_bytes(g, tiles) + m_bytes(g, tiles);
}

/* Few blocks leave threads idle; and a block reads all weights, which large
 * ones do from memory each time. */
static bool by_phases(const struct grid *g, unsigned n_threads)
{
    size_t weights = (size_t)g->points * g->c * g->n_pad * g->v_size;

    return phases_bytes(g) <= PHASES_MAX_BYTES &&
           (weights >= STREAMED_BYTES || g->n_blocks < 4 * (size_t)n_threads);
}

static size_t block_bytes(const struct grid *g)
{
    return small_bytes(g) + v_bytes(g, g->block_tiles) +
           size_align(m_bytes(g, g->block_tiles), 64);
}

size_t winograd_scratch(const struct kernel_table *k, unsigned n_threads,
                        const struct conv2d_shape *s)
{
    struct grid g = make_grid(k, s);
    size_t blocks = n_threads * block_bytes(&g);
    size_t phases = n_threads * small_bytes(&g) + phases_bytes(&g);

    /* A plan for n threads may be run by fewer, which may choose blocks. */
    return by_phases(&g, n_threads) && phases > blocks ? phases : blocks;
}

void winograd_run(const struct op_ctx *ctx, const struct conv2d_args *args)
{
    struct forward f = {
        .ctx = ctx, .a = args, .g = make_grid(ctx->k, &args->s)};
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    size_t n_panels;

    f.scratch = ctx->scratch;
    if (!by_phases(&f.g, n_threads)) {
        f.per_thread = block_bytes(&f.g);
        pool_run(ctx->pool, f.g.n_blocks, run_block, &f);
        return;
    }
    f.per_thread = small_bytes(&f.g);
    f.all_tiles = f.g.n_rows * f.g.tiles_w;
    f.v = (char *)ctx->scratch + n_threads * f.per_thread;
    f.m = (float *)(f.v + v_bytes(&f.g, f.all_tiles));
    pool_run(ctx->pool, args->s.n * n_bands(&f.g), phase_input, &f);
    n_panels = f.g.points * (f.g.n_pad / f.g.panel);
    f.panel_step = panels_at_once(n_panels, n_threads);
    pool_run(ctx->pool, (n_panels + f.panel_step - 1) / f.panel_step,
             phase_multiply, &f);
    pool_run(ctx->pool, f.g.n_rows, phase_output, &f);
}

/* -- adjoint with respect to the weights ----------------------------------- */

struct backward {
    const struct op_ctx *ctx;
    const struct conv2d_bwd_weights_args *a;
    struct conv2d_args x; /* the input as band_fill() wants it               */
    struct grid g;
    size_t n_groups, group_floats;
    float *sums; /* [n_groups][36][cin][cout]                       */
    unsigned char *scratch;
    size_t per_thread;
};

static size_t n_groups(const struct conv2d_shape *s)
{
    size_t bytes = (size_t)36 * s->c0 * s->cout * sizeof(float);
    size_t n = (s->n + GROUP_PICTURES - 1) / GROUP_PICTURES;

    n = n < GROUPS_MAX ? n : GROUPS_MAX;
    while (n > 1 && n * bytes > GROUPS_MAX_BYTES)
        n--;
    return n;
}

/* dy of one row of tiles, zeros beyond the picture: [4][4 tiles_w][cout]. */
static void dy_band(const struct backward *b, size_t row, float *band)
{
    const struct conv2d_shape *s = &b->a->s;
    size_t image = row / b->g.tiles_h, ty = row % b->g.tiles_h;
    size_t line = (size_t)s->ow * s->cout;
    size_t band_line = (size_t)4 * b->g.tiles_w * s->cout;

    for (size_t r = 0; r < 4; r++) {
        size_t y = 4 * ty + r;
        float *to = band + r * band_line;
        if (y >= s->oh) {
            memset(to, 0, band_line * sizeof *to);
            continue;
        }
        memcpy(to, b->a->dy + (image * s->oh + y) * line, line * sizeof *to);
        memset(to + line, 0, (band_line - line) * sizeof *to);
    }
}

static void transform_rows(const struct backward *b, size_t row, float *band,
                           float *v, float *m)
{
    const struct grid *g = &b->g;
    const struct conv2d_shape *s = &b->a->s;
    const struct winograd_kernels *k = &b->ctx->k->wino;
    size_t dy_row = (size_t)4 * g->tiles_w * s->cout;

    band_fill(b->ctx->k, &b->x, (uint32_t)(row / g->tiles_h),
              (int64_t)(4 * (row % g->tiles_h)) - s->pad_t, 6, g->band_w, band);
    for (size_t x = 0; x < g->tiles_w; x++)
        k->input(v + x * g->c, g->block_tiles * g->c, band + 4 * x * g->c,
                 (size_t)g->band_w * g->c, g->c, g->c);
    const float *dy = band;
    if (s->oh % 4 == 0 && s->ow % 4 == 0) /* whole tiles: where it lies */
        dy = b->a->dy + row * 4 * s->ow * s->cout;
    else
        dy_band(b, row, band);
    for (size_t x = 0; x < g->tiles_w; x++)
        k->grad(m + x * s->cout, g->block_tiles * s->cout, dy + 4 * x * s->cout,
                dy_row, s->cout, s->cout);
}

static size_t bwd_band_floats(const struct grid *g,
                              const struct conv2d_shape *s)
{
    size_t dy = (size_t)16 * g->tiles_w * s->cout;

    return dy > g->band_floats ? dy : g->band_floats;
}

/* One group of pictures: its own sums, block by block. */
static void run_group(void *arg, size_t group, unsigned worker)
{
    const struct backward *b = arg;
    const struct grid *g = &b->g;
    const struct conv2d_shape *s = &b->a->s;
    float *band = (float *)(b->scratch + worker * b->per_thread);
    float *v = band + bwd_band_floats(g, s);
    float *m = v + 36 * g->block_tiles * g->c;
    float *sums = b->sums + group * b->group_floats;
    size_t row = s->n * group / b->n_groups * g->tiles_h;
    size_t end = s->n * (group + 1) / b->n_groups * g->tiles_h;
    size_t plane = (size_t)g->c * s->cout;

    memset(sums, 0, b->group_floats * sizeof *sums);
    while (row < end) {
        size_t rows =
            end - row < g->rows_per_block ? end - row : g->rows_per_block;
        for (size_t r = 0; r < rows; r++)
            transform_rows(b, row + r, band, v + r * g->tiles_w * g->c,
                           m + r * g->tiles_w * s->cout);
        for (size_t q = 0; q < 36; q++)
            b->ctx->k->wino.gemm_tn(sums + q * plane, s->cout,
                                    v + q * g->block_tiles * g->c, g->c,
                                    m + q * g->block_tiles * s->cout, s->cout,
                                    g->c, s->cout, rows * g->tiles_w);
        row += rows;
    }
}

/* The transpose of G, see apply_g(), in f32: what comes and goes is f32. */
static void apply_gt(float out[3][PANEL], float u[6][PANEL])
{
    for (size_t i = 0; i < PANEL; i++) {
        float near = u[1][i] + u[2][i], far = u[3][i] + u[4][i];
        out[0][i] = u[0][i] * 0.25f - near * (1 / 6.0f) + far * (1 / 24.0f);
        out[1][i] = (u[2][i] - u[1][i]) * (1 / 6.0f) +
                    (u[3][i] - u[4][i]) * (1 / 12.0f);
        out[2][i] = (far - near) * (1 / 6.0f) + u[5][i];
    }
}

/* Sums of all groups, in order, of input channel c and a panel of outputs. */
static void gather_sums(const struct backward *b, float u[36][PANEL], size_t c,
                        size_t o, size_t n)
{
    const size_t cout = b->a->s.cout, plane = (size_t)b->g.c * cout;

    for (size_t q = 0; q < 36; q++) {
        const float *from = b->sums + q * plane + c * cout + o;
        memcpy(u[q], from, n * sizeof *from);
        for (size_t k = 1; k < b->n_groups; k++) {
            from += b->group_floats;
            for (size_t i = 0; i < n; i++)
                u[q][i] += from[i];
        }
    }
}

/* A panel of output channels: dw += GT sum G for every input channel. */
static void finish_panel(void *arg, size_t panel, unsigned worker)
{
    const struct backward *b = arg;
    const struct conv2d_shape *s = &b->a->s;
    size_t o = panel * PANEL, n = s->cout - o < PANEL ? s->cout - o : PANEL;
    float u[36][PANEL] = {{0}}, t[3][6][PANEL], w[3][PANEL];
    float taps[9][PANEL];

    (void)worker;
    for (size_t c = 0; c < b->g.c; c++) {
        gather_sums(b, u, c, o, n);
        for (size_t q = 0; q < 6; q++) { /* columns of each row of u */
            apply_gt(w, &u[6 * q]);
            for (size_t k = 0; k < 3; k++)
                memcpy(t[k][q], w[k], sizeof w[k]);
        }
        for (size_t k = 0; k < 3; k++) {
            apply_gt(w, t[k]);
            for (size_t r = 0; r < 3; r++)
                memcpy(taps[3 * r + k], w[r], sizeof w[r]);
        }
        for (size_t i = 0; i < n; i++) {
            float *dw = b->a->dw + ((o + i) * b->g.c + c) * 9;
            for (size_t tap = 0; tap < 9; tap++)
                dw[tap] += taps[tap][i];
        }
    }
}

static size_t bwd_thread_bytes(const struct grid *g,
                               const struct conv2d_shape *s)
{
    return size_align(
        (bwd_band_floats(g, s) + 36 * g->block_tiles * (g->c + s->cout)) *
            sizeof(float),
        64);
}

size_t winograd_bwd_weights_scratch(const struct kernel_table *k,
                                    unsigned n_threads,
                                    const struct conv2d_shape *s)
{
    struct grid g = make_grid(k, s);

    return n_threads * bwd_thread_bytes(&g, s) +
           n_groups(s) * 36 * g.c * s->cout * sizeof(float);
}

void winograd_bwd_weights(const struct op_ctx *ctx,
                          const struct conv2d_bwd_weights_args *args)
{
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    struct backward b = {
        .ctx = ctx, .a = args, .g = make_grid(ctx->k, &args->s)};

    b.x.s = args->s;
    b.x.x0 = args->x;
    b.n_groups = n_groups(&args->s);
    b.group_floats = (size_t)36 * b.g.c * args->s.cout;
    b.per_thread = bwd_thread_bytes(&b.g, &args->s);
    b.scratch = ctx->scratch;
    b.sums = (float *)(ctx->scratch + n_threads * b.per_thread);
    pool_run(ctx->pool, b.n_groups, run_group, &b);
    pool_run(ctx->pool, (args->s.cout + PANEL - 1) / PANEL, finish_panel, &b);
}
