/* adjoint.c - the backward half of a training plan, and its assembly.
 *
 * Operations are walked in reverse.  When an operation's turn comes, every
 * reader of its output has been there, so the output's gradient is whole.
 * Joined norms are handled at the place of the last operation they absorbed;
 * joined sums at their own place: they only hand the gradient on.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/adjoint.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/embed.h"
#include "ops/norm.h"
#include "ops/resample.h"
#include "ops/optim.h"
#include "train/bit_loss.h"
#include "train/train_lower.h"

#define NAME_BYTES 200

static struct shape shape_of(const struct train_lowering *l, value_id v)
{
    return graph_shape(l->g, v);
}

static size_t bytes_of(const struct train_lowering *l, value_id v)
{
    return shape_floats(shape_of(l, v)) * sizeof(float);
}

/* -- gradients as shared buffers ----------------------------------------- */

static bool has_grad(const struct train_lowering *l, value_id v)
{
    return l->grads[v].buffer != PLAN_NO_BUFFER;
}

static void grad_start(struct train_lowering *l, value_id v, buffer_id buffer)
{
    if (l->status == UNSTIR_OK)
        l->status = alloc_grow(&l->shares, &l->groups_capacity, l->n_groups + 1,
                               sizeof *l->shares, l->err);
    if (l->status != UNSTIR_OK)
        return;
    l->grads[v] = (struct grad){buffer, (uint32_t)l->n_groups};
    l->shares[l->n_groups++] = 1;
}

static void grad_release(struct train_lowering *l, value_id v)
{
    if (has_grad(l, v) && l->status == UNSTIR_OK)
        l->shares[l->grads[v].group]--;
}

static void add_buffers(struct train_lowering *l, value_id v, buffer_id x0,
                        buffer_id x1, buffer_id y, float a)
{
    struct axpby_args args = {
        .n = shape_floats(shape_of(l, v)), .a = a, .b = 1};
    struct plan_slot slots[] = {
        SLOT(axpby_args, x0, x0, PLAN_READ),
        SLOT(axpby_args, x1, x1, PLAN_READ),
        SLOT(axpby_args, y, y, PLAN_WRITE),
    };
    plan_add(l->b, "add gradient", axpby, &args, sizeof args, 0, slots,
             ARRAY_LEN(slots));
}

/* A buffer that v's gradient may be written to (first time) or added to. */
static buffer_id grad_target(struct train_lowering *l, value_id v,
                             bool *is_accumulating)
{
    *is_accumulating = has_grad(l, v);
    if (!has_grad(l, v)) {
        grad_start(l, v, plan_buffer(l->b, bytes_of(l, v)));
    } else if (l->status == UNSTIR_OK && l->shares[l->grads[v].group] > 1) {
        buffer_id old = l->grads[v].buffer;
        buffer_id own = plan_buffer(l->b, bytes_of(l, v));
        add_buffers(l, v, old, PLAN_NO_BUFFER, own, 1);
        l->shares[l->grads[v].group]--;
        grad_start(l, v, own);
    }
    return l->grads[v].buffer;
}

/* `to` gets `from`'s gradient as it is: shared if it has none yet. */
static void grad_hand_on(struct train_lowering *l, value_id from, value_id to)
{
    bool is_accumulating;
    if (!l->needs_grad[to] || l->status != UNSTIR_OK)
        return;
    if (!has_grad(l, to)) {
        l->grads[to] = l->grads[from];
        l->shares[l->grads[to].group]++;
        return;
    }
    buffer_id y = grad_target(l, to, &is_accumulating);
    add_buffers(l, to, l->grads[from].buffer, y, y, 1);
}

/* For operations that can only write: a buffer now, the sum afterwards. */
static buffer_id grad_plain(struct train_lowering *l, value_id v)
{
    buffer_id b = plan_buffer(l->b, bytes_of(l, v));
    if (l->needs_grad[v] && !has_grad(l, v))
        grad_start(l, v, b);
    return b;
}

static void grad_plain_end(struct train_lowering *l, value_id v, buffer_id b)
{
    bool is_accumulating;
    if (!l->needs_grad[v] || l->grads[v].buffer == b)
        return;
    buffer_id y = grad_target(l, v, &is_accumulating);
    add_buffers(l, v, b, y, y, 1);
}

/* -- adjoints of operations ---------------------------------------------- */

static const float *param(const struct train_lowering *l, param_id p)
{
    return p == GRAPH_NO_PARAM ? NULL : l->params->p + l->params->offset[p];
}

