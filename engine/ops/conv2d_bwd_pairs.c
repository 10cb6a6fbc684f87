/* conv2d_bwd_pairs.c - adjoint of a convolution's weights on operands of bf16.
 *
 * dW[tap][c][o] = sum over pixels of X[pixel of tap][c] * dY[pixel][o], two
 * pixels at a time: rows of pixels become panels of pairs (gemm_kernels.panel),
 * a panel of X for each tap and 32 channels, one of dY for 32 outputs, and
 * their products are summed (winograd_kernels.gemm_pairs).  An odd pixel at the
 * end of a row has zeros beside it.  Of 1x1 convolutions all pixels are one
 * row, read where they lie; others read rows with their border of zeros.
 *
 * Groups of rows have sums of their own, which are added in order.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/conv2d.h"
#include "ops/conv2d_parts.h"

/* Groups, and the pixels that one has at least; a ceiling on their sums. */
#define MAX_GROUPS   8u
#define GROUP_PIXELS 4096u
#define SUMS_BYTES   ((size_t)32 << 20)

/* Pixels of a block: sums are read and written once a block. */
#define BLOCK_PIXELS 256u

struct pairs_run {
    const struct op_ctx *ctx;
    const struct conv2d_bwd_weights_args *args;
    struct conv_image im;
    bool is_flat; /* one row of all pixels                                   */
    uint32_t taps, rows; /* rows of a block, of one picture                  */
    size_t n_blocks, blocks_of_image, n_groups;
    size_t row_pairs, block_pairs;
    size_t group_floats, panel_bytes;
    size_t image_bytes, x_bytes, dy_bytes; /* of a thread                    */
    float *sums;
    char *own;
};

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static void set_blocks(struct pairs_run *r, const struct conv2d_shape *s)
{
    size_t pixels = (size_t)s->n * s->oh * s->ow;

    if (r->is_flat) {
        r->n_blocks = ceil_div(pixels, BLOCK_PIXELS);
        r->block_pairs = BLOCK_PIXELS / 2;
        return;
    }
    r->rows = s->ow < BLOCK_PIXELS ? BLOCK_PIXELS / s->ow : 1;
    r->rows = r->rows < s->oh ? r->rows : s->oh;
    r->blocks_of_image = ceil_div(s->oh, r->rows);
    r->n_blocks = s->n * r->blocks_of_image;
    r->row_pairs = ceil_div(s->ow, 2);
    r->block_pairs = r->rows * r->row_pairs;
}

static void set_sizes(struct pairs_run *r, const struct kernel_table *k,
                      const struct conv2d_shape *s)
{
    size_t pixels = (size_t)s->n * s->oh * s->ow, fit;

    r->im = conv_image_of(s);
    r->taps = s->kh * s->kw;
    r->is_flat = r->taps == 1 && s->stride == 1 && s->pad_t == 0 &&
                 s->pad_l == 0 && s->oh == s->h && s->ow == s->w;
    set_blocks(r, s);
    r->group_floats = (size_t)r->taps * s->c0 * s->cout;
    fit = SUMS_BYTES / (r->group_floats * sizeof(float));
    r->n_groups = ceil_div(pixels, GROUP_PIXELS);
    r->n_groups = r->n_groups < MAX_GROUPS ? r->n_groups : MAX_GROUPS;
    r->n_groups = r->n_groups < r->n_blocks ? r->n_groups : r->n_blocks;
    r->n_groups = r->n_groups <= fit ? r->n_groups : fit > 0 ? fit : 1;
    r->panel_bytes = r->block_pairs * k->gemm.nr * 2 * sizeof(uint16_t);
    r->x_bytes = ceil_div(s->c0, k->gemm.nr) * r->panel_bytes;
    r->dy_bytes = ceil_div(s->cout, k->gemm.nr) * r->panel_bytes;
    if (!r->is_flat)
        r->image_bytes =
            size_align(((size_t)(r->rows - 1) * s->stride + s->kh) * r->im.pw *
                           s->c0 * sizeof(float),
                       64);
}

/* Rows of pixels, `line` floats apart, pixels `step`, to panels of pairs. */
struct pixels {
    const float *at;
    size_t step, line, n; /* n pixels a row                                  */
    uint32_t rows, c;
};

static void pack(const struct pairs_run *r, char *to, const struct pixels *p)
{
    const struct gemm_kernels *g = &r->ctx->k->gemm;

    for (uint32_t c = 0; c < p->c; c += g->nr, to += r->panel_bytes) {
        unsigned n = p->c - c < g->nr ? p->c - c : g->nr;
        char *at = to;

        for (uint32_t y = 0; y < p->rows; y++) {
            g->panel(at, p->at + y * p->line + c, p->step, p->n, n);
            at += ceil_div(p->n, 2) * g->nr * 2 * sizeof(uint16_t);
        }
    }
}

