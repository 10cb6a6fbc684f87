/* linear_int8.c - rows become whole numbers, then tiles of products.
 *
 * Packed weights: a scale and a sum a column, then the panels.
 *
 * A product runs in two passes with the pool between: all rows are quantised,
 * each behind its norm and activation; then row blocks meet groups of panels.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/linear_int8.h"

#include <string.h>

#include "base/rng.h"
#include "base/size.h"
#include "ops/chunks.h"
#include "ops/conv2d_parts.h"

/* Rows of a block, at most: 16 tiles of 6 or 7 of 14. */
#define BLOCK_ROWS 98u

/* Products that make a chunk worth handing out. */
#define CHUNK_PRODUCTS ((size_t)1 << 20)

/* From this many row blocks on all rows are more than a cache beside the core
 * holds, and each chunk's panels read them anew: it takes as many as stay there
 * beside the rows.  Six are as wide as a block is high, so that either is read
 * as often as the other; so many are taken if there are chunks enough. */
#define MANY_BLOCKS 8u
#define MANY_PANELS 6u
#define PANEL_BYTES ((size_t)128 << 10)
#define MANY_CHUNKS 64u

/* -- weights --------------------------------------------------------------- */

struct layout {
    size_t k;       /* inputs, in whole units                                */
    size_t columns; /* outputs, in whole panels                              */
    size_t sums_at, panels_at, bytes;
};

static struct layout layout_of(const struct kernel_table *k, uint32_t cin,
                               uint32_t cout)
{
    struct layout l = {.k = chunks_of(cin, k->i8.ku) * k->i8.ku,
                       .columns = chunks_of(cout, k->i8.nr) * k->i8.nr};

    l.sums_at = size_align(l.columns * sizeof(float), 64);
    l.panels_at = l.sums_at + size_align(l.columns * sizeof(int32_t), 64);
    l.bytes = l.panels_at + size_align(l.columns * l.k, 64);
    return l;
}

size_t linear_int8_packed_bytes(const struct kernel_table *k, uint32_t cin,
                                uint32_t cout)
{
    return layout_of(k, cin, cout).bytes;
}

/* The scalar twin's quantise() writes numbers as they are. */
static float quantise_plainly(int8_t *q, const float *x, size_t n)
{
    struct int8_kernels twin;

    int8_kernels_scalar(&twin);
    return twin.quantise(q, x, n);
}

void linear_int8_pack(const struct kernel_table *k, void *dst, const float *w,
                      uint32_t cin, uint32_t cout)
{
    struct layout l = layout_of(k, cin, cout);
    size_t nr = k->i8.nr, ku = k->i8.ku;
    float *scales = dst;
    int32_t *sums = (int32_t *)((char *)dst + l.sums_at);
    int8_t *panels = (int8_t *)dst + l.panels_at, q[INT8_MAX_K];

    memset(dst, 0, l.bytes);
    for (size_t o = 0; o < cout; o++) {
        int8_t *panel = panels + o / nr * nr * l.k;

        scales[o] = quantise_plainly(q, w + o * cin, cin);
        for (size_t c = 0; c < cin; c++) {
            panel[(c / ku * nr + o % nr) * ku + c % ku] = q[c];
            sums[o] += q[c];
        }
    }
}

/* -- are they good enough? ------------------------------------------------- */

#define LIMIT    2e-2 /* of the outputs, in the mean square                  */
#define SEED     21u
#define ROWS     8u
#define MAX_COLS 64u /* columns that are tried, evenly spread               */

/* Fixed data: half of the rows as a norm leaves them, half as an activation
 * does, a tenth below zero. */
static void draw(struct rng *rng, float *x, size_t n, unsigned row)
{
    rng_normal_f32(rng, x, n);
    for (size_t i = 0; i < n && row % 2; i++)
        x[i] = x[i] < 0 ? x[i] * 0.125F : x[i];
}

