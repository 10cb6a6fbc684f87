/* resblock.h - the residual block of diffusion networks.
 *
 *     h = act(norm1(x));  h, x = resample(h), resample(x)
 *     h = conv1(h)
 *     plain:        h = norm2(h + e)                  e = time_emb_proj(temb)
 *     scale-shift:  h = norm2(h) * (1 + scale) + shift     [scale|shift] = e
 *     h = conv2(act(h))
 *     y = (shortcut(x) + h) / out_divisor
 *
 * shortcut is a 1x1 convolution "conv_shortcut" when channels change or
 * has_shortcut is set, else nothing.  temb comes in activated: networks do it
 * once for all blocks, with the same act (GRAPH_NO_VALUE: no time at all).
 *
 * Pitfalls, each guarded by tests/golden/t_blocks.c:
 *  - the residual path is resampled too, before its convolution
 *    (resnet_up_nearest, resnet_down_avg, resnet_up_fir, resnet_down_fir);
 *  - with FIR a shortcut exists even for equal channels (resnet_down_fir);
 *  - norm2 has groups of its own (the skip blocks of t_unet2d.c);
 *  - act also stands before time_emb_proj (t_unet2d.c: mish, gelu).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_RESBLOCK_H
#define NN_RESBLOCK_H

#include "ops/graph.h"

enum resblock_resample {
    RESBLOCK_SAME = 0,
    RESBLOCK_UP,   /* nearest */
    RESBLOCK_DOWN, /* mean of 2x2 */
    RESBLOCK_FIR_UP,
    RESBLOCK_FIR_DOWN
};

struct resblock_spec {
    uint32_t cout;
    uint32_t groups_in, groups_out;
    float eps;
    enum act act;
    enum resblock_resample resample;
    bool is_scale_shift;
    bool has_shortcut;
    double out_divisor;
};

value_id resblock(struct graph *g, const char *prefix, value_id x,
                  value_id temb, const struct resblock_spec *spec);

#endif
