/* train_forward.c - the forward half of a training plan.
 *
 * A convolution that absorbs what follows it is emitted at the place of the
 * last operation it absorbs: its own inputs are still there (they are read by
 * adjoints later), and the vector or residual may be made after it in the
 * graph's order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/train_lower.h"

#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/embed.h"
#include "ops/norm.h"
#include "ops/resample.h"

/* -- joins --------------------------------------------------------------- */

/* The one operation of `kind` that reads v, if nothing else does. */
static uint32_t only_user(const struct train_lowering *l, value_id v,
                          enum op_kind kind)
{
    uint32_t user = l->users[v];
    if (graph_value_at(l->g, v)->n_uses != 1 || user == NO_OP)
        return NO_OP;
    return graph_op_at(l->g, user)->kind == kind ? user : NO_OP;
}

static value_id absorb(struct train_lowering *l, uint32_t op)
{
    l->notes[op].is_absorbed = true;
    return graph_op_at(l->g, op)->out;
}

static void join_norm(struct train_lowering *l, uint32_t at)
{
    struct op_note *n = &l->notes[at];
    uint32_t next = only_user(l, n->out, OP_SCALE_SHIFT);
    if (next != NO_OP && graph_op_at(l->g, next)->in[0] == n->out) {
        n->scale_shift = next;
        n->out = absorb(l, next);
    }
    next = only_user(l, n->out, OP_ACT);
    if (next != NO_OP) {
        n->act = next;
        n->out = absorb(l, next);
    }
    /* Emitted where the last joined operation stands: the scale-shift vector
     * may be made between. */
    n->absorber = n->act != NO_OP           ? n->act
                  : n->scale_shift != NO_OP ? n->scale_shift
                                            : at;
}

static void join_conv(struct train_lowering *l, uint32_t at)
{
    struct op_note *n = &l->notes[at];
    uint32_t next = only_user(l, n->out, OP_ADD_VEC);
    n->absorber = at;
    if (next != NO_OP && graph_op_at(l->g, next)->in[0] == n->out) {
        n->add_vec = n->absorber = next;
        n->out = absorb(l, next);
    }
    next = only_user(l, n->out, OP_ADD);
    if (next != NO_OP && !l->notes[next].is_absorbed) {
        n->add = n->absorber = next;
        n->out = absorb(l, next);
    }
}

void train_find_joins(struct train_lowering *l)
{
    for (uint32_t i = 0; i < graph_n_ops(l->g); i++)
        l->notes[i] = (struct op_note){
            .absorber = i,
            .scale_shift = NO_OP,
            .act = NO_OP,
            .add_vec = NO_OP,
            .add = NO_OP,
            .out = graph_op_at(l->g, i)->out,
            .mean = PLAN_NO_BUFFER,
            .rstd = PLAN_NO_BUFFER,
            .lse = PLAN_NO_BUFFER,
        };
    for (uint32_t i = 0; i < graph_n_ops(l->g); i++) {
        const struct graph_op *op = graph_op_at(l->g, i);

        if (op->kind == OP_GROUP_NORM)
            join_norm(l, i);
        else if (graph_is_product(op))
            join_conv(l, i);
    }
}

/* -- emitting ------------------------------------------------------------ */

static struct shape shape_of(const struct train_lowering *l, value_id v)
{
    return graph_shape(l->g, v);
}

static buffer_id new_value(struct train_lowering *l, value_id v)
{
    return l->values[v] =
               plan_buffer(l->b, shape_floats(shape_of(l, v)) * sizeof(float));
}

static const float *param(const struct train_lowering *l, param_id p)
{
    return p == GRAPH_NO_PARAM ? NULL : l->params->p + l->params->offset[p];
}

