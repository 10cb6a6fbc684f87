/* lower_products.c - convolutions and linear layers with all that they absorb.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/lower_parts.h"

#include "kernels/kernels.h"
#include "ops/choose.h"
#include "ops/conv2d.h"
#include "ops/conv2d_phases.h"
#include "ops/linear_glu.h"
#include "ops/linear_int8.h"
#include "ops/weight_rows.h"

/* What a product does at its end. */
struct tail {
    value_id out; /* the value that it makes                                 */
    value_id vec, res;
    float scale;
};

/* The only operation that reads v, if it is not yet lowered; else NO_OP. */
static size_t sole_reader(const struct lowering *l, value_id v)
{
    const struct value_state *s = &l->values[v];

    if (s->n_readers != 1 || s->external != PLAN_NO_BUFFER ||
        l->is_done[s->reader])
        return NO_OP;
    return s->reader;
}

/* Let `t` end with operation `op`, which reads t->out; false if it cannot. */
static bool absorb(struct tail *t, const struct graph_op *op)
{
    value_id other = op->in[0] == t->out ? op->in[1] : op->in[0];

    switch (op->kind) {
    case OP_RESHAPE:
        break;
    case OP_ADD_VEC:
        if (op->in[0] != t->out || t->vec != GRAPH_NO_VALUE || t->scale != 1)
            return false;
        t->vec = op->in[1];
        break;
    case OP_ADD:
        if (other == t->out || t->res != GRAPH_NO_VALUE || t->scale != 1)
            return false;
        t->res = other;
        break;
    case OP_AFFINE:
        if (op->attrs.b != 0)
            return false;
        t->scale *= op->attrs.a;
        break;
    default:
        return false;
    }
    t->out = op->out;
    return true;
}

static struct tail find_tail(struct lowering *l, value_id v)
{
    struct tail t = {v, GRAPH_NO_VALUE, GRAPH_NO_VALUE, 1};
    size_t next;

    while (l->is_fused && (next = sole_reader(l, t.out)) != NO_OP &&
           absorb(&t, graph_op_at(l->g, next)))
        l->is_done[next] = true;
    return t;
}

/* The shape of a product over form f of value `in`. */
static struct conv2d_shape product_shape(const struct lowering *l,
                                         const struct graph_op *op,
                                         const struct form *f, uint32_t cout)
{
    struct shape x = shape_of(l, op->in[0]), y = shape_of(l, op->out);
    struct conv2d_shape s = {
        .n = x.n,
        .h = x.h,
        .w = x.w,
        .c0 = shape_of(l, f->src[0]).c,
        .up_h = x.h,
        .up_w = x.w,
        .cout = cout,
        .kh = 1,
        .kw = 1,
        .stride = 1,
        .oh = y.h,
        .ow = y.w,
    };

    if (f->src[1] != GRAPH_NO_VALUE)
        s.c1 = shape_of(l, f->src[1]).c;
    if (f->has_up) {
        s.h = shape_of(l, f->src[0]).h;
        s.w = shape_of(l, f->src[0]).w;
    }
    if (op->kind == OP_CONV2D) {
        s.kh = op->attrs.kh;
        s.kw = op->attrs.kw;
        s.stride = op->attrs.stride;
        s.pad_t = op->attrs.pad_t;
        s.pad_l = op->attrs.pad_l;
    }
    return s;
}

/* A product over pixels one by one is one over rows: all pictures in one
 * row if nothing differs between them.  BLAS gives a row other bits in a
 * taller product, so there pictures stay apart. */
static void flatten(struct conv2d_shape *s, bool is_per_picture, bool has_up)
{
    uint64_t pixels = (uint64_t)s->h * s->w;

    if (has_up || s->kh != 1 || s->kw != 1 || s->stride != 1 || s->pad_t ||
        s->pad_l || s->oh != s->h || s->ow != s->w)
        return;
    if (!is_per_picture) {
        if (pixels * s->n > UINT32_MAX)
            return;
        pixels *= s->n;
        s->n = 1;
    }
    s->h = s->oh = s->up_h = 1;
    s->w = s->ow = s->up_w = (uint32_t)pixels;
}