/* Squares of error and output of one row against the tried columns. */
static void try_row(const float *x, const int8_t *qx, float scale,
                    const float *w, uint32_t cin, uint32_t cout, double *error,
                    double *size)
{
    uint32_t step = (cout + MAX_COLS - 1) / MAX_COLS;
    int8_t qw[INT8_MAX_K];

    for (uint32_t o = 0; o < cout; o += step) {
        const float *column = w + (size_t)o * cin;
        double want = 0, d = (double)quantise_plainly(qw, column, cin);
        int64_t sum = 0;

        for (uint32_t c = 0; c < cin; c++) {
            want += (double)x[c] * (double)column[c];
            sum += qx[c] * qw[c];
        }
        d = (double)sum * d * (double)scale - want;
        *error += d * d;
        *size += want * want;
    }
}

bool linear_int8_is_accurate(const float *w, uint32_t cin, uint32_t cout)
{
    float x[INT8_MAX_K];
    int8_t q[INT8_MAX_K];
    double error = 0, size = 0;
    struct rng rng;

    rng_seed(&rng, SEED);
    for (unsigned row = 0; row < ROWS; row++) {
        draw(&rng, x, cin, row);
        try_row(x, q, quantise_plainly(q, x, cin), w, cin, cout, &error, &size);
    }
    return error <= LIMIT * LIMIT * size; /* false for NaN */
}

/* -- running --------------------------------------------------------------- */

