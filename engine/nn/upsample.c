/* upsample.c - doubling a picture: nearest neighbour, then a convolution.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/upsample.h"

#include "nn/conv.h"
#include "nn/name.h"

value_id upsample_nearest2(struct graph *g, value_id x)
{
    struct shape s = graph_shape(g, x);

    return graph_upsample(g, x, 2 * s.h, 2 * s.w);
}

value_id upsample_conv_to(struct graph *g, const char *prefix, value_id x,
                          uint32_t h, uint32_t w)
{
    uint32_t c = graph_shape(g, x).c;

    return conv3x3(g, name_of("%s.conv", prefix).text,
                   graph_upsample(g, x, h, w), c);
}

value_id upsample_conv(struct graph *g, const char *prefix, value_id x)
{
    struct shape s = graph_shape(g, x);

    return upsample_conv_to(g, prefix, x, 2 * s.h, 2 * s.w);
}
