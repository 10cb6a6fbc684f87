/* attention_block.c - self-attention over the pixels of a picture.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/attention_block.h"

#include <math.h>

#include "nn/name.h"

value_id attention_block(struct graph *g, const char *prefix, value_id x,
                         const struct attention_spec *spec)
{
    struct shape s = graph_shape(g, x);
    uint32_t heads = spec->head_dim ? s.c / spec->head_dim : 0;
    uint32_t inner = heads * spec->head_dim;
    value_id t = x, q, k, v, o;

    if (spec->groups)
        t = graph_group_norm(g, name_of("%s.group_norm", prefix).text, x,
                             spec->groups, spec->eps);
    t = graph_reshape(g, t, 1, s.h * s.w);
    q = graph_linear(g, name_of("%s.to_q", prefix).text, t, inner, true);
    k = graph_linear(g, name_of("%s.to_k", prefix).text, t, inner, true);
    v = graph_linear(g, name_of("%s.to_v", prefix).text, t, inner, true);
    o = graph_attention(g, q, k, v, heads,
                        (float)(1 / sqrt((double)spec->head_dim)));
    o = graph_linear(g, name_of("%s.to_out.0", prefix).text, o, s.c, true);
    o = graph_add(g, graph_reshape(g, o, s.h, s.w), x);
    if (spec->out_divisor != 1)
        o = graph_affine(g, o, (float)(1 / spec->out_divisor), 0);
    return o;
}
