/* linear_glu.c - a gated linear layer, by blocks or by stripes.
 *
 * Where tokens are operands already and weights are packed, a piece of work is
 * a block of rows and some panels of values with the panels of their gates:
 * both products of 32 columns wait in a few kilobytes for being gated.  Else a
 * stripe of rows is multiplied and gated as two operations.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/linear_glu.h"

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/chunks.h"
#include "ops/tokens.h"

/* Bytes of a stripe's product: what stays in a last cache beside the weights;
 * and its rows, whole blocks of those that conv2d_core.c works on. */
#define STRIPE_BYTES ((size_t)4 << 20)
#define STRIPE_ROWS  98u

/* Rows of a block, whole tiles; bytes of the panels that a piece of work
 * takes, unless a pair has more. */
#define BLOCK_ROWS  98u
#define PANEL_BYTES ((size_t)512 << 10)

/* Both products of a block. */
#define BLOCK_BYTES (BLOCK_ROWS * 2 * GEMM_MAX_NR * sizeof(float))

struct conv2d_shape linear_glu_stripe(const struct conv2d_shape *s)
{
    size_t rows = STRIPE_BYTES / (s->cout * sizeof(float));
    struct conv2d_shape stripe = *s;

    rows = rows / STRIPE_ROWS * STRIPE_ROWS;
    if (rows < STRIPE_ROWS)
        rows = STRIPE_ROWS;
    if (rows < s->w)
        stripe.w = stripe.ow = stripe.up_w = (uint32_t)rows;
    return stripe;
}

bool linear_glu_fits(const struct conv2d_shape *s)
{
    return s->n == 1 && s->h == 1 && s->c1 == 0 && s->kh == 1 && s->kw == 1 &&
           s->w == s->up_w && linear_glu_stripe(s).w < s->w;
}

static size_t stripe_bytes(const struct conv2d_shape *s)
{
    struct conv2d_shape stripe = linear_glu_stripe(s);

    return size_align((size_t)stripe.w * s->cout * sizeof(float), 64);
}

size_t linear_glu_scratch(const struct conv2d_shape *s, size_t product,
                          unsigned n_threads)
{
    size_t gate = tokens_narrow_scratch(n_threads, s->cout / 2);
    size_t stripes = stripe_bytes(s) + (product > gate ? product : gate);
    size_t blocks = n_threads * BLOCK_BYTES;

    return stripes > blocks ? stripes : blocks;
}

/* Pixel `at` of rows of c floats, or operands. */
static void *row_at(const struct op_ctx *ctx, const void *rows, bool is_narrow,
                    size_t at, size_t c)
{
    size_t size = is_narrow ? dtype_size(ctx->k->gemm.operand) : sizeof(float);

    return (char *)rows + at * c * size;
}

/* -- by blocks ------------------------------------------------------------- */

struct blocks {
    const struct op_ctx *ctx;
    const struct linear_glu_args *a;
    size_t rows, k, c;
    size_t nr, panel_bytes;
    size_t n_pairs, step; /* of panels; of one piece of work                 */
    size_t n_blocks;
};

static bool is_by_blocks(const struct op_ctx *ctx,
                         const struct linear_glu_args *a)
{
    const struct gemm_kernels *g = &ctx->k->gemm;

    return g->rows && a->linear.has_operands && !a->linear.rows &&
           a->linear.s.cout / 2 % g->nr == 0;
}

static struct blocks blocks_of(const struct op_ctx *ctx,
                               const struct linear_glu_args *a)
{
    const struct conv2d_shape *s = &a->linear.s;
    const struct gemm_kernels *g = &ctx->k->gemm;
    struct blocks b = {.ctx = ctx,
                       .a = a,
                       .rows = s->w,
                       .k = s->c0,
                       .c = s->cout / 2,
                       .nr = g->nr};
    size_t some;

    b.panel_bytes = b.k * b.nr * dtype_size(g->operand);
    b.n_pairs = b.c / b.nr;
    some = PANEL_BYTES / (2 * b.panel_bytes);
    b.step = chunks_of(b.n_pairs, chunks_of(b.n_pairs, some > 0 ? some : 1));
    b.n_blocks = chunks_of(b.rows, BLOCK_ROWS);
    return b;
}

