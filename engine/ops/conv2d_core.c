/* conv2d_core.c - cuts a convolution into chunks and runs its tiles.
 *
 * Two ways, chosen by shape.  Many images: a chunk is a group of images that
 * one thread packs into its own scratch and convolves while it is in cache.
 * Few images: all threads pack, meet, then share (row block, panels) chunks.
 * An element's sum runs over all of k in one tile, so neither the way nor the
 * chunks change a bit, and neither does what else is in the batch.  With BLAS
 * the bits may depend on the shape of a block, so blocks never span images.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/choose.h"
#include "ops/conv2d_parts.h"

/* Rows of a block, at most: 16 tiles of 6 or 7 of 14; what a panel from L2 is
 * reused for.  BLAS takes fewer, whatever its tiles are. */
#define BLOCK_ROWS 98u
#define BLAS_ROWS  96u

/* A group has at least this many rows, so that its last, short tile matters
 * little, and at most this many bytes of operands: half of a small L2. */
#define GROUP_ROWS  192u
#define GROUP_BYTES (256u << 10)

/* From this many groups on, groups are the chunks. */
#define MIN_GROUPS 8u

/* Floating-point operations that make a chunk worth handing out. */
#define CHUNK_FLOPS (1u << 20)

/* With this many row blocks a chunk takes as many panels as stay in a cache
 * beside the rows, so that the rows are read once. */
#define MANY_BLOCKS 16u
#define PANEL_BYTES (128u << 10)

struct split {
    size_t image_bytes; /* of one operand image, padded                      */
    uint32_t group;     /* images                                            */
    uint32_t n_groups;
    bool is_grouped, is_thin;
    size_t n_k; /* length of the sum                                 */
    uint32_t nr, n_panels, panel_step;
    uint32_t block;    /* rows of a block                                   */
    uint32_t n_blocks; /* row blocks of `rows` rows                         */
    size_t rows;
    size_t bias_bytes, blas_bytes; /* scratch                                */
};

struct run {
    const struct op_ctx *ctx;
    const struct conv_core *core;
    struct split s;
    bool is_direct, is_seamless;
    size_t pitch, image_pitch; /* elements of the operand image              */
    size_t element;
    const float *bias; /* rows of bias_stride floats an image, or NULL       */
    size_t bias_stride;
    char *images, *blas;
    uint32_t band; /* rows of an operand image packed as one chunk           */
};

/* Where the tiles of a block read and write. */
struct block {
    const void *a[BLOCK_ROWS];
    const float *bias[BLOCK_ROWS];
    size_t n;
    size_t y_row; /* of the output, flat over the whole batch                */
};

uint32_t conv_panel_width(const struct kernel_table *k, uint32_t cin,
                          uint32_t cout)
{
    return k->gemm.is_blas || choose_packs_dots(k, cin, cout) ? cout
                                                              : k->gemm.nr;
}

