/* fir.c - resampling with the binomial filter (1, 3, 3, 1) of NCSN++.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/fir.h"

#include "nn/name.h"

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

static value_id conv_unpadded(struct graph *g, const char *prefix, value_id x,
                              uint32_t cout, uint32_t stride)
{
    return graph_conv2d(
        g, name_of("%s.Conv2d_0", prefix).text, x,
        &(struct conv2d_spec){
            .cout = cout, .k = 3, .stride = stride, .has_bias = true});
}

value_id fir_down_conv(struct graph *g, const char *prefix, value_id x,
                       uint32_t cout)
{
    x = graph_fir(g, x, 1, 1, taps_down, N_TAPS, 2, 2);
    return conv_unpadded(g, prefix, x, cout, 2);
}

value_id fir_up_conv(struct graph *g, const char *prefix, value_id x,
                     uint32_t cout)
{
    x = graph_fir(g, x, 2, 1, taps_up, N_TAPS, 3, 2);
    return conv_unpadded(g, prefix, x, cout, 1);
}
