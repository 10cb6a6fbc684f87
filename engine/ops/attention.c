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
 * Rows of keys and values that lie apart are copied head by head before all
 * else: read from far away by each piece, they took a fifth of its time.
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
#include "ops/chunks.h"

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

/* Rows of keys or of values: floats from token to token, from head to head,
 * from image to image. */
struct rows {
    const float *x;
    size_t token, head, image;
};

struct job {
    const struct op_ctx *ctx;
    const struct attention_args *a;
    size_t n_keys;   /* of a block, by shape alone: it sets the order of sums */
    size_t n_strips; /* of a piece */
    size_t worker_bytes, packed_bytes; /* of keys, of values, if packed       */
    struct rows k, v;
};

/* One piece and its worker's memory. */
struct piece {
    float *strips; /* strip_floats() each */
    float *s;      /* [n_keys][STRIP]     */
    size_t image, head;
    size_t at, n; /* queries of the piece */
};

/* Keys and values of a block. */
struct block {
    size_t j, n;
    const float *k, *v;
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
        (j.n_strips * strip_floats(a) + j.n_keys * STRIP) * sizeof(float), 64);
    j.packed_bytes = size_align(a->n * a->heads * a->len_k * row, 64);
    j.k = (struct rows){a->k, a->ldk, a->d, (size_t)a->len_k * a->ldk};
    j.v = (struct rows){a->v, a->ldv, a->d, (size_t)a->len_k * a->ldv};
    return j;
}

static size_t scratch_bytes(const struct job *j, unsigned n_threads)
{
    size_t n_packed = (j->k.token != j->a->d) + (size_t)(j->v.token != j->a->d);

    return n_threads * j->worker_bytes + n_packed * j->packed_bytes;
}

size_t attention_scratch(const struct kernel_table *k, unsigned n_threads,
                         const struct attention_args *shape)
{
    struct job j = job_make(shape);
    size_t plain = scratch_bytes(&j, n_threads), narrow = 0;

    /* Only a run knows whether lse is wanted. */
    if (attention_bf16_fits(k))
        narrow = attention_bf16_scratch(k, n_threads, shape);
    return narrow > plain ? narrow : plain;
}

/* -- keys and values ------------------------------------------------------- */

/* Rows of all heads to be copied to one head after the other. */
struct packing {
    const struct attention_args *a;
    const struct rows *from;
    float *to;
};

static void pack_piece(void *arg, size_t i, unsigned worker)
{
    const struct packing *p = arg;
    const struct attention_args *a = p->a;
    struct row_piece piece = row_piece_at(a->len_k, (size_t)a->heads * a->d, i);
    const float *from = p->from->x + piece.image * p->from->image;
    float *to = p->to + piece.image * a->heads * a->len_k * a->d;

    (void)worker;
    for (size_t t = piece.row; t < piece.row + piece.rows; t++)
        for (size_t h = 0; h < a->heads; h++)
            memcpy(to + (h * a->len_k + t) * a->d,
                   from + t * p->from->token + h * a->d, a->d * sizeof *to);
}

/* The bytes of `to` that were taken. */
static size_t pack(const struct job *job, struct rows *rows, unsigned char *to)
{
    const struct attention_args *a = job->a;
    struct packing p = {a, rows, (float *)(void *)to};
    size_t head = (size_t)a->len_k * a->d;

    if (rows->token == a->d)
        return 0;
    pool_run(job->ctx->pool,
             row_pieces(a->n, a->len_k, (size_t)a->heads * a->d), pack_piece,
             &p);
    *rows = (struct rows){p.to, a->d, head, a->heads * head};
    return job->packed_bytes;
}

static const float *row_at(const struct rows *rows, const struct piece *p,
                           size_t token)
{
    return rows->x + p->image * rows->image + p->head * rows->head +
           token * rows->token;
}

/* -- strips ---------------------------------------------------------------- */

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

    vec->matmul(nk, columns, a->d, b->k, job->k.token, 1, t->qt, STRIP, p->s,
                STRIP, false);
    if (a->is_causal && b->j + nk > at)
        mask_future(p->s, nk, columns, b->j, at);
    vec->softmax_columns(nk, columns, p->s, STRIP, t->max, t->sum, factor);
    if (b->j > 0)
        rescale(vec, a->d, columns, factor, t->ot);
    vec->matmul(a->d, columns, nk, b->v, 1, job->v.token, p->s, STRIP, t->ot,
                STRIP, b->j > 0);
}

/* Keys that queries up to `end` see. */
static size_t keys_seen(const struct attention_args *a, size_t end)
{
    return a->is_causal && end < a->len_k ? end : a->len_k;
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
        struct block b = {j, tile_len(len, job->n_keys, j),
                          row_at(&job->k, p, j), row_at(&job->v, p, j)};

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
    unsigned char *packed =
        ctx->scratch + pool_threads(ctx->pool) * job.worker_bytes;

    if (attention_bf16_fits(ctx->k) && !a->lse) {
        attention_bf16_run(ctx, a);
        return;
    }
    job.ctx = ctx;
    packed += pack(&job, &job.k, packed);
    (void)pack(&job, &job.v, packed);
    pool_run(ctx->pool, (size_t)a->n * a->heads * pieces_per_head(&job),
             attend_piece, &job);
}