static uint32_t ceil_div(size_t a, size_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

/* Are the rows of A evenly spaced from the first to the last of the batch? */
static bool is_seamless(const struct conv_core *core)
{
    return conv_image_is_direct(&core->im) && core->stride == 1 &&
           core->ow == core->im.w && core->oh == core->im.h;
}

/* Whole tiles; and where tiles want rows evenly spaced, whole image rows. */
static uint32_t block_rows(const struct kernel_table *k,
                           const struct conv_core *core)
{
    if (k->gemm.is_blas)
        return BLAS_ROWS;
    if (k->gemm.is_even && !is_seamless(core) && core->ow <= BLOCK_ROWS)
        return BLOCK_ROWS / core->ow * core->ow;
    return BLOCK_ROWS / k->gemm.mr * k->gemm.mr;
}

static uint32_t group_images(const struct conv_core *core, size_t image_bytes)
{
    size_t hw = (size_t)core->oh * core->ow;
    size_t g = hw >= GROUP_ROWS ? 1 : ceil_div(GROUP_ROWS, hw);
    size_t fit = GROUP_BYTES / (image_bytes ? image_bytes : 1);
    if (g > fit)
        g = fit;
    return g > 0 ? (uint32_t)g : 1;
}

static struct split split_make(const struct kernel_table *k,
                               const struct conv_core *core)
{
    struct split s = {0};
    size_t hw = (size_t)core->oh * core->ow;
    s.image_bytes =
        size_align(conv_image_size(&core->im) * dtype_size(core->im.type), 64);
    s.group = group_images(core, s.image_bytes);
    s.n_groups = ceil_div(core->im.n, s.group);
    s.is_grouped = s.n_groups >= MIN_GROUPS;
    s.n_k = (size_t)core->kh * core->kw * core->im.cp;
    uint32_t cin = core->im.c0 + core->im.c1;
    s.is_thin = choose_packs_dots(k, cin, core->cout);
    s.nr = conv_panel_width(k, cin, core->cout);
    s.n_panels = ceil_div(core->cout, s.nr);
    s.rows = k->gemm.is_blas ? hw : hw * core->im.n;
    s.block = block_rows(k, core);
    s.n_blocks = ceil_div(s.rows, s.block);
    if (k->gemm.is_blas)
        s.n_blocks *= core->im.n;
    size_t rows = s.rows < s.block ? s.rows : s.block;
    uint32_t n = ceil_div(CHUNK_FLOPS, 2 * s.n_k * s.nr * rows);
    uint32_t fit = (uint32_t)(PANEL_BYTES / (s.n_k * s.nr * sizeof(float)));
    if (s.n_blocks >= MANY_BLOCKS && n < fit)
        n = fit;
    s.panel_step = n < s.n_panels ? n : s.n_panels;
    s.bias_bytes =
        size_align((size_t)core->im.n * core->cout * sizeof(float), 64);
    if (k->gemm.is_blas)
        s.blas_bytes =
            size_align(BLAS_ROWS * (s.n_k + core->cout) * sizeof(float), 64);
    return s;
}

size_t conv_core_scratch(const struct kernel_table *k, unsigned n_threads,
                         const struct conv_core *core)
{
    struct split s = split_make(k, core);
    size_t n_images = s.is_grouped ? (size_t)n_threads * s.group : core->im.n;
    return s.bias_bytes + n_images * s.image_bytes + n_threads * s.blas_bytes;
}

/* -- one block ------------------------------------------------------------- */

/* Pointers for rows r0 .. r0 + n of the images that start at `operands`,
 * image i0 of the batch. */
static void block_fill(const struct run *run, struct block *b,
                       const char *operands, uint32_t i0, size_t r0, size_t n)
{
    const struct conv_core *core = run->core;
    size_t hw = (size_t)core->oh * core->ow;
    size_t i = r0 / hw, oy = r0 % hw / core->ow, ox = r0 % core->ow;
    size_t step = core->stride * (size_t)core->im.cp * run->element;
    size_t line = core->stride * run->pitch * run->element;
    const char *image = operands + i * run->image_pitch * run->element;
    b->n = n;
    b->y_row = i0 * hw + r0;
    for (size_t r = 0; r < n; r++) {
        b->a[r] = image + oy * line + ox * step;
        b->bias[r] = run->bias ? run->bias + (i0 + i) * run->bias_stride : NULL;
        if (++ox < core->ow)
            continue;
        ox = 0;
        if (++oy < core->oh)
            continue;
        oy = 0;
        i++;
        image += run->image_pitch * run->element;
    }
}

/* Rows of the tile at row r of a block.  Where even rows are wanted a tile
 * ends with its image row, and what is left there is cut alike. */
static unsigned tile_rows(const struct run *run, const struct block *b,
                          size_t r)
{
    const struct gemm_kernels *g = &run->ctx->k->gemm;
    size_t left = b->n - r;
    if (!g->is_even)
        return left < g->mr ? (unsigned)left : g->mr;
    if (!run->is_seamless) {
        size_t line = run->core->ow - (b->y_row + r) % run->core->ow;
        left = left < line ? left : line;
    }
    return ceil_div(left, ceil_div(left, g->mr));
}

static void block_tiles(const struct run *run, const struct block *b,
                        uint32_t p0, uint32_t p1)
{
    const struct conv_core *core = run->core;
    const struct gemm_kernels *g = &run->ctx->k->gemm;
    size_t panel = run->s.n_k * run->s.nr * run->element;
    struct gemm_tile t = {
        .n_runs = core->kh,
        .run_len = (size_t)core->kw * core->im.cp,
        .run_stride = run->pitch,
        .ldc = core->cout,
        .scale = core->out_scale,
    };
    if (run->s.is_thin) {
        t.b = core->w;
        t.a = b->a;
        t.bias = run->bias ? b->bias : NULL;
        t.res = core->res ? core->res + b->y_row * core->cout : NULL;
        t.c = core->y + b->y_row * core->cout;
        t.m = (unsigned)b->n;
        t.n = core->cout;
        g->dots(&t);
        return;
    }
    for (uint32_t p = p0; p < p1; p++) {
        size_t column = (size_t)p * run->s.nr;
        size_t left = core->cout - column;
        t.n = left < run->s.nr ? (unsigned)left : run->s.nr;
        t.b = (const char *)core->w + p * panel;
        t.bias_at = column;
        for (size_t r = 0; r < b->n; r += t.m) {
            size_t at = (b->y_row + r) * core->cout + column;
            t.m = tile_rows(run, b, r);
            t.a = b->a + r;
            t.bias = run->bias ? b->bias + r : NULL;
            t.res = core->res ? core->res + at : NULL;
            t.c = core->y + at;
            g->tile(&t);
        }
    }
}

void conv_gather_rows(float *dst, const void *const *a, size_t m, size_t n_runs,
                      size_t run_len, size_t run_stride)
{
    for (size_t r = 0; r < m; r++) {
        const float *src = a[r];
        for (size_t i = 0; i < n_runs; i++, dst += run_len)
            memcpy(dst, src + i * run_stride, run_len * sizeof *dst);
    }
}

static void block_blas(const struct run *run, const struct block *b,
                       unsigned worker)
{
    const struct conv_core *core = run->core;
    float *a = (float *)(run->blas + worker * run->s.blas_bytes);
    float *c = a + BLAS_ROWS * run->s.n_k;
    conv_gather_rows(a, b->a, b->n, core->kh, (size_t)core->kw * core->im.cp,
                     run->pitch);
    gemm_blas(c, a, core->w, b->n, core->cout, run->s.n_k);
    for (size_t r = 0; r < b->n; r++) {
        size_t at = (b->y_row + r) * core->cout;
        for (uint32_t j = 0; j < core->cout; j++) {
            float v = c[r * core->cout + j];
            if (run->bias)
                v += b->bias[r][j];
            if (core->res)
                v += core->res[at + j];
            core->y[at + j] = v * core->out_scale;
        }
    }
}

/* Block number `at` of n_images images from i0 on, panels p0 .. p1. */
static void run_block(const struct run *run, const char *operands, uint32_t i0,
                      uint32_t n_images, size_t at, uint32_t p0, uint32_t p1,
                      unsigned worker)
{
    size_t hw = (size_t)run->core->oh * run->core->ow;
    bool is_blas = run->ctx->k->gemm.is_blas;
    size_t rows = is_blas ? hw : hw * n_images;
    size_t per = ceil_div(rows, run->s.block);
    size_t r0 = at % per * run->s.block;
    size_t n = rows - r0 < run->s.block ? rows - r0 : run->s.block;
    struct block b;
    block_fill(run, &b, operands, i0, at / per * hw + r0, n);
    if (is_blas)
        block_blas(run, &b, worker);
    else
        block_tiles(run, &b, p0, p1);
}

/* -- chunks ---------------------------------------------------------------- */

/* A group of images, packed by the thread that convolves it. */
static void group_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct conv_image *im = &run->core->im;
    const struct split *s = &run->s;
    uint32_t i0 = (uint32_t)index * s->group;
    uint32_t n = im->n - i0 < s->group ? im->n - i0 : s->group;
    const char *operands;
    if (run->is_direct) {
        operands = (const char *)(im->x0 + i0 * run->image_pitch);
    } else {
        char *own = run->images + (size_t)worker * s->group * s->image_bytes;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t py = 0; py < im->ph; py++)
                conv_image_row(run->ctx->k, im, i0 + i, py,
                               own + (i * run->image_pitch + py * run->pitch) *
                                         run->element);
        operands = own;
    }
    size_t hw = (size_t)run->core->oh * run->core->ow;
    size_t n_blocks = run->ctx->k->gemm.is_blas
                          ? (size_t)n * ceil_div(hw, s->block)
                          : ceil_div(hw * n, s->block);
    for (size_t b = 0; b < n_blocks; b++)
        run_block(run, operands, i0, n, b, 0, s->n_panels, worker);
}

