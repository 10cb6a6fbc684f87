/* graph.c - building and reading the unfused graph of a network.
 *
 * Three growing arrays (operations, values, parameters) plus the lists of
 * inputs and outputs.  Every builder checks the shapes of its operands; the
 * first failure is kept with its text, and from then on builders return
 * GRAPH_NO_VALUE without looking at anything.
 *
 * Sizes come from configuration files, so a value whose floats cannot be
 * counted in 31 bits a picture plane, or in size_t as bytes, is an error and
 * not a wrapped product.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/graph_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

#define MAX_NAME  160
#define MAX_OPS   (1u << 20)
#define MAX_PLANE (1u << 30) /* h * w: counted in uint32_t by operations     */

enum unstir_status graph_new(struct graph **out, struct unstir_error *err)
{

    *out = NULL;
    TRY(alloc_zero(out, 1, sizeof(struct graph), err));
    (*out)->deep = GRAPH_NO_VALUE;
    return UNSTIR_OK;
}

void graph_free(struct graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_values; i++)
        alloc_free((void *)g->values[i].name);
    for (size_t i = 0; i < g->n_params; i++)
        alloc_free((void *)g->params[i].name);
    alloc_free(g->ops);
    alloc_free(g->values);
    alloc_free(g->params);
    alloc_free(g->inputs);
    alloc_free(g->outputs);
    alloc_free(g);
}

enum unstir_status graph_status(const struct graph *g, struct unstir_error *err)
{
    if (g->status != UNSTIR_OK && err)
        *err = g->err;
    return g->status;
}

/* -- failing ----------------------------------------------------------- */

static bool is_failed(const struct graph *g)
{
    return g->status != UNSTIR_OK;
}

bool graph_is_readable(struct graph *g, value_id v)
{
    if (is_failed(g))
        return false;
    if (v < g->n_values)
        return true;
    g->status = error_set(&g->err, UNSTIR_ERR_INTERNAL,
                          "graph: value %u of %zu read", v, g->n_values);
    return false;
}

/* -- growing ----------------------------------------------------------- */

static bool grow(struct graph *g, void *array, size_t *cap, size_t wanted,
                 size_t size)
{
    g->status = alloc_grow(array, cap, wanted, size, &g->err);
    return g->status == UNSTIR_OK;
}

static bool push_id(struct graph *g, value_id **ids, size_t *n, size_t *cap,
                    value_id v)
{

    if (!grow(g, ids, cap, *n + 1, sizeof **ids))
        return false;
    (*ids)[(*n)++] = v;
    return true;
}

static bool is_shape_sane(struct shape s)
{
    size_t plane, m;

    return s.n && s.h && s.w && s.c && size_mul(s.h, s.w, &plane) &&
           plane <= MAX_PLANE && size_mul(plane, s.c, &m) &&
           size_mul(m, s.n, &m) && size_mul(m, sizeof(float), &m) &&
           m <= PTRDIFF_MAX;
}

value_id graph_append(struct graph *g, struct graph_op op, struct shape shape)
{

    if (is_failed(g))
        return GRAPH_NO_VALUE;
    if (!is_shape_sane(shape))
        return FAIL(g,
                    "network: a value of %u x %u x %u x %u floats is empty or "
                    "too large to compute",
                    shape.n, shape.h, shape.w, shape.c);
    if (g->n_ops >= MAX_OPS)
        return FAIL(g, "network: more than %u operations", MAX_OPS);
    if (!grow(g, &g->ops, &g->cap_ops, g->n_ops + 1, sizeof *g->ops))
        return GRAPH_NO_VALUE;
    if (!grow(g, &g->values, &g->cap_values, g->n_values + 1,
              sizeof *g->values))
        return GRAPH_NO_VALUE;

    for (uint32_t i = 0; i < op.n_in; i++)
        g->values[op.in[i]].n_uses++;
    op.out = (value_id)g->n_values;
    g->values[g->n_values++] =
        (struct graph_value){.shape = shape, .op = (uint32_t)g->n_ops};
    g->ops[g->n_ops++] = op;
    return op.out;
}

