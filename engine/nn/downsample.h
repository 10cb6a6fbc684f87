/* downsample.h - halving a picture by a strided convolution.
 *
 *     y = conv3x3 stride 2 (x padded) + bias      parameters "prefix.conv.*"
 *
 * padding p >= 1 puts p zeros on all four sides: h -> (h + 2p - 3) / 2 + 1.
 *
 * Pitfall: padding 0 does not mean none: one row of zeros below and one
 * column to the right are added, so the kernel's centre is shifted against
 * padding 1 and h -> h / 2 (tests/golden/t_blocks.c: downsample_conv_pad0, on
 * an odd height).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_DOWNSAMPLE_H
#define NN_DOWNSAMPLE_H

#include "ops/graph.h"

value_id downsample_conv(struct graph *g, const char *prefix, value_id x,
                         uint32_t padding);

#endif