static float *param_grad(const struct train_lowering *l, param_id p)
{
    return p == GRAPH_NO_PARAM ? NULL : l->params->g + l->params->offset[p];
}

/* "conv_in.weight" + " dw" */
static const char *name_of(char *out, const struct train_lowering *l,
                           param_id p, const char *tail)
{
    snprintf(out, NAME_BYTES, "%s%s", graph_param_at(l->g, p)->name, tail);
    return out;
}

static void adjoint_conv(struct train_lowering *l, const struct graph_op *op)
{
    char name[NAME_BYTES];
    struct conv2d_shape s = train_conv_shape(l->g, op);
    buffer_id dy = l->grads[op->out].buffer;
    struct conv2d_bwd_weights_args w = {.s = s,
                                        .dw = param_grad(l, op->param[0]),
                                        .dbias = param_grad(l, op->param[1])};
    struct plan_slot w_slots[] = {
        SLOT(conv2d_bwd_weights_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(conv2d_bwd_weights_args, dy, dy, PLAN_READ),
    };
    plan_add(l->b, name_of(name, l, op->param[0], " dw"), conv2d_bwd_weights,
             &w, sizeof w,
             conv2d_bwd_weights_scratch(l->table, l->n_threads, &s), w_slots,
             ARRAY_LEN(w_slots));
    if (!l->needs_grad[op->in[0]])
        return;
    struct conv2d_bwd_data_args d = {.s = s,
                                     .w = l->packs->adjoint[op->param[0]]};
    buffer_id dx = grad_target(l, op->in[0], &d.is_accumulating);
    struct plan_slot d_slots[] = {
        SLOT(conv2d_bwd_data_args, dy, dy, PLAN_READ),
        SLOT(conv2d_bwd_data_args, dx, dx,
             d.is_accumulating ? PLAN_READ_WRITE : PLAN_WRITE),
    };
    plan_add(l->b, name_of(name, l, op->param[0], " dx"), conv2d_bwd_data, &d,
             sizeof d, conv2d_bwd_data_scratch(l->table, l->n_threads, &s),
             d_slots, ARRAY_LEN(d_slots));
}

static void adjoint_norm(struct train_lowering *l, const struct graph_op *op)
{
    char name[NAME_BYTES];
    const struct op_note *n = train_note_of(l, op);
    struct shape x = shape_of(l, op->in[0]);
    buffer_id e = PLAN_NO_BUFFER, de = PLAN_NO_BUFFER;
    value_id e_value = GRAPH_NO_VALUE;
    if (n->scale_shift != NO_OP) {
        e_value = graph_op_at(l->g, n->scale_shift)->in[1];
        e = l->values[e_value];
        de = grad_plain(l, e_value);
    }
    struct group_norm_bwd_args a = {
        .n = x.n,
        .hw = x.h * x.w,
        .c = x.c,
        .groups = op->attrs.groups,
        .e_stride = 2 * x.c,
        .de_stride = 2 * x.c,
        .act =
            n->act == NO_OP ? ACT_NONE : graph_op_at(l->g, n->act)->attrs.act,
        .gamma = param(l, op->param[0]),
        .beta = param(l, op->param[1]),
        .dgamma = param_grad(l, op->param[0]),
        .dbeta = param_grad(l, op->param[1])};
    buffer_id dx = grad_target(l, op->in[0], &a.is_accumulating);
    struct plan_slot slots[] = {
        SLOT(group_norm_bwd_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(group_norm_bwd_args, dy, l->grads[n->out].buffer, PLAN_READ),
        SLOT(group_norm_bwd_args, mean, n->mean, PLAN_READ),
        SLOT(group_norm_bwd_args, rstd, n->rstd, PLAN_READ),
        SLOT(group_norm_bwd_args, e, e, PLAN_READ),
        SLOT(group_norm_bwd_args, de, de, PLAN_WRITE),
        SLOT(group_norm_bwd_args, dx, dx,
             a.is_accumulating ? PLAN_READ_WRITE : PLAN_WRITE),
    };
    plan_add(
        l->b, name_of(name, l, op->param[0], " dx"), group_norm_bwd, &a,
        sizeof a,
        group_norm_bwd_scratch(l->table, l->n_threads, x.n, x.h * x.w, x.c),
        slots, ARRAY_LEN(slots));
    if (e_value != GRAPH_NO_VALUE)
        grad_plain_end(l, e_value, de);
}

static void adjoint_act(struct train_lowering *l, const struct graph_op *op)
{
    struct act_bwd_args a = {.n = shape_floats(shape_of(l, op->out)),
                             .act = op->attrs.act};
    buffer_id dx = grad_target(l, op->in[0], &a.is_accumulating);
    struct plan_slot slots[] = {
        SLOT(act_bwd_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(act_bwd_args, dy, l->grads[op->out].buffer, PLAN_READ),
        SLOT(act_bwd_args, dx, dx,
             a.is_accumulating ? PLAN_READ_WRITE : PLAN_WRITE),
    };
    plan_add(l->b, "act dx", act_bwd, &a, sizeof a, 0, slots, ARRAY_LEN(slots));
}

static void adjoint_add_vec(struct train_lowering *l, const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]);
    struct add_vec_bwd_args a = {
        .n = x.n, .hw = x.h * x.w, .c = x.c, .dv_stride = x.c};
    grad_hand_on(l, op->out, op->in[0]);
    if (!l->needs_grad[op->in[1]])
        return;
    buffer_id dv = grad_target(l, op->in[1], &a.is_accumulating);
    struct plan_slot slots[] = {
        SLOT(add_vec_bwd_args, dy, l->grads[op->out].buffer, PLAN_READ),
        SLOT(add_vec_bwd_args, dv, dv,
             a.is_accumulating ? PLAN_READ_WRITE : PLAN_WRITE),
    };
    plan_add(l->b, "add vec dv", add_vec_bwd, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

static void adjoint_scale_shift(struct train_lowering *l,
                                const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]);
    struct scale_shift_bwd_args a = {.n = x.n,
                                     .hw = x.h * x.w,
                                     .c = x.c,
                                     .e_stride = 2 * x.c,
                                     .de_stride = 2 * x.c};
    buffer_id de = grad_plain(l, op->in[1]);
    buffer_id dx = grad_target(l, op->in[0], &a.is_accumulating);
    struct plan_slot slots[] = {
        SLOT(scale_shift_bwd_args, x, l->values[op->in[0]], PLAN_READ),
        SLOT(scale_shift_bwd_args, e, l->values[op->in[1]], PLAN_READ),
        SLOT(scale_shift_bwd_args, dy, l->grads[op->out].buffer, PLAN_READ),
        SLOT(scale_shift_bwd_args, de, de, PLAN_WRITE),
        SLOT(scale_shift_bwd_args, dx, dx,
             a.is_accumulating ? PLAN_READ_WRITE : PLAN_WRITE),
    };
    plan_add(l->b, "scale shift dx", scale_shift_bwd, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
    grad_plain_end(l, op->in[1], de);
}

static void adjoint_affine(struct train_lowering *l, const struct graph_op *op)
{
    bool is_accumulating;
    buffer_id dx = grad_target(l, op->in[0], &is_accumulating);
    add_buffers(l, op->in[0], l->grads[op->out].buffer,
                is_accumulating ? dx : PLAN_NO_BUFFER, dx, op->attrs.a);
}

static void adjoint_concat(struct train_lowering *l, const struct graph_op *op)
{
    struct shape y = shape_of(l, op->out);
    uint32_t at = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t c = shape_of(l, op->in[i]).c;
        struct copy_columns_args a = {.rows = (size_t)y.n * y.h * y.w,
                                      .c = c,
                                      .src_c = y.c,
                                      .src_c0 = at,
                                      .dst_c = c};
        at += c;
        if (!l->needs_grad[op->in[i]])
            continue;
        buffer_id dx = grad_target(l, op->in[i], &a.is_accumulating);
        struct plan_slot slots[] = {
            SLOT(copy_columns_args, src, l->grads[op->out].buffer, PLAN_READ),
            SLOT(copy_columns_args, dst, dx,
                 a.is_accumulating ? PLAN_READ_WRITE : PLAN_WRITE),
        };
        plan_add(l->b, "concat dx", copy_columns, &a, sizeof a, 0, slots,
                 ARRAY_LEN(slots));
    }
}

/* Upsampling, pooling and FIR: one gradient in, one out. */
static void adjoint_resample(struct train_lowering *l,
                             const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]), y = shape_of(l, op->out);
    bool acc;
    buffer_id dx = grad_target(l, op->in[0], &acc);
    buffer_id dy = l->grads[op->out].buffer;
    enum plan_access how = acc ? PLAN_READ_WRITE : PLAN_WRITE;
    if (op->kind == OP_UPSAMPLE) {
        struct upsample_nearest_bwd_args a = {.n = x.n,
                                              .h = x.h,
                                              .w = x.w,
                                              .c = x.c,
                                              .oh = y.h,
                                              .ow = y.w,
                                              .is_accumulating = acc};
        struct plan_slot slots[] = {
            SLOT(upsample_nearest_bwd_args, dy, dy, PLAN_READ),
            SLOT(upsample_nearest_bwd_args, dx, dx, how)};
        plan_add(l->b, "upsample dx", upsample_nearest_bwd, &a, sizeof a, 0,
                 slots, 2);
    } else if (op->kind == OP_AVG_POOL2) {
        struct avg_pool2_bwd_args a = {
            .n = x.n, .h = x.h, .w = x.w, .c = x.c, .is_accumulating = acc};
        struct plan_slot slots[] = {SLOT(avg_pool2_bwd_args, dy, dy, PLAN_READ),
                                    SLOT(avg_pool2_bwd_args, dx, dx, how)};
        plan_add(l->b, "avg pool dx", avg_pool2_bwd, &a, sizeof a, 0, slots, 2);
    } else {
        struct fir_bwd_args a = {.fwd = train_fir_args(l->g, op),
                                 .is_accumulating = acc};
        struct plan_slot slots[] = {SLOT(fir_bwd_args, dy, dy, PLAN_READ),
                                    SLOT(fir_bwd_args, dx, dx, how)};
        plan_add(l->b, "fir dx", fir_bwd, &a, sizeof a, 0, slots, 2);
    }
}

