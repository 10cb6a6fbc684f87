/* lower_forms.c - forms of values, and the steps that store them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/lower_parts.h"

#include <stdio.h>
#include <string.h>

#include "ops/elementwise.h"
#include "ops/norm.h"
#include "ops/resample.h"

static bool is_stored(const struct lowering *l, value_id v)
{
    return l->values[v].form.src[0] == v;
}

static bool has_compute(const struct form *f)
{
    return f->norm != NO_OP || f->act != ACT_NONE || f->has_up;
}

/* The layer's name without ".weight"; other operations have none. */
void lower_layer_name(const struct lowering *l, const struct graph_op *op,
                      const char *fallback, char *name)
{
    const char *full = op->param[0] == GRAPH_NO_PARAM
                           ? fallback
                           : graph_param_at(l->g, op->param[0])->name;
    const char *end = strstr(full, ".weight");

    snprintf(name, NAME_BYTES, "%.*s",
             end ? (int)(end - full) : (int)strlen(full), full);
}

/* -- places ------------------------------------------------------------ */

struct place lower_new_place(struct lowering *l, value_id v)
{
    struct shape s = shape_of(l, v);
    buffer_id buffer = l->values[v].external;

    if (buffer == PLAN_NO_BUFFER)
        buffer = plan_buffer(l->b, n_floats(s) * sizeof(float));
    return (struct place){buffer, 0, s.c};
}

/* v is stored at `at` from now on. */
void lower_set_stored(struct lowering *l, value_id v, struct place at)
{
    l->values[v].form = form_of(v);
    l->values[v].at = at;
}

/* Columns of `from` become columns of `to`. */
void lower_copy_columns(struct lowering *l, const char *name, size_t rows,
                        uint32_t c, struct place from, struct place to,
                        uint32_t to_column)
{
    struct copy_columns_args args = {
        .rows = rows,
        .c = c,
        .src_c = from.ld,
        .dst_c = to.ld,
        .dst_c0 = to_column,
    };
    struct plan_slot slots[] = {READ(copy_columns_args, src, from),
                                WRITE(copy_columns_args, dst, to)};

    ADD_STEP(l, name, copy_columns, args, 0, slots);
}

/* -- forms to steps ---------------------------------------------------- */

size_t lower_norm_at(const struct graph *g, size_t op)
{
    size_t floats = 0;

    for (size_t i = 0; i < op && i < graph_n_ops(g); i++)
        if (graph_op_at(g, i)->kind == OP_GROUP_NORM)
            floats += 2 * (size_t)graph_shape(g, graph_op_at(g, i)->out).c;
    return floats;
}

static void given_norm(const struct lowering *l, size_t norm,
                       struct place *scale, struct place *shift)
{
    uint32_t c = shape_of(l, graph_op_at(l->g, norm)->out).c;
    size_t at = lower_norm_at(l->g, norm) * sizeof(float);

    *scale = (struct place){l->norms, at, c};
    *shift = (struct place){l->norms, at + c * sizeof(float), c};
}

/* The statistics of a form's norm, folded into a scale and a shift. */
void lower_emit_stats(struct lowering *l, const struct form *f,
                      struct place *scale, struct place *shift)
{
    const struct graph_op *op = graph_op_at(l->g, f->norm);
    const struct place *x0 = &l->values[f->src[0]].at, *x1 = &NOWHERE;
    struct place e = NOWHERE;
    struct shape s = shape_of(l, f->src[0]);
    struct group_norm_stats_args args = {
        .n = s.n,
        .hw = s.h * s.w,
        .c0 = s.c,
        .groups = op->attrs.groups,
        .eps = op->attrs.eps,
        .gamma = packs_param(l->packs, op->param[0]),
        .beta = packs_param(l->packs, op->param[1]),
    };
    uint32_t c = s.c;
    size_t bytes;
    char name[NAME_BYTES];