struct graph_op graph_op0(enum op_kind kind)
{
    return (struct graph_op){
        .kind = kind,
        .in = {GRAPH_NO_VALUE, GRAPH_NO_VALUE, GRAPH_NO_VALUE},
        .param = {GRAPH_NO_PARAM, GRAPH_NO_PARAM},
        .out = GRAPH_NO_VALUE,
    };
}

struct graph_op graph_op1(enum op_kind kind, value_id x)
{
    struct graph_op op = graph_op0(kind);

    op.in[0] = x;
    op.n_in = 1;
    return op;
}

struct graph_op graph_op2(enum op_kind kind, value_id x, value_id y)
{
    struct graph_op op = graph_op1(kind, x);

    op.in[1] = y;
    op.n_in = 2;
    return op;
}

/* -- inputs, outputs, parameters --------------------------------------- */

static bool set_name(struct graph *g, value_id v, const char *name)
{
    char *copy;

    if (g->values[v].name)
        return true;
    g->status = alloc_strdup(&copy, name, &g->err);
    if (is_failed(g))
        return false;
    g->values[v].name = copy;
    return true;
}

value_id graph_input(struct graph *g, const char *name, struct shape shape)
{
    value_id v = graph_append(g, graph_op0(OP_INPUT), shape);

    if (v == GRAPH_NO_VALUE || !set_name(g, v, name) ||
        !push_id(g, &g->inputs, &g->n_inputs, &g->cap_inputs, v))
        return GRAPH_NO_VALUE;
    return v;
}

void graph_output(struct graph *g, const char *name, value_id v)
{
    if (!graph_is_readable(g, v) || !set_name(g, v, name) ||
        !push_id(g, &g->outputs, &g->n_outputs, &g->cap_outputs, v))
        return;
    g->values[v].n_uses++;
}

void graph_set_deep(struct graph *g, value_id v)
{
    if (graph_is_readable(g, v))
        g->deep = v;
}

static bool is_same_param(const struct graph_param *p, uint32_t rank,
                          const uint32_t *dims)
{
    return p->rank == rank && memcmp(p->dims, dims, rank * sizeof *dims) == 0;
}

param_id graph_param(struct graph *g, const char *name, enum param_role role,
                     uint32_t fan_in, uint32_t rank, const uint32_t *dims)
{
    struct graph_param param = {.role = role, .rank = rank, .fan_in = fan_in};
    size_t n = 1, bytes;
    char *copy;

    if (is_failed(g))
        return GRAPH_NO_PARAM;
    for (size_t i = 0; i < g->n_params; i++) {
        if (strcmp(g->params[i].name, name) != 0)
            continue;
        if (is_same_param(&g->params[i], rank, dims))
            return (param_id)i;
        return FAIL(g, "network: %s is used with two shapes", name);
    }
    for (uint32_t i = 0; i < rank; i++) {
        param.dims[i] = dims[i];
        if (dims[i] == 0 || !size_mul(n, dims[i], &n)) {
            return FAIL(g, "network: %s is empty or too large", name);
        }
    }
    if (!size_mul(n, sizeof(float), &bytes) || bytes > PTRDIFF_MAX) {
        return FAIL(g, "network: %s is too large", name);
    }
    param.n = n;
    if (!grow(g, &g->params, &g->cap_params, g->n_params + 1,
              sizeof *g->params))
        return GRAPH_NO_PARAM;
    g->status = alloc_strdup(&copy, name, &g->err);
    if (is_failed(g))
        return GRAPH_NO_PARAM;
    param.name = copy;
    g->params[g->n_params] = param;
    return (param_id)g->n_params++;
}