static void adjoint_attention(struct train_lowering *l,
                              const struct graph_op *op)
{
    struct attention_bwd_args a = {.fwd = train_attention_args(l->g, op)};
    buffer_id d[3];
    for (int i = 0; i < 3; i++)
        d[i] = grad_plain(l, op->in[i]);
    struct plan_slot slots[] = {
        SLOT(attention_bwd_args, fwd.q, l->values[op->in[0]], PLAN_READ),
        SLOT(attention_bwd_args, fwd.k, l->values[op->in[1]], PLAN_READ),
        SLOT(attention_bwd_args, fwd.v, l->values[op->in[2]], PLAN_READ),
        SLOT(attention_bwd_args, fwd.o, l->values[op->out], PLAN_READ),
        SLOT(attention_bwd_args, fwd.lse, train_note_of(l, op)->lse, PLAN_READ),
        SLOT(attention_bwd_args, d_o, l->grads[op->out].buffer, PLAN_READ),
        SLOT(attention_bwd_args, dq, d[0], PLAN_WRITE),
        SLOT(attention_bwd_args, dk, d[1], PLAN_WRITE),
        SLOT(attention_bwd_args, dv, d[2], PLAN_WRITE),
    };
    plan_add(l->b, "attention dx", attention_bwd, &a, sizeof a,
             attention_bwd_scratch(l->table, l->n_threads, &a.fwd), slots,
             ARRAY_LEN(slots));
    for (int i = 0; i < 3; i++)
        grad_plain_end(l, op->in[i], d[i]);
}

