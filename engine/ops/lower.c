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
 * SPDX-License-Identifier: MIT
 */
#include "ops/lower.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/kernels.h"
#include "ops/attention.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/norm.h"
#include "ops/packs.h"
#include "ops/plan.h"
#include "ops/resample.h"

#define NO_OP      SIZE_MAX
#define NAME_BYTES 160

/* Where a stored value lies: rows of `ld` floats, of which it has the first
 * c from `offset` on. */
struct place {
    buffer_id buffer;
    size_t offset; /* bytes */
    uint32_t ld;
};

struct form {
    value_id src[2]; /* stored, contiguous; src[1] may be GRAPH_NO_VALUE    */
    size_t norm;     /* the OP_GROUP_NORM to apply, or NO_OP                */
    value_id e;      /* scale-shift of that norm, or GRAPH_NO_VALUE         */
    enum act act;
    bool has_up;
};

struct value_state {
    struct form form;
    struct place at;    /* when stored */
    buffer_id external; /* of an output, else PLAN_NO_BUFFER                 */
    uint32_t n_readers; /* joined operations count once                      */
    size_t reader;      /* one of them                                       */
};

struct lowering {
    const struct graph *g;
    const struct packs *packs;
    const struct kernel_table *k;
    unsigned n_threads;
    bool is_fused;
    struct plan_builder *b;
    struct value_state *values;
    bool *is_done; /* by operation */
};

/* What a product does at its end. */
struct tail {
    value_id out; /* the value that it makes                                 */
    value_id vec, res;
    float scale;
};

static void lower_op(struct lowering *l, size_t i);

/* -- small readers ----------------------------------------------------- */

static struct shape shape_of(const struct lowering *l, value_id v)
{
    return graph_shape(l->g, v);
}

static size_t n_floats(struct shape s)
{
    return (size_t)s.n * s.h * s.w * s.c;
}

static size_t n_rows(struct shape s)
{
    return (size_t)s.n * s.h * s.w;
}

static struct form form_of(value_id v)
{
    return (struct form){
        .src = {v, GRAPH_NO_VALUE},
        .norm = NO_OP,
        .e = GRAPH_NO_VALUE,
    };
}

static bool is_stored(const struct lowering *l, value_id v)
{
    return l->values[v].form.src[0] == v;
}

static bool has_compute(const struct form *f)
{
    return f->norm != NO_OP || f->act != ACT_NONE || f->has_up;
}