    if (l->stage && l->stage->is_normed) {
        given_norm(l, f->norm, scale, shift);
        return;
    }
    if (f->src[1] != GRAPH_NO_VALUE) {
        x1 = &l->values[f->src[1]].at;
        args.c1 = shape_of(l, f->src[1]).c;
        c += args.c1;
    }
    if (f->e != GRAPH_NO_VALUE) {
        e = lower_require(l, f->e);
        args.e_stride = e.ld;
    }
    bytes = (size_t)s.n * c * sizeof(float);
    *scale = (struct place){plan_buffer(l->b, bytes), 0, c};
    *shift = (struct place){plan_buffer(l->b, bytes), 0, c};
    struct plan_slot slots[] = {
        READ(group_norm_stats_args, x0, *x0),
        READ(group_norm_stats_args, x1, *x1),
        READ(group_norm_stats_args, e, e),
        WRITE(group_norm_stats_args, scale, *scale),
        WRITE(group_norm_stats_args, shift, *shift),
    };
    lower_layer_name(l, op, "group_norm", name);
    ADD_STEP(l, name, group_norm_stats, args,
             group_norm_stats_scratch(l->k, l->n_threads, s.n, args.hw, c),
             slots);
    plan_tell(l->b, "group norm", 0);
}

/* Source values of a form side by side in `to`. */
static void emit_concat(struct lowering *l, const struct form *f,
                        struct place to)
{
    uint32_t column = 0;

    for (size_t i = 0; i < 2 && f->src[i] != GRAPH_NO_VALUE; i++) {
        struct shape s = shape_of(l, f->src[i]);

        lower_copy_columns(l, "concat", n_rows(s), s.c, l->values[f->src[i]].at,
                           to, column);
        column += s.c;
    }
}

static void emit_affine_act(struct lowering *l, const struct form *f,
                            struct place x, struct place y, struct shape s)
{
    struct affine_act_args args = {
        .n = s.n, .hw = s.h * s.w, .c = s.c, .act = f->act};
    struct place scale = NOWHERE, shift = NOWHERE;

    if (f->norm != NO_OP)
        lower_emit_stats(l, f, &scale, &shift);
    struct plan_slot slots[] = {
        READ(affine_act_args, x, x),
        READ(affine_act_args, scale, scale),
        READ(affine_act_args, shift, shift),
        WRITE(affine_act_args, y, y),
    };
    ADD_STEP(l, f->norm != NO_OP ? "norm" : "act", affine_act, args, 0, slots);
}

static void emit_upsample(struct lowering *l, struct place x, struct shape in,
                          struct place y, struct shape out)
{
    struct upsample_nearest_args args = {
        .n = in.n, .h = in.h, .w = in.w, .c = in.c, .oh = out.h, .ow = out.w};
    struct plan_slot slots[] = {READ(upsample_nearest_args, x, x),
                                WRITE(upsample_nearest_args, y, y)};

    ADD_STEP(l, "upsample", upsample_nearest, args, 0, slots);
}

/* Emit what turns v's form into floats in memory. */
static void store(struct lowering *l, value_id v)
{
    struct form f = l->values[v].form;
    struct shape in, out = shape_of(l, v);
    struct place x, y;
    bool has_concat = f.src[1] != GRAPH_NO_VALUE;
    bool has_norm = f.norm != NO_OP || f.act != ACT_NONE;

    if (f.src[0] == v)
        return;
    in = out;
    if (f.has_up) {
        in.h = shape_of(l, f.src[0]).h;
        in.w = shape_of(l, f.src[0]).w;
    }
    x = l->values[f.src[0]].at;
    y = lower_new_place(l, v);
    if (has_concat) {
        struct place joined = y;

        if (has_norm || f.has_up)
            joined = (struct place){
                plan_buffer(l->b, n_floats(in) * sizeof(float)), 0, in.c};
        emit_concat(l, &f, joined);
        x = joined;
    }
    if (has_norm) {
        struct place normed = y;

        if (f.has_up)
            normed = (struct place){
                plan_buffer(l->b, n_floats(in) * sizeof(float)), 0, in.c};
        emit_affine_act(l, &f, x, normed, in);
        x = normed;
    }
    if (f.has_up)
        emit_upsample(l, x, in, y, out);
    lower_set_stored(l, v, y);
}