static void adjoint_lookup(struct train_lowering *l, const struct graph_op *op)
{
    struct lookup_bwd_args a = {.n = shape_of(l, op->out).n,
                                .c = shape_of(l, op->out).c,
                                .rows =
                                    graph_param_at(l->g, op->param[0])->dims[0],
                                .dtable = param_grad(l, op->param[0])};
    struct plan_slot slots[] = {
        SLOT(lookup_bwd_args, id, l->values[op->in[0]], PLAN_READ),
        SLOT(lookup_bwd_args, dy, l->grads[op->out].buffer, PLAN_READ),
    };
    plan_add(l->b, "lookup dw", lookup_bwd, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
}

static void adjoint_div_vec(struct train_lowering *l, const struct graph_op *op)
{
    struct shape x = shape_of(l, op->in[0]);
    struct div_vec_args a = {.n = x.n, .m = (size_t)x.h * x.w * x.c};
    buffer_id dx = grad_plain(l, op->in[0]);
    struct plan_slot slots[] = {
        SLOT(div_vec_args, x, l->grads[op->out].buffer, PLAN_READ),
        SLOT(div_vec_args, v, l->values[op->in[1]], PLAN_READ),
        SLOT(div_vec_args, y, dx, PLAN_WRITE),
    };
    plan_add(l->b, "div vec dx", div_vec, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
    grad_plain_end(l, op->in[0], dx);
}

static void adjoint_add(struct train_lowering *l, const struct graph_op *op)
{
    grad_hand_on(l, op->out, op->in[0]);
    grad_hand_on(l, op->out, op->in[1]);
}

static void adjoint_reshape(struct train_lowering *l, const struct graph_op *op)
{
    grad_hand_on(l, op->out, op->in[0]);
}

/* Of operations whose output has a whole gradient.  Before inputs and their
 * embeddings nothing learns; the rest is refused
 * (check_operations()). */
static void (*const adjoints[OP_COUNT])(struct train_lowering *l,
                                        const struct graph_op *op) = {
    [OP_CONV2D] = adjoint_conv,
    [OP_LINEAR] = adjoint_conv,
    [OP_GROUP_NORM] = adjoint_norm,
    [OP_ACT] = adjoint_act,
    [OP_ADD] = adjoint_add,
    [OP_ADD_VEC] = adjoint_add_vec,
    [OP_SCALE_SHIFT] = adjoint_scale_shift,
    [OP_AFFINE] = adjoint_affine,
    [OP_CONCAT] = adjoint_concat,
    [OP_UPSAMPLE] = adjoint_resample,
    [OP_AVG_POOL2] = adjoint_resample,
    [OP_FIR] = adjoint_resample,
    [OP_ATTENTION] = adjoint_attention,
    [OP_RESHAPE] = adjoint_reshape,
    [OP_LOOKUP] = adjoint_lookup,
    [OP_DIV_VEC] = adjoint_div_vec,
};

/* Whose adjoint is due at place i of the walk back. */
static uint32_t due_at(const struct train_lowering *l, uint32_t i)
{
    uint32_t late = l->users[i]; /* see train_lower_forward() */
    bool is_norm = graph_op_at(l->g, i)->kind == OP_GROUP_NORM;
    if (late != NO_OP && graph_op_at(l->g, late)->kind == OP_GROUP_NORM)
        return late;
    if (is_norm && l->notes[i].absorber != i)
        return NO_OP;
    return i;
}

static value_id joined_out(const struct train_lowering *l, uint32_t at)
{
    const struct graph_op *op = graph_op_at(l->g, at);
    return op->kind == OP_GROUP_NORM ? l->notes[at].out : op->out;
}

static void lower_backward(struct train_lowering *l)
{
    for (uint32_t i = (uint32_t)graph_n_ops(l->g); i-- > 0;) {
        uint32_t at = due_at(l, i);
        if (at == NO_OP)
            continue;
        value_id out = joined_out(l, at);
        if (!l->needs_grad[out] || !has_grad(l, out))
            continue;
        const struct graph_op *op = graph_op_at(l->g, at);

        if (adjoints[op->kind])
            adjoints[op->kind](l, op);
        grad_release(l, out);
    }
}

/* -- assembly ------------------------------------------------------------ */

size_t train_loss_weights(enum train_loss loss)
{
    return loss == TRAIN_LOSS_BITS ? BIT_WEIGHTS : 1;
}

static void lower_bit_loss(struct train_lowering *l)
{
    value_id y = graph_output_at(l->g, 0), x = graph_input_at(l->g, 0);
    struct shape s = shape_of(l, y);
    struct bit_loss_args a = {.n = s.n, .m = (size_t)s.h * s.w * s.c};
    buffer_id dy = plan_buffer(l->b, bytes_of(l, y));
    struct plan_slot slots[] = {
        SLOT(bit_loss_args, y, l->values[y], PLAN_READ),
        SLOT(bit_loss_args, sample, l->values[x], PLAN_READ),
        SLOT(bit_loss_args, target, l->target, PLAN_READ),
        SLOT(bit_loss_args, weight, l->weight, PLAN_READ),
        SLOT(bit_loss_args, dy, dy, PLAN_WRITE),
        SLOT(bit_loss_args, loss, l->loss, PLAN_WRITE),
    };
    plan_add(l->b, "loss", bit_loss, &a, sizeof a, 0, slots, ARRAY_LEN(slots));
    grad_start(l, y, dy);
}

static void lower_squared_error(struct train_lowering *l)
{
    value_id y = graph_output_at(l->g, 0);
    struct shape s = shape_of(l, y);
    struct squared_error_args a = {.n = s.n, .m = (size_t)s.h * s.w * s.c};
    buffer_id dy = plan_buffer(l->b, bytes_of(l, y));
    struct plan_slot slots[] = {
        SLOT(squared_error_args, y, l->values[y], PLAN_READ),
        SLOT(squared_error_args, target, l->target, PLAN_READ),
        SLOT(squared_error_args, weight, l->weight, PLAN_READ),
        SLOT(squared_error_args, dy, dy, PLAN_WRITE),
        SLOT(squared_error_args, loss, l->loss, PLAN_WRITE),
    };
    plan_add(l->b, "loss", squared_error, &a, sizeof a, 0, slots,
             ARRAY_LEN(slots));
    grad_start(l, y, dy);
}

/* Who reads each value last, and which values depend on a parameter. */
static void survey(struct train_lowering *l)
{
    for (uint32_t i = 0; i < graph_n_values(l->g); i++) {
        l->values[i] = PLAN_NO_BUFFER;
        l->grads[i].buffer = PLAN_NO_BUFFER;
        l->users[i] = NO_OP;
    }
    for (uint32_t i = 0; i < graph_n_ops(l->g); i++) {
        const struct graph_op *op = graph_op_at(l->g, i);
        bool needs =
            op->param[0] != GRAPH_NO_PARAM && op->kind != OP_FOURIER_EMBED;
        for (uint32_t j = 0; j < op->n_in; j++) {
            l->users[op->in[j]] = i;
            needs = needs || l->needs_grad[op->in[j]];
        }
        l->needs_grad[op->out] = needs;
    }
}

static enum unstir_status lowering_init(struct train_lowering *l)
{
    size_t n_ops = graph_n_ops(l->g), n = graph_n_values(l->g);
    n = n > n_ops ? n : n_ops;
    TRY(alloc_zero(&l->notes, n_ops, sizeof *l->notes, l->err));
    TRY(alloc_zero(&l->values, n, sizeof *l->values, l->err));
    TRY(alloc_zero(&l->users, n, sizeof *l->users, l->err));
    TRY(alloc_zero(&l->needs_grad, n, sizeof *l->needs_grad, l->err));
    TRY(alloc_zero(&l->grads, n, sizeof *l->grads, l->err));
    return plan_builder_new(&l->b, l->table, l->n_threads, l->err);
}

static void lowering_fini(struct train_lowering *l)
{
    plan_builder_free(l->b);
    alloc_free(l->notes);
    alloc_free(l->values);
    alloc_free(l->users);
    alloc_free(l->needs_grad);
    alloc_free(l->grads);
    alloc_free(l->shares);
}

/* Operations that inference alone knows so far. */
static enum unstir_status check_operations(const struct graph *g,
                                           struct unstir_error *err)
{
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);

        if (op->kind >= OP_LAYER_NORM || op->attrs.is_causal)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "training: the network has a layer of "
                             "transformers that cannot be trained here yet "
                             "(operation %zu of %zu)",
                             i, graph_n_ops(g));
    }
    return UNSTIR_OK;
}

