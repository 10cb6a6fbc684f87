/* graph_tokens.c - building the operations of transformers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/graph_parts.h"

value_id graph_layer_norm(struct graph *g, const char *prefix, value_id x,
                          float eps)
{
    struct graph_op op = graph_op1(OP_LAYER_NORM, x);
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    op.attrs.eps = eps;
    if (prefix) {
        op.param[0] = graph_sub_param(g, prefix, "weight", PARAM_NORM_WEIGHT,
                                      s.c, 1, &s.c);
        op.param[1] =
            graph_sub_param(g, prefix, "bias", PARAM_NORM_BIAS, s.c, 1, &s.c);
    }
    return graph_append(g, op, s);
}

value_id graph_glu(struct graph *g, value_id x, enum act act)
{
    struct graph_op op = graph_op1(OP_GLU, x);
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    if (s.c % 2 != 0)
        return FAIL(g,
                    "network: a gated unit of %u channels; an even number "
                    "is needed",
                    s.c);
    op.attrs.act = act;
    s.c /= 2;
    return graph_append(g, op, s);
}

value_id graph_slice(struct graph *g, value_id x, uint32_t first, uint32_t c)
{
    struct graph_op op = graph_op1(OP_SLICE, x);
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    if (c == 0 || first > s.c || c > s.c - first)
        return FAIL(g, "network: channels %u to %u of %u", first, first + c,
                    s.c);
    op.attrs.first = first;
    s.c = c;
    return graph_append(g, op, s);
}

value_id graph_add_rows(struct graph *g, value_id x, value_id r)
{
    struct shape a, b;

    if (!graph_is_readable(g, x) || !graph_is_readable(g, r))
        return GRAPH_NO_VALUE;
    a = g->values[x].shape;
    b = g->values[r].shape;
    if (b.n != 1 || b.h != a.h || b.w != a.w || b.c != a.c)
        return FAIL(g, "network: %u x %u x %u added to each %u x %u x %u", b.h,
                    b.w, b.c, a.h, a.w, a.c);
    return graph_append(g, graph_op2(OP_ADD_ROWS, x, r), a);
}

value_id graph_grid_embed(struct graph *g, uint32_t h, uint32_t w, uint32_t c,
                          float extent)
{
    struct graph_op op = graph_op0(OP_GRID_EMBED);

    if (g->status != UNSTIR_OK)
        return GRAPH_NO_VALUE;
    if (c % 4 != 0 || !(extent > 0))
        return FAIL(g,
                    "network: places of a grid in %u channels; a multiple "
                    "of 4 is needed",
                    c);
    op.attrs.a = extent;
    return graph_append(g, op, (struct shape){1, h, w, c});
}

value_id graph_unpatch(struct graph *g, value_id x, uint32_t patch)
{
    struct graph_op op = graph_op1(OP_UNPATCH, x);
    uint64_t area = (uint64_t)patch * patch, h, w;
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    h = (uint64_t)s.h * patch;
    w = (uint64_t)s.w * patch;
    if (patch == 0 || s.c % area != 0 || h > UINT32_MAX || w > UINT32_MAX)
        return FAIL(g, "network: %u channels as patches of %u x %u", s.c, patch,
                    patch);
    op.attrs.up = patch;
    return graph_append(
        g, op,
        (struct shape){s.n, (uint32_t)h, (uint32_t)w, (uint32_t)(s.c / area)});
}

value_id graph_nearest(struct graph *g, const char *param_name, value_id x,
                       uint32_t rows)
{
    struct graph_op op = graph_op1(OP_NEAREST, x);
    struct shape s;

    if (!graph_is_readable(g, x))
        return GRAPH_NO_VALUE;
    s = g->values[x].shape;
    op.param[0] = graph_param(g, param_name, PARAM_TABLE, 1, 2,
                              (const uint32_t[]){rows, s.c});
    return graph_append(g, op, s);
}

value_id graph_causal_attention(struct graph *g, value_id q, value_id k,
                                value_id v, uint32_t heads, float scale)
{
    value_id o = graph_attention(g, q, k, v, heads, scale);

    if (o == GRAPH_NO_VALUE)
        return o;
    if (g->values[q].shape.w != g->values[k].shape.w)
        return FAIL(g, "network: causal attention of %u tokens to %u",
                    g->values[q].shape.w, g->values[k].shape.w);
    g->ops[g->values[o].op].attrs.is_causal = true;
    return o;
}
