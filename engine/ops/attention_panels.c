/* attention_panels.c - softmax attention by the rung's own kernels for it.
 *
 * The scheme of attention_bf16.c with other kernels (attention_kernels.h): a
 * panel of queries goes through a block of keys by itself, so that its powers,
 * queries and outputs stay in the first cache.  The panels of a piece share a
 * block of keys and values, which come from the second.
 *
 * Most scores are no great numbers.  Then their powers and sums are floats as
 * good as those of scores below 0, and nobody needs a maximum: 0 is subtracted,
 * scores are never stored, and outputs never multiplied by factors.  Of a
 * column whose sum shows that this was too far from its maximum, and where keys
 * are masked, scores are computed again, and their maximum is subtracted from
 * then on.
 *
 * First all keys and values become operands, once for all their queries: K as
 * rows [key][d], V transposed in blocks [d][keys] whose rows are an odd number
 * of lines apart, not to fall into the same few sets of the cache.  Sums and
 * outputs are f32.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/attention_panels.h"

#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/attention_keys.h"

/* Panels of a piece: those of wide heads share more, since their keys and
 * values come from the third cache. */
#define PANELS      ((size_t)2)
#define WIDE_PANELS ((size_t)4)
#define WIDE        256

#define COLS      ((size_t)ATTENTION_COLS)
#define MAX_KEYS  ((size_t)196) /* of a block: whole tiles of 14 rows       */
#define LINE_KEYS ((size_t)32)  /* operands of a line of the cache          */
#define LOG2_E    1.44269504f
#define BEHIND    (-1e30f) /* minus infinity, for kernels                   */

struct job {
    const struct op_ctx *ctx;
    const struct attention_args *a;
    size_t panels, queries;  /* of a piece                                   */
    size_t per_head;         /* pieces                                       */
    size_t row;              /* operands of a row of K                       */
    size_t n_blocks, n_keys; /* blocks; keys of all but the last             */
    size_t pitch;            /* operands of a row of V^T of a block          */
    size_t block_bytes;      /* of V^T                                       */
    size_t k_bytes, v_bytes; /* of one head, as operands                     */
    size_t q_bytes, panel_bytes, worker_bytes;
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

    j.panels = a->d > WIDE ? WIDE_PANELS : PANELS;
    j.queries = j.panels * COLS;
    j.per_head = (a->len_q + j.queries - 1) / j.queries;
    j.row = size_align(a->d, 2);
    j.n_blocks = (a->len_k + MAX_KEYS - 1) / MAX_KEYS;
    j.n_keys = size_align((a->len_k + j.n_blocks - 1) / j.n_blocks, 2);
    j.pitch = ((j.n_keys + LINE_KEYS - 1) / LINE_KEYS | 1) * LINE_KEYS;
    j.block_bytes = a->d * j.pitch * 2;
    j.k_bytes = size_align(a->len_k * j.row * 2, 64);
    j.v_bytes = j.n_blocks * j.block_bytes;
    j.q_bytes = j.row * COLS * 2;
    j.panel_bytes = j.q_bytes + a->d * COLS * sizeof(float);
    j.worker_bytes = j.panels * j.panel_bytes + j.n_keys * COLS * sizeof(float);
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
    struct attention_keys b =
        attention_keys_of(a, job->n_blocks, job->n_keys, i);
    char *row = head_at(job, b.head) + b.at * job->row * 2;
    char *block = head_at(job, b.head) + job->k_bytes +
                  i % job->n_blocks * job->block_bytes;

    (void)worker;
    for (size_t r = 0; r < b.n; r++, row += job->row * 2) {
        k->gemm.narrow(row, b.k + r * a->ldk, a->d);
        memset(row + (size_t)a->d * 2, 0, (job->row - a->d) * 2);
    }
    k->attn.values(block, job->pitch, b.n, a->d, b.v, a->ldv);
}

/* Whether some of n_keys keys from j on are behind a query of the panel. */
static bool is_masked(const struct attention_args *a, const struct panel *p,
                      size_t j, size_t n_keys)
{
    return a->is_causal && j + n_keys > p->at + 1;
}

/* The scores of keys from j on that are behind their query count for nothing;
 * key 0 is behind none. */
static void mask_future(const struct panel *p, float *s, size_t n_keys,
                        size_t j)
{
    for (size_t i = 0; i < n_keys; i++)
        for (size_t q = 0; q < COLS && p->at + q < j + i; q++)
            s[i * COLS + q] = BEHIND;
}

/* The largest of each column of s. */
static void find_tops(const float *restrict s, size_t n_keys,
                      float *restrict top)
{
    memcpy(top, s, COLS * sizeof *top);
    for (size_t i = 1; i < n_keys; i++)
        for (size_t q = 0; q < COLS; q++)
            top[q] = s[i * COLS + q] > top[q] ? s[i * COLS + q] : top[q];
}