/* Linear layers are 1x1 convolutions; vectors stand as one row of n. */
struct conv2d_shape train_conv_shape(const struct graph *g,
                                     const struct graph_op *op)
{
    struct shape x = graph_shape(g, op->in[0]), y = graph_shape(g, op->out);
    struct conv2d_shape s = {.n = x.n,
                             .h = x.h,
                             .w = x.w,
                             .c0 = x.c,
                             .up_h = x.h,
                             .up_w = x.w,
                             .cout = y.c,
                             .kh = 1,
                             .kw = 1,
                             .stride = 1,
                             .oh = y.h,
                             .ow = y.w};
    if (op->kind == OP_CONV2D) {
        s.kh = op->attrs.kh;
        s.kw = op->attrs.kw;
        s.stride = op->attrs.stride;
        s.pad_t = op->attrs.pad_t;
        s.pad_l = op->attrs.pad_l;
    } else if (x.h == 1 && x.w == 1) {
        s.n = 1;
        s.w = s.up_w = s.ow = x.n;
    }
    return s;
}

struct attention_args train_attention_args(const struct graph *g,
                                           const struct graph_op *op)
{
    struct shape q = graph_shape(g, op->in[0]), k = graph_shape(g, op->in[1]);
    struct shape v = graph_shape(g, op->in[2]);
    return (struct attention_args){.n = q.n,
                                   .heads = op->attrs.heads,
                                   .d = q.c / op->attrs.heads,
                                   .len_q = q.h * q.w,
                                   .len_k = k.h * k.w,
                                   .ldq = q.c,
                                   .ldk = k.c,
                                   .ldv = v.c,
                                   .ldo = v.c,
                                   .scale = op->attrs.scale};
}

struct fir_args train_fir_args(const struct graph *g, const struct graph_op *op)
{
    struct shape x = graph_shape(g, op->in[0]), y = graph_shape(g, op->out);
    struct fir_args a = {.n = x.n,
                         .h = x.h,
                         .w = x.w,
                         .c = x.c,
                         .oh = y.h,
                         .ow = y.w,
                         .up = op->attrs.up,
                         .down = op->attrs.down,
                         .n_taps = op->attrs.n_taps,
                         .pad0 = op->attrs.pad0,
                         .pad1 = op->attrs.pad1};
    for (int i = 0; i < 8; i++)
        a.taps[i] = op->attrs.taps[i];
    return a;
}

static void emit_conv(struct train_lowering *l, const struct graph_op *op)
{
    const struct op_note *n = train_note_of(l, op);
    struct conv2d_shape s = train_conv_shape(l->g, op);
    buffer_id vec = PLAN_NO_BUFFER, res = PLAN_NO_BUFFER;
    if (n->add_vec != NO_OP)
        vec = l->values[graph_op_at(l->g, n->add_vec)->in[1]];
    if (n->add != NO_OP) {
        const struct graph_op *add = graph_op_at(l->g, n->add);
        value_id own =
            n->add_vec == NO_OP ? op->out : graph_op_at(l->g, n->add_vec)->out;
        res = l->values[add->in[add->in[0] == own]];
    }
    struct conv2d_args a = {.s = s,
                            .out_scale = 1,
                            .vec_stride = s.cout,
                            .w = l->packs->forward[op->param[0]],
                            .bias = param(l, op->param[1])};
    struct plan_slot slots[] = {
        SLOT(conv2d_args, x0, l->values[op->in[0]], PLAN_READ),
        SLOT(conv2d_args, vec, vec, PLAN_READ),
        SLOT(conv2d_args, res, res, PLAN_READ),
        SLOT(conv2d_args, y, new_value(l, n->out), PLAN_WRITE),
    };
    plan_add(l->b, graph_param_at(l->g, op->param[0])->name, conv2d_run, &a,
             sizeof a, conv2d_scratch(l->table, l->n_threads, &s), slots,
             ARRAY_LEN(slots));
}