/* The layer's name without ".weight"; other operations have none. */
static void layer_name(const struct lowering *l, const struct graph_op *op,
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

static struct place new_place(struct lowering *l, value_id v)
{
    struct shape s = shape_of(l, v);
    buffer_id buffer = l->values[v].external;

    if (buffer == PLAN_NO_BUFFER)
        buffer = plan_buffer(l->b, n_floats(s) * sizeof(float));
    return (struct place){buffer, 0, s.c};
}

/* v is stored at `at` from now on. */
static void set_stored(struct lowering *l, value_id v, struct place at)
{
    l->values[v].form = form_of(v);
    l->values[v].at = at;
}

#define SLOT(type, member, place, access)                              \
    ((struct plan_slot){offsetof(struct type, member), (place).buffer, \
                        (access), (place).offset})
#define READ(type, member, place)  SLOT(type, member, place, PLAN_READ)
#define WRITE(type, member, place) SLOT(type, member, place, PLAN_WRITE)

static const struct place nowhere = {PLAN_NO_BUFFER, 0, 0};

#define ADD_STEP(l, name, fn, args, scratch, slots)                   \
    plan_add((l)->b, name, fn, &(args), sizeof(args), scratch, slots, \
             ARRAY_LEN(slots))

/* Columns of `from` become columns of `to`. */
static void copy_columns_step(struct lowering *l, const char *name, size_t rows,
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

static struct place require(struct lowering *l, value_id v);

/* The statistics of a form's norm, folded into a scale and a shift. */
static void emit_stats(struct lowering *l, const struct form *f,
                       struct place *scale, struct place *shift)
{
    const struct graph_op *op = graph_op_at(l->g, f->norm);
    const struct place *x0 = &l->values[f->src[0]].at, *x1 = &nowhere;
    struct place e = nowhere;
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

    if (f->src[1] != GRAPH_NO_VALUE) {
        x1 = &l->values[f->src[1]].at;
        args.c1 = shape_of(l, f->src[1]).c;
        c += args.c1;
    }
    if (f->e != GRAPH_NO_VALUE) {
        e = require(l, f->e);
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
    layer_name(l, op, "group_norm", name);
    ADD_STEP(l, name, group_norm_stats, args,
             group_norm_stats_scratch(l->k, l->n_threads, s.n, args.hw, c),
             slots);
}

/* Source values of a form side by side in `to`. */
static void emit_concat(struct lowering *l, const struct form *f,
                        struct place to)
{
    uint32_t column = 0;

    for (size_t i = 0; i < 2 && f->src[i] != GRAPH_NO_VALUE; i++) {
        struct shape s = shape_of(l, f->src[i]);

        copy_columns_step(l, "concat", n_rows(s), s.c, l->values[f->src[i]].at,
                          to, column);
        column += s.c;
    }
}

static void emit_affine_act(struct lowering *l, const struct form *f,
                            struct place x, struct place y, struct shape s)
{
    struct affine_act_args args = {
        .n = s.n, .hw = s.h * s.w, .c = s.c, .act = f->act};
    struct place scale = nowhere, shift = nowhere;

    if (f->norm != NO_OP)
        emit_stats(l, f, &scale, &shift);
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
    y = new_place(l, v);
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
    set_stored(l, v, y);
}

/* The stored place of v, lowered if need be; rows may be apart. */
static struct place require(struct lowering *l, value_id v)
{
    lower_op(l, graph_value_at(l->g, v)->op);
    store(l, v);
    return l->values[v].at;
}

/* The same with rows one after the other. */
static struct place require_contiguous(struct lowering *l, value_id v)
{
    struct place at = require(l, v), to;
    struct shape s = shape_of(l, v);

    if (at.ld == s.c)
        return at;
    to = new_place(l, v);
    copy_columns_step(l, "copy", n_rows(s), s.c, at, to, 0);
    set_stored(l, v, to);
    return to;
}

/* A form that reads v: v's own if it can be built upon, else v stored. */
static struct form form_upon(struct lowering *l, value_id v, bool may_build)
{
    lower_op(l, graph_value_at(l->g, v)->op);
    if (may_build && !is_stored(l, v))
        return l->values[v].form;
    (void)require_contiguous(l, v);
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

static void lower_group_norm(struct lowering *l, size_t i,
                             const struct graph_op *op)
{
    struct form f =
        form_upon(l, op->in[0], !has_compute(lowered_form(l, op->in[0])));

    f.norm = i;
    set_form(l, op->out, f);
}

static void lower_act(struct lowering *l, const struct graph_op *op)
{
    const struct form *x = lowered_form(l, op->in[0]);
    struct form f = form_upon(l, op->in[0], x->act == ACT_NONE && !x->has_up);

    f.act = op->attrs.act;
    set_form(l, op->out, f);
}

static void lower_upsample(struct lowering *l, const struct graph_op *op)
{
    struct form f =
        form_upon(l, op->in[0], !lowered_form(l, op->in[0])->has_up);

    f.has_up = true;
    set_form(l, op->out, f);
}

static void lower_concat(struct lowering *l, const struct graph_op *op)
{
    struct form f;

    (void)require_contiguous(l, op->in[0]);
    (void)require_contiguous(l, op->in[1]);
    f = form_of(op->in[0]);
    f.src[1] = op->in[1];
    set_form(l, op->out, f);
}

static void lower_reshape(struct lowering *l, const struct graph_op *op)
{
    if (lowered_form(l, op->in[0])->has_up)
        (void)require(l, op->in[0]);
    if (is_stored(l, op->in[0]))
        set_stored(l, op->out, l->values[op->in[0]].at);
    else
        set_form(l, op->out, l->values[op->in[0]].form);
}

static void lower_scale_shift(struct lowering *l, const struct graph_op *op)
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
        (void)require(l, f.e);
        set_form(l, op->out, f);
        return;
    }
    in = require_contiguous(l, op->in[0]);
    e = require(l, op->in[1]);
    y = new_place(l, op->out);
    args.e_stride = e.ld;
    struct plan_slot slots[] = {READ(scale_shift_args, x, in),
                                READ(scale_shift_args, e, e),
                                WRITE(scale_shift_args, y, y)};
    ADD_STEP(l, "scale_shift", scale_shift, args, 0, slots);
    set_stored(l, op->out, y);
}

/* -- products ---------------------------------------------------------- */

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

static void emit_product(struct lowering *l, size_t i, const struct form *f,
                         const struct tail *t, struct place y)
{
    const struct graph_op *op = graph_op_at(l->g, i);
    const struct op_pack *pack = packs_op(l->packs, i);
    struct place x0 = l->values[f->src[0]].at, x1 = nowhere;
    struct place scale = nowhere, shift = nowhere, vec = nowhere, res = nowhere;
    struct conv2d_args args = {
        .s = product_shape(l, op, f, pack->width),
        .act = f->act,
        .out_scale = t->scale,
        .w = pack->panels,
        .bias = pack->bias,
    };
    char name[NAME_BYTES];

    if (f->src[1] != GRAPH_NO_VALUE)
        x1 = l->values[f->src[1]].at;
    if (t->vec != GRAPH_NO_VALUE) {
        vec = require(l, t->vec);
        args.vec_stride = vec.ld;
    }
    if (t->res != GRAPH_NO_VALUE)
        res = require_contiguous(l, t->res);
    if (f->norm != NO_OP)
        emit_stats(l, f, &scale, &shift);
    flatten(&args.s,
            f->norm != NO_OP || t->vec != GRAPH_NO_VALUE || l->k->gemm.is_blas,
            f->has_up);
    struct plan_slot slots[] = {
        READ(conv2d_args, x0, x0),       READ(conv2d_args, x1, x1),
        READ(conv2d_args, scale, scale), READ(conv2d_args, shift, shift),
        READ(conv2d_args, vec, vec),     READ(conv2d_args, res, res),
        WRITE(conv2d_args, y, y),
    };
    layer_name(l, op, "product", name);
    ADD_STEP(l, name, conv2d_run, args,
             conv2d_scratch(l->k, l->n_threads, &args.s), slots);
}

/* Joined layers: one product, each value a part of its columns. */
static void lower_joined(struct lowering *l, size_t leader)
{
    const struct graph_op *op = graph_op_at(l->g, leader);
    const struct op_pack *pack = packs_op(l->packs, leader);
    struct form f = form_upon(l, op->in[0], true);
    struct tail t = {op->out, GRAPH_NO_VALUE, GRAPH_NO_VALUE, 1};
    size_t bytes = n_rows(shape_of(l, op->out)) * pack->width * sizeof(float);
    struct place y = {plan_buffer(l->b, bytes), 0, pack->width};

    emit_product(l, leader, &f, &t, y);
    for (size_t i = leader; i < graph_n_ops(l->g); i++) {
        const struct op_pack *part = packs_op(l->packs, i);

        if (part->leader != leader)
            continue;
        l->is_done[i] = true;
        set_stored(l, graph_op_at(l->g, i)->out,
                   (struct place){y.buffer, part->column * sizeof(float),
                                  pack->width});
    }
}

static void lower_product(struct lowering *l, size_t i,
                          const struct graph_op *op)
{
    const struct op_pack *pack = packs_op(l->packs, i);
    struct tail t;
    struct form f;
    struct place y;

    if (packs_op(l->packs, pack->leader)->n_joined > 1) {
        lower_joined(l, pack->leader);
        return;
    }
    f = form_upon(l, op->in[0], true);
    t = find_tail(l, op->out);
    y = new_place(l, t.out);
    emit_product(l, i, &f, &t, y);
    set_stored(l, t.out, y);
}

/* -- operations that stand alone --------------------------------------- */

static void lower_sum(struct lowering *l, const struct graph_op *op)
{
    struct axpby_args args = {
        .n = n_floats(shape_of(l, op->out)),
        .a = op->kind == OP_AFFINE ? op->attrs.a : 1,
        .b = 1,
        .c = op->kind == OP_AFFINE ? op->attrs.b : 0,
    };
    struct place x0 = require_contiguous(l, op->in[0]), x1 = nowhere, y;

    if (op->kind == OP_ADD)
        x1 = require_contiguous(l, op->in[1]);
    y = new_place(l, op->out);
    struct plan_slot slots[] = {READ(axpby_args, x0, x0),
                                READ(axpby_args, x1, x1),
                                WRITE(axpby_args, y, y)};
    ADD_STEP(l, op->kind == OP_ADD ? "add" : "affine", axpby, args, 0, slots);
    set_stored(l, op->out, y);
}

static void lower_add_vec(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct add_vec_args args = {.n = s.n, .hw = s.h * s.w, .c = s.c};
    struct place x = require_contiguous(l, op->in[0]);
    struct place v = require(l, op->in[1]);
    struct place y = new_place(l, op->out);

    args.v_stride = v.ld;
    struct plan_slot slots[] = {READ(add_vec_args, x, x),
                                READ(add_vec_args, v, v),
                                WRITE(add_vec_args, y, y)};
    ADD_STEP(l, "add_vec", add_vec, args, 0, slots);
    set_stored(l, op->out, y);
}

static void lower_div_vec(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct div_vec_args args = {.n = s.n, .m = n_floats(s) / s.n};
    struct place x = require_contiguous(l, op->in[0]);
    struct place v = require_contiguous(l, op->in[1]);
    struct place y = new_place(l, op->out);
    struct plan_slot slots[] = {READ(div_vec_args, x, x),
                                READ(div_vec_args, v, v),
                                WRITE(div_vec_args, y, y)};

    ADD_STEP(l, "div_vec", div_vec, args, 0, slots);
    set_stored(l, op->out, y);
}

static void lower_avg_pool2(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->in[0]);
    struct avg_pool2_args args = {.n = s.n, .h = s.h, .w = s.w, .c = s.c};
    struct place x = require_contiguous(l, op->in[0]);
    struct place y = new_place(l, op->out);
    struct plan_slot slots[] = {READ(avg_pool2_args, x, x),
                                WRITE(avg_pool2_args, y, y)};

    ADD_STEP(l, "avg_pool2", avg_pool2, args, 0, slots);
    set_stored(l, op->out, y);
}

static void lower_fir(struct lowering *l, const struct graph_op *op)
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
    struct place x = require_contiguous(l, op->in[0]);
    struct place y = new_place(l, op->out);
    struct plan_slot slots[] = {READ(fir_args, x, x), WRITE(fir_args, y, y)};

    memcpy(args.taps, op->attrs.taps, sizeof args.taps);
    ADD_STEP(l, "fir", fir_run, args, 0, slots);
    set_stored(l, op->out, y);
}

