/* winograd_bwd_weights.c - adjoint of Winograd's convolutions with respect to
 * the weights.
 *
 * Patches of the input and tiles of dy are transformed and multiplied, summed
 * over tiles for each of the (e + 2)^2 points; the sums of all pictures are
 * transformed back to taps once.  Groups of pictures have sums of their own,
 * which are added in order: so the bits do not depend on threads.
 *
 * Operands of bf16 are multiplied in pairs of tiles, in the order in which they
 * lie in a picture; an odd one at the end of a band has zeros beside it.
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

#define PANEL      WINOGRAD_PANEL
#define MAX_POINTS 36

/* The adjoint for weights sums groups of pictures apart.  Sums of a group are
 * written, read and transformed back once, so groups are not small: training
 * runs whole micro-batches of this size side by side. */
#define GROUP_PICTURES   16u
#define GROUPS_MAX       8u
#define GROUPS_MAX_BYTES ((size_t)64 << 20)

/* Of operands of bf16: both of a block stay in the second-level cache beside
 * sums; few tiles do not repay reading and writing those. */
#define PAIRS_BYTES ((size_t)512 << 10)
#define PAIRS_MIN   32u
#define PAIRS_MAX   128u

struct backward {
    const struct op_ctx *ctx;
    const struct conv2d_bwd_weights_args *a;
    struct conv2d_args x; /* the input as band_fill() wants it               */
    struct winograd_grid g;
    bool is_paired;
    size_t value;  /* bytes of a value, or of a pair                         */
    size_t n_rows; /* of tiles in a block                                    */
    size_t room;   /* values that a block has of a channel and point         */
    size_t n_groups, group_floats;
    float *sums; /* [n_groups][points][cin][cout]                     */
    unsigned char *scratch;
    size_t per_thread;
};

static size_t n_groups(const struct winograd_grid *g,
                       const struct conv2d_shape *s)
{
    size_t bytes = (size_t)g->points * s->c0 * s->cout * sizeof(float);
    size_t n = (s->n + GROUP_PICTURES - 1) / GROUP_PICTURES;

    n = n < GROUPS_MAX ? n : GROUPS_MAX;
    while (n > 1 && n * bytes > GROUPS_MAX_BYTES)
        n--;
    return n;
}

/* Pairs of a block of one point and channel: a row of tiles needs no more than
 * its own, rounded up. */
static size_t rows_of_pairs(const struct winograd_grid *g, uint32_t cout)
{
    size_t row = (g->tiles_w + 1) / 2;
    size_t n = PAIRS_BYTES / (g->points * (g->c + cout) * 2 * g->v_size);

    n = n < PAIRS_MIN ? PAIRS_MIN : n < PAIRS_MAX ? n : PAIRS_MAX;
    return (n + row - 1) / row;
}

/* Where a rung's tiles go, and how many at a time. */
static void set_blocks(struct backward *b, const struct kernel_table *k,
                       const struct conv2d_shape *s)
{
    b->g = winograd_grid_of(k, s);
    b->is_paired = k->wino.gemm_pairs != NULL;
    if (b->is_paired) {
        b->value = 2 * b->g.v_size;
        b->n_rows = rows_of_pairs(&b->g, s->cout);
        b->room = b->n_rows * ((b->g.tiles_w + 1) / 2);
    } else {
        struct winograd_blocks blocks = winograd_blocks_of(k, &b->g);

        b->value = b->g.v_size;
        b->n_rows = blocks.rows;
        b->room = blocks.tiles;
    }
    b->n_groups = n_groups(&b->g, s);
    b->group_floats = (size_t)b->g.points * b->g.c * s->cout;
}

/* -- transforms ------------------------------------------------------------ */

/* dy of some rows of tiles of a picture, zeros beyond it:
 * [e n_rows][e tiles_w][cout]. */
static void dy_band(const struct backward *b, size_t row, size_t n_rows,
                    float *band)
{
    const struct conv2d_shape *s = &b->a->s;
    size_t e = b->g.e, image = row / b->g.tiles_h, ty = row % b->g.tiles_h;
    size_t line = (size_t)s->ow * s->cout;
    size_t band_line = e * b->g.tiles_w * s->cout;

    for (size_t r = 0; r < e * n_rows; r++) {
        size_t y = e * ty + r;
        float *to = band + r * band_line;
        if (y >= s->oh) {
            memset(to, 0, band_line * sizeof *to);
            continue;
        }
        memcpy(to, b->a->dy + (image * s->oh + y) * line, line * sizeof *to);
        memset(to + line, 0, (band_line - line) * sizeof *to);
    }
}

/* A window of tiles, `step` floats from one to the next and `row` from one row
 * of them to the next; lines of pixels are `line` floats apart. */
struct window {
    const float *at;
    size_t step, row, line;
    uint32_t c;
};

typedef void (*one_fn)(const struct winograd_kernels *k, void *v, size_t plane,
                       const float *x, const struct window *w);

static void one_input(const struct winograd_kernels *k, void *v, size_t plane,
                      const float *x, const struct window *w)
{
    k->input(v, plane, x, w->line, w->c, w->c);
}