/* The block's powers come to lie in s; whether the outputs before it are to be
 * multiplied by the factors.  A column that powers() could do stays as it is,
 * whatever another column holds. */
static bool weights_by_maximum(const struct job *job, struct panel *p,
                               const struct attention_product *scores, float *s,
                               size_t j, bool has_totals)
{
    const struct attention_kernels *attn = &job->ctx->k->attn;
    struct attention_sums *sums = &p->sums;

    attn->scores(scores, sums->max, s);
    if (is_masked(job->a, p, j, scores->m))
        mask_future(p, s, scores->m, j);
    find_tops(s, scores->m, sums->top);
    for (size_t q = 0; q < COLS; q++)
        if ((has_totals && attention_is_near(sums, q)) ||
            (j > 0 && sums->top[q] < 0))
            sums->top[q] = 0;
    return attn->softmax(scores->m, p->n, s, sums, s);
}

static void attend_block(const struct job *job, struct panel *p,
                         const char *head, float *s, size_t j, size_t n_keys)
{
    const struct attention_args *a = job->a;
    const struct attention_kernels *attn = &job->ctx->k->attn;
    struct attention_product scores = {.m = n_keys,
                                       .k = job->row,
                                       .pitch = job->row,
                                       .rows = head + j * job->row * 2,
                                       .panel = p->q};
    struct attention_product outputs = {
        .m = a->d,
        .k = size_align(n_keys, 2),
        .pitch = job->pitch,
        .rows = head + job->k_bytes + j / job->n_keys * job->block_bytes,
        .panel = s};
    bool can_be_near = !is_masked(a, p, j, n_keys), has_moved = false;

    if (!can_be_near || !attn->powers(&scores, p->n, &p->sums, s))
        has_moved = weights_by_maximum(job, p, &scores, s, j, can_be_near);
    attn->weigh(&outputs, has_moved ? p->sums.factor : NULL, p->o);
}

/* Panel p of the piece whose first query is `at`. */
static void panel_open(const struct job *job, struct panel *panel, size_t p,
                       size_t at, char *memory, const float *q)
{
    const struct attention_args *a = job->a;

    memset(&panel->sums, 0, sizeof panel->sums);
    panel->at = at + p * COLS;
    panel->n = a->len_q - panel->at < COLS ? a->len_q - panel->at : COLS;
    panel->q = memory + p * job->panel_bytes;
    panel->o = (float *)(void *)(panel->q + job->q_bytes);
    memset(panel->o, 0, a->d * COLS * sizeof *panel->o);
    job->ctx->k->attn.queries(panel->q, panel->n, a->d, q + panel->at * a->ldq,
                              a->ldq, a->scale * LOG2_E);
}

static void attend_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct attention_args *a = job->a;
    size_t at = i % job->per_head * job->queries, head = i / job->per_head;
    size_t image = head / a->heads, column = head % a->heads * a->d;
    size_t n = a->len_q - at < job->queries ? a->len_q - at : job->queries;
    size_t len = a->is_causal ? at + n : a->len_k;
    size_t n_panels = (n + COLS - 1) / COLS;
    char *memory = job->workers + worker * job->worker_bytes;
    float *s = (float *)(void *)(memory + job->panels * job->panel_bytes);
    float *o = a->o + image * a->len_q * a->ldo + column;
    struct panel panels[WIDE_PANELS];

    for (size_t p = 0; p < n_panels; p++)
        panel_open(job, &panels[p], p, at, memory,
                   a->q + image * a->len_q * a->ldq + column);
    for (size_t j = 0; j < len; j += job->n_keys)
        for (size_t p = 0; p < n_panels; p++)
            attend_block(job, &panels[p], head_at(job, head), s, j,
                         len - j < job->n_keys ? len - j : job->n_keys);
    for (struct panel *p = panels; p < panels + n_panels; p++)
        job->ctx->k->attn.outputs(a->d, p->n, p->o, p->sums.sum,
                                  o + p->at * a->ldo, a->ldo);
}

void attention_panels_run(const struct op_ctx *ctx,
                          const struct attention_args *args)
{
    struct job job = job_make(args);
    size_t n_heads = (size_t)args->n * args->heads;

    job.ctx = ctx;
    job.heads = (char *)ctx->scratch;
    job.workers = job.heads + n_heads * (job.k_bytes + job.v_bytes);
    pool_run(ctx->pool, n_heads * job.n_blocks, pack_block, &job);
    pool_run(ctx->pool, n_heads * job.per_head, attend_piece, &job);
}
