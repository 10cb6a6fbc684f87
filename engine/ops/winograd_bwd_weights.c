/* winograd_bwd_weights.c - adjoint of F(4x4) with respect to the weights.
 *
 * Patches of the input and tiles of dy are transformed and multiplied, summed
 * over tiles for each of the 36 points; the sums of all pictures are transformed
 * back to taps once.  Groups of pictures have sums of their own, which are added
 * in order: so the bits do not depend on threads.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/winograd.h"

#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/band.h"
#include "ops/winograd_parts.h"

#define PANEL WINOGRAD_PANEL

/* The adjoint for weights sums groups of pictures apart.  Sums of a group are
 * written, read and transformed back once, so groups are not small: training
 * runs whole micro-batches of this size side by side. */
#define GROUP_PICTURES   16u
#define GROUPS_MAX       8u
#define GROUPS_MAX_BYTES ((size_t)64 << 20)

struct backward {
    const struct op_ctx *ctx;
    const struct conv2d_bwd_weights_args *a;
    struct conv2d_args x; /* the input as band_fill() wants it               */
    struct winograd_grid g;
    struct winograd_blocks blocks;
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
    const struct winograd_grid *g = &b->g;
    const struct conv2d_shape *s = &b->a->s;
    const struct winograd_kernels *k = &b->ctx->k->wino;
    size_t dy_row = (size_t)4 * g->tiles_w * s->cout;

    band_fill(b->ctx->k, &b->x, (uint32_t)(row / g->tiles_h),
              (int64_t)(4 * (row % g->tiles_h)) - s->pad_t, 6, g->band_w, band);
    for (size_t x = 0; x < g->tiles_w; x++)
        k->input(v + x * g->c, b->blocks.tiles * g->c, band + 4 * x * g->c,
                 (size_t)g->band_w * g->c, g->c, g->c);
    const float *dy = band;
    if (s->oh % 4 == 0 && s->ow % 4 == 0) /* whole tiles: where it lies */
        dy = b->a->dy + row * 4 * s->ow * s->cout;
    else
        dy_band(b, row, band);
    for (size_t x = 0; x < g->tiles_w; x++)
        k->grad(m + x * s->cout, b->blocks.tiles * s->cout,
                dy + 4 * x * s->cout, dy_row, s->cout, s->cout);
}

static size_t bwd_band_floats(const struct winograd_grid *g,
                              const struct conv2d_shape *s)
{
    size_t dy = (size_t)16 * g->tiles_w * s->cout;

    return dy > g->band_floats ? dy : g->band_floats;
}

/* One group of pictures: its own sums, block by block. */
static void run_group(void *arg, size_t group, unsigned worker)
{
    const struct backward *b = arg;
    const struct winograd_grid *g = &b->g;
    const struct conv2d_shape *s = &b->a->s;
    float *band = (float *)(b->scratch + worker * b->per_thread);
    float *v = band + bwd_band_floats(g, s);
    float *m = v + 36 * b->blocks.tiles * g->c;
    float *sums = b->sums + group * b->group_floats;
    size_t row = s->n * group / b->n_groups * g->tiles_h;
    size_t end = s->n * (group + 1) / b->n_groups * g->tiles_h;
    size_t plane = (size_t)g->c * s->cout;

    memset(sums, 0, b->group_floats * sizeof *sums);
    while (row < end) {
        size_t rows = end - row < b->blocks.rows ? end - row : b->blocks.rows;
        for (size_t r = 0; r < rows; r++)
            transform_rows(b, row + r, band, v + r * g->tiles_w * g->c,
                           m + r * g->tiles_w * s->cout);
        for (size_t q = 0; q < 36; q++)
            b->ctx->k->wino.gemm_tn(sums + q * plane, s->cout,
                                    v + q * b->blocks.tiles * g->c, g->c,
                                    m + q * b->blocks.tiles * s->cout, s->cout,
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

static size_t bwd_thread_bytes(const struct winograd_grid *g,
                               const struct winograd_blocks *b,
                               const struct conv2d_shape *s)
{
    return size_align(
        (bwd_band_floats(g, s) + 36 * b->tiles * (g->c + s->cout)) *
            sizeof(float),
        64);
}

size_t winograd_bwd_weights_scratch(const struct kernel_table *k,
                                    unsigned n_threads,
                                    const struct conv2d_shape *s)
{
    struct winograd_grid g = winograd_grid_of(k, s);
    struct winograd_blocks b = winograd_blocks_of(k, &g);

    return n_threads * bwd_thread_bytes(&g, &b, s) +
           n_groups(s) * 36 * g.c * s->cout * sizeof(float);
}

void winograd_bwd_weights(const struct op_ctx *ctx,
                          const struct conv2d_bwd_weights_args *args)
{
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    struct backward b = {
        .ctx = ctx, .a = args, .g = winograd_grid_of(ctx->k, &args->s)};

    b.x.s = args->s;
    b.x.x0 = args->x;
    b.n_groups = n_groups(&args->s);
    b.group_floats = (size_t)36 * b.g.c * args->s.cout;
    b.blocks = winograd_blocks_of(ctx->k, &b.g);
    b.per_thread = bwd_thread_bytes(&b.g, &b.blocks, &args->s);
    b.scratch = ctx->scratch;
    b.sums = (float *)(ctx->scratch + n_threads * b.per_thread);
    pool_run(ctx->pool, b.n_groups, run_group, &b);
    pool_run(ctx->pool, (args->s.cout + PANEL - 1) / PANEL, finish_panel, &b);
}
