/* attention_panels.c - softmax attention by the rung's own kernels for it.
 *
 * The scheme of attention_bf16.c with other kernels (attention_kernels.h): a
 * panel of queries goes through a block of keys by itself, so that its scores,
 * queries and outputs stay in the first cache, and its probabilities lie where
 * its scores lay.  The panels of a piece share a block of keys and values,
 * which come from the second.
 *
 * First all keys and values become operands, once for all their queries: K as
 * rows [key][d], V transposed in blocks [d][BLOCK_KEYS] whose rows lie close
 * enough together not to fall into the same few sets of the cache.  Maximum,
 * sums and outputs are f32.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/attention_panels.h"

#include <float.h>
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"

#define PANELS     ((size_t)2) /* of a piece                                 */
#define COLS       ((size_t)ATTENTION_COLS)
#define BLOCK_KEYS ((size_t)84) /* whole tiles of 14 rows, and even          */
#define LOG2_E     1.44269504f
#define BEHIND     (-1e30f) /* minus infinity, for kernels                   */

struct job {
    const struct op_ctx *ctx;
    const struct attention_args *a;
    size_t row;              /* operands of a row of K                       */
    size_t n_blocks;         /* of keys                                      */
    size_t k_bytes, v_bytes; /* of one head, as operands                     */
    size_t q_bytes, worker_bytes;
    char *heads, *workers;
};

/* A panel of queries and what has become of it. */
struct panel {
    size_t at, n;
    char *q;
    float *o; /* [d][COLS]                                                   */
    struct attention_sums sums;
};

bool attention_panels_fit(const struct kernel_table *k)
{
    return k->gemm.operand == DTYPE_BF16;
}

static struct job job_make(const struct attention_args *a)
{
    struct job j = {.a = a};

    j.row = size_align(a->d, 2);
    j.n_blocks = (a->len_k + BLOCK_KEYS - 1) / BLOCK_KEYS;
    j.k_bytes = size_align(a->len_k * j.row * 2, 64);
    j.v_bytes = size_align(j.n_blocks * a->d * BLOCK_KEYS * 2, 64);
    j.q_bytes = j.row * COLS * 2;
    j.worker_bytes = PANELS * (j.q_bytes + a->d * COLS * sizeof(float)) +
                     BLOCK_KEYS * COLS * sizeof(float);
    return j;
}

size_t attention_panels_scratch(const struct kernel_table *k,
                                unsigned n_threads,
                                const struct attention_args *shape)
{
    struct job j = job_make(shape);

    (void)k;
    return (size_t)shape->n * shape->heads * (j.k_bytes + j.v_bytes) +
           n_threads * j.worker_bytes;
}

static char *head_at(const struct job *job, size_t head)
{
    return job->heads + head * (job->k_bytes + job->v_bytes);
}

/* A block of keys and values of one head of one image become operands. */
static void pack_block(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    const struct kernel_table *k = job->ctx->k;
    size_t head = i / job->n_blocks, at = i % job->n_blocks * BLOCK_KEYS;
    size_t image = head / a->heads, column = head % a->heads * a->d;
    size_t n = a->len_k - at < BLOCK_KEYS ? a->len_k - at : BLOCK_KEYS;
    const float *key = a->k + (image * a->len_k + at) * a->ldk + column;
    const float *value = a->v + (image * a->len_k + at) * a->ldv + column;
    char *row = head_at(job, head) + at * job->row * 2;
    char *block = head_at(job, head) + job->k_bytes + at * a->d * 2;

    (void)worker;
    for (size_t r = 0; r < n; r++, key += a->ldk, row += job->row * 2) {
        k->gemm.narrow(row, key, a->d);
        memset(row + (size_t)a->d * 2, 0, (job->row - a->d) * 2);
    }
    k->attn.values(block, BLOCK_KEYS, n, a->d, value, a->ldv);
}

/* Scores of keys from j on that are behind their query; key 0 is behind
 * none. */
static void mask_future(struct panel *p, float *s, size_t n_keys, size_t j)
{
    memcpy(p->sums.top, p->sums.max, sizeof p->sums.top);
    for (size_t i = 0; i < n_keys; i++)
        for (size_t q = 0; q < COLS; q++) {
            float *score = s + i * COLS + q;

            if (p->at + q < j + i)
                *score = BEHIND;
            if (*score > p->sums.top[q])
                p->sums.top[q] = *score;
        }
}