/* Columns of panel p of n rows from `row` on; `next` is wanted after it. */
static void multiply(const struct blocks *b, size_t row, size_t n, size_t p,
                     const char *next, float *to)
{
    const struct conv2d_args *l = &b->a->linear;

    b->ctx->k->gemm.rows(
        &(struct gemm_rows){.a = row_at(b->ctx, l->x0, true, row, b->k),
                            .b = (const char *)l->w + p * b->panel_bytes,
                            .next = next,
                            .bias = l->bias ? l->bias + p * b->nr : NULL,
                            .c = to,
                            .m = n,
                            .k = b->k,
                            .ldc = 2 * b->nr});
}

/* Rows of values beside their gates, to their columns of y. */
static void put_gated(const struct blocks *b, size_t row, size_t n,
                      size_t column, float *both)
{
    const struct vector_kernels *vec = &b->ctx->k->vec;
    size_t at = row * b->c + column;

    if (!b->a->is_narrow) {
        vec->glu(b->a->act, n, b->nr, both, 2 * b->nr, (float *)b->a->y + at,
                 b->c);
        return;
    }
    vec->glu(b->a->act, n, b->nr, both, 2 * b->nr, both, 2 * b->nr);
    for (size_t r = 0; r < n; r++, at += b->c, both += 2 * b->nr)
        b->ctx->k->gemm.narrow(row_at(b->ctx, b->a->y, true, at, 1), both,
                               b->nr);
}

/* Blocks vary fastest: panels stay in the cache while the rows pass. */
static void block_piece(void *arg, size_t i, unsigned worker)
{
    const struct blocks *b = arg;
    size_t row = i % b->n_blocks * BLOCK_ROWS, q = i / b->n_blocks * b->step;
    size_t n = b->rows - row < BLOCK_ROWS ? b->rows - row : BLOCK_ROWS;
    size_t end = b->n_pairs - q < b->step ? b->n_pairs : q + b->step;
    const char *w = b->a->linear.w;
    float *both = (float *)(void *)(b->ctx->scratch + worker * BLOCK_BYTES);

    for (; q < end; q++) {
        const char *gate = w + (b->n_pairs + q) * b->panel_bytes;
        const char *value = q + 1 < end ? w + (q + 1) * b->panel_bytes : NULL;

        multiply(b, row, n, q, gate, both);
        multiply(b, row, n, b->n_pairs + q, value, both + b->nr);
        put_gated(b, row, n, q * b->nr, both);
    }
}

static void run_blocks(const struct op_ctx *ctx,
                       const struct linear_glu_args *a)
{
    struct blocks b = blocks_of(ctx, a);

    pool_run(ctx->pool, b.n_blocks * chunks_of(b.n_pairs, b.step), block_piece,
             &b);
}

/* -- by stripes ------------------------------------------------------------ */

static void run_stripes(const struct op_ctx *ctx,
                        const struct linear_glu_args *a)
{
    const struct conv2d_shape *s = &a->linear.s;
    struct conv2d_args one = a->linear;
    struct op_ctx inner = *ctx;
    uint32_t c = s->cout / 2;

    one.s = linear_glu_stripe(s);
    one.y = (float *)(void *)ctx->scratch;
    inner.scratch += stripe_bytes(s);
    inner.scratch_bytes -= stripe_bytes(s);
    for (uint32_t at = 0, n = one.s.w; at < s->w; at += n) {
        n = s->w - at < n ? s->w - at : n;
        one.s.w = one.s.ow = one.s.up_w = n;
        one.x0 = row_at(ctx, a->linear.x0, a->linear.has_operands, at, s->c0);
        a->run(&inner, &one);
        glu(&inner,
            &(struct glu_args){.rows = n,
                               .c = c,
                               .ldx = s->cout,
                               .act = a->act,
                               .x = one.y,
                               .y = row_at(ctx, a->y, a->is_narrow, at, c),
                               .is_narrow = a->is_narrow});
    }
}

void linear_glu(const struct op_ctx *ctx, const void *linear_glu_args)
{
    const struct linear_glu_args *a = linear_glu_args;

    if (is_by_blocks(ctx, a))
        run_blocks(ctx, a);
    else
        run_stripes(ctx, a);
}
