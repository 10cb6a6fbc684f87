/* lower.c - from a graph to a plan for inference.
 *
 * Every value of the graph is described by a form: which stored values it
 * comes from and what must still be done to them,
 *
 *     value = upsample(act(norm and scale-shift(concat(src0, src1))))
 *
 * A stored value is a form of itself with nothing to do.  Norms, activations,
 * upsamplings and concatenations only write forms; a product reads a form
 * directly, because conv2d does all of that while it packs; everybody else
 * asks for the value to be stored, which emits the steps.  A form with
 * something to compute and more than one reader is stored at once, so that
 * the work is done once.
 *
 * A product looks ahead along values with a single reader and absorbs what
 * conv2d can do at its end: a vector a picture, a residual, a scale.  What it
 * absorbs may need values that come later in the graph's order (the shortcut
 * of a residual block), so operations are lowered on demand, each once;
 * absorbed ones are marked first, which keeps two branches from absorbing the
 * same sum.
 *
 * In the reference mode forms are stored as soon as they are written and
 * nothing is absorbed.
 *
 * Of a part the others' operations count as done from the start; what crosses
 * between them is stored in the rows (ops/hoist.h).
 *
 * The parts: lower_forms.c, lower_products.c, lower_plain.c, lower_tokens.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/lower.h"

#include "base/alloc.h"
#include "ops/lower_parts.h"

/* What each kind of operation becomes; inputs are bound before. */
static void (*const kinds[OP_COUNT])(struct lowering *l,
                                     const struct graph_op *op) = {
    [OP_CONV2D] = lower_product,
    [OP_LINEAR] = lower_product,
    [OP_GROUP_NORM] = lower_group_norm,
    [OP_ACT] = lower_act,
    [OP_ADD] = lower_sum,
    [OP_ADD_VEC] = lower_add_vec,
    [OP_SCALE_SHIFT] = lower_scale_shift,
    [OP_AFFINE] = lower_sum,
    [OP_CONCAT] = lower_concat,
    [OP_UPSAMPLE] = lower_upsample,
    [OP_AVG_POOL2] = lower_avg_pool2,
    [OP_FIR] = lower_fir,
    [OP_ATTENTION] = lower_attention,
    [OP_RESHAPE] = lower_reshape,
    [OP_TIME_EMBED] = lower_time_embed,
    [OP_FOURIER_EMBED] = lower_fourier,
    [OP_LOOKUP] = lower_lookup,
    [OP_DIV_VEC] = lower_div_vec,
    [OP_LAYER_NORM] = lower_layer_norm,
    [OP_GLU] = lower_glu,
    [OP_SLICE] = lower_slice,
    [OP_MUL_VEC] = lower_mul_vec,
    [OP_ADD_ROWS] = lower_add_rows,
    [OP_GRID_EMBED] = lower_grid_embed,
    [OP_UNPATCH] = lower_unpatch,
    [OP_NEAREST] = lower_nearest,
};

void lower_op(struct lowering *l, size_t i)
{
    const struct graph_op *op = graph_op_at(l->g, i);

    if (l->is_done[i])
        return;
    l->is_done[i] = true;
    if (kinds[op->kind])
        kinds[op->kind](l, op);
}

static void count_readers(struct lowering *l)
{
    for (size_t i = 0; i < graph_n_ops(l->g); i++) {
        const struct graph_op *op = graph_op_at(l->g, i);

        if (packs_op(l->packs, i)->leader != i)
            continue;
        for (uint32_t j = 0; j < op->n_in; j++) {
            l->values[op->in[j]].n_readers++;
            l->values[op->in[j]].reader = i;
        }
    }
}

static bool is_body(enum lower_part part)
{
    return part == LOWER_BODY || part == LOWER_BODY_DEEP ||
           part == LOWER_BODY_SHALLOW;
}

static void bind_externals(struct lowering *l)
{
    for (size_t i = 0; i < graph_n_inputs(l->g); i++) {
        value_id v = graph_input_at(l->g, i);
        buffer_id id = plan_external(l->b);

        lower_set_stored(l, v, (struct place){id, 0, shape_of(l, v).c});
    }
    for (size_t i = 0; i < graph_n_outputs(l->g); i++) {
        value_id v = graph_output_at(l->g, i);
        buffer_id id = plan_external(l->b);

        if (!l->stage && (l->part == LOWER_WHOLE || is_body(l->part)))
            l->values[v].external = id;
    }
}

static enum hoist_kind kind_of_part(enum lower_part part)
{
    if (part == LOWER_TEXT)
        return HOIST_TEXT;
    return part == LOWER_HEAD ? HOIST_STEP : HOIST_BODY;
}

/* The externals of both kinds of rows and of the deep value. */
struct row_buffers {
    buffer_id step, text, deep;
};

