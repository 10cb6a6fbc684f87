/* dit_block.h - the transformer block of DiT: norms steered by time and class
 * (adaLN-Zero).
 *
 *     cond = timestep_embedder(sinusoids(t)) + class_embedder[label]
 *     shift, scale, gate, shift2, scale2, gate2 = linear(silu(cond))
 *     x += gate  attn1(norm1(x) (1 + scale) + shift)
 *     x += gate2 ff(norm3(x) (1 + scale2) + shift2)
 *
 * Parameters "prefix.norm1.emb.{timestep_embedder,class_embedder}.*",
 * "prefix.norm1.linear.*", "prefix.attn1.*", "prefix.ff.net.{0.proj,2}.*".
 *
 * Pitfalls, guarded by tests/golden/t_families.c (dit):
 *  - every block has embedders of its own;
 *  - norm1 has no parameters and eps 1e-6 whatever the network's norm_eps;
 *  - parts come shift first, unlike those of residual blocks.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_DIT_BLOCK_H
#define NN_DIT_BLOCK_H

#include "ops/graph.h"

enum dit_activation { DIT_GELU_TANH = 0, DIT_GELU, DIT_GEGLU };

struct dit_spec {
    uint32_t heads, head_dim;
    uint32_t n_classes; /* rows of the class tables                          */
    enum dit_activation activation;
    bool has_attention_bias, has_affine; /* norm3                            */
    float eps;                           /* norm3                            */
    value_id time;                       /* sinusoids [n][1][1][m]           */
    value_id label;                      /* [n][1][1][1]                     */
};

/* What a block's norm1.emb says about time and class. */
value_id dit_condition(struct graph *g, const char *prefix,
                       const struct dit_spec *spec);

/* x (1 + scale) + shift, from parts `shift` and `scale` of v, each as wide as
 * x. */
value_id dit_modulate(struct graph *g, value_id x, value_id v, uint32_t shift,
                      uint32_t scale);

value_id dit_block(struct graph *g, const char *prefix, value_id x,
                   const struct dit_spec *spec);

#endif