struct run {
    const struct op_ctx *ctx;
    const struct conv2d_args *a;
    struct layout l;
    size_t c;            /* channels of a row                                */
    size_t pixels, rows; /* of a picture, of all                             */
    size_t row_bytes;    /* of a row of operands                             */
    char *operands;
    float *scales;     /* of rows */
    float *floats;     /* a row before it is quantised, one a thread       */
    const float *bias; /* rows of bias_stride floats a picture, or NULL    */
    size_t bias_stride;
    size_t block, n_blocks, n_panels, panel_step;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Panels that a chunk takes: all chunks about as many. */
static size_t panels_at_once(const struct run *r, unsigned nr)
{
    size_t panel = r->l.k * nr;
    size_t n = chunks_of(CHUNK_PRODUCTS, least(r->rows, r->block) * panel);

    if (r->n_blocks >= MANY_BLOCKS) {
        size_t many =
            least(MANY_PANELS, r->n_blocks * r->n_panels / MANY_CHUNKS);

        n = most(n, most(many, PANEL_BYTES / panel));
    }
    return chunks_of(r->n_panels, chunks_of(r->n_panels, n));
}

/* Everything but the pointers into scratch. */
static struct run make_run(const struct kernel_table *k,
                           const struct conv2d_shape *s)
{
    struct run r = {.c = s->c0 + s->c1, .pixels = (size_t)s->oh * s->ow};

    r.l = layout_of(k, (uint32_t)r.c, s->cout);
    r.rows = r.pixels * s->n;
    r.row_bytes = r.l.k * k->i8.a_bytes;
    r.block = BLOCK_ROWS / k->i8.mr * k->i8.mr;
    r.n_blocks = chunks_of(r.rows, r.block);
    r.n_panels = r.l.columns / k->i8.nr;
    r.panel_step = panels_at_once(&r, k->i8.nr);
    return r;
}

static size_t take(size_t *at, size_t bytes)
{
    size_t here = *at;

    *at += size_align(bytes, 64);
    return here;
}

/* Places in scratch; returns the bytes of all. */
static size_t place(struct run *r, unsigned char *scratch, unsigned n_threads,
                    const struct conv2d_shape *s)
{
    size_t at = 0, operands = take(&at, r->rows * r->row_bytes);
    size_t scales = take(&at, r->rows * sizeof(float));
    size_t floats = take(&at, n_threads * r->c * sizeof(float));
    size_t bias = take(&at, (size_t)s->n * s->cout * sizeof(float));

    if (!scratch)
        return at;
    r->operands = (char *)scratch + operands;
    r->scales = (float *)(scratch + scales);
    r->floats = (float *)(scratch + floats);
    r->bias = (float *)(scratch + bias);
    return at;
}

size_t linear_int8_scratch(const struct kernel_table *k, unsigned n_threads,
                           const struct conv2d_shape *s)
{
    struct run r = make_run(k, s);

    return place(&r, NULL, n_threads, s);
}

/* One source's part of a row at its place among the channels. */
static void put_source(const struct run *r, float *to, const float *x,
                       size_t image, size_t from, size_t n)
{
    const struct conv2d_args *a = r->a;

    if (!a->scale && a->act == ACT_NONE)
        memcpy(to + from, x, n * sizeof *x);
    else
        r->ctx->k->vec.affine_act(
            a->act, 1, n, x, n,
            a->scale ? a->scale + image * r->c + from : NULL,
            a->scale ? a->shift + image * r->c + from : NULL, to + from, n);
}

/* A row as floats: in place where nothing is to be done. */
static const float *row_floats(const struct run *r, size_t row, float *room)
{
    const struct conv2d_args *a = r->a;
    size_t image = row / r->pixels;
    const float *x0 = a->x0 + row * a->s.c0;

    if (!a->scale && a->act == ACT_NONE && a->s.c1 == 0)
        return x0;
    put_source(r, room, x0, image, 0, a->s.c0);
    if (a->s.c1)
        put_source(r, room, a->x1 + row * a->s.c1, image, a->s.c0, a->s.c1);
    return room;
}

static void quantise_chunk(void *arg, size_t i, unsigned worker)
{
    const struct run *r = arg;
    size_t step = chunk_rows(r->c), row = i * step;
    size_t end = row + chunk_len(r->rows, step, i);

    for (; row < end; row++)
        r->scales[row] = r->ctx->k->i8.quantise(
            r->operands + row * r->row_bytes,
            row_floats(r, row, r->floats + worker * r->c), r->c);
}

/* Rows of block `b`, panels p0 .. p1. */
static void block_panels(const struct run *r, size_t b, size_t p0, size_t p1)
{
    const struct int8_kernels *k = &r->ctx->k->i8;
    const struct conv2d_args *a = r->a;
    const char *w = a->w;
    size_t row0 = b * r->block, n = chunk_len(r->rows, r->block, b);
    const float *bias[BLOCK_ROWS];
    struct int8_tile t = {.a_row = r->row_bytes,
                          .k = r->l.k,
                          .ldc = a->s.cout,
                          .out = a->out_scale};

    for (size_t i = 0; i < n && r->bias; i++)
        bias[i] = r->bias + (row0 + i) / r->pixels * r->bias_stride;
    for (size_t p = p0; p < p1; p++) {
        size_t column = p * k->nr;

        t.n = (unsigned)chunk_len(a->s.cout, k->nr, p);
        t.b = (const int8_t *)w + r->l.panels_at + column * r->l.k;
        t.b_scale = (const float *)w + column;
        t.b_sum = (const int32_t *)(w + r->l.sums_at) + column;
        t.bias_at = column;
        for (size_t i = 0; i < n; i += t.m) {
            size_t at = (row0 + i) * a->s.cout + column;

            t.m = (unsigned)chunks_of(n - i, chunks_of(n - i, k->mr));
            t.a = r->operands + (row0 + i) * r->row_bytes;
            t.a_scale = r->scales + row0 + i;
            t.bias = r->bias ? bias + i : NULL;
            t.res = a->res ? a->res + at : NULL;
            t.c = a->y + at;
            k->tile(&t);
        }
    }
}

/* Blocks vary fastest: panels stay in the cache while the rows pass. */
static void product_chunk(void *arg, size_t i, unsigned worker)
{
    const struct run *r = arg;
    size_t p0 = i / r->n_blocks * r->panel_step;
    size_t left = r->n_panels - p0;

    (void)worker;
    block_panels(r, i % r->n_blocks, p0,
                 p0 + (left < r->panel_step ? left : r->panel_step));
}

void linear_int8_run(const struct op_ctx *ctx, const void *conv2d_args)
{
    const struct conv2d_args *a = conv2d_args;
    struct run r = make_run(ctx->k, &a->s);

    r.ctx = ctx;
    r.a = a;
    place(&r, ctx->scratch, pool_threads(ctx->pool), &a->s);
    r.bias = conv_bias_rows((float *)r.bias, a->s.n, a->s.cout, a->bias, a->vec,
                            a->vec_stride, &r.bias_stride);
    pool_run(ctx->pool, chunks_of(r.rows, chunk_rows(r.c)), quantise_chunk, &r);
    pool_run(ctx->pool, r.n_blocks * chunks_of(r.n_panels, r.panel_step),
             product_chunk, &r);
}
