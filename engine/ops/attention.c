/* attention.c - softmax attention by tiles with a running maximum.
 *
 * One piece of work is 64 queries of one head of one image; for each 96 keys
 *
 *     S[key][query] = K Q'^T            Q' = scale Q, transposed once
 *     S = exp(S - max)                  down the columns
 *     O = O exp(old max - max) + S^T V  in the output itself
 *
 * and at the end O is divided by the sums (Milakov and Gimelshein 2018,
 * "Online normalizer calculation for softmax"; Dao et al. 2022).
 *
 * Where the rung's operands are bf16 it is attention_bf16.c, but for what an
 * adjoint will follow: that recomputes in f32 what it needs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/attention.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/attention_bf16.h"
#include "ops/attention_tile.h"

struct job {
    const struct op_ctx *ctx;
    const struct attention_args *a;
};

/* A worker's memory. */
struct tile {
    float *qt; /* [d][TILE_QUERIES]         */
    float *s;  /* [TILE_KEYS][TILE_QUERIES] */
    float max[TILE_QUERIES], sum[TILE_QUERIES], factor[TILE_QUERIES];
};

static size_t worker_bytes(const struct attention_args *a)
{
    return size_align((a->d + TILE_KEYS) * TILE_QUERIES * sizeof(float), 64);
}

size_t attention_scratch(const struct kernel_table *k, unsigned n_threads,
                         const struct attention_args *shape)
{
    size_t plain = n_threads * worker_bytes(shape), narrow = 0;

    /* Only a run knows whether lse is wanted. */
    if (attention_bf16_fits(k))
        narrow = attention_bf16_scratch(k, n_threads, shape);
    return narrow > plain ? narrow : plain;
}

/* The rows of o become o * factor, unless every factor is 1. */
static void rescale(const struct vector_kernels *vec, size_t nq, size_t d,
                    const float *factor, float *o, size_t ldo)
{
    bool is_needed = false;

    for (size_t i = 0; i < nq; i++)
        is_needed |= factor[i] != 1;
    if (is_needed)
        vec->scale_rows(nq, d, factor, o, ldo, o, ldo);
}

/* Scores of keys j .. j + nk behind their query, which is at .. at + padded,
 * become minus infinity: exp makes 0 of them.  Key 0 is never behind, so a
 * column's maximum is finite from the first tile on. */
static void mask_future(struct tile *t, size_t nk, size_t padded, size_t j,
                        size_t at)
{
    for (size_t i = 0; i < nk; i++)
        for (size_t q = 0; q < padded && at + q < j + i; q++)
            t->s[i * TILE_QUERIES + q] = -INFINITY;
}

/* `at` is the place of the first query. */
static void attend_keys(const struct job *job, struct tile *t, size_t nq,
                        size_t at, const float *k, const float *v, float *o)
{
    const struct attention_args *a = job->a;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    size_t padded = tile_padded(nq);
    size_t len = a->is_causal ? at + nq : a->len_k;

    for (size_t j = 0; j < len; j += TILE_KEYS) {
        size_t nk = tile_len(len, TILE_KEYS, j);

        vec->matmul(nk, padded, a->d, k + j * a->ldk, a->ldk, 1, t->qt,
                    TILE_QUERIES, t->s, TILE_QUERIES, false);
        if (a->is_causal && j + nk > at)
            mask_future(t, nk, padded, j, at);
        vec->softmax_columns(nk, padded, t->s, TILE_QUERIES, t->max, t->sum,
                             t->factor);
        if (j > 0)
            rescale(vec, nq, a->d, t->factor, o, a->ldo);
        vec->matmul(nq, a->d, nk, t->s, 1, TILE_QUERIES, v + j * a->ldv, a->ldv,
                    o, a->ldo, j > 0);
    }
}

static void attend_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    size_t per_head = (a->len_q + TILE_QUERIES - 1) / TILE_QUERIES;
    size_t at = i % per_head * TILE_QUERIES, head = i / per_head % a->heads;
    size_t image = i / per_head / a->heads;
    size_t nq = tile_len(a->len_q, TILE_QUERIES, at), column = head * a->d;
    const float *q = a->q + (image * a->len_q + at) * a->ldq + column;
    float *o = a->o + (image * a->len_q + at) * a->ldo + column;
    struct tile t;

    t.qt = (float *)(void *)(job->ctx->scratch + worker * worker_bytes(a));
    t.s = t.qt + a->d * TILE_QUERIES;
    for (size_t j = 0; j < tile_padded(nq); j++) {
        t.max[j] = -FLT_MAX;
        t.sum[j] = 0;
    }
    vec->transpose(nq, a->d, q, a->ldq, a->scale, t.qt, TILE_QUERIES);
    tile_pad(t.qt, a->d, nq);
    attend_keys(job, &t, nq, at, a->k + image * a->len_k * a->ldk + column,
                a->v + image * a->len_k * a->ldv + column, o);
    for (size_t j = 0; j < nq; j++) {
        t.factor[j] = 1 / t.sum[j];
        if (a->lse)
            a->lse[(image * a->heads + head) * a->len_q + at + j] =
                t.max[j] + logf(t.sum[j]);
    }
    vec->scale_rows(nq, a->d, t.factor, o, a->ldo, o, a->ldo);
}

void attention_run(const struct op_ctx *ctx, const void *args)
{
    const struct attention_args *a = args;
    struct job job = {ctx, a};
    size_t per_head = (a->len_q + TILE_QUERIES - 1) / TILE_QUERIES;

    if (attention_bf16_fits(ctx->k) && !a->lse) {
        attention_bf16_run(ctx, a);
        return;
    }
    pool_run(ctx->pool, (size_t)a->n * a->heads * per_head, attend_piece, &job);
}
