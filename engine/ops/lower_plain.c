/* lower_plain.c - operations that stand alone: one step each.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/lower_parts.h"

#include <string.h>

#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/embed.h"
#include "ops/resample.h"

void lower_sum(struct lowering *l, const struct graph_op *op)
{
    struct axpby_args args = {
        .n = n_floats(shape_of(l, op->out)),
        .a = op->kind == OP_AFFINE ? op->attrs.a : 1,
        .b = 1,
        .c = op->kind == OP_AFFINE ? op->attrs.b : 0,
    };
    struct place x0 = lower_contiguous(l, op->in[0]), x1 = NOWHERE, y;

    if (op->kind == OP_ADD)
        x1 = lower_contiguous(l, op->in[1]);
    y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(axpby_args, x0, x0),
                                READ(axpby_args, x1, x1),
                                WRITE(axpby_args, y, y)};
    ADD_STEP(l, op->kind == OP_ADD ? "add" : "affine", axpby, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_add_vec(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct add_vec_args args = {.n = s.n, .hw = s.h * s.w, .c = s.c};
    struct place x = lower_contiguous(l, op->in[0]);
    struct place v = lower_require(l, op->in[1]);
    struct place y = lower_new_place(l, op->out);

    args.v_stride = v.ld;
    struct plan_slot slots[] = {READ(add_vec_args, x, x),
                                READ(add_vec_args, v, v),
                                WRITE(add_vec_args, y, y)};
    ADD_STEP(l, "add_vec", add_vec, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_div_vec(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct div_vec_args args = {.n = s.n, .m = n_floats(s) / s.n};
    struct place x = lower_contiguous(l, op->in[0]);
    struct place v = lower_contiguous(l, op->in[1]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(div_vec_args, x, x),
                                READ(div_vec_args, v, v),
                                WRITE(div_vec_args, y, y)};

    ADD_STEP(l, "div_vec", div_vec, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_avg_pool2(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->in[0]);
    struct avg_pool2_args args = {.n = s.n, .h = s.h, .w = s.w, .c = s.c};
    struct place x = lower_contiguous(l, op->in[0]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(avg_pool2_args, x, x),
                                WRITE(avg_pool2_args, y, y)};

    ADD_STEP(l, "avg_pool2", avg_pool2, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_fir(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->in[0]), out = shape_of(l, op->out);
    struct fir_args args = {
        .n = s.n,
        .h = s.h,
        .w = s.w,
        .c = s.c,
        .oh = out.h,
        .ow = out.w,
        .up = op->attrs.up,
        .down = op->attrs.down,
        .n_taps = op->attrs.n_taps,
        .pad0 = op->attrs.pad0,
        .pad1 = op->attrs.pad1,
    };
    struct place x = lower_contiguous(l, op->in[0]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(fir_args, x, x), WRITE(fir_args, y, y)};

    memcpy(args.taps, op->attrs.taps, sizeof args.taps);
    ADD_STEP(l, "fir", fir_run, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_attention(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->in[0]), t = shape_of(l, op->in[1]);
    struct place q = lower_require(l, op->in[0]),
                 k = lower_require(l, op->in[1]);
    struct place v = lower_require(l, op->in[2]),
                 o = lower_new_place(l, op->out);
    struct attention_args args = {
        .n = s.n,
        .heads = op->attrs.heads,
        .d = s.c / op->attrs.heads,
        .len_q = s.w,
        .len_k = t.w,
        .ldq = q.ld,
        .ldk = k.ld,
        .ldv = v.ld,
        .ldo = o.ld,
        .scale = op->attrs.scale,
        .is_causal = op->attrs.is_causal,
    };
    struct plan_slot slots[] = {
        READ(attention_args, q, q), READ(attention_args, k, k),
        READ(attention_args, v, v), WRITE(attention_args, o, o)};

    ADD_STEP(l, "attention", attention_run, args,
             attention_scratch(l->k, l->n_threads, &args), slots);
    plan_tell(l->b, s.w == t.w ? "attention" : "cross attention",
              4.0 * s.n * s.c * s.w * t.w);
    lower_set_stored(l, op->out, o);
}

void lower_time_embed(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct time_embed_args args = {
        .n = s.n,
        .dim = s.c,
        .is_cos_first = op->attrs.is_cos_first,
        .freq_shift = op->attrs.freq_shift,
        .scale = op->attrs.time_scale,
        .max_period = op->attrs.max_period,
    };
    struct place t = lower_contiguous(l, op->in[0]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(time_embed_args, t, t),
                                WRITE(time_embed_args, y, y)};

    ADD_STEP(l, "time_embed", time_embed, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_fourier(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct fourier_embed_args args = {
        .n = s.n,
        .m = s.c / 2,
        .is_cos_first = op->attrs.is_cos_first,
        .is_log = op->attrs.is_log,
        .freq = packs_param(l->packs, op->param[0]),
    };
    struct place t = lower_contiguous(l, op->in[0]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(fourier_embed_args, sigma, t),
                                WRITE(fourier_embed_args, y, y)};

    ADD_STEP(l, "fourier_embed", fourier_embed, args, 0, slots);
    lower_set_stored(l, op->out, y);
}

void lower_lookup(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct lookup_args args = {
        .n = (uint32_t)n_rows(s),
        .c = s.c,
        .rows = graph_param_at(l->g, op->param[0])->dims[0],
        .table = packs_param(l->packs, op->param[0]),
    };
    struct place id = lower_contiguous(l, op->in[0]);
    struct place y = lower_new_place(l, op->out);
    struct plan_slot slots[] = {READ(lookup_args, id, id),
                                WRITE(lookup_args, y, y)};

    ADD_STEP(l, "lookup", lookup, args, 0, slots);
    lower_set_stored(l, op->out, y);
}