param_id graph_sub_param(struct graph *g, const char *prefix,
                         const char *suffix, enum param_role role,
                         uint32_t fan_in, uint32_t rank, const uint32_t *dims)
{
    char name[MAX_NAME];
    int n = snprintf(name, sizeof name, "%s.%s", prefix, suffix);

    if (n < 0 || (size_t)n >= sizeof name) {
        return FAIL(g, "network: the name %.60s... is too long", prefix);
    }
    return graph_param(g, name, role, fan_in, rank, dims);
}

/* -- layers with parameters -------------------------------------------- */

value_id graph_conv2d(struct graph *g, const char *prefix, value_id x,
                      const struct conv2d_spec *spec)
{
    struct graph_op op = graph_op1(OP_CONV2D, x);
    struct shape s;
    uint64_t h, w, fan_in;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    h = (uint64_t)s.h + spec->pad_t + spec->pad_b;
    w = (uint64_t)s.w + spec->pad_l + spec->pad_r;
    if (spec->k == 0 || spec->stride == 0 || h < spec->k || w < spec->k)
        return FAIL(g, "%s: a picture of %u x %u is too small here", prefix,
                    s.w, s.h);
    fan_in = (uint64_t)s.c * spec->k * spec->k;
    if (fan_in > INT32_MAX || spec->cout > INT32_MAX)
        return FAIL(g, "%s: too many channels", prefix);
    op.attrs.kh = op.attrs.kw = spec->k;
    op.attrs.stride = spec->stride;
    op.attrs.pad_t = spec->pad_t;
    op.attrs.pad_l = spec->pad_l;
    op.param[0] = graph_sub_param(
        g, prefix, "weight", PARAM_CONV_WEIGHT, (uint32_t)fan_in, 4,
        (const uint32_t[]){spec->cout, s.c, spec->k, spec->k});
    if (spec->has_bias)
        op.param[1] = graph_sub_param(g, prefix, "bias", PARAM_BIAS,
                                      (uint32_t)fan_in, 1, &spec->cout);
    return graph_append(
        g, op,
        (struct shape){s.n, (uint32_t)((h - spec->k) / spec->stride + 1),
                       (uint32_t)((w - spec->k) / spec->stride + 1),
                       spec->cout});
}

value_id graph_linear(struct graph *g, const char *prefix, value_id x,
                      uint32_t cout, bool has_bias)
{
    struct graph_op op = graph_op1(OP_LINEAR, x);
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    op.param[0] = graph_sub_param(g, prefix, "weight", PARAM_LINEAR_WEIGHT, s.c,
                                  2, (const uint32_t[]){cout, s.c});
    if (has_bias)
        op.param[1] =
            graph_sub_param(g, prefix, "bias", PARAM_BIAS, s.c, 1, &cout);
    s.c = cout;
    return graph_append(g, op, s);
}

value_id graph_group_norm(struct graph *g, const char *prefix, value_id x,
                          uint32_t groups, float eps)
{
    struct graph_op op = graph_op1(OP_GROUP_NORM, x);
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    if (groups == 0 || s.c % groups != 0)
        return FAIL(g, "%s: %u channels cannot be divided into %u groups",
                    prefix, s.c, groups);
    op.attrs.groups = groups;
    op.attrs.eps = eps;
    op.param[0] =
        graph_sub_param(g, prefix, "weight", PARAM_NORM_WEIGHT, s.c, 1, &s.c);
    op.param[1] =
        graph_sub_param(g, prefix, "bias", PARAM_NORM_BIAS, s.c, 1, &s.c);
    return graph_append(g, op, s);
}

value_id graph_fourier_embed(struct graph *g, const char *param_name,
                             value_id sigma, uint32_t m, bool is_cos_first,
                             bool is_log)
{
    struct graph_op op = graph_op1(OP_FOURIER_EMBED, sigma);
    struct shape s;

    if (!graph_is_readable(g, sigma))
        return GRAPH_NO_VALUE;
    s = g->values[sigma].shape;
    op.attrs.is_cos_first = is_cos_first;
    op.attrs.is_log = is_log;
    op.param[0] = graph_param(g, param_name, PARAM_FOURIER, 1, 1, &m);
    return graph_append(g, op, (struct shape){s.n, 1, 1, 2 * m});
}

