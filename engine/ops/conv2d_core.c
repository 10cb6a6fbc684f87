/* conv2d_core.c - cuts a convolution into chunks and runs its tiles.
 *
 * Three ways, chosen by shape.  Many images: a chunk is a group of images that
 * one thread packs into its own scratch and convolves while it is in cache.
 * Few images: all threads pack, meet, then share (row block, panels) chunks.
 * Large images: a chunk is a band of output rows, whose input a thread packs
 * and convolves as a group's; or of pixels, where all of them are one line.
 *
 * Where weights are rows of a file, a chunk makes a few panels at a time in its
 * thread's scratch and lets all of its row blocks pass before the next; among
 * few images row blocks are shared out no further than threads need, since
 * each share makes the panels anew.
 *
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
#include "ops/weight_rows.h"

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

/* From this many row blocks on all rows are more than a cache beside the core
 * holds: each chunk's panels read them anew, from far.  Six panels are as wide
 * as a block is high, so that either is read as often as the other; more are
 * taken while they are few bytes, and none that would leave too few chunks. */
#define MANY_BLOCKS 8u
#define MANY_PANELS 6u
#define PANEL_BYTES ((size_t)512 << 10)
#define MANY_CHUNKS 64u

/* Of panels that are made when used: bytes of those that are there at once,
 * unless one is larger; and chunks for each thread, at least. */
#define MADE_BYTES  ((size_t)1 << 20)
#define MADE_CHUNKS 4u

/* Operand images of more bytes are not made whole; bytes of a band, and its
 * least rows: a 3x3 convolution packs two rows more than it has outputs. */
#define WHOLE_BYTES   ((size_t)32 << 20)
#define BAND_BYTES    ((size_t)4 << 20)
#define BAND_MIN_ROWS 8u

/* Elements of operands that make a chunk of packing. */
#define PACK_ELEMENTS ((size_t)8192)

/* Bytes of a piece of a line: less stay nearer to the core, but panels that are
 * made when used are made for each piece. */
#define LINE_BYTES ((size_t)1 << 20)

struct split {
    size_t image_bytes; /* of one operand image, padded                      */
    uint32_t group;     /* images                                            */
    uint32_t n_groups;
    uint32_t band; /* output rows of a band, or pixels of a line        */
    bool is_direct, is_grouped, is_banded, is_thin;
    bool is_line; /* a product over pixels one by one, of one image row       */
    size_t n_k;   /* length of the sum                                 */
    uint32_t nr, n_panels, panel_step;
    uint32_t block;    /* rows of a block                                   */
    uint32_t n_blocks; /* row blocks of `rows` rows                         */
    size_t rows;
    size_t panel_bytes;
    /* Scratch: in front; of operands for each image, group or thread; of each
     * thread for BLAS, for panels that are made. */
    size_t bias_bytes, operand_bytes, blas_bytes, made_bytes;
};

struct run {
    const struct op_ctx *ctx;
    const struct conv_core *core;
    struct split s;
    bool is_seamless;
    bool is_even; /* lines whose products gemm_kernels.rows() does           */
    size_t pitch, image_pitch; /* elements of the operand image              */
    size_t element;
    const float *bias; /* rows of bias_stride floats an image, or NULL       */
    size_t bias_stride;
    char *images, *blas, *made;
    uint32_t band;    /* rows of an operand image packed as one chunk, or
                       * pixels of a line                                    */
    uint32_t n_parts; /* of the row blocks, each with its own panels         */
};

/* Operands of n images of the batch from i0 on, from output row oy0 on, and of
 * a line from pixel ox0 on. */
