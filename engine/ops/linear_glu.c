/* linear_glu.c - stripes of a gated linear layer.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/linear_glu.h"

#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/tokens.h"

/* Bytes of a stripe's product: what stays in a last cache beside the weights;
 * and its rows, whole blocks of those that conv2d_core.c works on. */
#define STRIPE_BYTES ((size_t)4 << 20)
#define STRIPE_ROWS  98u

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

    return stripe_bytes(s) + (product > gate ? product : gate);
}

/* Pixel `at` of rows of c floats, or operands. */
static void *row_at(const struct op_ctx *ctx, const void *rows, bool is_narrow,
                    size_t at, size_t c)
{
    size_t size = is_narrow ? dtype_size(ctx->k->gemm.operand) : sizeof(float);

    return (char *)rows + at * c * size;
}

void linear_glu(const struct op_ctx *ctx, const void *linear_glu_args)
{
    const struct linear_glu_args *a = linear_glu_args;
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
