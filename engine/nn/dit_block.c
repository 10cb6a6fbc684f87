/* dit_block.c - the transformer block of DiT.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/dit_block.h"

#include "nn/name.h"
#include "nn/timestep.h"
#include "nn/transformer.h"

#define NORM1_EPS 1e-6F
#define WIDENING  4

enum part { SHIFT = 0, SCALE, GATE, SHIFT2, SCALE2, GATE2, N_PARTS };

value_id dit_condition(struct graph *g, const char *prefix,
                       const struct dit_spec *spec)
{
    struct name emb = name_of("%s.norm1.emb", prefix);
    uint32_t c = spec->heads * spec->head_dim;
    value_id t = timestep_embedding(
        g, name_of("%s.timestep_embedder", emb.text).text, spec->time, c);
    value_id y = graph_lookup(
        g, name_of("%s.class_embedder.embedding_table.weight", emb.text).text,
        spec->label, spec->n_classes, c);

    return graph_add(g, t, y);
}

static value_id part_of(struct graph *g, value_id v, uint32_t i, uint32_t c)
{
    return graph_slice(g, v, i * c, c);
}

value_id dit_modulate(struct graph *g, value_id x, value_id v, uint32_t shift,
                      uint32_t scale)
{
    uint32_t c = graph_shape(g, x).c;
    value_id e =
        graph_concat(g, part_of(g, v, scale, c), part_of(g, v, shift, c));

    return graph_scale_shift(g, x, e);
}

static value_id feed_forward(struct graph *g, const char *prefix, value_id x,
                             enum dit_activation activation)
{
    uint32_t c = graph_shape(g, x).c;
    value_id h;

    if (activation == DIT_GEGLU)
        return geglu_feed_forward(g, prefix, x);
    h = graph_linear(g, name_of("%s.net.0.proj", prefix).text, x, WIDENING * c,
                     true);
    h = graph_act(g, h, activation == DIT_GELU ? ACT_GELU : ACT_GELU_TANH);
    return graph_linear(g, name_of("%s.net.2", prefix).text, h, c, true);
}

value_id dit_block(struct graph *g, const char *prefix, value_id x,
                   const struct dit_spec *spec)
{
    struct name norm3 = name_of("%s.norm3", prefix);
    uint32_t c = graph_shape(g, x).c;
    value_id v = graph_act(g, dit_condition(g, prefix, spec), ACT_SILU), h;

    v = graph_linear(g, name_of("%s.norm1.linear", prefix).text, v, N_PARTS * c,
                     true);
    h = dit_modulate(g, graph_layer_norm(g, NULL, x, NORM1_EPS), v, SHIFT,
                     SCALE);
    h = token_attention(g, name_of("%s.attn1", prefix).text, h, h, spec->heads,
                        spec->head_dim, spec->has_attention_bias);
    x = graph_add(g, graph_mul_vec(g, h, part_of(g, v, GATE, c)), x);
    h = graph_layer_norm(g, spec->has_affine ? norm3.text : NULL, x, spec->eps);
    h = dit_modulate(g, h, v, SHIFT2, SCALE2);
    h = feed_forward(g, name_of("%s.ff", prefix).text, h, spec->activation);
    return graph_add(g, graph_mul_vec(g, h, part_of(g, v, GATE2, c)), x);
}
