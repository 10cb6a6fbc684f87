/* attention_bf16.c - softmax attention by the rung's tiles, on floats rounded
 * to bf16; where operands have 16 bits it is attention_panels.c.
 *
 * The scheme of attention.c, with both products transposed so that queries
 * are the columns of a panel and the softmax runs down columns:
 *
 *     S[key][query] = scale K Q^T     rows of K, panels of Q^T
 *     P = exp(S - max)                in f32, then panels of operands
 *     O^T = O^T exp(old max - max) + V^T P      rows of V^T
 *
 * First all keys and values become operands, once for all their queries: K as
 * rows [key][d], V transposed in blocks [d][BLOCK_KEYS] whose rows lie close
 * enough together not to fall into the same few sets of the cache.  Then each
 * piece of work is 64 queries of one head of one image.  Maximum, sums and
 * O are f32.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/attention_bf16.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/attention_keys.h"
#include "ops/attention_panels.h"

#define QUERIES    ((size_t)64)
#define BLOCK_KEYS ((size_t)84) /* whole tiles of 4, 6 and 14 rows           */

struct job {
    const struct op_ctx *ctx;
    const struct attention_args *a;
    size_t n_blocks;         /* of keys                                      */
    size_t k_bytes, v_bytes; /* of one head, as operands                     */
    size_t n_panels, q_panel, p_panel; /* bytes of a panel of Q^T, of P      */
    size_t worker_bytes;
    char *heads;
    char *workers;
};

/* A worker's memory. */
struct tile {
    float *t; /* [d][QUERIES]: Q^T, then O^T                                 */
    float *s; /* [BLOCK_KEYS][QUERIES]                                       */
    char *q, *p; /* [n_panels] panels                                        */
    float max[QUERIES], sum[QUERIES], factor[QUERIES];
};

bool attention_bf16_fits(const struct kernel_table *k)
{
    return k->gemm.is_bf16;
}

static struct job job_make(const struct kernel_table *k,
                           const struct attention_args *a)
{
    const struct gemm_kernels *g = &k->gemm;
    size_t pieces, packing = BLOCK_KEYS * a->d * sizeof(float);
    struct job j = {.a = a};

    j.n_blocks = (a->len_k + BLOCK_KEYS - 1) / BLOCK_KEYS;
    j.k_bytes = size_align(a->len_k * a->d * sizeof(float), 64);
    j.v_bytes = size_align(j.n_blocks * a->d * BLOCK_KEYS * sizeof(float), 64);
    j.n_panels = QUERIES / g->nr;
    j.q_panel = size_align(a->d * g->nr * sizeof(float), 64);
    j.p_panel = size_align(BLOCK_KEYS * g->nr * sizeof(float), 64);
    pieces = (a->d + BLOCK_KEYS) * QUERIES * sizeof(float) +
             j.n_panels * (j.q_panel + j.p_panel);
    j.worker_bytes = size_align(pieces > packing ? pieces : packing, 64);
    return j;
}

size_t attention_bf16_scratch(const struct kernel_table *k, unsigned n_threads,
                              const struct attention_args *shape)
{
    struct job j = job_make(k, shape);

    if (attention_panels_fit(k))
        return attention_panels_scratch(k, n_threads, shape);
    return (size_t)shape->n * shape->heads * (j.k_bytes + j.v_bytes) +
           n_threads * j.worker_bytes;
}

static char *head_at(const struct job *job, size_t head)
{
    return job->heads + head * (job->k_bytes + job->v_bytes);
}

/* -- keys and values ------------------------------------------------------- */

