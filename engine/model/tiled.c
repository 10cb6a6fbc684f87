/* tiled.c - large pictures through an autoencoder in bands.
 *
 * The graph's deep value V parts the layers of the picture's size from the
 * others.  In a decoder they come behind V, in an encoder before it:
 *
 *     decoder   whole: sample -> V      stages: V -> norm .. norm -> out
 *     encoder   stages: sample -> norm .. norm -> V      whole: V -> out
 *
 * A stage ends at the operand of a group norm or of an upsampling (or at the
 * end); its operations are cut from the graph of one band
 * (lower_inference_stage), so all stages share the packed weights.  Bands are
 * as wide as the picture and overlap by HALO_ROWS above and below, more than a
 * stage's convolutions reach; what those rows give is dropped.  At the
 * picture's own edges there is no overlap: the zeros seen there are the
 * whole's.
 *
 * What is more than twice as large as the values it is made of, without a norm
 * between, is not kept but computed again by the stages that read it.  A
 * residual sum takes the place of the operand it is added to: sums look at no
 * other place, so it does not matter that rows above are new already.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/tiled.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "model/network_parts.h"
#include "ops/chunks.h"
#include "ops/norm.h"
#include "ops/packs.h"
#include "ops/plan.h"

#define MAX_STAGES 64
#define MAX_GIVEN  8
#define HALO_ROWS  4 /* two 3x3 convolutions, doubled by a stride           */
#define BAND_UNITS 8 /* by default                                          */

/* A value of the whole picture in memory. */
struct kept {
    value_id v;
    float *rows; /* NULL: not there now */
    size_t last; /* stage that reads it */
    bool is_own; /* to be freed         */
};

struct stage {
    value_id out;
    size_t norm; /* operation that takes `out`, or NO_NORM */
    bool is_kept;
    size_t given[MAX_GIVEN]; /* of kept[] */
    size_t n_given;
    size_t reused; /* kept[] whose place `out` takes, or NO_KEPT */
};
#define NO_NORM SIZE_MAX
#define NO_KEPT SIZE_MAX

struct work {
    const struct network *net;
    struct executor *x;
    const struct cancel *cancel;
    struct graph *whole, *band;
    uint32_t n_units, band_units, halo;
    struct stage stages[MAX_STAGES];
    size_t n_stages;
    struct kept kept[MAX_STAGES + 1]; /* [0]: what the stages begin with     */
    size_t n_kept;
    bool *is_wanted; /* by value, while stages are laid out                  */
    float *norms;    /* as lower_stage has them                              */
    float *blocks, *carry, *rows;
    size_t n_carried, n_blocks;
    size_t bytes, peak;
};

/* -- laying out the stages ------------------------------------------------- */

static bool is_decoder(const struct graph *g)
{
    value_id in = graph_input_at(g, 0);

    return graph_shape(g, graph_output_at(g, 0)).h > graph_shape(g, in).h;
}

static size_t kept_of(const struct work *w, value_id v)
{
    for (size_t i = 0; i < w->n_kept; i++)
        if (w->kept[i].v == v)
            return i;
    return NO_KEPT;
}

static size_t value_floats(const struct work *w, value_id v)
{
    struct shape s = graph_shape(w->whole, v);

    return (size_t)s.h * s.w * s.c;
}

static bool is_same_shape(const struct graph *g, value_id a, value_id b)
{
    struct shape s = graph_shape(g, a), t = graph_shape(g, b);

    return s.h == t.h && s.w == t.w && s.c == t.c;
}

/* Mark what leads from kept values to v; those count as given. */
static bool reach(struct work *w, struct stage *s)
{
    const struct graph *g = w->whole;

    memset(w->is_wanted, 0, graph_n_values(g) * sizeof *w->is_wanted);
    w->is_wanted[s->out] = true;
    for (size_t i = graph_n_ops(g); i-- > 0;) {
        const struct graph_op *op = graph_op_at(g, i);
        size_t k = kept_of(w, op->out);

        if (!w->is_wanted[op->out])
            continue;
        if (k != NO_KEPT && op->out != s->out) {
            if (s->n_given == MAX_GIVEN)
                return false;
            s->given[s->n_given++] = k;
            continue;
        }
        if (op->kind == OP_INPUT)
            return false;
        for (uint32_t j = 0; j < op->n_in; j++)
            w->is_wanted[op->in[j]] = true;
    }
    return true;
}

