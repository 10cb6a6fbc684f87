/* optim.c - the loss, the gradient's norm and the optimiser's pass.
 *
 * Sums that decide (loss, norm) are joined in double in the order of their
 * pieces, so that they do not depend on the number of threads.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/optim.h"

#include <math.h>

#include "base/pool.h"
#include "kernels/kernels.h"
#include "ops/chunks.h"

struct job {
    const struct op_ctx *ctx;
    const void *args;
};

/* One image: its loss is the sum of its pieces in order. */
static void squared_error_image(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct squared_error_args *a = job->args;
    double weight = a->weight ? (double)a->weight[i] : 1;
    float slope = (float)(2 * weight / ((double)a->m * a->n));
    double sum = 0;

    for (size_t k = 0; k < chunks_of(a->m, STREAM_CHUNK); k++) {
        size_t at = i * a->m + k * STREAM_CHUNK;

        sum += job->ctx->k->vec.squared_error(chunk_len(a->m, STREAM_CHUNK, k),
                                              a->y + at, a->target + at, slope,
                                              a->dy ? a->dy + at : NULL);
    }
    if (a->loss)
        a->loss[i] = (float)(weight * sum / (double)a->m);
}

void squared_error(const struct op_ctx *ctx, const void *args)
{
    const struct squared_error_args *a = args;
    struct job job = {ctx, args};

    pool_run(ctx->pool, a->n, squared_error_image, &job);
}

static void sum_squares_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct sum_squares_args *a = job->args;
    double *parts = (double *)(void *)job->ctx->scratch;

    parts[i] = job->ctx->k->vec.sum_squares(chunk_len(a->n, STREAM_CHUNK, i),
                                            a->x + i * STREAM_CHUNK);
}

size_t sum_squares_scratch(size_t n)
{
    return chunks_of(n, STREAM_CHUNK) * sizeof(double);
}

void sum_squares(const struct op_ctx *ctx, const void *args)
{
    const struct sum_squares_args *a = args;
    const double *parts = (const double *)(const void *)ctx->scratch;
    struct job job = {ctx, args};
    size_t n_parts = chunks_of(a->n, STREAM_CHUNK);
    double sum = 0;

    pool_run(ctx->pool, n_parts, sum_squares_piece, &job);
    for (size_t i = 0; i < n_parts; i++)
        sum += parts[i];
    *a->out = sum;
}

/* The decimal of at most six places that was meant by x, if it is one: 0.999
 * is 0.99900001 in f32, and 1 - 0.99900001 is wrong in its fifth digit. */
static double decimal_of(float x)
{
    double decimal = nearbyint((double)x * 1e6) / 1e6;

    return (float)decimal == x ? decimal : (double)x;
}

/* The step's numbers, worked out in double as the reference does. */
static struct adamw_step step_of(const struct adamw_args *a)
{
    double lr = (double)a->lr;

    return (struct adamw_step){
        .decay = (float)(1 - lr * decimal_of(a->weight_decay)),
        .m_weight = (float)(1 - decimal_of(a->beta1)),
        .beta2 = a->beta2,
        .v_weight = (float)(1 - decimal_of(a->beta2)),
        .c2_sqrt = (float)sqrt((double)a->c2),
        .eps = a->eps,
        .step_size = (float)(lr / (double)a->c1),
        .grad_scale = a->grad_scale,
        .ema_weight = (float)(1 - decimal_of(a->ema_decay)),
    };
}

static void adamw_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct adamw_args *a = job->args;
    struct adamw_step step = step_of(a);
    size_t at = i * STREAM_CHUNK;

    job->ctx->k->vec.adamw(chunk_len(a->n, STREAM_CHUNK, i), &step, a->p + at,
                           a->g + at, a->m + at, a->v + at,
                           a->ema ? a->ema + at : NULL);
}

void adamw(const struct op_ctx *ctx, const void *args)
{
    const struct adamw_args *a = args;
    struct job job = {ctx, args};

    pool_run(ctx->pool, chunks_of(a->n, STREAM_CHUNK), adamw_piece, &job);
}