/* A block of keys of one head of one image. */
static void pack_block(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    const struct kernel_table *k = job->ctx->k;
    struct attention_keys b =
        attention_keys_of(a, job->n_blocks, BLOCK_KEYS, i);
    char *rows = head_at(job, b.head) + b.at * a->d * sizeof(float);
    char *block = rows + job->k_bytes;
    float *t = (float *)(void *)(job->workers + worker * job->worker_bytes);

    for (size_t r = 0; r < b.n; r++)
        k->gemm.narrow(rows + r * a->d * sizeof(float), b.k + r * a->ldk, a->d);
    k->vec.transpose(b.n, a->d, b.v, a->ldv, 1, t, BLOCK_KEYS);
    for (size_t c = 0; b.n < BLOCK_KEYS && c < a->d; c++)
        memset(t + c * BLOCK_KEYS + b.n, 0, (BLOCK_KEYS - b.n) * sizeof *t);
    k->gemm.narrow(block, t, a->d * BLOCK_KEYS);
}

/* -- queries --------------------------------------------------------------- */

/* A panel of n columns from k rows of QUERIES floats. */
static void make_panel(const struct gemm_kernels *g, char *dst,
                       const float *src, size_t k, unsigned n)
{
    size_t row = g->nr * sizeof(float);

    for (size_t i = 0; i < k; i++, dst += row, src += QUERIES) {
        g->narrow(dst, src, n);
        memset(dst + n * sizeof(float), 0, row - n * sizeof(float));
    }
}

/* c[m][QUERIES] = or += scale * rows of A times panels; rows of `k` operands,
 * `pitch` apart; only the columns of n queries. */
struct product {
    const char *a;
    size_t m, k, pitch;
    const char *panels;
    size_t panel_bytes;
    float *c;
    size_t n;
    float scale;
    bool acc;
};

static void multiply(const struct job *job, const struct product *p)
{
    const struct gemm_kernels *g = &job->ctx->k->gemm;
    const void *rows[GEMM_MAX_MR];
    struct gemm_tile t = {.a = rows,
                          .n_runs = 1,
                          .run_len = p->k,
                          .run_stride = p->k,
                          .ldc = QUERIES,
                          .scale = p->scale};

    for (size_t i = 0; i < p->m; i += t.m) {
        t.m = p->m - i < g->mr ? (unsigned)(p->m - i) : g->mr;
        for (unsigned r = 0; r < t.m; r++)
            rows[r] = p->a + (i + r) * p->pitch * sizeof(float);
        for (size_t at = 0; at < p->n; at += g->nr) {
            t.n = p->n - at < g->nr ? (unsigned)(p->n - at) : g->nr;
            t.b = p->panels + at / g->nr * p->panel_bytes;
            t.c = p->c + i * QUERIES + at;
            t.res = p->acc ? t.c : NULL;
            g->tile(&t);
        }
    }
}

static void make_panels(const struct job *job, char *panels, size_t bytes,
                        const float *src, size_t k, size_t n)
{
    const struct gemm_kernels *g = &job->ctx->k->gemm;

    for (size_t at = 0; at < n; at += g->nr)
        make_panel(g, panels + at / g->nr * bytes, src + at, k,
                   n - at < g->nr ? (unsigned)(n - at) : g->nr);
}

/* Column j of the d rows of O^T times factor[j]. */
static void scale_columns(const struct job *job, const struct tile *t, size_t n)
{
    static const float zeros[QUERIES];

    job->ctx->k->vec.affine_act(ACT_NONE, job->a->d, n, t->t, QUERIES,
                                t->factor, zeros, t->t, QUERIES);
}

static bool has_new_maximum(const struct tile *t, size_t n)
{
    for (size_t j = 0; j < n; j++)
        if (t->factor[j] != 1)
            return true;
    return false;
}

/* Scores of keys from j on that are behind their query, of the queries from
 * `at` on, become minus infinity; key 0 is behind none. */
static void mask_future(struct tile *t, size_t n_keys, size_t n, size_t j,
                        size_t at)
{
    for (size_t i = 0; i < n_keys; i++)
        for (size_t q = 0; q < n && at + q < j + i; q++)
            t->s[i * QUERIES + q] = -INFINITY;
}

