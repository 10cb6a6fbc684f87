/* attention.c - softmax attention by strips with a running maximum.
 *
 * One piece of work is some strips of 16 queries of one head of one image; for
 * each block of keys, and of these each strip,
 *
 *     S[key][query] = K Q'^T            Q' = scale Q, transposed once
 *     S = exp(S - max)                  down the columns
 *     O^T = O^T exp(old max - max) + V^T S
 *
 * and at the end O^T is divided by the sums and transposed (Milakov and
 * Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et al.
 * 2022).  A strip is what the product's tile has columns: its scores, queries
 * and outputs lie without gaps and stay in the first cache while the block's
 * keys and values, which all strips of the piece share, come from the second.
 * Where keys and values of a head lie far apart, a copy is taken first.
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

#define STRIP ((size_t)16) /* queries */

/* Bytes of strips and of a block's keys, at most: a quarter of a small second
 * cache, an eighth.  A block is a multiple of the product's rows. */
#define STRIPS_BYTES ((size_t)128 << 10)
#define KEYS_BYTES   ((size_t)64 << 10)
#define MAX_KEYS     ((size_t)96)
#define ROWS         ((size_t)6)

/* Strips of a piece at least, and fewer than fit where pieces would be too few
 * for many threads. */
#define MIN_STRIPS ((size_t)4)
#define MIN_PIECES ((size_t)64)

struct strip {
    float *qt, *ot;   /* [d][STRIP] */
    float *max, *sum; /* [STRIP]    */
};

struct job {
    const struct op_ctx *ctx;
    const struct attention_args *a;
    size_t n_keys;   /* of a block, by shape alone: it sets the order of sums */
    size_t n_strips; /* of a piece */
    size_t worker_bytes;
};

/* One piece and its worker's memory. */
struct piece {
    float *strips; /* strip_floats() each                                    */
    float *s;      /* [n_keys][STRIP] */
    float *k, *v;  /* [n_keys][d]     */
    size_t image, head;
    size_t at, n; /* queries of the piece */
};

/* Keys and values of a block, as rows of a head. */
struct block {
    size_t j, n;
    const float *k, *v;
    size_t ldk, ldv;
};

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

static size_t at_least(size_t n, size_t least)
{
    return n > least ? n : least;
}

static size_t strip_floats(const struct attention_args *a)
{
    return (2 * (size_t)a->d + 2) * STRIP;
}

static struct job job_make(const struct attention_args *a)
{
    struct job j = {.a = a};
    size_t row = a->d * sizeof(float);
    size_t per_head = (a->len_q + STRIP - 1) / STRIP;
    size_t fit = STRIPS_BYTES / (strip_floats(a) * sizeof(float));

    j.n_keys = at_least(at_most(KEYS_BYTES / row, MAX_KEYS) / ROWS, 1) * ROWS;
    j.n_strips = at_most(fit, a->n * a->heads * per_head / MIN_PIECES);
    j.n_strips = at_most(at_least(j.n_strips, MIN_STRIPS), per_head);
    j.worker_bytes = size_align(
        (j.n_strips * strip_floats(a) + j.n_keys * (STRIP + 2 * (size_t)a->d)) *
            sizeof(float),
        64);
    return j;
}

size_t attention_scratch(const struct kernel_table *k, unsigned n_threads,
                         const struct attention_args *shape)
{
    size_t plain = n_threads * job_make(shape).worker_bytes, narrow = 0;

    /* Only a run knows whether lse is wanted. */
    if (attention_bf16_fits(k))
        narrow = attention_bf16_scratch(k, n_threads, shape);
    return narrow > plain ? narrow : plain;
}

/* Columns of a strip: whole vectors, since part vectors are slow to store. */
static size_t columns_of(size_t nq)
{
    return size_align(nq, 8);
}

/* The columns of ot become ot * factor, unless every factor is 1. */
static void rescale(const struct vector_kernels *vec, size_t d, size_t columns,
                    const float *factor, float *ot)
{
    bool is_needed = false;

    for (size_t i = 0; i < columns; i++)
        is_needed |= factor[i] != 1;
    if (is_needed)
        vec->scale_columns(d, columns, factor, ot, STRIP, ot, STRIP);
}

/* Scores of keys j .. j + nk behind their query, which is at .. at + columns,
 * become minus infinity: exp makes 0 of them.  Key 0 is never behind, so a
 * column's maximum is finite from the first block on. */
static void mask_future(float *s, size_t nk, size_t columns, size_t j,
                        size_t at)
{
    for (size_t i = 0; i < nk; i++)
        for (size_t q = 0; q < columns && at + q < j + i; q++)
            s[i * STRIP + q] = -INFINITY;
}

/* A strip, whose nq queries start at `at`, sees the first nk keys of a
 * block. */
static void attend_strip(const struct job *job, const struct piece *p,
                         const struct strip *t, size_t at, size_t nq,
                         const struct block *b, size_t nk)
{
    const struct attention_args *a = job->a;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    size_t columns = columns_of(nq);
    float factor[STRIP];

    vec->matmul(nk, columns, a->d, b->k, b->ldk, 1, t->qt, STRIP, p->s, STRIP,
                false);
    if (a->is_causal && b->j + nk > at)
        mask_future(p->s, nk, columns, b->j, at);
    vec->softmax_columns(nk, columns, p->s, STRIP, t->max, t->sum, factor);
    if (b->j > 0)
        rescale(vec, a->d, columns, factor, t->ot);
    vec->matmul(a->d, columns, nk, b->v, 1, b->ldv, p->s, STRIP, t->ot, STRIP,
                b->j > 0);
}