/* The stored place of v, lowered if need be; rows may be apart. */
struct place lower_require(struct lowering *l, value_id v)
{
    lower_op(l, graph_value_at(l->g, v)->op);
    store(l, v);
    return l->values[v].at;
}

/* The same with rows one after the other. */
struct place lower_contiguous(struct lowering *l, value_id v)
{
    struct place at = lower_require(l, v), to;
    struct shape s = shape_of(l, v);

    if (at.ld == s.c)
        return at;
    to = lower_new_place(l, v);
    lower_copy_columns(l, "copy", n_rows(s), s.c, at, to, 0);
    lower_set_stored(l, v, to);
    return to;
}

/* A form that reads v: v's own if it can be built upon, else v stored. */
struct form lower_form_upon(struct lowering *l, value_id v, bool may_build)
{
    lower_op(l, graph_value_at(l->g, v)->op);
    if (may_build && !is_stored(l, v))
        return l->values[v].form;
    (void)lower_contiguous(l, v);
    return form_of(v);
}

static void set_form(struct lowering *l, value_id v, struct form f)
{
    l->values[v].form = f;
    if (!l->is_fused || (has_compute(&f) && l->values[v].n_readers > 1))
        store(l, v);
}

/* -- operations that write forms --------------------------------------- */

static const struct form *lowered_form(struct lowering *l, value_id v)
{
    lower_op(l, graph_value_at(l->g, v)->op);
    return &l->values[v].form;
}

void lower_group_norm(struct lowering *l, const struct graph_op *op)
{
    struct form f =
        lower_form_upon(l, op->in[0], !has_compute(lowered_form(l, op->in[0])));

    f.norm = index_of(l, op);
    set_form(l, op->out, f);
}

void lower_act(struct lowering *l, const struct graph_op *op)
{
    const struct form *x = lowered_form(l, op->in[0]);
    struct form f =
        lower_form_upon(l, op->in[0], x->act == ACT_NONE && !x->has_up);

    f.act = op->attrs.act;
    set_form(l, op->out, f);
}

void lower_upsample(struct lowering *l, const struct graph_op *op)
{
    struct form f =
        lower_form_upon(l, op->in[0], !lowered_form(l, op->in[0])->has_up);

    f.has_up = true;
    set_form(l, op->out, f);
}

void lower_concat(struct lowering *l, const struct graph_op *op)
{
    struct form f;

    (void)lower_contiguous(l, op->in[0]);
    (void)lower_contiguous(l, op->in[1]);
    f = form_of(op->in[0]);
    f.src[1] = op->in[1];
    set_form(l, op->out, f);
}

void lower_reshape(struct lowering *l, const struct graph_op *op)
{
    if (lowered_form(l, op->in[0])->has_up)
        (void)lower_require(l, op->in[0]);
    if (is_stored(l, op->in[0]))
        lower_set_stored(l, op->out, l->values[op->in[0]].at);
    else
        set_form(l, op->out, l->values[op->in[0]].form);
}

void lower_scale_shift(struct lowering *l, const struct graph_op *op)
{
    const struct form *x = lowered_form(l, op->in[0]);
    bool may_build = l->is_fused && x->norm != NO_OP &&
                     x->e == GRAPH_NO_VALUE && x->act == ACT_NONE && !x->has_up;
    struct shape s = shape_of(l, op->out);
    struct scale_shift_args args = {.n = s.n, .hw = s.h * s.w, .c = s.c};
    struct place in, e, y;

    if (may_build) {
        struct form f = *x;

        f.e = op->in[1];
        (void)lower_require(l, f.e);
        set_form(l, op->out, f);
        return;
    }
    in = lower_contiguous(l, op->in[0]);
    e = lower_require(l, op->in[1]);
    y = lower_new_place(l, op->out);
    args.e_stride = e.ld;
    struct plan_slot slots[] = {READ(scale_shift_args, x, in),
                                READ(scale_shift_args, e, e),
                                WRITE(scale_shift_args, y, y)};
    ADD_STEP(l, "scale_shift", scale_shift, args, 0, slots);
    lower_set_stored(l, op->out, y);
}
