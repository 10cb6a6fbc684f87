/* lower_tokens.c - operations of transformers: one step each, or a view.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/lower_parts.h"

#include "ops/tokens.h"

void lower_layer_norm(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct layer_norm_args args = {
        .rows = n_rows(s), .c = s.c, .eps = op->attrs.eps};
    struct place x = lower_require(l, op->in[0]);
    struct place y = lower_rows_place(l, op->out);
    struct plan_slot slots[] = {READ(layer_norm_args, x, x),
                                WRITE(layer_norm_args, y, y)};
    char name[NAME_BYTES];

    args.ldx = x.ld;
    args.is_narrow = l->values[op->out].is_narrow;
    if (op->param[0] != GRAPH_NO_PARAM) {
        args.gamma = packs_param(l->packs, op->param[0]);
        args.beta = packs_param(l->packs, op->param[1]);
    }
    lower_layer_name(l, op, "layer_norm", name);
    ADD_STEP(l, name, layer_norm, args,
             args.is_narrow ? tokens_narrow_scratch(l->n_threads, s.c) : 0,
             slots);
    plan_tell(l->b, "layer norm", 0);
    lower_set_stored(l, op->out, y);
}

void lower_glu(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct glu_args args = {.rows = n_rows(s), .c = s.c, .act = op->attrs.act};
    struct place x = lower_require(l, op->in[0]);
    struct place y = lower_rows_place(l, op->out);
    struct plan_slot slots[] = {READ(glu_args, x, x), WRITE(glu_args, y, y)};

    args.ldx = x.ld;
    args.is_narrow = l->values[op->out].is_narrow;
    ADD_STEP(l, "glu", glu, args,
             args.is_narrow ? tokens_narrow_scratch(l->n_threads, s.c) : 0,
             slots);
    lower_set_stored(l, op->out, y);
}

/* Columns of a stored value: nothing to compute. */
void lower_slice(struct lowering *l, const struct graph_op *op)
{
    struct place at = lower_require(l, op->in[0]);

    at.offset += op->attrs.first * sizeof(float);
    lower_set_stored(l, op->out, at);
}

void lower_mul_vec(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct mul_vec_args args = {.n = s.n, .hw = s.h * s.w, .c = s.c};
    struct place x = lower_contiguous(l, op->in[0]);
    struct place v = lower_require(l, op->in[1]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(mul_vec_args, x, x),
                                READ(mul_vec_args, v, v),
                                WRITE(mul_vec_args, y, y)};

    args.v_stride = v.ld;
    ADD_STEP(l, "mul_vec", mul_vec, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_add_rows(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct add_rows_args args = {.n = s.n, .m = n_floats(s) / s.n};
    struct place x = lower_contiguous(l, op->in[0]);
    struct place r = lower_contiguous(l, op->in[1]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(add_rows_args, x, x),
                                READ(add_rows_args, r, r),
                                WRITE(add_rows_args, y, y)};

    ADD_STEP(l, "add_rows", add_rows, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_grid_embed(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct grid_embed_args args = {
        .h = s.h, .w = s.w, .c = s.c, .extent = op->attrs.a};
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {WRITE(grid_embed_args, y, y)};

    ADD_STEP(l, "grid_embed", grid_embed, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_unpatch(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->in[0]);
    struct unpatch_args args = {
        .n = s.n,
        .h = s.h,
        .w = s.w,
        .c = shape_of(l, op->out).c,
        .patch = op->attrs.up,
    };
    struct place x = lower_contiguous(l, op->in[0]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(unpatch_args, x, x),
                                WRITE(unpatch_args, y, y)};

    ADD_STEP(l, "unpatch", unpatch, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_nearest(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct nearest_args args = {
        .rows = n_rows(s),
        .c = s.c,
        .n_codes = graph_param_at(l->g, op->param[0])->dims[0],
        .table = packs_param(l->packs, op->param[0]),
    };
    struct place x = lower_contiguous(l, op->in[0]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(nearest_args, x, x),
                                WRITE(nearest_args, y, y)};

    ADD_STEP(l, "nearest", nearest, args, 0, slots);
    lower_set_stored(l, op->out, y);
}
