/* timestep.h - from a timestep to the vector that conditions a network.
 *
 *     embedding:  linear_2(silu(linear_1(x)))   "prefix.linear_{1,2}.*"
 *
 * The sinusoidal and Fourier features before it are graph_time_embed() and
 * graph_fourier_embed().
 *
 * Pitfall: the activation here is always SiLU, whatever the network's act_fn
 * (tests/golden/t_unet2d.c: mish, gelu).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_TIMESTEP_H
#define NN_TIMESTEP_H

#include "ops/graph.h"

value_id timestep_embedding(struct graph *g, const char *prefix, value_id x,
                            uint32_t dim);

#endif
