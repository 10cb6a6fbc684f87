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

/* Without the convolution. */
value_id upsample_nearest2(struct graph *g, value_id x);

#endif