/* Whether this stage reads v in sums alone; after reach(). */
static bool is_pointwise(const struct work *w, value_id v)
{
    for (size_t i = 0; i < graph_n_ops(w->whole); i++) {
        const struct graph_op *op = graph_op_at(w->whole, i);

        for (uint32_t j = 0; j < op->n_in; j++)
            if (op->in[j] == v && w->is_wanted[op->out] && op->kind != OP_ADD &&
                kept_of(w, op->out) == NO_KEPT)
                return false;
    }
    return true;
}

/* After reach(). */
static bool is_worth_keeping(const struct work *w, const struct stage *s)
{
    size_t floats = 0;

    for (size_t i = 0; i < graph_n_ops(w->whole); i++) {
        const struct graph_op *op = graph_op_at(w->whole, i);

        if (op->kind == OP_GROUP_NORM && w->is_wanted[op->out])
            return true;
    }
    for (size_t i = 0; i < s->n_given; i++)
        floats += value_floats(w, w->kept[s->given[i]].v);
    return s->norm == NO_NORM || value_floats(w, s->out) <= 2 * floats;
}

static bool add_stage(struct work *w, value_id out, size_t norm)
{
    struct stage *s = &w->stages[w->n_stages];

    if (w->n_stages == MAX_STAGES)
        return false;
    *s = (struct stage){.out = out, .norm = norm, .reused = NO_KEPT};
    if (!reach(w, s))
        return false;
    s->is_kept = is_worth_keeping(w, s);
    for (size_t i = 0; i < s->n_given; i++) {
        w->kept[s->given[i]].last = w->n_stages;
        if (s->is_kept && s->given[i] != 0 &&
            is_same_shape(w->whole, out, w->kept[s->given[i]].v) &&
            is_pointwise(w, w->kept[s->given[i]].v))
            s->reused = s->given[i];
    }
    if (s->is_kept)
        w->kept[w->n_kept++] = (struct kept){.v = out};
    w->n_stages++;
    return true;
}

/* A place can be taken only from a value that nobody reads later. */
static void settle_places(struct work *w)
{
    for (size_t i = 0; i < w->n_stages; i++)
        if (w->stages[i].reused != NO_KEPT &&
            w->kept[w->stages[i].reused].last != i)
            w->stages[i].reused = NO_KEPT;
}

/* False: this graph is not one that can be cut so. */
static bool lay_out(struct work *w)
{
    const struct graph *g = w->whole;
    value_id deep = graph_deep(g), out = graph_output_at(g, 0);
    size_t at = graph_value_at(g, deep)->op;
    bool is_behind = is_decoder(g);

    w->kept[w->n_kept++] =
        (struct kept){.v = is_behind ? deep : graph_input_at(g, 0)};
    for (size_t i = is_behind ? at : 0; i < (is_behind ? graph_n_ops(g) : at);
         i++) {
        const struct graph_op *op = graph_op_at(g, i);

        if (op->kind == OP_GROUP_NORM && !add_stage(w, op->in[0], i))
            return false;
        if (op->kind == OP_UPSAMPLE && kept_of(w, op->in[0]) == NO_KEPT &&
            !add_stage(w, op->in[0], NO_NORM))
            return false;
    }
    if (w->n_stages == 0 || !add_stage(w, is_behind ? out : deep, NO_NORM))
        return false;
    settle_places(w);
    return true;
}

/* -- memory ---------------------------------------------------------------- */

static void hold(struct work *w, size_t bytes)
{
    w->bytes += bytes;
    w->peak = w->bytes > w->peak ? w->bytes : w->peak;
}

static enum unstir_status keep(struct work *w, struct kept *k,
                               struct unstir_error *err)
{

    TRY(alloc_aligned(&k->rows, value_floats(w, k->v), sizeof(float), err));
    k->is_own = true;
    hold(w, value_floats(w, k->v) * sizeof(float));
    return UNSTIR_OK;
}