/* Keys that queries up to `end` see. */
static size_t keys_seen(const struct attention_args *a, size_t end)
{
    return a->is_causal && end < a->len_k ? end : a->len_k;
}

/* n rows of d floats, close together; their stride in *ld. */
static const float *gather(float *room, const float *rows, size_t n, size_t d,
                           size_t *ld)
{
    if (*ld == d)
        return rows;
    for (size_t i = 0; i < n; i++)
        memcpy(room + i * d, rows + i * *ld, d * sizeof *rows);
    *ld = d;
    return room;
}

static struct block block_at(const struct job *job, const struct piece *p,
                             size_t j, size_t n)
{
    const struct attention_args *a = job->a;
    size_t token = p->image * a->len_k + j, column = p->head * a->d;
    struct block b = {.j = j, .n = n, .ldk = a->ldk, .ldv = a->ldv};

    b.k = gather(p->k, a->k + token * a->ldk + column, n, a->d, &b.ldk);
    b.v = gather(p->v, a->v + token * a->ldv + column, n, a->d, &b.ldv);
    return b;
}

static struct strip strip_at(const struct job *job, const struct piece *p,
                             size_t at)
{
    size_t d = job->a->d;
    struct strip t = {.qt = p->strips + at / STRIP * strip_floats(job->a)};

    t.ot = t.qt + d * STRIP;
    t.max = t.ot + d * STRIP;
    t.sum = t.max + STRIP;
    return t;
}

static void attend_keys(const struct job *job, const struct piece *p)
{
    const struct attention_args *a = job->a;
    size_t len = keys_seen(a, p->at + p->n);

    for (size_t j = 0; j < len; j += job->n_keys) {
        struct block b = block_at(job, p, j, tile_len(len, job->n_keys, j));

        for (size_t at = 0; at < p->n; at += STRIP) {
            size_t nq = tile_len(p->n, STRIP, at);
            size_t seen = keys_seen(a, p->at + at + nq);
            struct strip t = strip_at(job, p, at);

            if (j < seen)
                attend_strip(job, p, &t, p->at + at, nq, &b,
                             at_most(b.n, seen - j));
        }
    }
}

static void strip_open(const struct job *job, const struct piece *p, size_t at,
                       size_t nq)
{
    const struct attention_args *a = job->a;
    const struct strip t = strip_at(job, p, at);
    const float *q =
        a->q + (p->image * a->len_q + p->at + at) * a->ldq + p->head * a->d;

    for (size_t j = 0; j < STRIP; j++) {
        t.max[j] = -FLT_MAX;
        t.sum[j] = 0;
    }
    job->ctx->k->vec.transpose(nq, a->d, q, a->ldq, a->scale, t.qt, STRIP);
    for (size_t i = 0; i < a->d; i++)
        for (size_t j = nq; j < columns_of(nq); j++)
            t.qt[i * STRIP + j] = 0;
}

static void strip_close(const struct job *job, const struct piece *p, size_t at,
                        size_t nq)
{
    const struct attention_args *a = job->a;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    const struct strip t = strip_at(job, p, at);
    size_t token = p->image * a->len_q + p->at + at;
    float *lse = a->lse, factor[STRIP];

    if (lse)
        lse += (p->image * a->heads + p->head) * a->len_q + p->at + at;
    for (size_t j = 0; j < nq; j++) {
        factor[j] = 1 / t.sum[j];
        if (lse)
            lse[j] = t.max[j] + logf(t.sum[j]);
    }
    vec->scale_columns(a->d, nq, factor, t.ot, STRIP, t.ot, STRIP);
    vec->transpose(a->d, nq, t.ot, STRIP, 1,
                   a->o + token * a->ldo + p->head * a->d, a->ldo);
}

static size_t pieces_per_head(const struct job *job)
{
    size_t n = job->n_strips * STRIP;

    return (job->a->len_q + n - 1) / n;
}

static void attend_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    size_t per_head = pieces_per_head(job), n = job->n_strips * STRIP;
    struct piece p = {.image = i / per_head / a->heads,
                      .head = i / per_head % a->heads,
                      .at = i % per_head * n};

    p.n = tile_len(a->len_q, n, p.at);
    p.strips =
        (float *)(void *)(job->ctx->scratch + worker * job->worker_bytes);
    p.s = p.strips + job->n_strips * strip_floats(a);
    p.k = p.s + job->n_keys * STRIP;
    p.v = p.k + job->n_keys * a->d;
    for (size_t at = 0; at < p.n; at += STRIP)
        strip_open(job, &p, at, tile_len(p.n, STRIP, at));
    attend_keys(job, &p);
    for (size_t at = 0; at < p.n; at += STRIP)
        strip_close(job, &p, at, tile_len(p.n, STRIP, at));
}

void attention_run(const struct op_ctx *ctx, const void *args)
{
    const struct attention_args *a = args;
    struct job job = job_make(a);

    if (attention_bf16_fits(ctx->k) && !a->lse) {
        attention_bf16_run(ctx, a);
        return;
    }
    job.ctx = ctx;
    pool_run(ctx->pool, (size_t)a->n * a->heads * pieces_per_head(&job),
             attend_piece, &job);
}
