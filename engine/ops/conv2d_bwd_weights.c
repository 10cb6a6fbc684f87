/* conv2d_bwd_weights.c - adjoint of a convolution's weights and bias.
 *
 * dW[j][o] = sum over pixels of X[pixel of j][c of j] * dY[pixel][o], with j
 * counting (ky, kx, c) as they lie in an operand image.  A task is a fixed
 * group of images and some column panels: it walks blocks of rows that stay
 * in the first cache and adds outer products into partial sums of its own;
 * afterwards the groups' partials are added in order.  Always f32.
 * Where the rules of ops/choose.h say so the products are Winograd's or those
 * of conv2d_bwd_pairs.c, in the operands of the rung, and only the bias is
 * summed here.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/choose.h"
#include "ops/conv2d.h"
#include "ops/conv2d_parts.h"
#include "ops/winograd.h"

/* Groups of images, each with partial sums; a ceiling on their bytes; and the
 * pixels that a group has at least, so that adding partials up costs little. */
#define MAX_GROUPS    16u
#define GROUP_PIXELS  4096u
#define PARTIAL_BYTES ((size_t)32 << 20)

/* Tasks wanted: few groups are split by columns too. */
#define MIN_TASKS 8u

/* Pixels of a block: rows of one image, or a row of each of a bundle of images
 * that have so few that one alone would not repay reading and writing sums. */
#define BLOCK_PIXELS 192u

struct geometry {
    struct conv_image im;
    bool is_swapped;     /* outputs are rows, neighbours in j columns      */
    uint32_t mr, nr;     /* of an outer product                            */
    uint32_t n_j;        /* kh * kw * cin                                  */
    uint32_t n_jt, n_ot; /* tiles of j and panels of columns               */
    uint32_t columns;    /* floats between pixels of dy as it is read      */
    uint32_t n_groups;
    uint32_t ot_step, n_splits;
    uint32_t block_rows;
    uint32_t bundle;  /* images done together                            */
    size_t partial;   /* floats of one group's partial                  */
    size_t n_offsets; /* j up to whole tiles                            */
    /* scratch bytes */
    size_t offset_bytes, partial_bytes;
    size_t image_bytes, dy_bytes, blas_bytes; /* a thread                    */
};

struct run {
    const struct op_ctx *ctx;
    const struct conv2d_bwd_weights_args *args;
    struct geometry g;
    bool is_direct;
    size_t pixel, pitch, image_pitch; /* floats                              */
    size_t *offsets; /* of j in an operand image                   */
    float *partials;
    char *own; /* per thread                                 */
    size_t own_bytes;
};