/* Products of all panels of a tap, `pairs` long. */
static void multiply(const struct pairs_run *r, float *sums, const char *x,
                     const char *dy, size_t pairs)
{
    const struct conv2d_shape *s = &r->args->s;
    const struct kernel_table *k = r->ctx->k;
    uint32_t nr = k->gemm.nr;

    for (uint32_t c = 0; c < s->c0; c += nr)
        for (uint32_t o = 0; o < s->cout; o += nr)
            k->wino.gemm_pairs(sums + (size_t)c * s->cout + o, s->cout,
                               x + c / nr * r->panel_bytes, nr,
                               dy + o / nr * r->panel_bytes, nr,
                               s->c0 - c < nr ? s->c0 - c : nr,
                               s->cout - o < nr ? s->cout - o : nr, pairs);
}

static void flat_block(const struct pairs_run *r, float *sums, size_t block,
                       char *x, char *dy)
{
    const struct conv2d_shape *s = &r->args->s;
    size_t all = (size_t)s->n * s->oh * s->ow, first = block * BLOCK_PIXELS;
    size_t n = all - first < BLOCK_PIXELS ? all - first : BLOCK_PIXELS;

    pack(r, x,
         &(struct pixels){r->args->x + first * s->c0, s->c0, 0, n, 1, s->c0});
    pack(r, dy,
         &(struct pixels){r->args->dy + first * s->cout, s->cout, 0, n, 1,
                          s->cout});
    multiply(r, sums, x, dy, ceil_div(n, 2));
}

static void image_block(const struct pairs_run *r, float *sums, size_t block,
                        float *image, char *x, char *dy)
{
    const struct conv2d_shape *s = &r->args->s;
    size_t i = block / r->blocks_of_image, line = (size_t)r->im.pw * s->c0;
    uint32_t y = (uint32_t)(block % r->blocks_of_image) * r->rows;
    uint32_t rows = s->oh - y < r->rows ? s->oh - y : r->rows;
    size_t dy_line = (size_t)s->ow * s->cout;

    for (uint32_t q = 0; q < (rows - 1) * s->stride + s->kh; q++)
        conv_image_row(r->ctx->k, &r->im, (uint32_t)i, y * s->stride + q,
                       image + q * line);
    pack(r, dy,
         &(struct pixels){r->args->dy + (i * s->oh + y) * dy_line, s->cout,
                          dy_line, s->ow, rows, s->cout});
    for (uint32_t tap = 0; tap < r->taps; tap++) {
        pack(r, x,
             &(struct pixels){image + tap / s->kw * line +
                                  (size_t)(tap % s->kw) * s->c0,
                              (size_t)s->stride * s->c0, s->stride * line,
                              s->ow, rows, s->c0});
        multiply(r, sums + (size_t)tap * s->c0 * s->cout, x, dy,
                 rows * r->row_pairs);
    }
}

static size_t thread_bytes(const struct pairs_run *r)
{
    return r->image_bytes + r->x_bytes + r->dy_bytes;
}

static void group_chunk(void *arg, size_t group, unsigned worker)
{
    const struct pairs_run *r = arg;
    char *own = r->own + worker * thread_bytes(r);
    char *x = own + r->image_bytes, *dy = x + r->x_bytes;
    float *sums = r->sums + group * r->group_floats;
    size_t block = r->n_blocks * group / r->n_groups;
    size_t end = r->n_blocks * (group + 1) / r->n_groups;

    memset(sums, 0, r->group_floats * sizeof *sums);
    for (; block < end; block++)
        if (r->is_flat)
            flat_block(r, sums, block, x, dy);
        else
            image_block(r, sums, block, (float *)(void *)own, x, dy);
}

/* Sums of all groups, in order, of one input channel. */
static void sum_chunk(void *arg, size_t c, unsigned worker)
{
    const struct pairs_run *r = arg;
    const struct conv2d_shape *s = &r->args->s;

    (void)worker;
    for (uint32_t tap = 0; tap < r->taps; tap++) {
        const float *from = r->sums + ((size_t)tap * s->c0 + c) * s->cout;
        float *dw = r->args->dw + c * r->taps + tap;

        for (uint32_t o = 0; o < s->cout; o++) {
            float sum = from[o];

            for (size_t g = 1; g < r->n_groups; g++)
                sum += from[g * r->group_floats + o];
            dw[(size_t)o * s->c0 * r->taps] += sum;
        }
    }
}

size_t conv_bwd_pairs_scratch(const struct kernel_table *k, unsigned n_threads,
                              const struct conv2d_shape *s)
{
    struct pairs_run r = {0};

    set_sizes(&r, k, s);
    return size_align(r.n_groups * r.group_floats * sizeof(float), 64) +
           n_threads * thread_bytes(&r);
}

void conv_bwd_pairs(const struct op_ctx *ctx,
                    const struct conv2d_bwd_weights_args *args)
{
    struct pairs_run r = {.ctx = ctx, .args = args};

    set_sizes(&r, ctx->k, &args->s);
    r.im.x0 = args->x;
    r.sums = (float *)(void *)ctx->scratch;
    r.own = (char *)ctx->scratch +
            size_align(r.n_groups * r.group_floats * sizeof(float), 64);
    pool_run(ctx->pool, r.n_groups, group_chunk, &r);
    pool_run(ctx->pool, args->s.c0, sum_chunk, &r);
}
