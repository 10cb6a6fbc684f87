/* attention_block.h - self-attention over the pixels of a picture.
 *
 *     t = tokens(group_norm(x))                 "prefix.group_norm.*"
 *     q, k, v = linear(t), with bias            "prefix.to_{q,k,v}.*"
 *     o = softmax(q kT / sqrt(head_dim)) v      heads side by side
 *     y = (x + linear(o)) / out_divisor         "prefix.to_out.0.*"
 *
 * heads = c / head_dim rounded down; when head_dim does not divide c the
 * inner width is heads * head_dim, narrower than c.
 *
 * Pitfalls, each guarded by tests/golden/t_unet2d.c:
 *  - head_dim is the width of a head here, not the number of heads (ldm);
 *  - groups 0 means no norm at all: no group_norm parameters exist
 *    (scale_shift with attn_norm_num_groups null);
 *  - the residual is the block's input, not the normed one, and it is divided
 *    too (ncsnpp, mid_block_scale_factor).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_ATTENTION_BLOCK_H
#define NN_ATTENTION_BLOCK_H

#include "ops/graph.h"

struct attention_spec {
    uint32_t head_dim;
    uint32_t groups; /* 0: no norm */
    float eps;
    double out_divisor;
};

value_id attention_block(struct graph *g, const char *prefix, value_id x,
                         const struct attention_spec *spec);

#endif