value_id graph_lookup(struct graph *g, const char *param_name, value_id id,
                      uint32_t rows, uint32_t c)
{
    struct graph_op op = graph_op1(OP_LOOKUP, id);
    struct shape s;

    if (!graph_is_readable(g, id))
        return GRAPH_NO_VALUE;
    op.param[0] = graph_param(g, param_name, PARAM_TABLE, 1, 2,
                              (const uint32_t[]){rows, c});
    s = g->values[id].shape;
    if (s.c != 1)
        return FAIL(g, "%s: rows named by %u numbers each", param_name, s.c);
    s.c = c;
    return graph_append(g, op, s);
}

/* -- layers without parameters ----------------------------------------- */

static bool is_same_shape(struct shape a, struct shape b)
{
    return a.n == b.n && a.h == b.h && a.w == b.w && a.c == b.c;
}

static bool is_vector(struct shape v, uint32_t n, uint64_t c)
{
    return v.n == n && v.h == 1 && v.w == 1 && v.c == c;
}

value_id graph_act(struct graph *g, value_id x, enum act act)
{
    struct graph_op op = graph_op1(OP_ACT, x);

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    op.attrs.act = act;
    return graph_append(g, op, g->values[x].shape);
}

value_id graph_add(struct graph *g, value_id x, value_id y)
{
    struct shape a, b;

    if (!graph_is_readable(g, x) || !graph_is_readable(g, y))
        return GRAPH_NO_VALUE;
    a = g->values[x].shape;
    b = g->values[y].shape;
    if (!is_same_shape(a, b))
        return FAIL(g, "network: %u x %u x %u added to %u x %u x %u", a.h, a.w,
                    a.c, b.h, b.w, b.c);
    return graph_append(g, graph_op2(OP_ADD, x, y), a);
}

/* Operations with a vector a picture: `wanted` channels in v. */
static value_id with_vector(struct graph *g, enum op_kind kind, value_id x,
                            value_id v, uint64_t wanted)
{
    struct shape a = g->values[x].shape, b = g->values[v].shape;

    if (!is_vector(b, a.n, wanted))
        return FAIL(g,
                    "network: a vector of %u x %u x %u x %u meets %u pictures "
                    "of %u channels",
                    b.n, b.h, b.w, b.c, a.n, a.c);
    return graph_append(g, graph_op2(kind, x, v), a);
}

value_id graph_add_vec(struct graph *g, value_id x, value_id v)
{
    if (!graph_is_readable(g, x) || !graph_is_readable(g, v))
        return GRAPH_NO_VALUE;
    return with_vector(g, OP_ADD_VEC, x, v, g->values[x].shape.c);
}

value_id graph_scale_shift(struct graph *g, value_id x, value_id e)
{
    if (!graph_is_readable(g, x) || !graph_is_readable(g, e))
        return GRAPH_NO_VALUE;
    return with_vector(g, OP_SCALE_SHIFT, x, e,
                       2 * (uint64_t)g->values[x].shape.c);
}

value_id graph_div_vec(struct graph *g, value_id x, value_id v)
{
    if (!graph_is_readable(g, x) || !graph_is_readable(g, v))
        return GRAPH_NO_VALUE;
    return with_vector(g, OP_DIV_VEC, x, v, 1);
}

value_id graph_mul_vec(struct graph *g, value_id x, value_id v)
{
    if (!graph_is_readable(g, x) || !graph_is_readable(g, v))
        return GRAPH_NO_VALUE;
    return with_vector(g, OP_MUL_VEC, x, v, g->values[x].shape.c);
}

