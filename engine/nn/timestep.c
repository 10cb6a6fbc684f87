/* timestep.c - from a timestep to the vector that conditions a network.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/timestep.h"

#include "nn/name.h"

value_id timestep_embedding_act(struct graph *g, const char *prefix, value_id x,
                                uint32_t dim, enum act act)
{
    x = graph_linear(g, name_of("%s.linear_1", prefix).text, x, dim, true);
    x = graph_act(g, x, act);
    return graph_linear(g, name_of("%s.linear_2", prefix).text, x, dim, true);
}

value_id timestep_embedding(struct graph *g, const char *prefix, value_id x,
                            uint32_t dim)
{
    return timestep_embedding_act(g, prefix, x, dim, ACT_SILU);
}