static void drop(struct work *w, struct kept *k)
{
    if (k->is_own) {
        alloc_free(k->rows);
        w->bytes -= value_floats(w, k->v) * sizeof(float);
    }
    k->rows = NULL;
    k->is_own = false;
}

/* Rows of v in one unit of the bands. */
static uint32_t unit_rows(const struct work *w, value_id v)
{
    return graph_shape(w->whole, v).h / w->n_units;
}

static size_t row_floats(const struct work *w, value_id v)
{
    struct shape s = graph_shape(w->whole, v);

    return (size_t)s.w * s.c;
}

/* Room for a band of the largest stage, and for what its norm needs. */
static enum unstir_status take_rooms(struct work *w, struct unstir_error *err)
{
    size_t rows = 0, blocks = 0, carry = 0;
    size_t norms = lower_norm_at(w->whole, graph_n_ops(w->whole));

    for (size_t i = 0; i < w->n_stages; i++) {
        value_id v = w->stages[i].out;
        struct shape s = graph_shape(w->whole, v);
        size_t step = group_norm_block(s.c);
        size_t n = (size_t)w->band_units * unit_rows(w, v) * row_floats(w, v);
        size_t b = chunks_of((size_t)s.h * s.w, step) * 2 * s.c;

        rows = n > rows ? n : rows;
        blocks = b > blocks ? b : blocks;
        carry = step * s.c > carry ? step * s.c : carry;
    }
    TRY(alloc_aligned(&w->rows, rows + blocks + carry + norms, sizeof(float),
                      err));
    w->blocks = w->rows + rows;
    w->carry = w->blocks + blocks;
    w->norms = w->carry + carry;
    hold(w, (rows + blocks + carry + norms) * sizeof(float));
    return UNSTIR_OK;
}

/* -- norms ----------------------------------------------------------------- */

/* Pixels of the operand come in order; whole blocks of them are taken in. */
static void take_pixels(struct work *w, const float *x, size_t n, size_t c)
{
    const struct kernel_table *k = packs_table(w->net->packs);
    size_t step = group_norm_block(c);

    while (n > 0) {
        size_t room = step - w->n_carried, m = n < room ? n : room;

        memcpy(w->carry + w->n_carried * c, x, m * c * sizeof *x);
        w->n_carried += m;
        x += m * c;
        n -= m;
        if (w->n_carried < step)
            return;
        group_norm_moments(k, w->carry, step, c,
                           w->blocks + w->n_blocks++ * 2 * c);
        w->n_carried = 0;
    }
}

static void finish_norm(struct work *w, const struct stage *s)
{
    const struct graph_op *op = graph_op_at(w->whole, s->norm);
    struct shape shape = graph_shape(w->whole, s->out);
    float *scale = w->norms + lower_norm_at(w->whole, s->norm);
    struct group_norm_stats_args args = {
        .n = 1,
        .hw = shape.h * shape.w,
        .c0 = shape.c,
        .groups = op->attrs.groups,
        .eps = op->attrs.eps,
        .gamma = packs_param(w->net->packs, op->param[0]),
        .beta = packs_param(w->net->packs, op->param[1]),
        .scale = scale,
        .shift = scale + shape.c,
    };

    if (w->n_carried)
        group_norm_moments(packs_table(w->net->packs), w->carry, w->n_carried,
                           shape.c, w->blocks + w->n_blocks * 2 * shape.c);
    group_norm_join(&args, w->blocks);
}

/* -- running --------------------------------------------------------------- */

/* Externals of a stage's plan: sample and output of the graph, the given
 * values, the stage's own value, the norms. */
static enum unstir_status run_plan(struct work *w, const struct plan *plan,
                                   const struct stage *s, uint32_t first,
                                   float *out, struct unstir_error *err)
{
    void *externals[MAX_GIVEN + 4] = {NULL, NULL};
    size_t n = 2;

    for (size_t i = 0; i < s->n_given; i++) {
        const struct kept *k = &w->kept[s->given[i]];

        externals[n++] =
            k->rows + (size_t)first * unit_rows(w, k->v) * row_floats(w, k->v);
    }
    externals[n++] = out;
    externals[n] = w->norms;
    return executor_run_plan(w->x, plan, "a picture in bands", externals,
                             w->cancel, err);
}

