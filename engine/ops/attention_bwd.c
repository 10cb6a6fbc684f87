/* attention_bwd.c - the adjoint of attention, recomputed tile by tile.
 *
 * One piece of work is one head of one image.  With P = exp(scale Q K^T - lse)
 * and D[i] = dO[i] . O[i] (held transposed, keys down):
 *
 *     dV += P^T dO        dP = dO V^T        dS = scale P (dP - D)
 *     dQ += dS K          dK += dS^T Q
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/attention.h"

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/attention_tile.h"

struct job {
    const struct op_ctx *ctx;
    const struct attention_bwd_args *a;
};

/* One head of one image, and the worker's memory. */
struct head {
    const float *q, *k, *v, *o, *d_o, *lse;
    float *dq, *dk, *dv;
    float *qt, *dot; /* [d][TILE_QUERIES]: scale Q^T, dO^T                   */
    float *s, *ds;   /* [TILE_KEYS][TILE_QUERIES]                            */
    float dots[TILE_QUERIES], lse_tile[TILE_QUERIES];
};

static size_t worker_bytes(const struct attention_args *a)
{
    return size_align(2 * (a->d + TILE_KEYS) * TILE_QUERIES * sizeof(float),
                      64);
}

size_t attention_bwd_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct attention_args *shape)
{
    return n_threads * worker_bytes(shape);
}

/* Queries at .. at + nq against all keys. */
static void adjoin_queries(const struct job *job, struct head *h, size_t at,
                           size_t nq)
{
    const struct attention_args *f = &job->a->fwd;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    const float *q = h->q + at * f->ldq, *d_o = h->d_o + at * f->ldo;
    size_t d = f->d, ld = TILE_QUERIES, padded = tile_padded(nq);

    vec->transpose(nq, d, q, f->ldq, f->scale, h->qt, ld);
    vec->transpose(nq, d, d_o, f->ldo, 1, h->dot, ld);
    vec->row_dots(nq, d, d_o, f->ldo, h->o + at * f->ldo, f->ldo, h->dots);
    tile_pad(h->qt, d, nq);
    tile_pad(h->dot, d, nq);
    for (size_t i = 0; i < padded; i++) {
        h->lse_tile[i] = i < nq ? h->lse[at + i] : 0;
        h->dots[i] = i < nq ? h->dots[i] : 0;
    }
    for (size_t j = 0; j < f->len_k; j += TILE_KEYS) {
        size_t nk = tile_len(f->len_k, TILE_KEYS, j);
        const float *k = h->k + j * f->ldk, *v = h->v + j * f->ldv;

        vec->matmul(nk, padded, d, k, f->ldk, 1, h->qt, ld, h->s, ld, false);
        vec->matmul(nk, padded, d, v, f->ldv, 1, h->dot, ld, h->ds, ld, false);
        vec->softmax_columns_bwd(nk, padded, h->s, h->ds, ld, h->lse_tile,
                                 h->dots, f->scale);
        vec->matmul(nk, d, nq, h->s, ld, 1, d_o, f->ldo, h->dv + j * f->ldv,
                    f->ldv, at > 0);
        vec->matmul(nk, d, nq, h->ds, ld, 1, q, f->ldq, h->dk + j * f->ldk,
                    f->ldk, at > 0);
        vec->matmul(nq, d, nk, h->ds, 1, ld, k, f->ldk, h->dq + at * f->ldq,
                    f->ldq, j > 0);
    }
}

static void attention_bwd_head(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_bwd_args *a = job->a;
    const struct attention_args *f = &a->fwd;
    size_t image = i / f->heads, column = i % f->heads * f->d;
    size_t q_at = image * f->len_q * f->ldq + column;
    size_t k_at = image * f->len_k * f->ldk + column;
    size_t v_at = image * f->len_k * f->ldv + column;
    size_t o_at = image * f->len_q * f->ldo + column;
    float *m = (float *)(void *)(job->ctx->scratch + worker * worker_bytes(f));
    struct head h = {
        .q = f->q + q_at,
        .k = f->k + k_at,
        .v = f->v + v_at,
        .o = f->o + o_at,
        .d_o = a->d_o + o_at,
        .lse = f->lse + i * f->len_q,
        .dq = a->dq + q_at,
        .dk = a->dk + k_at,
        .dv = a->dv + v_at,
        .qt = m,
        .dot = m + f->d * TILE_QUERIES,
        .s = m + 2 * f->d * TILE_QUERIES,
        .ds = m + (2 * f->d + TILE_KEYS) * TILE_QUERIES,
    };

    for (size_t at = 0; at < f->len_q; at += TILE_QUERIES)
        adjoin_queries(job, &h, at, tile_len(f->len_q, TILE_QUERIES, at));
}

void attention_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct attention_bwd_args *a = args;
    struct job job = {ctx, a};

    pool_run(ctx->pool, (size_t)a->fwd.n * a->fwd.heads, attention_bwd_head,
             &job);
}