static void lower_attention(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->in[0]), t = shape_of(l, op->in[1]);
    struct place q = require(l, op->in[0]), k = require(l, op->in[1]);
    struct place v = require(l, op->in[2]), o = new_place(l, op->out);
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
    };
    struct plan_slot slots[] = {
        READ(attention_args, q, q), READ(attention_args, k, k),
        READ(attention_args, v, v), WRITE(attention_args, o, o)};

    ADD_STEP(l, "attention", attention_run, args,
             attention_scratch(l->k, l->n_threads, &args), slots);
    set_stored(l, op->out, o);
}

static void lower_time_embed(struct lowering *l, const struct graph_op *op)
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
    struct place t = require_contiguous(l, op->in[0]);
    struct place y = new_place(l, op->out);
    struct plan_slot slots[] = {READ(time_embed_args, t, t),
                                WRITE(time_embed_args, y, y)};

    ADD_STEP(l, "time_embed", time_embed, args, 0, slots);
    set_stored(l, op->out, y);
}

static void lower_fourier(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct fourier_embed_args args = {
        .n = s.n,
        .m = s.c / 2,
        .is_cos_first = op->attrs.is_cos_first,
        .is_log = op->attrs.is_log,
        .freq = packs_param(l->packs, op->param[0]),
    };
    struct place t = require_contiguous(l, op->in[0]);
    struct place y = new_place(l, op->out);
    struct plan_slot slots[] = {READ(fourier_embed_args, sigma, t),
                                WRITE(fourier_embed_args, y, y)};

    ADD_STEP(l, "fourier_embed", fourier_embed, args, 0, slots);
    set_stored(l, op->out, y);
}