/* All bands of a stage; rows that are right go to `to` (may be NULL). */
static enum unstir_status run_bands(struct work *w, const struct plan *plan,
                                    const struct stage *s, float *to,
                                    struct unstir_error *err)
{
    uint32_t step = w->band_units - 2 * w->halo, done = 0;
    size_t unit = unit_rows(w, s->out) * row_floats(w, s->out);
    size_t c = graph_shape(w->whole, s->out).c;

    w->n_carried = w->n_blocks = 0;
    for (uint32_t k = 0; done < w->n_units; k++) {
        uint32_t last = w->n_units - w->band_units;
        uint32_t first = k * step < last ? k * step : last;
        uint32_t end =
            first == last ? w->n_units : first + w->band_units - w->halo;
        const float *good = w->rows + (done - first) * unit;
        size_t n = (end - done) * unit;

        TRY(run_plan(w, plan, s, first, w->rows, err));
        if (to)
            memcpy(to + done * unit, good, n * sizeof *to);
        if (s->norm != NO_NORM)
            take_pixels(w, good, n / c, c);
        done = end;
    }
    if (s->norm != NO_NORM)
        finish_norm(w, s);
    return UNSTIR_OK;
}

static enum unstir_status plan_of(struct work *w, struct plan **plan,
                                  const struct graph *g, const struct stage *s,
                                  bool is_normed, struct unstir_error *err)
{
    value_id given[MAX_GIVEN];
    struct lower_stage stage = {
        .given = given,
        .n_given = s->n_given,
        .out = s->out,
        .is_normed = is_normed,
    };

    for (size_t i = 0; i < s->n_given; i++)
        given[i] = w->kept[s->given[i]].v;
    return lower_inference_stage(plan, g, w->net->packs, &stage,
                                 executor_threads(w->x), err);
}

/* The part that runs whole: from `given` of kept[] (or the sample) to a value
 * that goes to `out`. */
static enum unstir_status run_whole(struct work *w, const struct kept *given,
                                    const float *sample, value_id v, float *out,
                                    struct unstir_error *err)
{
    struct stage s = {.out = v};
    enum unstir_status status;
    struct plan *plan;
    void *externals[4];
    size_t n = 2;

    if (given)
        s.given[s.n_given++] = (size_t)(given - w->kept);
    TRY(plan_of(w, &plan, w->whole, &s, false, err));
    externals[0] = (void *)sample;
    externals[1] = NULL;
    if (given)
        externals[n++] = given->rows;
    externals[n] = out;
    hold(w, plan_arena_bytes(plan));
    status = executor_run_plan(w->x, plan, "a picture in bands", externals,
                               w->cancel, err);
    w->bytes -= plan_arena_bytes(plan);
    plan_free(plan);
    return status;
}

static enum unstir_status run_stage(struct work *w, size_t i, float *result,
                                    struct unstir_error *err)
{
    struct stage *s = &w->stages[i];
    struct kept *own = s->is_kept ? &w->kept[kept_of(w, s->out)] : NULL;
    enum unstir_status status;
    struct plan *plan;

    TRY(plan_of(w, &plan, w->band, s, true, err));
    hold(w, plan_arena_bytes(plan));
    status = UNSTIR_OK;
    if (own && result) {
        own->rows = result;
    } else if (own && s->reused != NO_KEPT) {
        own->rows = w->kept[s->reused].rows;
    } else if (own) {
        status = keep(w, own, err);
    }
    if (status == UNSTIR_OK)
        status = run_bands(w, plan, s, own ? own->rows : NULL, err);
    if (status == UNSTIR_OK && own && s->reused != NO_KEPT && !result) {
        own->is_own = w->kept[s->reused].is_own;
        w->kept[s->reused].is_own = false;
    }
    w->bytes -= plan_arena_bytes(plan);
    plan_free(plan);
    for (size_t k = 0; k < w->n_kept; k++)
        if (w->kept[k].rows && w->kept[k].last == i && &w->kept[k] != own)
            drop(w, &w->kept[k]);
    return status;
}