static uint32_t ceil_div(size_t a, size_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

/* Floats between pixels of the operand image: not a multiple of 256 bytes, or
 * one channel of many pixels falls into few sets of the first cache.  BLAS gets
 * dense rows gathered anyway. */
static uint32_t pixel_pitch(const struct geometry *g,
                            const struct kernel_table *k, uint32_t c)
{
    return c % 64 == 0 && !k->gemm.is_blas && !g->is_swapped ? c + 16 : c;
}

static struct geometry geometry_make(const struct kernel_table *k,
                                     const struct conv2d_shape *s)
{
    const struct gemm_kernels *gemm = &k->gemm;
    struct geometry g = {.im = conv_image_of(s)};
    size_t hw = (size_t)s->oh * s->ow;
    g.is_swapped = choose_weights_adjoint(k, s) == ADJOINT_SWAPPED;
    g.im.cp = pixel_pitch(&g, k, s->c0);
    g.n_j = s->kh * s->kw * s->c0;
    g.mr = gemm->is_blas ? g.n_j : gemm->outer_mr;
    g.nr = gemm->is_blas ? s->cout : gemm->outer_nr;
    g.n_jt = ceil_div(g.n_j, g.is_swapped ? g.nr : g.mr);
    g.n_ot = ceil_div(s->cout, g.nr); /* swapped: one, of all rows */
    g.columns = g.n_ot * g.nr;
    g.partial = (size_t)g.n_jt * g.mr * g.columns; /* swapped: [jt][mr][nr] */
    size_t fit = PARTIAL_BYTES / (g.partial * sizeof(float));
    g.n_groups = ceil_div(hw * s->n, GROUP_PIXELS);
    if (g.n_groups > MAX_GROUPS)
        g.n_groups = MAX_GROUPS;
    if (g.n_groups > s->n)
        g.n_groups = s->n;
    if (g.n_groups > fit)
        g.n_groups = fit > 0 ? (uint32_t)fit : 1;
    g.ot_step = ceil_div(g.n_ot, ceil_div(MIN_TASKS, g.n_groups));
    g.n_splits = ceil_div(g.n_ot, g.ot_step);
    g.block_rows = s->ow >= BLOCK_PIXELS ? 1 : BLOCK_PIXELS / s->ow;
    if (g.block_rows > s->oh)
        g.block_rows = s->oh;
    g.bundle = hw >= BLOCK_PIXELS || gemm->is_blas || g.is_swapped
                   ? 1
                   : BLOCK_PIXELS / (uint32_t)hw;
    if (g.bundle > s->n)
        g.bundle = s->n;
    g.n_offsets = (size_t)g.n_jt * (g.is_swapped ? g.nr : g.mr);
    g.offset_bytes = size_align(g.n_offsets * sizeof(size_t), 64);
    g.partial_bytes = size_align(g.n_groups * g.partial * sizeof(float), 64);
    g.image_bytes =
        size_align(g.bundle * conv_image_size(&g.im) * sizeof(float), 64);
    if (g.nr != s->cout && !g.is_swapped)
        g.dy_bytes = size_align(g.bundle * hw * g.columns * sizeof(float), 64);
    if (gemm->is_blas)
        g.blas_bytes = size_align(
            (size_t)g.block_rows * s->ow * g.n_j * sizeof(float), 64);
    return g;
}

static size_t direct_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct conv2d_shape *s)
{
    struct geometry g = geometry_make(k, s);
    return g.offset_bytes + g.partial_bytes +
           n_threads * (g.image_bytes + g.dy_bytes + g.blas_bytes);
}

/* Images i .. i + n as operands, image_pitch apart. */
static const float *images_of(const struct run *run, uint32_t i, uint32_t n,
                              char *own)
{
    const struct conv_image *im = &run->g.im;
    if (run->is_direct)
        return im->x0 + i * run->image_pitch;
    float *image = (float *)own;
    for (uint32_t at = 0; at < n; at++, image += run->image_pitch)
        for (uint32_t py = 0; py < im->ph; py++)
            conv_image_row(run->ctx->k, im, i + at, py,
                           image + py * run->pitch);
    return (const float *)own;
}

/* dy of n images as panels [ot][pixel][nr], zeros behind the last column: a
 * product reads one stream that no power-of-two stride folds into few sets of
 * the cache.  A panel has room for a whole bundle. */
static const float *dy_of(const struct run *run, uint32_t i, uint32_t n_images,
                          uint32_t ot0, uint32_t ot1, char *own)
{
    const struct conv2d_shape *s = &run->args->s;
    size_t hw = (size_t)s->oh * s->ow, nr = run->g.nr;
    const float *dy = run->args->dy + i * hw * s->cout;
    if (nr == s->cout || run->g.is_swapped)
        return dy;
    for (uint32_t ot = ot0; ot < ot1; ot++) {
        size_t left = s->cout - ot * nr, n = left < nr ? left : nr;
        float *to = (float *)own + ot * nr * hw * run->g.bundle;
        for (size_t p = 0; p < hw * n_images; p++, to += nr) {
            memcpy(to, dy + p * s->cout + ot * nr, n * sizeof *to);
            memset(to + n, 0, (nr - n) * sizeof *to);
        }
    }
    return (const float *)own;
}