value_id graph_affine(struct graph *g, value_id x, float a, float b)
{
    struct graph_op op = graph_op1(OP_AFFINE, x);

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    op.attrs.a = a;
    op.attrs.b = b;
    return graph_append(g, op, g->values[x].shape);
}

value_id graph_concat(struct graph *g, value_id x, value_id y)
{
    struct shape a, b;

    if (!graph_is_readable(g, x) || !graph_is_readable(g, y))
        return GRAPH_NO_VALUE;
    a = g->values[x].shape;
    b = g->values[y].shape;
    if (a.n != b.n || a.h != b.h || a.w != b.w)
        return FAIL(g,
                    "network: %u x %u joined with %u x %u: the picture's edges "
                    "cannot be halved and doubled again",
                    a.h, a.w, b.h, b.w);
    if ((uint64_t)a.c + b.c > INT32_MAX)
        return FAIL(g, "network: too many channels joined");
    a.c += b.c;
    return graph_append(g, graph_op2(OP_CONCAT, x, y), a);
}

value_id graph_upsample(struct graph *g, value_id x, uint32_t oh, uint32_t ow)
{
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    s.h = oh;
    s.w = ow;
    return graph_append(g, graph_op1(OP_UPSAMPLE, x), s);
}

value_id graph_avg_pool2(struct graph *g, value_id x)
{
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    s.h /= 2;
    s.w /= 2;
    return graph_append(g, graph_op1(OP_AVG_POOL2, x), s);
}

/* Cells that a FIR pass leaves of `n`, 0 if none. */
static uint32_t fir_out(uint32_t n, const struct op_attrs *a)
{
    int64_t padded = (int64_t)n * a->up + a->pad0 + a->pad1;

    if (padded < a->n_taps)
        return 0;
    return (uint32_t)((padded - a->n_taps) / a->down + 1);
}

value_id graph_fir(struct graph *g, value_id x, uint32_t up, uint32_t down,
                   const float *taps, uint32_t n_taps, int32_t pad0,
                   int32_t pad1)
{
    struct graph_op op = graph_op1(OP_FIR, x);
    struct op_attrs *a = &op.attrs;
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    if (up == 0 || down == 0 || n_taps == 0 || n_taps > 8)
        return FAIL(g, "network: a filter of %u taps, up %u, down %u", n_taps,
                    up, down);
    a->up = up;
    a->down = down;
    a->n_taps = n_taps;
    a->pad0 = pad0;
    a->pad1 = pad1;
    memcpy(a->taps, taps, n_taps * sizeof *taps);
    s = g->values[x].shape;
    s.h = fir_out(s.h, a);
    s.w = fir_out(s.w, a);
    return graph_append(g, op, s);
}

value_id graph_attention(struct graph *g, value_id q, value_id k, value_id v,
                         uint32_t heads, float scale)
{
    struct graph_op op = graph_op2(OP_ATTENTION, q, k);
    struct shape a, b, c;

    if (!graph_is_readable(g, q) || !graph_is_readable(g, k) ||
        !graph_is_readable(g, v))
        return GRAPH_NO_VALUE;
    a = g->values[q].shape;
    b = g->values[k].shape;
    c = g->values[v].shape;
    if (heads == 0 || a.c % heads != 0 || b.c != a.c || !is_same_shape(b, c) ||
        b.n != a.n)
        return FAIL(g,
                    "network: attention of %u heads over %u, %u, %u channels",
                    heads, a.c, b.c, c.c);
    if (a.h != 1 || b.h != 1)
        return FAIL(g, "network: attention over pictures, not tokens");
    op.in[2] = v;
    op.n_in = 3;
    op.attrs.heads = heads;
    op.attrs.scale = scale;
    return graph_append(g, op, a);
}