/* The way that a product goes: the rules' word, unless a gate refused it. */
static enum conv_way way_of(const struct kernel_table *k,
                            const struct op_pack *pack,
                            const struct conv2d_args *a)
{
    enum conv_way way = choose_conv(k, &a->s, pack->has_phases);

    if (pack->operands == OPERANDS_INT8)
        return CONV_INT8;
    if (way != CONV_WINOGRAD)
        return way;
    if (pack->form == PACK_EVERY
            ? conv2d_is_demoted(k, pack->panels, a->s.c0 + a->s.c1, a->s.cout,
                                3, 3)
            : pack->rows->is_demoted)
        return CONV_TILES;
    return way;
}

/* The weights for that way: what is packed for it, or rows. */
static void take_weights(struct conv2d_args *a, const struct op_pack *pack,
                         enum conv_way way)
{
    a->is_direct = way != CONV_WINOGRAD;
    if (pack->form == PACK_FILTERS && way == CONV_WINOGRAD)
        a->filters = pack->panels;
    else if (way == CONV_PHASES && pack->phases)
        a->w = pack->phases;
    else if (pack->form == PACK_EVERY ||
             (pack->form == PACK_DIRECT && a->is_direct && way != CONV_PHASES))
        a->w = pack->panels;
    else
        a->rows = pack->rows;
}

/* Does one product alone read v, in rows of the rung's operands? */
static bool wants_operands(const struct lowering *l, value_id v)
{
    const struct value_state *s = &l->values[v];
    const struct graph_op *op;
    const struct op_pack *pack;
    struct conv2d_args args = {0};
    struct form f = form_of(v);

    if (!l->is_fused || l->k->gemm.operand != DTYPE_BF16 || s->n_readers != 1 ||
        s->external != PLAN_NO_BUFFER)
        return false;
    op = graph_op_at(l->g, s->reader);
    pack = packs_op(l->packs, s->reader);
    if (op->kind != OP_LINEAR || pack->operands != OPERANDS_RUNG ||
        shape_of(l, v).c % l->k->gemm.ku != 0)
        return false;
    args.s = product_shape(l, op, &f, pack->width);
    flatten(&args.s, false, false);
    return way_of(l->k, pack, &args) == CONV_TILES;
}

struct place lower_rows_place(struct lowering *l, value_id v)
{
    struct shape s = shape_of(l, v);

    l->values[v].is_narrow = wants_operands(l, v);
    if (!l->values[v].is_narrow)
        return lower_new_place(l, v);
    return (struct place){
        plan_buffer(l->b, n_floats(s) * dtype_size(l->k->gemm.operand)), 0,
        s.c};
}

/* The operation that goes that way; conv2d knows itself what is refused. */
static plan_fn fn_of(const struct op_pack *pack, enum conv_way way)
{
    if (way == CONV_PHASES)
        return conv2d_phases_run;
    if (way == CONV_INT8)
        return linear_int8_run;
    return pack->operands == OPERANDS_EXACT ? conv2d_exact_run : conv2d_run;
}

static size_t scratch_of(const struct lowering *l, const struct kernel_table *k,
                         enum conv_way way, const struct conv2d_args *a,
                         const struct conv2d_kind *kind)
{
    if (way == CONV_PHASES)
        return conv2d_phases_scratch(k, l->n_threads, &a->s, kind);
    if (way == CONV_INT8)
        return linear_int8_scratch(k, l->n_threads, &a->s);
    return conv2d_scratch_of(k, l->n_threads, &a->s, kind);
}