static void pack_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct conv_image *im = &run->core->im;
    uint32_t bands = ceil_div(im->ph, run->band);
    uint32_t i = (uint32_t)(index / bands);
    uint32_t py = (uint32_t)(index % bands) * run->band;
    uint32_t end = im->ph - py < run->band ? im->ph : py + run->band;
    for (; py < end; py++)
        conv_image_row(run->ctx->k, im, i, py,
                       run->images + (i * run->image_pitch + py * run->pitch) *
                                         run->element);
}

/* Blocks vary fastest: a panel stays in the cache while the rows pass. */
static void block_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct split *s = &run->s;
    const char *operands =
        run->is_direct ? (const char *)run->core->im.x0 : run->images;
    uint32_t p0 = (uint32_t)(index / s->n_blocks) * s->panel_step;
    uint32_t p1 =
        s->n_panels - p0 < s->panel_step ? s->n_panels : p0 + s->panel_step;
    run_block(run, operands, 0, run->core->im.n, index % s->n_blocks, p0, p1,
              worker);
}

const float *conv_bias_rows(float *room, uint32_t n, uint32_t cout,
                            const float *bias, const float *vec,
                            size_t vec_stride, size_t *stride)
{
    *stride = vec ? vec_stride : 0;
    if (!vec || !bias)
        return vec ? vec : bias;
    *stride = cout;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < cout; j++)
            room[(size_t)i * cout + j] = bias[j] + vec[i * vec_stride + j];
    return room;
}

