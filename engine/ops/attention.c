/* attention.c - softmax attention by tiles with a running maximum.
 *
 * One piece of work is up to 4 tiles of 64 queries of one head of one image;
 * for each 96 keys, and of these each tile,
 *
 *     S[key][query] = K Q'^T            Q' = scale Q, transposed once
 *     S = exp(S - max)                  down the columns
 *     O^T = O^T exp(old max - max) + V^T S
 *
 * and at the end O^T is divided by the sums and transposed (Milakov and
 * Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et al.
 * 2022).  Keys and values are read in place; of values a copy is taken first,
 * whose rows lie close together: they are read down their columns, and rows
 * far apart would fall into the same few sets of the cache.  Several tiles to
 * a piece read keys and values from afar once instead of once each.
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
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/attention_bf16.h"
#include "ops/attention_tile.h"

struct job {
    const struct op_ctx *ctx;
    const struct attention_args *a;
};

/* Tiles of a piece.  Fewer where pieces would be too few for many threads. */
#define MAX_TILES  ((size_t)4)
#define MIN_PIECES ((size_t)64)

/* A worker's memory. */
struct tile {
    float *qt; /* [d][TILE_QUERIES]                                          */
    float *ot; /* [d][TILE_QUERIES]                                          */
    float *max, *sum; /* [TILE_QUERIES] */
};

struct piece {
    struct tile tiles[MAX_TILES];
    float *s; /* [TILE_KEYS][TILE_QUERIES] */
    float *v; /* [TILE_KEYS][d]            */
    float factor[TILE_QUERIES];
    size_t image, head;
    size_t at, n; /* queries of the piece  */
};

static size_t tiles_per_head(const struct attention_args *a)
{
    return ((size_t)a->len_q + TILE_QUERIES - 1) / TILE_QUERIES;
}

/* By shape alone, and it changes no bit. */
static size_t tiles_per_piece(const struct attention_args *a)
{
    size_t n = a->n * a->heads * tiles_per_head(a) / MIN_PIECES;

    return n < 1 ? 1 : n < MAX_TILES ? n : MAX_TILES;
}

static size_t tile_floats(const struct attention_args *a)
{
    return (2 * (size_t)a->d + 2) * TILE_QUERIES;
}