enum unstir_status lower_training(struct plan **out, const struct graph *g,
                                  const struct kernel_table *table,
                                  const struct params *params,
                                  const struct train_packs *packs,
                                  enum train_loss loss, unsigned n_threads,
                                  struct unstir_error *err)
{
    struct train_lowering l = {.g = g,
                               .table = table,
                               .params = params,
                               .packs = packs,
                               .n_threads = n_threads,
                               .err = err};
    *out = NULL;
    if (graph_n_outputs(g) != 1)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "training: %zu outputs; one is supported",
                         graph_n_outputs(g));
    TRY(check_operations(g, err));
    l.status = lowering_init(&l);
    if (l.status == UNSTIR_OK) {
        survey(&l);
        for (size_t i = 0; i < graph_n_inputs(g); i++) {
            value_id v = graph_input_at(g, i);
            l.values[v] = plan_external(l.b);
        }
        l.target = plan_external(l.b);
        l.weight = plan_external(l.b);
        l.loss = plan_external(l.b);
        train_find_joins(&l);
        train_lower_forward(&l);
        if (loss == TRAIN_LOSS_BITS)
            lower_bit_loss(&l);
        else
            lower_squared_error(&l);
        lower_backward(&l);
    }
    if (l.status == UNSTIR_OK) {
        l.status = plan_finish(out, l.b, err);
        l.b = NULL; /* ended in every case */
    }
    lowering_fini(&l);
    return l.status;
}