void conv_core_run(const struct op_ctx *ctx, const struct conv_core *core)
{
    const struct conv_image *im = &core->im;
    struct run run = {.ctx = ctx,
                      .core = core,
                      .s = split_make(ctx->k, core),
                      .is_direct = conv_image_is_direct(im),
                      .is_seamless = is_seamless(core),
                      .element = dtype_size(im->type)};
    const struct split *s = &run.s;
    run.pitch =
        run.is_direct ? (size_t)im->w * im->c0 : (size_t)im->pw * im->cp;
    run.image_pitch =
        run.is_direct ? im->h * run.pitch : s->image_bytes / run.element;
    size_t n_images =
        s->is_grouped ? (size_t)pool_threads(ctx->pool) * s->group : im->n;
    run.images = (char *)ctx->scratch + s->bias_bytes;
    run.blas = run.images + n_images * s->image_bytes;
    run.bias =
        conv_bias_rows((float *)ctx->scratch, im->n, core->cout, core->bias,
                       core->vec, core->vec_stride, &run.bias_stride);
    if (s->is_grouped && !run.is_direct) {
        pool_run(ctx->pool, s->n_groups, group_chunk, &run);
        return;
    }
    if (!run.is_direct) {
        size_t row = (size_t)im->pw * im->cp;
        run.band = ceil_div(8192, row);
        pool_run(ctx->pool, (size_t)im->n * ceil_div(im->ph, run.band),
                 pack_chunk, &run);
    }
    pool_run(ctx->pool,
             (size_t)s->n_blocks * ceil_div(s->n_panels, s->panel_step),
             block_chunk, &run);
}