static void lower_lookup(struct lowering *l, const struct graph_op *op)
{
    struct shape s = shape_of(l, op->out);
    struct lookup_args args = {
        .n = s.n,
        .c = s.c,
        .rows = graph_param_at(l->g, op->param[0])->dims[0],
        .table = packs_param(l->packs, op->param[0]),
    };
    struct place id = require_contiguous(l, op->in[0]);
    struct place y = new_place(l, op->out);
    struct plan_slot slots[] = {READ(lookup_args, id, id),
                                WRITE(lookup_args, y, y)};

    ADD_STEP(l, "lookup", lookup, args, 0, slots);
    set_stored(l, op->out, y);
}

/* -- the whole --------------------------------------------------------- */

static void lower_op(struct lowering *l, size_t i)
{
    const struct graph_op *op = graph_op_at(l->g, i);

    if (l->is_done[i])
        return;
    l->is_done[i] = true;
    switch (op->kind) {
    case OP_INPUT:
        break;
    case OP_CONV2D:
    case OP_LINEAR:
        lower_product(l, i, op);
        break;
    case OP_GROUP_NORM:
        lower_group_norm(l, i, op);
        break;
    case OP_ACT:
        lower_act(l, op);
        break;
    case OP_ADD:
    case OP_AFFINE:
        lower_sum(l, op);
        break;
    case OP_ADD_VEC:
        lower_add_vec(l, op);
        break;
    case OP_SCALE_SHIFT:
        lower_scale_shift(l, op);
        break;
    case OP_CONCAT:
        lower_concat(l, op);
        break;
    case OP_UPSAMPLE:
        lower_upsample(l, op);
        break;
    case OP_AVG_POOL2:
        lower_avg_pool2(l, op);
        break;
    case OP_FIR:
        lower_fir(l, op);
        break;
    case OP_ATTENTION:
        lower_attention(l, op);
        break;
    case OP_RESHAPE:
        lower_reshape(l, op);
        break;
    case OP_TIME_EMBED:
        lower_time_embed(l, op);
        break;
    case OP_FOURIER_EMBED:
        lower_fourier(l, op);
        break;
    case OP_LOOKUP:
        lower_lookup(l, op);
        break;
    case OP_DIV_VEC:
        lower_div_vec(l, op);
        break;
    case OP_COUNT:
        break;
    }
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

static void bind_externals(struct lowering *l)
{
    for (size_t i = 0; i < graph_n_inputs(l->g); i++) {
        value_id v = graph_input_at(l->g, i);
        buffer_id id = plan_external(l->b, graph_value_at(l->g, v)->name);

        set_stored(l, v, (struct place){id, 0, shape_of(l, v).c});
    }
    for (size_t i = 0; i < graph_n_outputs(l->g); i++) {
        value_id v = graph_output_at(l->g, i);

        l->values[v].external =
            plan_external(l->b, graph_value_at(l->g, v)->name);
    }
}

/* An output that is a part or a view of another value is copied. */
static void finish_outputs(struct lowering *l)
{
    for (size_t i = 0; i < graph_n_outputs(l->g); i++) {
        value_id v = graph_output_at(l->g, i);
        struct place at = require(l, v), to = new_place(l, v);
        struct shape s = shape_of(l, v);

        if (at.buffer != to.buffer)
            copy_columns_step(l, "output", n_rows(s), s.c, at, to, 0);
    }
}

static enum unstir_status lower_all(struct lowering *l,
                                    struct unstir_error *err)
{
    void *p;

    TRY(alloc_zero(&p, graph_n_values(l->g), sizeof *l->values, err));
    l->values = p;
    TRY(alloc_zero(&p, graph_n_ops(l->g), sizeof *l->is_done, err));
    l->is_done = p;
    for (size_t v = 0; v < graph_n_values(l->g); v++) {
        l->values[v].form = form_of(GRAPH_NO_VALUE);
        l->values[v].external = PLAN_NO_BUFFER;
    }
    count_readers(l);
    bind_externals(l);
    for (size_t i = 0; i < graph_n_ops(l->g); i++)
        lower_op(l, i);
    finish_outputs(l);
    return UNSTIR_OK;
}

enum unstir_status lower_inference(struct plan **out, const struct graph *g,
                                   const struct packs *packs,
                                   unsigned n_threads, struct unstir_error *err)
{
    struct lowering l = {
        .g = g,
        .packs = packs,
        .k = packs_table(packs),
        .n_threads = n_threads,
        .is_fused = packs_mode(packs) == LOWER_FUSED,
    };
    enum unstir_status status;

    *out = NULL;
    TRY(graph_status(g, err));
    if (packs_n_ops(packs) != graph_n_ops(g))
        return error_set(err, UNSTIR_ERR_INTERNAL,
                         "lower: packs of %zu operations, graph of %zu",
                         packs_n_ops(packs), graph_n_ops(g));
    TRY(plan_builder_new(&l.b, l.k, n_threads, err));
    status = lower_all(&l, err);
    alloc_free(l.values);
    alloc_free(l.is_done);
    if (status == UNSTIR_OK)
        return plan_finish(out, l.b, err);
    plan_builder_free(l.b);
    return status;
}