static void emit_norm(struct train_lowering *l, const struct graph_op *op)
{
    struct op_note *n = train_note_of(l, op);
    struct shape x = shape_of(l, op->in[0]);
    buffer_id e = PLAN_NO_BUFFER;
    if (n->scale_shift != NO_OP)
        e = l->values[graph_op_at(l->g, n->scale_shift)->in[1]];
    size_t groups_bytes = (size_t)x.n * op->attrs.groups * sizeof(float);
    size_t c_bytes = (size_t)x.n * x.c * sizeof(float);
    buffer_id scale = plan_buffer(l->b, c_bytes);
    buffer_id shift = plan_buffer(l->b, c_bytes);
    n->mean = plan_buffer(l->b, groups_bytes);
    n->rstd = plan_buffer(l->b, groups_bytes);
    struct group_norm_stats_args stats = {.n = x.n,
                                          .hw = x.h * x.w,
                                          .c0 = x.c,
                                          .groups = op->attrs.groups,
                                          .e_stride = 2 * x.c,
                                          .eps = op->attrs.eps,
                                          .gamma = param(l, op->param[0]),
                                          .beta = param(l, op->param[1])};
    struct plan_slot stats_slots[] = {
        SLOT(group_norm_stats_args, x0, l->values[op->in[0]], PLAN_READ),
        SLOT(group_norm_stats_args, e, e, PLAN_READ),
        SLOT(group_norm_stats_args, scale, scale, PLAN_WRITE),
        SLOT(group_norm_stats_args, shift, shift, PLAN_WRITE),
        SLOT(group_norm_stats_args, mean, n->mean, PLAN_WRITE),
        SLOT(group_norm_stats_args, rstd, n->rstd, PLAN_WRITE),
    };
    plan_add(
        l->b, graph_param_at(l->g, op->param[0])->name, group_norm_stats,
        &stats, sizeof stats,
        group_norm_stats_scratch(l->table, l->n_threads, x.n, x.h * x.w, x.c),
        stats_slots, ARRAY_LEN(stats_slots));
    struct affine_act_args apply = {
        .n = x.n,
        .hw = x.h * x.w,
        .c = x.c,
        .act =
            n->act == NO_OP ? ACT_NONE : graph_op_at(l->g, n->act)->attrs.act};
    struct plan_slot apply_slots[] = {
        SLOT(affine_act_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(affine_act_args, scale, scale, PLAN_READ),
        SLOT(affine_act_args, shift, shift, PLAN_READ),
        SLOT(affine_act_args, y, new_value(l, n->out), PLAN_WRITE),
    };
    plan_add(l->b, "norm apply", affine_act, &apply, sizeof apply, 0,
             apply_slots, ARRAY_LEN(apply_slots));
}

static void emit_act(struct train_lowering *l, const struct graph_op *op)
{
    /* One image of everything: there is no scale a channel. */
    struct shape x = shape_of(l, op->in[0]);
    struct affine_act_args a = {
        .n = x.n, .hw = x.h * x.w, .c = x.c, .act = op->attrs.act};
    struct plan_slot slots[] = {
        SLOT(affine_act_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(affine_act_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, "act", affine_act, &a, sizeof a, 0, slots, ARRAY_LEN(slots));
}

static void emit_axpby(struct train_lowering *l, const struct graph_op *op)
{
    bool is_add = op->kind == OP_ADD;
    struct axpby_args a = {.n = shape_floats(shape_of(l, op->out)),
                           .a = is_add ? 1 : op->attrs.a,
                           .b = is_add ? 1 : 0,
                           .c = is_add ? 0 : op->attrs.b};
    struct plan_slot slots[] = {
        SLOT(axpby_args, x0, l->values[op->in[0]], PLAN_READ),
        SLOT(axpby_args, x1, is_add ? l->values[op->in[1]] : PLAN_NO_BUFFER,
             PLAN_READ),
        SLOT(axpby_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, is_add ? "add" : "affine", axpby, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

static void emit_add_vec(struct train_lowering *l, const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]);
    struct add_vec_args a = {
        .n = x.n, .hw = x.h * x.w, .c = x.c, .v_stride = x.c};
    struct plan_slot slots[] = {
        SLOT(add_vec_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(add_vec_args, v, l->values[op->in[1]], PLAN_READ),
        SLOT(add_vec_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, "add vec", add_vec, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

static void emit_scale_shift(struct train_lowering *l,
                             const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]);
    struct scale_shift_args a = {
        .n = x.n, .hw = x.h * x.w, .c = x.c, .e_stride = 2 * x.c};
    struct plan_slot slots[] = {
        SLOT(scale_shift_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(scale_shift_args, e, l->values[op->in[1]], PLAN_READ),
        SLOT(scale_shift_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, "scale shift", scale_shift, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

static void emit_concat(struct train_lowering *l, const struct graph_op *op)
{
    struct shape y = shape_of(l, op->out);
    buffer_id out = new_value(l, op->out);
    uint32_t at = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t c = shape_of(l, op->in[i]).c;
        struct copy_columns_args a = {.rows = (size_t)y.n * y.h * y.w,
                                      .c = c,
                                      .src_c = c,
                                      .dst_c = y.c,
                                      .dst_c0 = at};
        struct plan_slot slots[] = {
            SLOT(copy_columns_args, src, l->values[op->in[i]], PLAN_READ),
            SLOT(copy_columns_args, dst, out, PLAN_WRITE),
        };
        plan_add(l->b, "concat", copy_columns, &a, sizeof a, 0, slots,
                 ARRAY_LEN(slots));
        at += c;
    }
}

static void emit_resample(struct train_lowering *l, const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]), y = shape_of(l, op->out);
    buffer_id in = l->values[op->in[0]], out = new_value(l, op->out);
    if (op->kind == OP_UPSAMPLE) {
        struct upsample_nearest_args a = {
            .n = x.n, .h = x.h, .w = x.w, .c = x.c, .oh = y.h, .ow = y.w};
        struct plan_slot slots[] = {
            SLOT(upsample_nearest_args, x, in, PLAN_READ),
            SLOT(upsample_nearest_args, y, out, PLAN_WRITE)};
        plan_add(l->b, "upsample", upsample_nearest, &a, sizeof a, 0, slots, 2);
    } else if (op->kind == OP_AVG_POOL2) {
        struct avg_pool2_args a = {.n = x.n, .h = x.h, .w = x.w, .c = x.c};
        struct plan_slot slots[] = {SLOT(avg_pool2_args, x, in, PLAN_READ),
                                    SLOT(avg_pool2_args, y, out, PLAN_WRITE)};
        plan_add(l->b, "avg pool", avg_pool2, &a, sizeof a, 0, slots, 2);
    } else {
        struct fir_args a = train_fir_args(l->g, op);
        struct plan_slot slots[] = {SLOT(fir_args, x, in, PLAN_READ),
                                    SLOT(fir_args, y, out, PLAN_WRITE)};
        plan_add(l->b, "fir", fir_run, &a, sizeof a, 0, slots, 2);
    }
}

static void emit_attention(struct train_lowering *l, const struct graph_op *op)
{
    struct op_note *n = train_note_of(l, op);
    struct attention_args a = train_attention_args(l->g, op);
    n->lse = plan_buffer(l->b, (size_t)a.n * a.heads * a.len_q * sizeof(float));
    struct plan_slot slots[] = {
        SLOT(attention_args, q, l->values[op->in[0]], PLAN_READ),
        SLOT(attention_args, k, l->values[op->in[1]], PLAN_READ),
        SLOT(attention_args, v, l->values[op->in[2]], PLAN_READ),
        SLOT(attention_args, o, new_value(l, op->out), PLAN_WRITE),
        SLOT(attention_args, lse, n->lse, PLAN_WRITE),
    };
    plan_add(l->b, "attention", attention_run, &a, sizeof a,
             attention_scratch(l->table, l->n_threads, &a), slots,
             ARRAY_LEN(slots));
}

static void emit_time_embed(struct train_lowering *l, const struct graph_op *op)
{
    struct time_embed_args a = {.n = shape_of(l, op->in[0]).n,
                                .dim = shape_of(l, op->out).c,
                                .is_cos_first = op->attrs.is_cos_first,
                                .freq_shift = op->attrs.freq_shift,
                                .scale = op->attrs.time_scale,
                                .max_period = op->attrs.max_period};
    struct plan_slot slots[] = {
        SLOT(time_embed_args, t, l->values[op->in[0]], PLAN_READ),
        SLOT(time_embed_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, "time embed", time_embed, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

static void emit_fourier(struct train_lowering *l, const struct graph_op *op)
{
    struct fourier_embed_args a = {.n = shape_of(l, op->in[0]).n,
                                   .m = shape_of(l, op->out).c / 2,
                                   .is_cos_first = op->attrs.is_cos_first,
                                   .is_log = op->attrs.is_log,
                                   .freq = param(l, op->param[0])};
    struct plan_slot slots[] = {
        SLOT(fourier_embed_args, sigma, l->values[op->in[0]], PLAN_READ),
        SLOT(fourier_embed_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, "fourier embed", fourier_embed, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

static void emit_lookup(struct train_lowering *l, const struct graph_op *op)
{
    struct lookup_args a = {.n = shape_of(l, op->in[0]).n,
                            .c = shape_of(l, op->out).c,
                            .rows = graph_param_at(l->g, op->param[0])->dims[0],
                            .table = param(l, op->param[0])};
    struct plan_slot slots[] = {
        SLOT(lookup_args, id, l->values[op->in[0]], PLAN_READ),
        SLOT(lookup_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, "lookup", lookup, &a, sizeof a, 0, slots, ARRAY_LEN(slots));
}

static void emit_reshape(struct train_lowering *l, const struct graph_op *op)
{
    l->values[op->out] = l->values[op->in[0]];
}

static void emit_div_vec(struct train_lowering *l, const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]);
    struct div_vec_args a = {.n = x.n, .m = (size_t)x.h * x.w * x.c};
    struct plan_slot slots[] = {
        SLOT(div_vec_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(div_vec_args, v, l->values[op->in[1]], PLAN_READ),
        SLOT(div_vec_args, y, new_value(l, op->out), PLAN_WRITE),
    };
    plan_add(l->b, "div vec", div_vec, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

/* What becomes of operations that nothing absorbed, or whose turn has come;
 * inputs are bound before. */
static void (*const kinds[OP_COUNT])(struct train_lowering *l,
                                     const struct graph_op *op) = {
    [OP_CONV2D] = emit_conv,
    [OP_LINEAR] = emit_conv,
    [OP_GROUP_NORM] = emit_norm,
    [OP_ACT] = emit_act,
    [OP_ADD] = emit_axpby,
    [OP_ADD_VEC] = emit_add_vec,
    [OP_SCALE_SHIFT] = emit_scale_shift,
    [OP_AFFINE] = emit_axpby,
    [OP_CONCAT] = emit_concat,
    [OP_UPSAMPLE] = emit_resample,
    [OP_AVG_POOL2] = emit_resample,
    [OP_FIR] = emit_resample,
    [OP_ATTENTION] = emit_attention,
    [OP_RESHAPE] = emit_reshape,
    [OP_TIME_EMBED] = emit_time_embed,
    [OP_FOURIER_EMBED] = emit_fourier,
    [OP_LOOKUP] = emit_lookup,
    [OP_DIV_VEC] = emit_div_vec,
};

static void emit(struct train_lowering *l, uint32_t at)
{
    const struct graph_op *op = graph_op_at(l->g, at);

    if (kinds[op->kind])
        kinds[op->kind](l, op);
}

/* The operation that is emitted at place i: a late one, i itself, or none. */
static uint32_t due_at(const struct train_lowering *l, const uint32_t *late,
                       uint32_t i)
{
    if (late[i] != NO_OP)
        return late[i];
    return l->notes[i].is_absorbed || l->notes[i].absorber != i ? NO_OP : i;
}

void train_lower_forward(struct train_lowering *l)
{
    uint32_t n = (uint32_t)graph_n_ops(l->g);
    /* users[] has served its purpose in train_find_joins(); one entry a value
     * is one entry an operation, and it holds the late ones from here on. */
    uint32_t *late = l->users;
    for (uint32_t i = 0; i < n; i++)
        late[i] = NO_OP;
    for (uint32_t i = 0; i < n; i++)
        if (l->notes[i].absorber != i)
            late[l->notes[i].absorber] = i;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = due_at(l, late, i);
        if (at != NO_OP)
            emit(l, at);
    }
}
