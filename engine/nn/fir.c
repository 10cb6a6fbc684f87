/* fir.c - resampling with the binomial filter (1, 3, 3, 1) of NCSN++.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/fir.h"

#define N_TAPS 4

static const float taps_down[N_TAPS] = {0.125F, 0.375F, 0.375F, 0.125F};
static const float taps_up[N_TAPS] = {0.25F, 0.75F, 0.75F, 0.25F};

value_id fir_down(struct graph *g, value_id x)
{
    return graph_fir(g, x, 1, 2, taps_down, N_TAPS, 1, 1);
}

value_id fir_up(struct graph *g, value_id x)
{
    return graph_fir(g, x, 2, 1, taps_up, N_TAPS, 2, 1);
}