value_id graph_reshape(struct graph *g, value_id x, uint32_t h, uint32_t w)
{
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    if ((uint64_t)s.h * s.w != (uint64_t)h * w)
        return FAIL(g, "network: %u x %u seen as %u x %u", s.h, s.w, h, w);
    s.h = h;
    s.w = w;
    return graph_append(g, graph_op1(OP_RESHAPE, x), s);
}

value_id graph_time_embed(struct graph *g, value_id t, uint32_t dim,
                          bool is_cos_first, float freq_shift)
{
    struct graph_op op = graph_op1(OP_TIME_EMBED, t);

    if (!graph_is_readable(g, t))
        return GRAPH_NO_VALUE;
    op.attrs.is_cos_first = is_cos_first;
    op.attrs.freq_shift = freq_shift;
    op.attrs.time_scale = 1;
    op.attrs.max_period = 10000;
    return graph_append(g, op, (struct shape){g->values[t].shape.n, 1, 1, dim});
}

/* -- reading ----------------------------------------------------------- */

struct shape graph_shape(const struct graph *g, value_id v)
{
    if (v >= g->n_values)
        return (struct shape){0, 0, 0, 0};
    return g->values[v].shape;
}

size_t graph_n_ops(const struct graph *g)
{
    return g->n_ops;
}

const struct graph_op *graph_op_at(const struct graph *g, size_t i)
{
    return &g->ops[i];
}

bool graph_is_product(const struct graph_op *op)
{
    return op->kind == OP_CONV2D || op->kind == OP_LINEAR;
}

size_t graph_n_values(const struct graph *g)
{
    return g->n_values;
}

const struct graph_value *graph_value_at(const struct graph *g, value_id v)
{
    return &g->values[v];
}

size_t graph_n_params(const struct graph *g)
{
    return g->n_params;
}

const struct graph_param *graph_param_at(const struct graph *g, param_id p)
{
    return &g->params[p];
}

size_t graph_n_inputs(const struct graph *g)
{
    return g->n_inputs;
}

value_id graph_input_at(const struct graph *g, size_t i)
{
    return g->inputs[i];
}

value_id graph_deep(const struct graph *g)
{
    return g->deep;
}

size_t graph_n_outputs(const struct graph *g)
{
    return g->n_outputs;
}

value_id graph_output_at(const struct graph *g, size_t i)
{
    return g->outputs[i];
}

static double n_floats(struct shape s)
{
    return (double)s.n * s.h * s.w * s.c;
}

/* Operations of products; what else is computed is small beside them. */
static double op_flops(const struct graph *g, const struct graph_op *op)
{
    double out = n_floats(g->values[op->out].shape);

    switch (op->kind) {
    case OP_CONV2D:
    case OP_LINEAR:
        return 2 * out * g->params[op->param[0]].fan_in;
    case OP_ATTENTION: {
        struct shape k = g->values[op->in[1]].shape;

        return 4 * out * k.h * k.w; /* q kT, then the weights times v */
    }
    default:
        return 0;
    }
}

double graph_flops(const struct graph *g)
{
    double sum = 0;

    for (size_t i = 0; i < g->n_ops; i++)
        sum += op_flops(g, &g->ops[i]);
    return sum;
}

/* Backwards from the outputs, as far as the deep value. */
enum unstir_status graph_shallow_flops(double *flops, const struct graph *g,
                                       struct unstir_error *err)
{
    bool *is_needed;

    *flops = 0;
    TRY(alloc_zero(&is_needed, g->n_values, sizeof *is_needed, err));
    for (size_t i = 0; i < g->n_outputs; i++)
        is_needed[g->outputs[i]] = true;
    for (size_t i = g->n_ops; i-- > 0;) {
        const struct graph_op *op = &g->ops[i];

        if (!is_needed[op->out] || op->out == g->deep)
            continue;
        *flops += op_flops(g, op);
        for (uint32_t k = 0; k < op->n_in; k++)
            is_needed[op->in[k]] = true;
    }
    alloc_free(is_needed);
    return UNSTIR_OK;
}