static struct place row_place(const struct lowering *l,
                              const struct row_buffers *rows, value_id v)
{
    bool is_text = l->hoist.kind[v] == HOIST_TEXT;

    return (struct place){
        is_text ? rows->text : rows->step, l->hoist.column[v] * sizeof(float),
        (uint32_t)(is_text ? l->hoist.text_floats : l->hoist.row_floats)};
}

/* Leave out the operations of the other parts.  In a body, what comes from
 * them stands in their rows; in a head or a text, the rows are one reader
 * more. */
static void cut(struct lowering *l, const struct row_buffers *rows)
{
    enum hoist_kind own = kind_of_part(l->part);

    for (size_t i = 0; i < graph_n_ops(l->g); i++) {
        const struct graph_op *op = graph_op_at(l->g, i);

        if (op->kind != OP_INPUT && l->hoist.kind[op->out] != own)
            l->is_done[i] = true;
        if (l->hoist.column[op->out] == HOIST_NO_COLUMN)
            continue;
        if (is_body(l->part))
            lower_set_stored(l, op->out, row_place(l, rows, op->out));
        else
            l->values[op->out].n_readers++;
    }
}

static struct place deep_place(const struct lowering *l,
                               const struct row_buffers *rows)
{
    return (struct place){rows->deep, 0, shape_of(l, graph_deep(l->g)).c};
}

/* The operands of operation i are wanted, and so is what leads a joined
 * product. */
static void want_operands(struct lowering *l, size_t i)
{
    const struct graph_op *op = graph_op_at(l->g, i);
    size_t leader = packs_op(l->packs, i)->leader;

    for (uint32_t j = 0; j < op->n_in; j++)
        l->values[op->in[j]].is_wanted = true;
    l->values[graph_op_at(l->g, leader)->out].is_wanted = true;
}

/* v stands at a place: nothing that leads to it alone is needed. */
static void give(struct lowering *l, value_id v, struct place at)
{
    lower_set_stored(l, v, at);
    l->is_done[graph_value_at(l->g, v)->op] = true;
}

/* Leave out what the values marked so far do not need. */
static void keep_wanted(struct lowering *l)
{
    for (size_t i = graph_n_ops(l->g); i-- > 0;) {
        if (l->is_done[i])
            continue;
        if (l->values[graph_op_at(l->g, i)->out].is_wanted)
            want_operands(l, i);
        else
            l->is_done[i] = true;
    }
}

static void cut_shallow(struct lowering *l, const struct row_buffers *rows)
{
    give(l, graph_deep(l->g), deep_place(l, rows));
    for (size_t i = 0; i < graph_n_outputs(l->g); i++)
        l->values[graph_output_at(l->g, i)].is_wanted = true;
    keep_wanted(l);
}

static void finish_rows(struct lowering *l, const struct row_buffers *rows)
{
    for (value_id v = 0; v < graph_n_values(l->g); v++) {
        struct place at;

        if (l->hoist.column[v] == HOIST_NO_COLUMN ||
            l->hoist.kind[v] != kind_of_part(l->part))
            continue;
        at = lower_require(l, v);
        lower_copy_columns(l, "row", n_rows(shape_of(l, v)), shape_of(l, v).c,
                           at, row_place(l, rows, v), 0);
    }
}

/* An output that is a part or a view of another value is copied. */
static void finish_outputs(struct lowering *l)
{
    for (size_t i = 0; i < graph_n_outputs(l->g); i++) {
        value_id v = graph_output_at(l->g, i);
        struct place at = lower_require(l, v), to = lower_new_place(l, v);
        struct shape s = shape_of(l, v);

        if (at.buffer != to.buffer)
            lower_copy_columns(l, "output", n_rows(s), s.c, at, to, 0);
    }
}

/* The deep value is one reader's more and copied as soon as it is there. */
static void lower_body(struct lowering *l, const struct row_buffers *rows)
{
    value_id deep =
        l->part == LOWER_BODY_DEEP ? graph_deep(l->g) : GRAPH_NO_VALUE;
    struct shape s;

    if (l->part == LOWER_BODY_SHALLOW)
        cut_shallow(l, rows);
    if (deep != GRAPH_NO_VALUE)
        l->values[deep].n_readers++;
    for (size_t i = 0; i < graph_n_ops(l->g); i++) {
        lower_op(l, i);
        if (graph_op_at(l->g, i)->out != deep || deep == GRAPH_NO_VALUE)
            continue;
        s = shape_of(l, deep);
        lower_copy_columns(l, "deep", n_rows(s), s.c, lower_require(l, deep),
                           deep_place(l, rows), 0);
    }
}

