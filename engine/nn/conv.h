/* conv.h - the plain convolutions of networks.
 *
 * They keep the picture's size: zeros stand around all but the 1x1 one.
 * Parameters "prefix.weight" [cout][cin][k][k] and "prefix.bias" [cout].
 *
 * Guarded by tests/golden/t_blocks.c (every block contains one).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_CONV_H
#define NN_CONV_H

#include "ops/graph.h"

value_id conv3x3(struct graph *g, const char *prefix, value_id x,
                 uint32_t cout);
value_id conv1x1(struct graph *g, const char *prefix, value_id x,
                 uint32_t cout);

/* k x k, k odd. */
value_id conv_same(struct graph *g, const char *prefix, value_id x,
                   uint32_t cout, uint32_t k);

#endif