static void one_grad(const struct winograd_kernels *k, void *v, size_t plane,
                     const float *dy, const struct window *w)
{
    k->grad(v, plane, dy, w->line, w->c, w->c);
}

static const float *tile_of(const struct window *w, size_t tiles_w, size_t i)
{
    return w->at + i / tiles_w * w->row + i % tiles_w * w->step;
}

/* n tiles to v, one by one. */
static void transform_each(const struct backward *b, const struct window *w,
                           size_t n, char *v, one_fn one)
{
    for (size_t i = 0; i < n; i++, v += w->c * b->value)
        one(&b->ctx->k->wino, v, b->room * w->c, tile_of(w, b->g.tiles_w, i),
            w);
}

/* The same in pairs. */
static void transform_pairs(const struct backward *b, const struct window *w,
                            size_t n, char *v, bool is_input)
{
    const struct winograd_kernels *k = &b->ctx->k->wino;

    for (size_t i = 0; i < n; i += 2, v += w->c * b->value)
        (is_input ? k->input_pair : k->grad_pair)(
            v, b->room * w->c, tile_of(w, b->g.tiles_w, i),
            i + 1 < n ? tile_of(w, b->g.tiles_w, i + 1) : NULL, w->line, w->c,
            w->c);
}

/* n_rows rows of tiles of one picture to v and m. */
static void transform_band(const struct backward *b, size_t row, size_t n_rows,
                           float *band, char *v, char *m)
{
    const struct winograd_grid *g = &b->g;
    const struct conv2d_shape *s = &b->a->s;
    size_t e = g->e, n = n_rows * g->tiles_w, line = (size_t)g->band_w * g->c;
    struct window x = {band, e * g->c, e * line, line, g->c}, dy;

    winograd_fill_band(b->ctx->k, g, &b->x, row, n_rows, band);
    if (b->is_paired)
        transform_pairs(b, &x, n, v, true);
    else
        transform_each(b, &x, n, v, one_input);
    line = e * g->tiles_w * s->cout;
    dy = (struct window){band, e * s->cout, e * line, line, s->cout};
    if (s->oh % e == 0 && s->ow % e == 0) /* whole tiles: where it lies */
        dy.at = b->a->dy + row * e * line;
    else
        dy_band(b, row, n_rows, band);
    if (b->is_paired)
        transform_pairs(b, &dy, n, m, false);
    else
        transform_each(b, &dy, n, m, one_grad);
}

static size_t bwd_band_floats(const struct winograd_grid *g,
                              const struct conv2d_shape *s)
{
    size_t dy = (size_t)g->e * g->band_rows * g->e * g->tiles_w * s->cout;

    return dy > g->band_floats ? dy : g->band_floats;
}

/* -- products -------------------------------------------------------------- */

/* A block's products, n values a channel, to the sums. */
static void multiply(const struct backward *b, float *sums, const char *v,
                     const char *m, size_t n)
{
    const struct winograd_kernels *k = &b->ctx->k->wino;
    size_t cin = b->g.c, cout = b->a->s.cout;

    for (size_t q = 0; q < b->g.points; q++, sums += cin * cout) {
        const void *x = v + q * b->room * cin * b->value;
        const void *dy = m + q * b->room * cout * b->value;
        if (b->is_paired)
            k->gemm_pairs(sums, cout, x, cin, dy, cout, cin, cout, n);
        else
            k->gemm_tn(sums, cout, x, cin, dy, cout, cin, cout, n);
    }
}

/* Transform up to n_rows rows of tiles; the values of a channel. */
static size_t transform_block(const struct backward *b, size_t row,
                              size_t n_rows, float *band, char *v, char *m)
{
    const struct winograd_grid *g = &b->g;
    size_t sum = 0;

    for (size_t n, values; n_rows > 0; n_rows -= n, row += n, sum += values) {
        n = g->tiles_h - row % g->tiles_h;
        n = n < n_rows ? n : n_rows;
        n = n < g->band_rows ? n : g->band_rows;
        values = b->is_paired ? (n * g->tiles_w + 1) / 2 : n * g->tiles_w;
        transform_band(b, row, n, band, v + sum * g->c * b->value,
                       m + sum * b->a->s.cout * b->value);
    }
    return sum;
}

/* One group of pictures: its own sums, block by block. */
static void run_group(void *arg, size_t group, unsigned worker)
{
    const struct backward *b = arg;
    const struct winograd_grid *g = &b->g;
    const struct conv2d_shape *s = &b->a->s;
    float *band = (float *)(void *)(b->scratch + worker * b->per_thread);
    char *v =
        (char *)band + size_align(bwd_band_floats(g, s) * sizeof(float), 64);
    char *m = v + g->points * b->room * g->c * b->value;
    float *sums = b->sums + group * b->group_floats;
    size_t row = s->n * group / b->n_groups * g->tiles_h;
    size_t end = s->n * (group + 1) / b->n_groups * g->tiles_h;

    memset(sums, 0, b->group_floats * sizeof *sums);
    for (size_t rows; row < end; row += rows) {
        rows = end - row < b->n_rows ? end - row : b->n_rows;
        multiply(b, sums, v, m, transform_block(b, row, rows, band, v, m));
    }
}