struct source {
    const char *operands;
    uint32_t i0, n, oy0, ox0;
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

/* Image rows that a band of output rows reads. */
static uint32_t band_image_rows(const struct conv_core *core, uint32_t rows)
{
    return (rows - 1) * core->stride + core->kh;
}

static bool is_line(const struct conv_core *core)
{
    const struct conv_image *im = &core->im;
    return core->oh == 1 && core->kh == 1 && core->kw == 1 &&
           core->stride == 1 && im->h == 1 && im->up_h == 1 &&
           im->up_w == im->w && im->pw == im->w && im->pad_t == 0 &&
           im->pad_l == 0;
}

/* How much of an image a chunk packs. */
static void split_band(struct split *s, const struct kernel_table *k,
                       const struct conv_core *core)
{
    size_t pixel = core->im.cp * dtype_size(core->im.type);
    size_t row = core->im.pw * pixel;
    size_t fit = BAND_BYTES / (row * core->stride);
    if (s->is_line) {
        fit = LINE_BYTES / pixel / BLOCK_ROWS;
        s->band = (fit > 0 ? (uint32_t)fit : 1) *
                  (BLOCK_ROWS / k->gemm.mr * k->gemm.mr);
        s->operand_bytes = size_align(s->band * pixel, 64);
        return;
    }
    s->band = fit < BAND_MIN_ROWS ? BAND_MIN_ROWS : (uint32_t)fit;
    if (s->band > core->oh)
        s->band = core->oh;
    s->operand_bytes = size_align(row * band_image_rows(core, s->band), 64);
}

static void split_images(struct split *s, const struct kernel_table *k,
                         const struct conv_core *core)
{
    size_t row = (size_t)core->im.pw * core->im.cp * dtype_size(core->im.type);
    s->image_bytes = size_align(row * core->im.ph, 64);
    s->is_direct = conv_image_is_direct(&core->im);
    s->is_line = is_line(core);
    s->group = group_images(core, s->image_bytes);
    s->n_groups = ceil_div(core->im.n, s->group);
    s->is_grouped = s->n_groups >= MIN_GROUPS && !s->is_direct;
    s->is_banded =
        !s->is_direct && !k->gemm.is_blas &&
        (s->is_grouped ? s->group : core->im.n) * s->image_bytes > WHOLE_BYTES;
    s->operand_bytes = s->is_direct ? 0 : s->image_bytes;
    if (s->is_grouped)
        s->operand_bytes *= s->group;
    if (!s->is_banded)
        return;
    s->is_grouped = false;
    split_band(s, k, core);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Panels that a chunk takes, or has made at once: all chunks about as many. */
static uint32_t panels_at_once(const struct split *s, bool is_made)
{
    size_t flops = 2 * s->n_k * s->nr * least(s->rows, s->block);
    size_t n = ceil_div(CHUNK_FLOPS, flops);
    if (s->n_blocks >= MANY_BLOCKS) {
        size_t many = most(MANY_PANELS, PANEL_BYTES / s->panel_bytes);
        n = most(n,
                 least(many, (size_t)s->n_blocks * s->n_panels / MANY_CHUNKS));
    }
    if (is_made)
        n = least(n, most(1, MADE_BYTES / s->panel_bytes));
    return ceil_div(s->n_panels, ceil_div(s->n_panels, n));
}

static void split_panels(struct split *s, const struct kernel_table *k,
                         const struct conv_core *core)
{
    uint32_t cin = core->im.c0 + core->im.c1;
    s->n_k = (size_t)core->kh * core->kw * core->im.cp;
    s->is_thin = choose_packs_dots(k, cin, core->cout);
    s->nr = conv_panel_width(k, cin, core->cout);
    s->n_panels = ceil_div(core->cout, s->nr);
    s->panel_bytes = s->n_k * s->nr * dtype_size(core->im.type);
    s->panel_step = panels_at_once(s, core->rows != NULL);
    if (core->rows)
        s->made_bytes = weight_room_bytes(k) +
                        size_align(s->panel_step * s->panel_bytes, 64);
}

static struct split split_make(const struct kernel_table *k,
                               const struct conv_core *core)
{
    struct split s = {0};
    size_t hw = (size_t)core->oh * core->ow;
    split_images(&s, k, core);
    s.rows = k->gemm.is_blas ? hw : hw * core->im.n;
    s.block = block_rows(k, core);
    s.n_blocks = ceil_div(s.rows, s.block);
    if (k->gemm.is_blas)
        s.n_blocks *= core->im.n;
    split_panels(&s, k, core);
    s.bias_bytes =
        size_align((size_t)core->im.n * core->cout * sizeof(float), 64);
    if (k->gemm.is_blas)
        s.blas_bytes =
            size_align(BLAS_ROWS * (s.n_k + core->cout) * sizeof(float), 64);
    return s;
}

/* Operands that are there at once: of images, or of what a thread works on. */
static size_t images_bytes(const struct split *s, const struct conv_core *core,
                           unsigned n_threads)
{
    return (s->is_grouped || s->is_banded ? n_threads : core->im.n) *
           s->operand_bytes;
}

size_t conv_core_scratch(const struct kernel_table *k, unsigned n_threads,
                         const struct conv_core *core)
{
    struct split s = split_make(k, core);
    return s.bias_bytes + images_bytes(&s, core, n_threads) +
           n_threads * (s.blas_bytes + s.made_bytes);
}

/* -- one block ------------------------------------------------------------- */

/* Pointers for rows r0 .. r0 + n of the images of a source. */
static void block_fill(const struct run *run, struct block *b,
                       const struct source *from, size_t r0, size_t n)
{
    const struct conv_core *core = run->core;
    size_t hw = (size_t)core->oh * core->ow;
    size_t i = r0 / hw, oy = r0 % hw / core->ow, ox = r0 % core->ow;
    size_t step = core->stride * (size_t)core->im.cp * run->element;
    size_t line = core->stride * run->pitch * run->element;
    const char *image = from->operands + i * run->image_pitch * run->element;
    b->n = n;
    b->y_row = from->i0 * hw + r0;
    for (size_t r = 0; r < n; r++) {
        b->a[r] = image + (oy - from->oy0) * line + (ox - from->ox0) * step;
        b->bias[r] =
            run->bias ? run->bias + (from->i0 + i) * run->bias_stride : NULL;
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

/* Panels p0 .. p1, of which the first is at `panels`. */
static void block_tiles(const struct run *run, const struct block *b,
                        uint32_t p0, uint32_t p1, const char *panels)
{
    const struct conv_core *core = run->core;
    const struct gemm_kernels *g = &run->ctx->k->gemm;
    struct gemm_tile t = {
        .n_runs = core->kh,
        .run_len = (size_t)core->kw * core->im.cp,
        .run_stride = run->pitch,
        .ldc = core->cout,
        .scale = core->out_scale,
    };
    if (run->s.is_thin) {
        t.b = panels;
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
        t.b = panels + (p - p0) * run->s.panel_bytes;
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

/* Whole panels p0 .. p1 of rows that stand one behind the other; the block
 * behind them begins with p0 again. */
static void even_tiles(const struct run *run, const struct source *from,
                       size_t r0, size_t n, uint32_t p0, uint32_t p1,
                       const char *panels)
{
    const struct conv_core *core = run->core;
    size_t i = r0 / core->ow, pixel = r0 % core->ow - from->ox0;
    size_t at = ((from->i0 + i) * core->ow + r0 % core->ow) * core->cout;
    struct gemm_rows g = {
        .a = from->operands +
             (i * run->image_pitch + pixel * core->im.cp) * run->element,
        .m = n,
        .k = core->im.cp,
        .ldc = core->cout,
    };
    for (uint32_t p = p0; p < p1; p++, panels += run->s.panel_bytes) {
        size_t column = (size_t)p * run->s.nr;
        g.b = panels;
        g.next = p + 1 < p1 ? panels + run->s.panel_bytes : NULL;
        g.bias = run->bias
                     ? run->bias + (from->i0 + i) * run->bias_stride + column
                     : NULL;
        g.res = core->res ? core->res + at + column : NULL;
        g.c = core->y + at + column;
        run->ctx->k->gemm.rows(&g);
    }
}

/* Panels of rows r0 .. r0 + n that even_tiles() can do, from p0 on. */
static uint32_t even_panels(const struct run *run, size_t r0, size_t n,
                            uint32_t p0, uint32_t p1)
{
    const struct conv_core *core = run->core;
    uint32_t whole = core->cout / run->s.nr;
    if (!run->is_even || r0 / core->ow != (r0 + n - 1) / core->ow)
        return p0;
    return p1 < whole ? p1 : whole > p0 ? whole : p0;
}

/* Rows r0 .. r0 + n of a source's images. */
static void run_block(const struct run *run, const struct source *from,
                      size_t r0, size_t n, uint32_t p0, uint32_t p1,
                      const char *panels, unsigned worker)
{
    uint32_t even = even_panels(run, r0, n, p0, p1);
    struct block b;
    even_tiles(run, from, r0, n, p0, even, panels);
    if (even == p1)
        return;
    panels += (even - p0) * run->s.panel_bytes;
    p0 = even;
    block_fill(run, &b, from, r0, n);
    if (run->ctx->k->gemm.is_blas)
        block_blas(run, &b, worker);
    else
        block_tiles(run, &b, p0, p1, panels);
}

/* Some of a source's rows, block by block: `rows` of an image or of all. */
struct span {
    size_t first, rows; /* where they begin, and how many they are           */
    size_t b0, b1;      /* blocks                                            */
};

static void run_blocks(const struct run *run, const struct source *from,
                       const struct span *span, uint32_t p0, uint32_t p1,
                       const char *panels, unsigned worker)
{
    size_t per = ceil_div(span->rows, run->s.block);
    for (size_t b = span->b0; b < span->b1; b++) {
        size_t r0 = b % per * run->s.block, left = span->rows - r0;
        run_block(run, from, span->first + b / per * span->rows + r0,
                  left < run->s.block ? left : run->s.block, p0, p1, panels,
                  worker);
    }
}

/* Panels p0 .. p1 of some blocks: as they are packed, or made by and by. */
static void run_panels(const struct run *run, const struct source *from,
                       const struct span *span, uint32_t p0, uint32_t p1,
                       unsigned worker)
{
    const struct split *s = &run->s;
    char *room = run->made + worker * s->made_bytes;
    char *panels = room + weight_room_bytes(run->ctx->k);
    if (!run->core->rows) {
        run_blocks(run, from, span, p0, p1,
                   (const char *)run->core->w + p0 * s->panel_bytes, worker);
        return;
    }
    for (uint32_t end; p0 < p1; p0 = end) {
        end = p1 - p0 < s->panel_step ? p1 : p0 + s->panel_step;
        for (uint32_t p = p0; p < end; p++)
            weight_panel(run->ctx->k, panels + (p - p0) * s->panel_bytes,
                         run->core->rows, p, room);
        run_blocks(run, from, span, p0, end, panels, worker);
    }
}

/* -- chunks ---------------------------------------------------------------- */

/* Rows py .. end of image i, to where the first of them shall stand. */
static void pack_rows(const struct run *run, uint32_t i, uint32_t py,
                      uint32_t end, char *to)
{
    for (; py < end; py++, to += run->pitch * run->element)
        conv_image_row(run->ctx->k, &run->core->im, i, py, to);
}

/* A group of images, packed by the thread that convolves it. */
static void group_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct conv_image *im = &run->core->im;
    const struct split *s = &run->s;
    char *own = run->images + worker * s->operand_bytes;
    struct source from = {own, (uint32_t)index * s->group, s->group, 0, 0};
    bool is_blas = run->ctx->k->gemm.is_blas;
    size_t hw = (size_t)run->core->oh * run->core->ow;
    struct span span = {0};
    if (from.n > im->n - from.i0)
        from.n = im->n - from.i0;
    for (uint32_t i = 0; i < from.n; i++)
        pack_rows(run, from.i0 + i, 0, im->ph,
                  own + i * run->image_pitch * run->element);
    span.rows = is_blas ? hw : hw * from.n;
    span.b1 = ceil_div(span.rows, s->block) * (is_blas ? from.n : 1);
    run_panels(run, &from, &span, 0, s->n_panels, worker);
}

/* Pixels ox .. ox + n of line i. */
static void pack_line(const struct run *run, uint32_t i, uint32_t ox,
                      uint32_t n, char *to)
{
    const struct conv_image *im = &run->core->im;
    struct conv_image part = *im;
    size_t at = (size_t)i * im->w + ox, c = im->c0 + im->c1;
    part.w = part.up_w = part.pw = n;
    part.x0 += at * im->c0;
    if (im->c1 != 0)
        part.x1 += at * im->c1;
    if (im->scale) {
        part.scale += i * c;
        part.shift += i * c;
    }
    conv_image_row(run->ctx->k, &part, 0, 0, to);
}

/* A band of an image: output rows, or pixels of a line. */
static void band_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct conv_core *core = run->core;
    const struct split *s = &run->s;
    uint32_t edge = s->is_line ? core->ow : core->oh;
    uint32_t per = ceil_div(edge, s->band);
    uint32_t i = (uint32_t)(index / per);
    uint32_t at = (uint32_t)(index % per) * s->band;
    uint32_t n = edge - at < s->band ? edge - at : s->band;
    uint32_t py = at * core->stride;
    char *own = run->images + worker * s->operand_bytes;
    struct source from = {own, i, 1, s->is_line ? 0 : at, s->is_line ? at : 0};
    struct span span = {at, n, 0, 0};
    if (s->is_line) {
        pack_line(run, i, at, n, own);
    } else {
        pack_rows(run, i, py, py + band_image_rows(core, n), own);
        span.first *= core->ow;
        span.rows *= core->ow;
    }
    span.b1 = ceil_div(span.rows, s->block);
    run_panels(run, &from, &span, 0, s->n_panels, worker);
}

/* A band of an operand image, or a piece of a line, among all images'. */
static void pack_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct conv_image *im = &run->core->im;
    uint32_t edge = run->s.is_line ? im->pw : im->ph;
    uint32_t bands = ceil_div(edge, run->band);
    uint32_t i = (uint32_t)(index / bands);
    uint32_t at = (uint32_t)(index % bands) * run->band;
    uint32_t n = edge - at < run->band ? edge - at : run->band;
    size_t step = run->s.is_line ? im->cp : run->pitch;
    char *to = run->images + (i * run->image_pitch + at * step) * run->element;
    (void)worker;
    if (run->s.is_line)
        pack_line(run, i, at, n, to);
    else
        pack_rows(run, i, at, at + n, to);
}

/* Blocks vary fastest: a panel stays in the cache while the rows pass. */
static void block_chunk(void *arg, size_t index, unsigned worker)
{
    const struct run *run = arg;
    const struct split *s = &run->s;
    const struct conv_core *core = run->core;
    struct source from = {s->is_direct ? (const char *)core->im.x0
                                       : run->images,
                          0, core->im.n, 0, 0};
    uint32_t p0 = (uint32_t)(index / run->n_parts) * s->panel_step;
    uint32_t p1 =
        s->n_panels - p0 < s->panel_step ? s->n_panels : p0 + s->panel_step;
    size_t part = index % run->n_parts;
    struct span span = {0, s->rows, s->n_blocks * part / run->n_parts,
                        s->n_blocks * (part + 1) / run->n_parts};
    run_panels(run, &from, &span, p0, p1, worker);
}

/* Packed panels are there for every block; those that are made are made once a
 * part. */
static uint32_t parts_of_blocks(const struct split *s, unsigned n_threads,
                                bool is_made)
{
    size_t n = s->n_blocks;
    size_t steps = ceil_div(s->n_panels, s->panel_step);
    if (is_made && n > ceil_div(MADE_CHUNKS * n_threads, steps))
        n = ceil_div(MADE_CHUNKS * n_threads, steps);
    return (uint32_t)n;
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

/* Few images: their operands, unless they are there, then their blocks. */
static void run_shared(struct run *run, unsigned n_threads)
{
    const struct conv_image *im = &run->core->im;
    const struct split *s = &run->s;
    if (!s->is_direct) {
        size_t step = s->is_line ? im->cp : (size_t)im->pw * im->cp;
        run->band = ceil_div(PACK_ELEMENTS, step);
        pool_run(run->ctx->pool,
                 (size_t)im->n *
                     ceil_div(s->is_line ? im->pw : im->ph, run->band),
                 pack_chunk, run);
    }
    run->n_parts = parts_of_blocks(s, n_threads, run->core->rows != NULL);
    pool_run(run->ctx->pool,
             (size_t)run->n_parts * ceil_div(s->n_panels, s->panel_step),
             block_chunk, run);
}

void conv_core_run(const struct op_ctx *ctx, const struct conv_core *core)
{
    const struct conv_image *im = &core->im;
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    struct run run = {.ctx = ctx,
                      .core = core,
                      .s = split_make(ctx->k, core),
                      .is_seamless = is_seamless(core),
                      .element = dtype_size(im->type)};
    const struct split *s = &run.s;
    run.is_even = ctx->k->gemm.rows && s->is_line && core->out_scale == 1;
    run.pitch = s->is_direct ? (size_t)im->w * im->c0 : (size_t)im->pw * im->cp;
    run.image_pitch =
        s->is_direct ? im->h * run.pitch : s->image_bytes / run.element;
    run.images = (char *)ctx->scratch + s->bias_bytes;
    run.blas = run.images + images_bytes(s, core, n_threads);
    run.made = run.blas + n_threads * s->blas_bytes;
    run.bias =
        conv_bias_rows((float *)ctx->scratch, im->n, core->cout, core->bias,
                       core->vec, core->vec_stride, &run.bias_stride);
    if (s->is_banded)
        pool_run(ctx->pool,
                 (size_t)im->n *
                     ceil_div(s->is_line ? core->ow : core->oh, s->band),
                 band_chunk, &run);
    else if (s->is_grouped)
        pool_run(ctx->pool, s->n_groups, group_chunk, &run);
    else
        run_shared(&run, n_threads);
}