static void describe(struct lowering *l, const struct kernel_table *k,
                     const struct op_pack *pack, enum conv_way way,
                     const struct conv2d_shape *s)
{
    plan_describe(
        l->b, &(struct plan_product){
                  .n = s->n,
                  .h = s->oh,
                  .w = s->ow,
                  .cin = s->c0 + s->c1,
                  .cout = s->cout,
                  .kernel = s->kh,
                  .stride = s->stride,
                  .way = choose_name(k, way),
                  .operands = choose_operand_name(k, way),
                  .packed_bytes = packs_leader_bytes(l->packs, pack->leader)});
    plan_tell(l->b, s->kh > 1 ? "convolution" : "linear",
              2.0 * s->n * s->oh * s->ow * s->cout * (s->c0 + s->c1) * s->kh *
                  s->kw);
}

static void emit_product(struct lowering *l, size_t i, const struct form *f,
                         const struct tail *t, struct place y)
{
    const struct graph_op *op = graph_op_at(l->g, i);
    const struct op_pack *pack = packs_op(l->packs, i);
    const struct kernel_table *k = packs_table_of(l->packs, i);
    struct place x0 = l->values[f->src[0]].at, x1 = NOWHERE;
    struct place scale = NOWHERE, shift = NOWHERE, vec = NOWHERE, res = NOWHERE;
    struct conv2d_args args = {
        .s = product_shape(l, op, f, pack->width),
        .act = f->act,
        .out_scale = t->scale,
        .bias = pack->bias,
        .has_operands = l->values[f->src[0]].is_narrow,
    };
    struct conv2d_kind kind = {.is_plain =
                                   f->norm == NO_OP && f->act == ACT_NONE,
                               .has_operands = args.has_operands};
    enum conv_way way;
    char name[NAME_BYTES];

    if (f->src[1] != GRAPH_NO_VALUE)
        x1 = l->values[f->src[1]].at;
    if (t->vec != GRAPH_NO_VALUE) {
        vec = lower_require(l, t->vec);
        args.vec_stride = vec.ld;
    }
    if (t->res != GRAPH_NO_VALUE)
        res = lower_contiguous(l, t->res);
    if (f->norm != NO_OP)
        lower_emit_stats(l, f, &scale, &shift);
    flatten(&args.s,
            f->norm != NO_OP || t->vec != GRAPH_NO_VALUE || l->k->gemm.is_blas,
            f->has_up);
    struct plan_slot slots[] = {
        READ(conv2d_args, x0, x0),       READ(conv2d_args, x1, x1),
        READ(conv2d_args, scale, scale), READ(conv2d_args, shift, shift),
        READ(conv2d_args, vec, vec),     READ(conv2d_args, res, res),
        WRITE(conv2d_args, y, y),
    };
    lower_layer_name(l, op, "product", name);
    way = way_of(k, pack, &args);
    take_weights(&args, pack, way);
    kind.has_rows = args.rows != NULL;
    ADD_STEP(l, name, fn_of(pack, way), args,
             scratch_of(l, k, way, &args, &kind), slots);
    describe(l, k, pack, way, &args.s);
}

/* -- gated ones ------------------------------------------------------------ */

/* The gate that alone reads what a plain product of a plain value makes, or
 * NO_OP. */
static size_t gate_behind(const struct lowering *l, const struct form *f,
                          const struct tail *t)
{
    size_t next = sole_reader(l, t->out);

    if (!l->is_fused || l->k->gemm.is_blas || next == NO_OP ||
        graph_op_at(l->g, next)->kind != OP_GLU)
        return NO_OP;
    if (t->vec != GRAPH_NO_VALUE || t->res != GRAPH_NO_VALUE || t->scale != 1)
        return NO_OP;
    return f->norm == NO_OP && f->act == ACT_NONE && !f->has_up &&
                   f->src[1] == GRAPH_NO_VALUE
               ? next
               : NO_OP;
}