static void lower_stage_ops(struct lowering *l)
{
    const struct lower_stage *stage = l->stage;
    struct place at, to;

    for (size_t i = 0; i < stage->n_given; i++) {
        value_id v = stage->given[i];

        give(l, v, (struct place){plan_external(l->b), 0, shape_of(l, v).c});
    }
    l->values[stage->out].external = plan_external(l->b);
    if (stage->is_normed)
        l->norms = plan_external(l->b);
    l->values[stage->out].is_wanted = true;
    l->values[stage->out].n_readers++;
    keep_wanted(l);
    for (size_t i = 0; i < graph_n_ops(l->g); i++)
        lower_op(l, i);
    at = lower_require(l, stage->out);
    to = lower_new_place(l, stage->out);
    if (at.buffer != to.buffer)
        lower_copy_columns(l, "stage", n_rows(shape_of(l, stage->out)),
                           shape_of(l, stage->out).c, at, to, 0);
}

static enum unstir_status lower_all(struct lowering *l,
                                    struct unstir_error *err)
{
    struct row_buffers rows = {PLAN_NO_BUFFER, PLAN_NO_BUFFER, PLAN_NO_BUFFER};

    TRY(alloc_zero(&l->values, graph_n_values(l->g), sizeof *l->values, err));
    TRY(alloc_zero(&l->is_done, graph_n_ops(l->g), sizeof *l->is_done, err));
    for (size_t v = 0; v < graph_n_values(l->g); v++) {
        l->values[v].form = form_of(GRAPH_NO_VALUE);
        l->values[v].external = PLAN_NO_BUFFER;
    }
    count_readers(l);
    bind_externals(l);
    if (l->stage) {
        lower_stage_ops(l);
        return UNSTIR_OK;
    }
    if (l->part != LOWER_WHOLE) {
        TRY(hoist_init(&l->hoist, l->g, err));
        rows.step = plan_external(l->b);
        rows.text = plan_external(l->b);
        rows.deep = plan_external(l->b);
        cut(l, &rows);
    }
    if (l->part == LOWER_HEAD || l->part == LOWER_TEXT) {
        finish_rows(l, &rows);
        return UNSTIR_OK;
    }
    lower_body(l, &rows);
    finish_outputs(l);
    return UNSTIR_OK;
}

enum unstir_status lower_row_floats(struct lower_rows *rows,
                                    const struct graph *g,
                                    struct unstir_error *err)
{
    struct hoist hoist;

    TRY(hoist_init(&hoist, g, err));
    *rows = (struct lower_rows){hoist.row_floats, hoist.text_floats};
    hoist_fini(&hoist);
    return UNSTIR_OK;
}

enum unstir_status lower_inference(struct plan **out, const struct graph *g,
                                   const struct packs *packs,
                                   unsigned n_threads, struct unstir_error *err)
{
    return lower_inference_part(out, g, packs, LOWER_WHOLE, n_threads, err);
}

static enum unstir_status lower_to_plan(struct plan **out, struct lowering l,
                                        struct unstir_error *err)
{
    const struct graph *g = l.g;
    const struct packs *packs = l.packs;
    enum lower_part part = l.part;
    enum unstir_status status;

    *out = NULL;
    TRY(graph_status(g, err));
    if (packs_n_ops(packs) != graph_n_ops(g))
        return error_set(err, UNSTIR_ERR_INTERNAL,
                         "lower: packs of %zu operations, graph of %zu",
                         packs_n_ops(packs), graph_n_ops(g));
    if ((part == LOWER_BODY_DEEP || part == LOWER_BODY_SHALLOW) &&
        graph_deep(g) == GRAPH_NO_VALUE)
        return error_set(err, UNSTIR_ERR_INTERNAL,
                         "lower: the graph has no deep value");
    TRY(plan_builder_new(&l.b, l.k, l.n_threads, err));
    status = lower_all(&l, err);
    alloc_free(l.values);
    alloc_free(l.is_done);
    hoist_fini(&l.hoist);
    if (status == UNSTIR_OK)
        return plan_finish(out, l.b, err);
    plan_builder_free(l.b);
    return status;
}

static struct lowering lowering_of(const struct graph *g,
                                   const struct packs *packs,
                                   unsigned n_threads)
{
    return (struct lowering){
        .g = g,
        .packs = packs,
        .k = packs_table(packs),
        .n_threads = n_threads,
        .is_fused = packs_mode(packs) == LOWER_FUSED,
    };
}

enum unstir_status
lower_inference_part(struct plan **out, const struct graph *g,
                     const struct packs *packs, enum lower_part part,
                     unsigned n_threads, struct unstir_error *err)
{
    struct lowering l = lowering_of(g, packs, n_threads);

    l.part = part;
    return lower_to_plan(out, l, err);
}

enum unstir_status lower_inference_stage(struct plan **out,
                                         const struct graph *g,
                                         const struct packs *packs,
                                         const struct lower_stage *stage,
                                         unsigned n_threads,
                                         struct unstir_error *err)
{
    struct lowering l = lowering_of(g, packs, n_threads);

    l.stage = stage;
    return lower_to_plan(out, l, err);
}