/* One picture. */
static enum unstir_status run_picture(struct work *w, const float *sample,
                                      float *out, struct unstir_error *err)
{
    bool is_behind = is_decoder(w->whole);
    struct kept *start = &w->kept[0], *end = &w->kept[w->n_kept - 1];

    if (is_behind) {
        TRY(keep(w, start, err));
        TRY(run_whole(w, NULL, sample, start->v, start->rows, err));
    } else {
        start->rows = (float *)sample; /* never written */
    }
    for (size_t i = 0; i < w->n_stages; i++) {
        bool is_last = i + 1 == w->n_stages;

        TRY(run_stage(w, i, is_last && is_behind ? out : NULL, err));
    }
    if (is_behind)
        return UNSTIR_OK;
    TRY(run_whole(w, end, sample, graph_output_at(w->whole, 0), out, err));
    drop(w, end);
    return UNSTIR_OK;
}

/* -- the whole ------------------------------------------------------------- */

static void work_fini(struct work *w)
{
    for (size_t i = 0; i < w->n_kept; i++)
        drop(w, &w->kept[i]);
    alloc_free(w->is_wanted);
    alloc_free(w->rows);
    graph_free(w->whole);
    graph_free(w->band);
}

static enum unstir_status build(struct work *w, struct graph **g, uint32_t h,
                                uint32_t width, struct unstir_error *err)
{
    const struct model_size size = {1, h, width, 1};

    return network_graph_of(g, w->net->config, w->net->family->part, &size,
                            err);
}

static bool is_large(const struct work *w, size_t bytes)
{
    for (value_id v = 0; v < graph_n_values(w->whole); v++)
        if (value_floats(w, v) * sizeof(float) > bytes)
            return true;
    return false;
}

/* *is_cut: false if there is nothing to be gained here. */
static enum unstir_status work_init(struct work *w, const struct network_io *io,
                                    const struct tiling *tiling, bool *is_cut,
                                    struct unstir_error *err)
{
    const struct network_info *info = network_info(w->net);
    uint32_t rows = tiling->rows ? tiling->rows : BAND_UNITS;

    *is_cut = false;
    w->n_units = io->h / info->size_multiple;
    TRY(build(w, &w->whole, io->h, io->w, err));
    if (graph_deep(w->whole) == GRAPH_NO_VALUE || info->has_timestep ||
        !is_large(w, tiling->whole_bytes))
        return UNSTIR_OK;
    uint32_t fine = (info->up > info->down ? info->up : info->down);
    w->halo = (HALO_ROWS + fine - 1) / fine;
    w->band_units = rows + 2 * w->halo;
    if (w->band_units >= w->n_units)
        return UNSTIR_OK;
    TRY(build(w, &w->band, w->band_units * info->size_multiple, io->w, err));
    TRY(alloc_zero(&w->is_wanted, graph_n_values(w->whole), sizeof(bool), err));
    if (!lay_out(w))
        return UNSTIR_OK;
    *is_cut = true;
    return take_rooms(w, err);
}

enum unstir_status tiled_eval(const struct network *net, struct executor *x,
                              const struct network_io *io,
                              const struct tiling *tiling,
                              const struct cancel *cancel,
                              struct unstir_error *err)
{
    struct work w = {.net = net, .x = x, .cancel = cancel};
    const struct network_info *info = network_info(net);
    enum unstir_status status;
    bool is_cut = false;

    if (io->n == 0 || io->h == 0 || io->w == 0 || io->h % info->size_multiple ||
        io->w % info->size_multiple)
        return network_eval(net, x, io, cancel, err);
    status = work_init(&w, io, tiling, &is_cut, err);
    if (status == UNSTIR_OK && !is_cut)
        status = network_eval(net, x, io, cancel, err);
    for (uint32_t i = 0; status == UNSTIR_OK && is_cut && i < io->n; i++) {
        size_t n_in = value_floats(&w, graph_input_at(w.whole, 0));
        size_t n_out = value_floats(&w, graph_output_at(w.whole, 0));

        status =
            run_picture(&w, io->sample + i * n_in, io->out + i * n_out, err);
    }
    if (tiling->peak_bytes)
        *tiling->peak_bytes = w.peak;
    work_fini(&w);
    return status;
}
