/* downsample.c - halving a picture by a strided convolution.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/downsample.h"

#include "nn/name.h"

value_id downsample_conv(struct graph *g, const char *prefix, value_id x,
                         uint32_t padding)
{
    struct conv2d_spec spec = {
        .cout = graph_shape(g, x).c,
        .k = 3,
        .stride = 2,
        .pad_t = padding,
        .pad_l = padding,
        .pad_b = padding ? padding : 1,
        .pad_r = padding ? padding : 1,
        .has_bias = true,
    };

    return graph_conv2d(g, name_of("%s.conv", prefix).text, x, &spec);
}