/* n columns: the queries from `at` on, up to whole vectors. */
static void attend_block(const struct job *job, struct tile *t,
                         const char *head, size_t j, size_t n_keys, size_t at,
                         size_t n)
{
    const struct attention_args *a = job->a;
    const struct kernel_table *k = job->ctx->k;

    multiply(job, &(struct product){.a = head + j * a->d * sizeof(float),
                                    .m = n_keys,
                                    .k = a->d,
                                    .pitch = a->d,
                                    .panels = t->q,
                                    .panel_bytes = job->q_panel,
                                    .c = t->s,
                                    .n = n,
                                    .scale = a->scale});
    if (a->is_causal && j + n_keys > at)
        mask_future(t, n_keys, n, j, at);
    k->vec.softmax_columns(n_keys, n, t->s, QUERIES, t->max, t->sum, t->factor);
    if (j > 0 && has_new_maximum(t, n))
        scale_columns(job, t, n);
    make_panels(job, t->p, job->p_panel, t->s, n_keys, n);
    multiply(job, &(struct product){.a = head + job->k_bytes +
                                         j * a->d * sizeof(float),
                                    .m = a->d,
                                    .k = n_keys,
                                    .pitch = BLOCK_KEYS,
                                    .panels = t->p,
                                    .panel_bytes = job->p_panel,
                                    .c = t->t,
                                    .n = n,
                                    .scale = 1,
                                    .acc = j > 0});
}

static struct tile tile_of(const struct job *job, unsigned worker)
{
    struct tile t;

    t.t = (float *)(void *)(job->workers + worker * job->worker_bytes);
    t.s = t.t + job->a->d * QUERIES;
    t.q = (char *)(t.s + BLOCK_KEYS * QUERIES);
    t.p = t.q + job->n_panels * job->q_panel;
    for (size_t j = 0; j < QUERIES; j++) {
        t.max[j] = -FLT_MAX;
        t.sum[j] = 0;
    }
    return t;
}

static void attend_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    size_t per_head = (a->len_q + QUERIES - 1) / QUERIES;
    size_t at = i % per_head * QUERIES, head = i / per_head;
    size_t image = head / a->heads, column = head % a->heads * a->d;
    size_t nq = a->len_q - at < QUERIES ? a->len_q - at : QUERIES;
    size_t n = size_align(nq, 8), len = a->is_causal ? at + nq : a->len_k;
    const float *q = a->q + (image * a->len_q + at) * a->ldq + column;
    float *o = a->o + (image * a->len_q + at) * a->ldo + column;
    struct tile t = tile_of(job, worker);

    vec->transpose(nq, a->d, q, a->ldq, 1, t.t, QUERIES);
    for (size_t c = 0; n > nq && c < a->d; c++)
        memset(t.t + c * QUERIES + nq, 0, (n - nq) * sizeof *t.t);
    make_panels(job, t.q, job->q_panel, t.t, a->d, n);
    for (size_t j = 0; j < len; j += BLOCK_KEYS)
        attend_block(job, &t, head_at(job, head), j,
                     len - j < BLOCK_KEYS ? len - j : BLOCK_KEYS, at, n);
    for (size_t j = 0; j < n; j++)
        t.factor[j] = 1 / t.sum[j];
    scale_columns(job, &t, n);
    vec->transpose(a->d, nq, t.t, QUERIES, 1, o, a->ldo);
}

void attention_bf16_run(const struct op_ctx *ctx,
                        const struct attention_args *args)
{
    struct job job = job_make(ctx->k, args);
    size_t n_heads = (size_t)args->n * args->heads;
    size_t per_head = (args->len_q + QUERIES - 1) / QUERIES;

    if (attention_panels_fit(ctx->k)) {
        attention_panels_run(ctx, args);
        return;
    }
    job.ctx = ctx;
    job.heads = (char *)ctx->scratch;
    job.workers = job.heads + n_heads * (job.k_bytes + job.v_bytes);
    pool_run(ctx->pool, n_heads * job.n_blocks, pack_block, &job);
    pool_run(ctx->pool, n_heads * per_head, attend_piece, &job);
}
