/* conv.c - the plain convolutions of networks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/conv.h"

value_id conv_same(struct graph *g, const char *prefix, value_id x,
                   uint32_t cout, uint32_t k)
{
    uint32_t pad = k / 2;

    return graph_conv2d(g, prefix, x,
                        &(struct conv2d_spec){.cout = cout,
                                              .k = k,
                                              .stride = 1,
                                              .pad_t = pad,
                                              .pad_l = pad,
                                              .pad_b = pad,
                                              .pad_r = pad,
                                              .has_bias = true});
}

value_id conv3x3(struct graph *g, const char *prefix, value_id x, uint32_t cout)
{
    return conv_same(g, prefix, x, cout, 3);
}

value_id conv1x1(struct graph *g, const char *prefix, value_id x, uint32_t cout)
{
    return conv_same(g, prefix, x, cout, 1);
}
