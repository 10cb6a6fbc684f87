/* transformer.c - the transformers of latent diffusion.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/transformer.h"

#include <math.h>

#include "nn/conv.h"
#include "nn/name.h"

#define BLOCK_EPS 1e-5F
#define FRAME_EPS 1e-6F
#define WIDENING  4

value_id token_attention(struct graph *g, const char *prefix, value_id x,
                         value_id context, uint32_t heads, uint32_t head_dim,
                         bool has_bias)
{
    uint32_t c = graph_shape(g, x).c, inner = heads * head_dim;
    value_id q, k, v, o;

    q = graph_linear(g, name_of("%s.to_q", prefix).text, x, inner, has_bias);
    k = graph_linear(g, name_of("%s.to_k", prefix).text, context, inner,
                     has_bias);
    v = graph_linear(g, name_of("%s.to_v", prefix).text, context, inner,
                     has_bias);
    o = graph_attention(g, q, k, v, heads, (float)(1 / sqrt((double)head_dim)));
    return graph_linear(g, name_of("%s.to_out.0", prefix).text, o, c, true);
}

value_id geglu_feed_forward(struct graph *g, const char *prefix, value_id x)
{
    uint32_t c = graph_shape(g, x).c;
    value_id h = graph_linear(g, name_of("%s.net.0.proj", prefix).text, x,
                              2 * WIDENING * c, true);

    h = graph_glu(g, h, ACT_GELU);
    return graph_linear(g, name_of("%s.net.2", prefix).text, h, c, true);
}

value_id transformer_block(struct graph *g, const char *prefix, value_id x,
                           const struct transformer_spec *spec)
{
    value_id h, context;

    h = graph_layer_norm(g, name_of("%s.norm1", prefix).text, x, BLOCK_EPS);
    context = spec->is_only_cross ? spec->context : h;
    h = token_attention(g, name_of("%s.attn1", prefix).text, h, context,
                        spec->heads, spec->head_dim, false);
    x = graph_add(g, h, x);
    h = graph_layer_norm(g, name_of("%s.norm2", prefix).text, x, BLOCK_EPS);
    context = spec->context == GRAPH_NO_VALUE ? h : spec->context;
    h = token_attention(g, name_of("%s.attn2", prefix).text, h, context,
                        spec->heads, spec->head_dim, false);
    x = graph_add(g, h, x);
    h = graph_layer_norm(g, name_of("%s.norm3", prefix).text, x, BLOCK_EPS);
    h = geglu_feed_forward(g, name_of("%s.ff", prefix).text, h);
    return graph_add(g, h, x);
}

value_id transformer2d(struct graph *g, const char *prefix, value_id x,
                       const struct transformer_spec *spec)
{
    struct name in = name_of("%s.proj_in", prefix);
    struct name out = name_of("%s.proj_out", prefix);
    struct shape s = graph_shape(g, x);
    uint32_t inner = spec->heads * spec->head_dim;
    value_id h;

    h = graph_group_norm(g, name_of("%s.norm", prefix).text, x, spec->groups,
                         FRAME_EPS);
    h = spec->has_linear_proj ? graph_linear(g, in.text, h, inner, true)
                              : conv1x1(g, in.text, h, inner);
    h = graph_reshape(g, h, 1, s.h * s.w);
    for (uint32_t i = 0; i < spec->n_blocks; i++)
        h = transformer_block(
            g, name_of("%s.transformer_blocks.%u", prefix, i).text, h, spec);
    h = graph_reshape(g, h, s.h, s.w);
    h = spec->has_linear_proj ? graph_linear(g, out.text, h, s.c, true)
                              : conv1x1(g, out.text, h, s.c);
    return graph_add(g, h, x);
}