/* Product i and the gate behind it as one step, where that is worth it. */
static bool try_gated(struct lowering *l, size_t i, const struct form *f,
                      const struct tail *t)
{
    const struct graph_op *op = graph_op_at(l->g, i), *gate;
    const struct op_pack *pack = packs_op(l->packs, i);
    const struct kernel_table *k = packs_table_of(l->packs, i);
    struct linear_glu_args a = {
        .linear = {.s = product_shape(l, op, f, pack->width),
                   .out_scale = 1,
                   .bias = pack->bias,
                   .has_operands = l->values[f->src[0]].is_narrow}};
    struct conv2d_kind kind = {.is_plain = true,
                               .has_operands = a.linear.has_operands};
    size_t next = gate_behind(l, f, t);
    struct conv2d_args stripe;
    enum conv_way way;
    struct place y;
    char name[NAME_BYTES];

    flatten(&a.linear.s, false, false);
    if (next == NO_OP || !linear_glu_fits(&a.linear.s))
        return false;
    gate = graph_op_at(l->g, next);
    way = way_of(k, pack, &a.linear);
    take_weights(&a.linear, pack, way);
    kind.has_rows = a.linear.rows != NULL;
    a.run = fn_of(pack, way);
    a.act = gate->attrs.act;
    y = lower_rows_place(l, gate->out);
    a.is_narrow = l->values[gate->out].is_narrow;
    struct plan_slot slots[] = {
        READ(linear_glu_args, linear.x0, l->values[f->src[0]].at),
        WRITE(linear_glu_args, y, y)};
    lower_layer_name(l, op, "product", name);
    stripe = a.linear;
    stripe.s = linear_glu_stripe(&a.linear.s);
    ADD_STEP(l, name, linear_glu, a,
             linear_glu_scratch(&a.linear.s,
                                scratch_of(l, k, way, &stripe, &kind),
                                l->n_threads),
             slots);
    describe(l, k, pack, way, &a.linear.s);
    l->is_done[next] = true;
    lower_set_stored(l, gate->out, y);
    return true;
}

/* -- all ------------------------------------------------------------------- */

/* What a product reads; whole numbers of 8 bits are not upsampled. */
static struct form product_form(struct lowering *l, size_t i)
{
    value_id in = graph_op_at(l->g, i)->in[0];
    struct form f = lower_form_upon(l, in, true);

    if (f.has_up && packs_op(l->packs, i)->operands == OPERANDS_INT8)
        return lower_form_upon(l, in, false);
    return f;
}

/* Joined layers: one product, each value a part of its columns. */
static void lower_joined(struct lowering *l, size_t leader)
{
    const struct graph_op *op = graph_op_at(l->g, leader);
    const struct op_pack *pack = packs_op(l->packs, leader);
    struct form f = product_form(l, leader);
    struct tail t = {op->out, GRAPH_NO_VALUE, GRAPH_NO_VALUE, 1};
    size_t bytes = n_rows(shape_of(l, op->out)) * pack->width * sizeof(float);
    struct place y = {plan_buffer(l->b, bytes), 0, pack->width};

    emit_product(l, leader, &f, &t, y);
    for (size_t i = leader; i < graph_n_ops(l->g); i++) {
        const struct op_pack *part = packs_op(l->packs, i);

        if (part->leader != leader)
            continue;
        l->is_done[i] = true;
        lower_set_stored(l, graph_op_at(l->g, i)->out,
                         (struct place){y.buffer, part->column * sizeof(float),
                                        pack->width});
    }
}

void lower_product(struct lowering *l, const struct graph_op *op)
{
    size_t i = index_of(l, op);
    const struct op_pack *pack = packs_op(l->packs, i);
    struct tail t;
    struct form f;
    struct place y;

    if (packs_op(l->packs, pack->leader)->n_joined > 1) {
        lower_joined(l, pack->leader);
        return;
    }
    f = product_form(l, i);
    t = find_tail(l, op->out);
    if (try_gated(l, i, &f, &t))
        return;
    y = lower_new_place(l, t.out);
    emit_product(l, i, &f, &t, y);
    lower_set_stored(l, t.out, y);
}
