/* conv.c - the plain convolutions of networks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/conv.h"

value_id conv3x3(struct graph *g, const char *prefix, value_id x, uint32_t cout)
{
    return graph_conv2d(g, prefix, x,
                        &(struct conv2d_spec){.cout = cout,
                                              .k = 3,
                                              .stride = 1,
                                              .pad_t = 1,
                                              .pad_l = 1,
                                              .pad_b = 1,
                                              .pad_r = 1,
                                              .has_bias = true});
}

value_id conv1x1(struct graph *g, const char *prefix, value_id x, uint32_t cout)
{
    return graph_conv2d(
        g, prefix, x,
        &(struct conv2d_spec){
            .cout = cout, .k = 1, .stride = 1, .has_bias = true});
}