/* Rows of pixels into the task's partial: the first starts at x and dy. */
static void add_rows(const struct run *run, float *partial, struct gemm_outer o,
                     const float *x, const float *dy, uint32_t ot0,
                     uint32_t ot1)
{
    const struct conv2d_shape *s = &run->args->s;
    const struct geometry *g = &run->g;
    const float *a[GEMM_MAX_MR];
    size_t panel = (size_t)g->bundle * s->oh * s->ow * g->nr;
    o.a = a;
    o.a_step = s->stride * run->pixel;
    o.b_step = g->nr;
    o.n_cols = s->ow;
    for (uint32_t ot = ot0; ot < ot1; ot++) {
        o.b = dy + ot * panel;
        for (uint32_t jt = 0; jt < g->n_jt; jt++) {
            for (uint32_t r = 0; r < g->mr; r++)
                a[r] = x + run->offsets[jt * g->mr + r];
            o.c = partial + ((size_t)ot * g->n_jt + jt) * g->mr * g->nr;
            run->ctx->k->gemm.outer(&o);
        }
    }
}

/* Rows y0 .. y0 + rows of one image. */
static void add_block(const struct run *run, float *partial, const float *x,
                      const float *dy, uint32_t y0, uint32_t rows, uint32_t ot0,
                      uint32_t ot1)
{
    const struct conv2d_shape *s = &run->args->s;
    size_t row = (size_t)run->g.nr * s->ow;
    struct gemm_outer o = {
        .a_row = s->stride * run->pitch, .b_row = row, .n_rows = rows};
    add_rows(run, partial, o, x + y0 * s->stride * run->pitch, dy + y0 * row,
             ot0, ot1);
}

/* Row after row, of n images at once. */
static void add_bundle(const struct run *run, float *partial, const float *x,
                       const float *dy, uint32_t n, uint32_t ot0, uint32_t ot1)
{
    const struct conv2d_shape *s = &run->args->s;
    size_t row = (size_t)run->g.nr * s->ow;
    struct gemm_outer o = {
        .a_row = run->image_pitch, .b_row = row * s->oh, .n_rows = n};
    for (uint32_t y = 0; y < s->oh; y++)
        add_rows(run, partial, o, x + y * s->stride * run->pitch, dy + y * row,
                 ot0, ot1);
}

/* The same with the roles of x and dy swapped: tiles [output][j]. */
static void add_block_swapped(const struct run *run, float *partial,
                              const float *x, const float *dy, uint32_t y0,
                              uint32_t rows)
{
    const struct conv2d_shape *s = &run->args->s;
    const struct geometry *g = &run->g;
    const float *a[GEMM_MAX_MR];
    struct gemm_outer o = {
        .a = a,
        .a_step = s->cout,
        .a_row = (size_t)s->cout * s->ow,
        .b_step = s->stride * run->pixel,
        .b_row = s->stride * run->pitch,
        .n_cols = s->ow,
        .n_rows = rows,
    };
    for (uint32_t r = 0; r < g->mr; r++) /* behind the last: any valid row */
        a[r] =
            dy + (size_t)y0 * s->ow * s->cout + (r < s->cout ? r : s->cout - 1);
    for (uint32_t jt = 0; jt < g->n_jt; jt++) {
        o.b = x + y0 * s->stride * run->pitch + run->offsets[jt * g->nr];
        o.c = partial + (size_t)jt * g->mr * g->nr;
        run->ctx->k->gemm.outer(&o);
    }
}

static void add_block_blas(const struct run *run, float *partial,
                           const float *x, const float *dy, uint32_t y0,
                           uint32_t rows, char *own)
{
    const struct conv2d_shape *s = &run->args->s;
    float *a = (float *)own;
    for (uint32_t y = y0; y < y0 + rows; y++) {
        for (uint32_t ox = 0; ox < s->ow; ox++) {
            const void *row =
                x + (y * run->pitch + (size_t)ox * s->c0) * s->stride;
            conv_gather_rows(a + ((size_t)(y - y0) * s->ow + ox) * run->g.n_j,
                             &row, 1, s->kh, (size_t)s->kw * s->c0, run->pitch);
        }
    }
    gemm_blas_outer(partial, a, dy + (size_t)y0 * s->ow * s->cout, run->g.n_j,
                    s->cout, (size_t)rows * s->ow);
}

