/* learner.c - lanes of micro-batches, their sum, AdamW and repacking.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/learner.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "base/size.h"
#include "model/network.h"
#include "ops/optim.h"
#include "ops/plan.h"

#define ADAM_EPS  1e-8f
#define SUM_CHUNK 16384 /* floats */

/* -- gradients ------------------------------------------------------------- */

/* Forward and backward of the micro-batch from picture `at` on. */
static enum unstir_status run_micro(struct learner *l,
                                    struct learner_lane *lane, void *arena,
                                    uint32_t at)
{
    const struct learner_batch *b = l->batch;
    struct shape out = graph_shape(l->graph, graph_output_at(l->graph, 0));
    size_t m_in = (size_t)out.h * out.w *
                  graph_shape(l->graph, graph_input_at(l->graph, 0)).c;
    size_t m_out = (size_t)out.h * out.w * out.c;
    void *externals[8];
    size_t n = 0;
    externals[n++] = (float *)b->sample + at * m_in;
    externals[n++] = (float *)b->timestep + at;
    if (b->label)
        externals[n++] = (float *)b->label + at;
    externals[n++] = (float *)b->target + at * m_out;
    externals[n++] = (float *)b->weight + at * train_loss_weights(l->spec.loss);
    externals[n++] = b->loss + at;
    TRY(plan_run(lane->plan, NULL, arena, externals, NULL, &lane->err));
    for (uint32_t j = 0; j < l->spec.micro; j++)
        lane->loss += (double)b->loss[at + j];
    return UNSTIR_OK;
}

/* Lane i, by one thread: pool_fn. */
static void run_lane(void *arg, size_t i, unsigned worker)
{
    struct learner *l = arg;
    struct learner_lane *lane = &l->lanes[i];
    void *arena = l->arenas + worker * l->arena_bytes;
    lane->loss = 0;
    lane->status = UNSTIR_OK;
    for (uint32_t k = (uint32_t)i; k < l->n_micros && lane->status == UNSTIR_OK;
         k += l->n_lanes)
        lane->status = run_micro(l, lane, arena, k * l->spec.micro);
}

enum unstir_status learner_gradients(struct learner *l,
                                     const struct learner_batch *batch,
                                     double *loss, struct unstir_error *err)
{
    double sum = 0;
    *loss = 0;
    l->batch = batch;
    pool_run(l->pool, l->n_lanes, run_lane, l);
    for (uint32_t i = 0; i < l->n_lanes; i++) {
        if (l->lanes[i].status != UNSTIR_OK)
            return error_set(err, l->lanes[i].status, "%s",
                             l->lanes[i].err.detail);
        sum += l->lanes[i].loss;
    }
    *loss = sum / l->spec.batch;
    return UNSTIR_OK;
}

/* -- the update plan ------------------------------------------------------- */

/* Arguments of the update plan's own operations. */
struct update_args {
    struct learner *learner;
};

/* A piece of the gradient: lanes in order, and zeroed for the next step. */
static void sum_chunk(void *arg, size_t i, unsigned worker)
{
    struct learner *l = arg;
    size_t from = i * SUM_CHUNK, to = from + SUM_CHUNK;
    float *g = l->params.g;
    (void)worker;
    to = to < l->params.n_trained ? to : l->params.n_trained;
    for (uint32_t k = 1; k < l->n_lanes; k++) {
        float *x = l->lanes[k].g;
        for (size_t j = from; j < to; j++)
            g[j] += x[j];
        memset(x + from, 0, (to - from) * sizeof *x);
    }
}

/* plan_fn: the lanes' gradients into the first one's. */
static void sum_lanes(const struct op_ctx *ctx, const void *args)
{
    struct learner *l = ((const struct update_args *)args)->learner;
    pool_run(ctx->pool, (l->params.n_trained + SUM_CHUNK - 1) / SUM_CHUNK,
             sum_chunk, l);
}

/* plan_fn: clip and AdamW; the gradient is zero afterwards. */
static void update_weights(const struct op_ctx *ctx, const void *args)
{
    struct learner *l = ((const struct update_args *)args)->learner;
    const struct learner_update *u = &l->update;
    double n = (double)u->step + 1, scale = 1.0 / l->n_micros;
    l->norm = sqrt(l->sum_squares) * scale;
    if (!isfinite(l->norm)) {
        memset(l->params.g, 0, l->params.n * sizeof *l->params.g);
        return;
    }
    if (u->clip > 0 && l->norm > u->clip)
        scale *= u->clip / l->norm;
    struct adamw_args a = {.n = l->params.n_trained,
                           .lr = (float)u->lr,
                           .beta1 = (float)u->beta1,
                           .beta2 = (float)u->beta2,
                           .eps = ADAM_EPS,
                           .weight_decay = (float)u->weight_decay,
                           .c1 = (float)(1 - pow(u->beta1, n)),
                           .c2 = (float)(1 - pow(u->beta2, n)),
                           .grad_scale = (float)scale,
                           .ema_decay = (float)u->ema,
                           .p = l->params.p,
                           .g = l->params.g,
                           .m = l->params.m,
                           .v = l->params.v,
                           .ema = l->params.ema};
    adamw(ctx, &a);
}

