/* upsample.h - doubling a picture: nearest neighbour, then a convolution.
 *
 *     y = conv3x3(nearest(x, 2h x 2w)) + bias     parameters "prefix.conv.*"
 *
 * Guarded by tests/golden/t_blocks.c: upsample_conv.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_UPSAMPLE_H
#define NN_UPSAMPLE_H

#include "ops/graph.h"

value_id upsample_conv(struct graph *g, const char *prefix, value_id x);

/* To the edges h and w, which need not be the double. */
value_id upsample_conv_to(struct graph *g, const char *prefix, value_id x,
                          uint32_t h, uint32_t w);

/* Without the convolution. */
value_id upsample_nearest2(struct graph *g, value_id x);

#endif
