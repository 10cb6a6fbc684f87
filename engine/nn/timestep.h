/* timestep.h - from a timestep to the vector that conditions a network.
 *
 *     embedding:  linear_2(act(linear_1(x)))    "prefix.linear_{1,2}.*"
 *
 * The sinusoidal and Fourier features before it are graph_time_embed() and
 * graph_fourier_embed().
 *
 * Pitfall: the activation of UNet2DModel's is always SiLU, whatever its act_fn
 * (tests/golden/t_unet2d.c: mish, gelu); UNet2DConditionModel's time embedding
 * follows act_fn, its added embedding does not
 * (tests/golden/t_families.c: unetc_acts).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_TIMESTEP_H
#define NN_TIMESTEP_H

#include "ops/graph.h"

value_id timestep_embedding_act(struct graph *g, const char *prefix, value_id x,
                                uint32_t dim, enum act act);

/* With SiLU. */
value_id timestep_embedding(struct graph *g, const char *prefix, value_id x,
                            uint32_t dim);

#endif