/* -- back to taps ---------------------------------------------------------- */

/* The transpose of G, see apply_g(), in f32: what comes and goes is f32. */
static void apply_gt4(float out[3][PANEL], float u[6][PANEL])
{
    for (size_t i = 0; i < PANEL; i++) {
        float near = u[1][i] + u[2][i], far = u[3][i] + u[4][i];
        out[0][i] = u[0][i] * 0.25f - near * (1 / 6.0f) + far * (1 / 24.0f);
        out[1][i] = (u[2][i] - u[1][i]) * (1 / 6.0f) +
                    (u[3][i] - u[4][i]) * (1 / 12.0f);
        out[2][i] = (far - near) * (1 / 6.0f) + u[5][i];
    }
}

static void apply_gt2(float out[3][PANEL], float u[4][PANEL])
{
    for (size_t i = 0; i < PANEL; i++) {
        float even = (u[1][i] + u[2][i]) * 0.5f;
        out[0][i] = u[0][i] + even;
        out[1][i] = (u[1][i] - u[2][i]) * 0.5f;
        out[2][i] = even + u[3][i];
    }
}

/* Sums of all groups, in order, of input channel c and a panel of outputs. */
static void gather_sums(const struct backward *b, float (*u)[PANEL], size_t c,
                        size_t o, size_t n)
{
    const size_t cout = b->a->s.cout, plane = (size_t)b->g.c * cout;

    for (size_t q = 0; q < b->g.points; q++) {
        const float *from = b->sums + q * plane + c * cout + o;
        memcpy(u[q], from, n * sizeof *from);
        for (size_t k = 1; k < b->n_groups; k++) {
            from += b->group_floats;
            for (size_t i = 0; i < n; i++)
                u[q][i] += from[i];
        }
    }
}

/* taps = GT u G, of points in rows. */
static void taps_of(float taps[9][PANEL], float (*u)[PANEL], size_t points)
{
    float t[3][6][PANEL], w[3][PANEL];
    bool is_f2 = points == 4;

    for (size_t q = 0; q < points; q++) { /* columns of each row of u */
        (is_f2 ? apply_gt2 : apply_gt4)(w, &u[points * q]);
        for (size_t k = 0; k < 3; k++)
            memcpy(t[k][q], w[k], sizeof w[k]);
    }
    for (size_t k = 0; k < 3; k++) {
        (is_f2 ? apply_gt2 : apply_gt4)(w, t[k]);
        for (size_t r = 0; r < 3; r++)
            memcpy(taps[3 * r + k], w[r], sizeof w[r]);
    }
}

/* A panel of output channels: dw += GT sum G for every input channel. */
static void finish_panel(void *arg, size_t panel, unsigned worker)
{
    const struct backward *b = arg;
    const struct conv2d_shape *s = &b->a->s;
    size_t o = panel * PANEL, n = s->cout - o < PANEL ? s->cout - o : PANEL;
    float u[MAX_POINTS][PANEL] = {{0}}, taps[9][PANEL];

    (void)worker;
    for (size_t c = 0; c < b->g.c; c++) {
        gather_sums(b, u, c, o, n);
        taps_of(taps, u, b->g.e + 2);
        for (size_t i = 0; i < n; i++) {
            float *dw = b->a->dw + ((o + i) * b->g.c + c) * 9;
            for (size_t tap = 0; tap < 9; tap++)
                dw[tap] += taps[tap][i];
        }
    }
}

/* -- both ------------------------------------------------------------------ */

static size_t bwd_thread_bytes(const struct backward *b,
                               const struct conv2d_shape *s)
{
    size_t values = b->g.points * b->room * (b->g.c + s->cout);

    return size_align(bwd_band_floats(&b->g, s) * sizeof(float), 64) +
           size_align(values * b->value, 64);
}

size_t winograd_bwd_weights_scratch(const struct kernel_table *k,
                                    unsigned n_threads,
                                    const struct conv2d_shape *s)
{
    struct backward b;

    set_blocks(&b, k, s);
    return n_threads * bwd_thread_bytes(&b, s) +
           b.n_groups * b.group_floats * sizeof(float);
}

void winograd_bwd_weights(const struct op_ctx *ctx,
                          const struct conv2d_bwd_weights_args *args)
{
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    struct backward b = {.ctx = ctx, .a = args};

    set_blocks(&b, ctx->k, &args->s);
    b.x.s = args->s;
    b.x.x0 = args->x;
    b.per_thread = bwd_thread_bytes(&b, &args->s);
    b.scratch = ctx->scratch;
    b.sums = (float *)(void *)(ctx->scratch + n_threads * b.per_thread);
    pool_run(ctx->pool, b.n_groups, run_group, &b);
    pool_run(ctx->pool, (args->s.cout + PANEL - 1) / PANEL, finish_panel, &b);
}