static void task_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct conv2d_shape *s = &run->args->s;
    const struct geometry *g = &run->g;
    uint32_t group = (uint32_t)(index / g->n_splits);
    uint32_t ot0 = (uint32_t)(index % g->n_splits) * g->ot_step;
    uint32_t ot1 = g->n_ot - ot0 < g->ot_step ? g->n_ot : ot0 + g->ot_step;
    uint32_t i = (uint32_t)((uint64_t)s->n * group / g->n_groups);
    uint32_t end = (uint32_t)((uint64_t)s->n * (group + 1) / g->n_groups);
    float *partial = run->partials + group * g->partial;
    size_t panel = (size_t)g->n_jt * g->mr * g->nr;
    char *own = run->own + worker * run->own_bytes;
    memset(partial + ot0 * panel, 0, (ot1 - ot0) * panel * sizeof *partial);
    for (uint32_t n; i < end; i += n) {
        n = end - i < g->bundle ? end - i : g->bundle;
        const float *x = images_of(run, i, n, own);
        const float *dy = dy_of(run, i, n, ot0, ot1, own + g->image_bytes);
        if (g->bundle > 1) {
            add_bundle(run, partial, x, dy, n, ot0, ot1);
            continue;
        }
        for (uint32_t y = 0; y < s->oh; y += g->block_rows) {
            uint32_t rows =
                s->oh - y < g->block_rows ? s->oh - y : g->block_rows;
            if (run->ctx->k->gemm.is_blas)
                add_block_blas(run, partial, x, dy, y, rows,
                               own + g->image_bytes + g->dy_bytes);
            else if (g->is_swapped)
                add_block_swapped(run, partial, x, dy, y, rows);
            else
                add_block(run, partial, x, dy, y, rows, ot0, ot1);
        }
    }
}

/* Where a partial has (j, column o of panel ot). */
static size_t partial_at(const struct geometry *g, size_t j, size_t ot,
                         size_t o)
{
    if (g->is_swapped)
        return (j / g->nr * g->mr + o) * g->nr + j % g->nr;
    return (ot * g->n_jt * g->mr + j) * g->nr + o;
}

/* One panel of columns: the groups' partials, in order, into dw.  The taps of
 * a channel are neighbours in dw, so they come together. */
static void sum_chunk(void *arg, size_t ot, unsigned worker)
{
    const struct run *run = arg;
    const struct conv2d_shape *s = &run->args->s;
    const struct geometry *g = &run->g;
    uint32_t taps = s->kh * s->kw;
    uint32_t o0 = (uint32_t)ot * g->nr;
    uint32_t n = s->cout - o0 < g->nr ? s->cout - o0 : g->nr;
    for (uint32_t i = 0; i < g->n_j; i++) {
        uint32_t c = i / taps, tap = i % taps, j = tap * s->c0 + c;
        float *dw = run->args->dw + ((size_t)o0 * s->c0 + c) * taps + tap;
        for (uint32_t o = 0; o < n; o++) {
            const float *from = run->partials + partial_at(g, j, ot, o);
            float sum = from[0];
            for (uint32_t k = 1; k < g->n_groups; k++)
                sum += from[k * g->partial];
            dw[(size_t)o * s->c0 * taps] += sum;
        }
    }
}

/* -- bias ------------------------------------------------------------------ */

struct bias_run {
    const struct op_ctx *ctx;
    const struct conv2d_bwd_weights_args *args;
    uint32_t n_groups;
    float *partials;
};

static uint32_t group_count(const struct conv2d_shape *s)
{
    return s->n < MAX_GROUPS ? s->n : MAX_GROUPS;
}

static size_t bias_scratch(const struct conv2d_shape *s)
{
    return size_align((size_t)group_count(s) * s->cout * sizeof(float), 64);
}

