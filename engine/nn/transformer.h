/* transformer.h - attention with another sequence, the block of latent
 * diffusion's transformers, and their frame around a picture.
 *
 *     attention:  q = to_q(x); k, v = to_k(c), to_v(c), no biases
 *                 y = to_out.0(softmax(q kT / sqrt(head_dim)) v)
 *     block:      x += attn1(norm1(x), norm1(x))
 *                 x += attn2(norm2(x), context)
 *                 x += ff.net.2(a gelu(b)), a | b = ff.net.0.proj(norm3(x))
 *     picture:    y = x + proj_out(blocks(proj_in(tokens(norm(x)))))
 *
 * Pitfalls, each guarded by tests/golden/t_transformer.c:
 *  - only_cross makes attn1 read the context too (no golden of its own);
 *  - the frame's norm has eps 1e-6 whatever the network's norm_eps;
 *  - proj_in and proj_out are 1x1 convolutions or linear layers: same
 *    numbers, other shapes in the files (conv_proj, linear_proj);
 *  - gelu is the erf form.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_TRANSFORMER_H
#define NN_TRANSFORMER_H

#include "ops/graph.h"

struct transformer_spec {
    uint32_t heads, head_dim;
    uint32_t n_blocks;
    uint32_t groups;      /* of the frame's norm                           */
    bool has_linear_proj; /* else 1x1 convolutions                         */
    bool is_only_cross;   /* attn1 reads the context                       */
    value_id context;     /* tokens; GRAPH_NO_VALUE: x itself              */
};

/* Tokens x [n][1][len][c] attend to `context`. */
value_id token_attention(struct graph *g, const char *prefix, value_id x,
                         value_id context, uint32_t heads, uint32_t head_dim,
                         bool has_bias);

/* "prefix.net.0.proj" and "prefix.net.2", four times as wide between. */
value_id geglu_feed_forward(struct graph *g, const char *prefix, value_id x);

value_id transformer_block(struct graph *g, const char *prefix, value_id x,
                           const struct transformer_spec *spec);

value_id transformer2d(struct graph *g, const char *prefix, value_id x,
                       const struct transformer_spec *spec);

#endif