static enum unstir_status plan_update(struct learner *l,
                                      struct unstir_error *err)
{
    struct plan_builder *b;
    TRY(plan_builder_new(&b, &l->table, pool_threads(l->pool), err));
    struct update_args self = {l};
    struct sum_squares_args norm = {l->params.n_trained, l->params.g,
                                    &l->sum_squares};
    struct repack_args pack = {l->packs.jobs, l->packs.n_jobs};
    plan_add(b, "sum gradients", sum_lanes, &self, sizeof self, 0, NULL, 0);
    plan_add(b, "gradient norm", sum_squares, &norm, sizeof norm,
             sum_squares_scratch(l->params.n_trained), NULL, 0);
    plan_add(b, "adamw", update_weights, &self, sizeof self, 0, NULL, 0);
    plan_add(b, "repack", train_repack, &pack, sizeof pack, 0, NULL, 0);
    return plan_finish(&l->update_plan, b, err);
}

enum unstir_status learner_step(struct learner *l,
                                const struct learner_update *update,
                                double *norm, struct unstir_error *err)
{
    l->update = *update;
    TRY(plan_run(l->update_plan, l->pool, l->arenas, NULL, NULL, err));
    *norm = l->norm;
    return UNSTIR_OK;
}

void learner_repack(struct learner *l)
{
    struct op_ctx ctx = {.k = &l->table, .pool = l->pool};
    conv2d_pack_many(&ctx, l->packs.jobs, l->packs.n_jobs);
}

void learner_forget(struct learner *l)
{
    for (uint32_t i = 0; i < l->n_lanes; i++)
        memset(l->lanes[i].params.g, 0, l->params.n * sizeof *l->params.g);
}

/* -- building -------------------------------------------------------------- */

static enum unstir_status open_lane(struct learner *l, uint32_t i,
                                    struct unstir_error *err)
{
    struct learner_lane *lane = &l->lanes[i];
    lane->params = l->params;
    if (i > 0) {
        TRY(alloc_aligned(&lane->g, l->params.n, sizeof(float), err));
        lane->params.g = lane->g;
    }
    return lower_training(&lane->plan, l->graph, &l->table, &lane->params,
                          &l->packs, l->spec.loss, 1, err);
}

static enum unstir_status open_parts(struct learner *l,
                                     const struct learner_spec *spec,
                                     struct unstir_error *err)
{
    /* Nothing is trained in 8 bits. */
    struct kernel_wish wish = {.isa = spec->isa,
                               .precision =
                                   spec->precision == UNSTIR_PRECISION_INT8
                                       ? UNSTIR_PRECISION_AUTO
                                       : spec->precision};
    const char *refused;

    l->spec = *spec;
    l->spec.config = NULL;
    l->n_micros = spec->batch / spec->micro;
    l->n_lanes =
        l->n_micros < LEARNER_MAX_LANES ? l->n_micros : LEARNER_MAX_LANES;
    TRY(kernels_choose(&l->table, &wish, &refused, err));
    TRY(error_within(network_graph(&l->graph, spec->config, spec->micro,
                                   spec->h, spec->w, err),
                     "config.json", err));
    TRY(params_init(&l->params, l->graph, err));
    TRY(train_packs_init(&l->packs, l->graph, &l->table, &l->params, err));
    TRY(pool_new(&l->pool, spec->n_threads, spec->nice, err));
    for (uint32_t i = 0; i < l->n_lanes; i++)
        TRY(open_lane(l, i, err));
    TRY(plan_update(l, err));
    size_t a = plan_arena_bytes(l->lanes[0].plan);
    size_t b = plan_arena_bytes(l->update_plan);
    l->arena_bytes = size_align(a > b ? a : b, 64);
    return alloc_aligned(&l->arenas, pool_threads(l->pool), l->arena_bytes,
                         err);
}

enum unstir_status learner_init(struct learner *l,
                                const struct learner_spec *spec,
                                struct unstir_error *err)
{
    memset(l, 0, sizeof *l);
    enum unstir_status status = open_parts(l, spec, err);
    if (status != UNSTIR_OK)
        learner_fini(l);
    return status;
}

void learner_fini(struct learner *l)
{
    for (size_t i = 0; i < LEARNER_MAX_LANES; i++) {
        plan_free(l->lanes[i].plan);
        alloc_free(l->lanes[i].g);
    }
    plan_free(l->update_plan);
    pool_free(l->pool);
    graph_free(l->graph);
    train_packs_fini(&l->packs);
    params_fini(&l->params);
    alloc_free(l->arenas);
    memset(l, 0, sizeof *l);
}