/* A group's rows, which lie one behind the other. */
static void bias_chunk(void *arg, size_t group, unsigned worker)
{
    const struct bias_run *run = arg;
    const struct conv2d_shape *s = &run->args->s;
    size_t hw = (size_t)s->oh * s->ow;
    size_t i = s->n * group / run->n_groups;
    size_t end = s->n * (group + 1) / run->n_groups;
    float *sums = run->partials + group * s->cout;
    memset(sums, 0, s->cout * sizeof *sums);
    run->ctx->k->gemm.add_rows(sums, run->args->dy + i * hw * s->cout,
                               (end - i) * hw, s->cout);
}

static void bwd_bias(const struct op_ctx *ctx,
                     const struct conv2d_bwd_weights_args *args)
{
    struct bias_run run = {ctx, args, group_count(&args->s),
                           (float *)(void *)ctx->scratch};
    uint32_t n = args->s.cout;
    pool_run(ctx->pool, run.n_groups, bias_chunk, &run);
    for (uint32_t o = 0; o < n; o++) {
        float sum = 0.0f;
        for (uint32_t i = 0; i < run.n_groups; i++)
            sum += run.partials[(size_t)i * n + o];
        args->dbias[o] += sum;
    }
}

/* -- both ------------------------------------------------------------------ */

static void direct_bwd_weights(const struct op_ctx *ctx,
                               const struct conv2d_bwd_weights_args *args)
{
    const struct conv2d_shape *s = &args->s;
    struct run run = {.ctx = ctx, .args = args, .g = geometry_make(ctx->k, s)};
    struct geometry *g = &run.g;
    g->im.x0 = args->x;
    g->im.cp = s->c0; /* in place there is no pitch to choose */
    run.is_direct = conv_image_is_direct(&g->im);
    g->im.cp = pixel_pitch(g, ctx->k, s->c0);
    run.pixel = run.is_direct ? s->c0 : g->im.cp;
    run.pitch = (run.is_direct ? s->w : g->im.pw) * run.pixel;
    run.image_pitch =
        run.is_direct ? (size_t)s->h * s->w * s->c0 : conv_image_size(&g->im);
    run.offsets = (size_t *)(void *)ctx->scratch;
    run.partials = (float *)(void *)(ctx->scratch + g->offset_bytes);
    run.own = (char *)ctx->scratch + g->offset_bytes + g->partial_bytes;
    run.own_bytes = g->image_bytes + g->dy_bytes + g->blas_bytes;
    for (size_t j = 0; j < g->n_offsets; j++) {
        size_t tap = j / s->c0;
        run.offsets[j] =
            j < g->n_j /* behind the last: any valid place */
                ? tap / s->kw * run.pitch + tap % s->kw * run.pixel + j % s->c0
                : 0;
    }
    pool_run(ctx->pool, (size_t)g->n_groups * g->n_splits, task_chunk, &run);
    pool_run(ctx->pool, g->n_ot, sum_chunk, &run);
}

size_t conv2d_bwd_weights_scratch(const struct kernel_table *k,
                                  unsigned n_threads,
                                  const struct conv2d_shape *s)
{
    enum adjoint_way way = choose_weights_adjoint(k, s);
    size_t products =
        way == ADJOINT_WINOGRAD ? winograd_bwd_weights_scratch(k, n_threads, s)
        : way == ADJOINT_PAIRS  ? conv_bwd_pairs_scratch(k, n_threads, s)
                                : direct_scratch(k, n_threads, s);
    size_t bias = bias_scratch(s);
    return products > bias ? products : bias;
}

void conv2d_bwd_weights(const struct op_ctx *ctx, const void *bwd_weights_args)
{
    const struct conv2d_bwd_weights_args *args = bwd_weights_args;
    enum adjoint_way way = choose_weights_adjoint(ctx->k, &args->s);
    if (args->dbias)
        bwd_bias(ctx, args);
    if (way == ADJOINT_WINOGRAD)
        winograd_bwd_weights(ctx, args);
    else if (way == ADJOINT_PAIRS)
        conv_bwd_pairs(ctx, args);
    else
        direct_bwd_weights(ctx, args);
}