static void attend_block(const struct job *job, struct panel *p,
                         const char *head, float *s, size_t j, size_t n_keys)
{
    const struct attention_args *a = job->a;
    const struct attention_kernels *attn = &job->ctx->k->attn;
    bool has_moved;

    memcpy(p->sums.top, p->sums.max, sizeof p->sums.top);
    attn->scores(&(struct attention_product){.m = n_keys,
                                             .k = job->row,
                                             .pitch = job->row,
                                             .rows = head + j * job->row * 2,
                                             .panel = p->q},
                 s, p->sums.top);
    if (a->is_causal && j + n_keys > p->at)
        mask_future(p, s, n_keys, j);
    has_moved = attn->softmax(n_keys, p->n, s, &p->sums, s);
    attn->weigh(
        &(struct attention_product){.m = a->d,
                                    .k = size_align(n_keys, 2),
                                    .pitch = BLOCK_KEYS,
                                    .rows = head + job->k_bytes + j * a->d * 2,
                                    .panel = s},
        has_moved ? p->sums.factor : NULL, p->o);
}

static void panel_open(const struct job *job, struct panel *p, size_t image,
                       size_t column)
{
    const struct attention_args *a = job->a;

    memset(&p->sums, 0, sizeof p->sums);
    for (size_t j = 0; j < COLS; j++)
        p->sums.max[j] = -FLT_MAX;
    memset(p->o, 0, a->d * COLS * sizeof *p->o);
    job->ctx->k->attn.queries(
        p->q, p->n, a->d, a->q + (image * a->len_q + p->at) * a->ldq + column,
        a->ldq, a->scale * LOG2_E);
}

static void attend_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    size_t per_head = (a->len_q + PANELS * COLS - 1) / (PANELS * COLS);
    size_t at = i % per_head * PANELS * COLS, head = i / per_head;
    size_t image = head / a->heads, column = head % a->heads * a->d;
    size_t n = a->len_q - at < PANELS * COLS ? a->len_q - at : PANELS * COLS;
    size_t len = a->is_causal ? at + n : a->len_k;
    size_t n_panels = (n + COLS - 1) / COLS;
    char *memory = job->workers + worker * job->worker_bytes;
    float *s = (float *)(void *)memory;
    struct panel panels[PANELS];

    memory += BLOCK_KEYS * COLS * sizeof(float);
    for (size_t p = 0; p < n_panels; p++) {
        panels[p].at = at + p * COLS;
        panels[p].n = n - p * COLS < COLS ? n - p * COLS : COLS;
        panels[p].q = memory;
        panels[p].o = (float *)(void *)(memory + job->q_bytes);
        memory += job->q_bytes + a->d * COLS * sizeof(float);
        panel_open(job, &panels[p], image, column);
    }
    for (size_t j = 0; j < len; j += BLOCK_KEYS)
        for (size_t p = 0; p < n_panels; p++)
            attend_block(job, &panels[p], head_at(job, head), s, j,
                         len - j < BLOCK_KEYS ? len - j : BLOCK_KEYS);
    for (size_t p = 0; p < n_panels; p++)
        job->ctx->k->attn.outputs(
            a->d, panels[p].n, panels[p].o, panels[p].sums.sum,
            a->o + (image * a->len_q + panels[p].at) * a->ldo + column, a->ldo);
}

void attention_panels_run(const struct op_ctx *ctx,
                          const struct attention_args *args)
{
    struct job job = job_make(args);
    size_t n_heads = (size_t)args->n * args->heads;
    size_t per_head = (args->len_q + PANELS * COLS - 1) / (PANELS * COLS);

    job.ctx = ctx;
    job.heads = (char *)ctx->scratch;
    job.workers = job.heads + n_heads * (job.k_bytes + job.v_bytes);
    pool_run(ctx->pool, n_heads * job.n_blocks, pack_block, &job);
    pool_run(ctx->pool, n_heads * per_head, attend_piece, &job);
}