static size_t worker_bytes(const struct attention_args *a)
{
    size_t floats =
        tiles_per_piece(a) * tile_floats(a) + TILE_KEYS * (TILE_QUERIES + a->d);

    return size_align(floats * sizeof(float), 64);
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

/* The columns of ot become ot * factor, unless every factor is 1. */
static void rescale(const struct vector_kernels *vec, size_t d, size_t padded,
                    const float *factor, float *ot)
{
    bool is_needed = false;

    for (size_t i = 0; i < padded; i++)
        is_needed |= factor[i] != 1;
    if (is_needed)
        vec->scale_columns(d, padded, factor, ot, TILE_QUERIES, ot,
                           TILE_QUERIES);
}

/* Scores of keys j .. j + nk behind their query, which is at .. at + padded,
 * become minus infinity: exp makes 0 of them.  Key 0 is never behind, so a
 * column's maximum is finite from the first tile on. */
static void mask_future(float *s, size_t nk, size_t padded, size_t j, size_t at)
{
    for (size_t i = 0; i < nk; i++)
        for (size_t q = 0; q < padded && at + q < j + i; q++)
            s[i * TILE_QUERIES + q] = -INFINITY;
}

/* A tile, whose nq queries start at `at`, sees keys j .. j + nk. */
static void attend_tile(const struct job *job, struct piece *p, struct tile *t,
                        size_t at, size_t nq, size_t j, size_t nk,
                        const float *k, const float *v, size_t ldv)
{
    const struct attention_args *a = job->a;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    size_t padded = tile_padded(nq);

    vec->matmul(nk, padded, a->d, k, a->ldk, 1, t->qt, TILE_QUERIES, p->s,
                TILE_QUERIES, false);
    if (a->is_causal && j + nk > at)
        mask_future(p->s, nk, padded, j, at);
    vec->softmax_columns(nk, padded, p->s, TILE_QUERIES, t->max, t->sum,
                         p->factor);
    if (j > 0)
        rescale(vec, a->d, padded, p->factor, t->ot);
    vec->matmul(a->d, padded, nk, v, 1, ldv, p->s, TILE_QUERIES, t->ot,
                TILE_QUERIES, j > 0);
}

/* Keys that queries up to `end` see. */
static size_t keys_seen(const struct attention_args *a, size_t end)
{
    return a->is_causal && end < a->len_k ? end : a->len_k;
}

/* Values j .. j + nk of the head, close together; their row stride in *ldv. */
static const float *values_at(const struct attention_args *a, struct piece *p,
                              size_t j, size_t nk, size_t *ldv)
{
    const float *v = a->v + (p->image * a->len_k + j) * a->ldv + p->head * a->d;

    *ldv = a->ldv;
    if (a->ldv == a->d)
        return v;
    for (size_t i = 0; i < nk; i++)
        memcpy(p->v + i * a->d, v + i * a->ldv, a->d * sizeof *v);
    *ldv = a->d;
    return p->v;
}

static void attend_keys(const struct job *job, struct piece *p)
{
    const struct attention_args *a = job->a;
    const float *k = a->k + p->image * a->len_k * a->ldk + p->head * a->d;
    size_t len = keys_seen(a, p->at + p->n);

    for (size_t j = 0; j < len; j += TILE_KEYS) {
        size_t ldv, n_values = tile_len(len, TILE_KEYS, j);
        const float *v = values_at(a, p, j, n_values, &ldv);

        for (size_t at = 0; at < p->n; at += TILE_QUERIES) {
            size_t nq = tile_len(p->n, TILE_QUERIES, at);
            size_t seen = keys_seen(a, p->at + at + nq);

            if (j < seen)
                attend_tile(job, p, &p->tiles[at / TILE_QUERIES], p->at + at,
                            nq, j, tile_len(seen, TILE_KEYS, j), k + j * a->ldk,
                            v, ldv);
        }
    }
}

static void tile_open(const struct job *job, const struct piece *p,
                      struct tile *t, size_t at, size_t nq, float *room)
{
    const struct attention_args *a = job->a;
    const float *q =
        a->q + (p->image * a->len_q + at) * a->ldq + p->head * a->d;

    t->qt = room;
    t->ot = t->qt + a->d * TILE_QUERIES;
    t->max = t->ot + a->d * TILE_QUERIES;
    t->sum = t->max + TILE_QUERIES;
    for (size_t j = 0; j < tile_padded(nq); j++) {
        t->max[j] = -FLT_MAX;
        t->sum[j] = 0;
    }
    job->ctx->k->vec.transpose(nq, a->d, q, a->ldq, a->scale, t->qt,
                               TILE_QUERIES);
    tile_pad(t->qt, a->d, nq);
}

static void tile_close(const struct job *job, struct piece *p,
                       const struct tile *t, size_t at, size_t nq)
{
    const struct attention_args *a = job->a;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    float *o = a->o + (p->image * a->len_q + at) * a->ldo + p->head * a->d;

    for (size_t j = 0; j < nq; j++) {
        p->factor[j] = 1 / t->sum[j];
        if (a->lse)
            a->lse[(p->image * a->heads + p->head) * a->len_q + at + j] =
                t->max[j] + logf(t->sum[j]);
    }
    vec->scale_columns(a->d, nq, p->factor, t->ot, TILE_QUERIES, t->ot,
                       TILE_QUERIES);
    vec->transpose(a->d, nq, t->ot, TILE_QUERIES, 1, o, a->ldo);
}

static void attend_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    size_t n_queries = tiles_per_piece(a) * TILE_QUERIES;
    size_t per_head = (a->len_q + n_queries - 1) / n_queries;
    float *room =
        (float *)(void *)(job->ctx->scratch + worker * worker_bytes(a));
    struct piece p = {.s = room,
                      .v = room + TILE_KEYS * TILE_QUERIES,
                      .image = i / per_head / a->heads,
                      .head = i / per_head % a->heads,
                      .at = i % per_head * n_queries};

    p.n = tile_len(a->len_q, n_queries, p.at);
    room = p.v + TILE_KEYS * a->d;
    for (size_t at = 0; at < p.n; at += TILE_QUERIES, room += tile_floats(a))
        tile_open(job, &p, &p.tiles[at / TILE_QUERIES], p.at + at,
                  tile_len(p.n, TILE_QUERIES, at), room);
    attend_keys(job, &p);
    for (size_t at = 0; at < p.n; at += TILE_QUERIES)
        tile_close(job, &p, &p.tiles[at / TILE_QUERIES], p.at + at,
                   tile_len(p.n, TILE_QUERIES, at));
}

void attention_run(const struct op_ctx *ctx, const void *args)
{
    const struct attention_args *a = args;
    struct job job = {ctx, a};
    size_t per_head =
        (tiles_per_head(a) + tiles_per_piece(a) - 1) / tiles_per_piece(a);

    if (attention_bf16_fits(ctx->k) && !a->lse) {
        attention_bf16_run(ctx, a);
        return;
    }
    pool_run(ctx->pool, (size_t)a->n * a->heads * per_head, attend_piece, &job);
}
