/* resblock.c - the residual block of diffusion networks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/resblock.h"

#include "nn/conv.h"
#include "nn/fir.h"
#include "nn/name.h"
#include "nn/upsample.h"

static value_id resample(struct graph *g, value_id x,
                         enum resblock_resample how)
{
    switch (how) {
    case RESBLOCK_SAME:
        break;
    case RESBLOCK_UP:
        return upsample_nearest2(g, x);
    case RESBLOCK_DOWN:
        return graph_avg_pool2(g, x);
    case RESBLOCK_FIR_UP:
        return fir_up(g, x);
    case RESBLOCK_FIR_DOWN:
        return fir_down(g, x);
    }
    return x;
}

/* From the first convolution's output to the second one's input. */
static value_id condition(struct graph *g, const char *prefix, value_id h,
                          value_id temb, const struct resblock_spec *spec)
{
    value_id e = GRAPH_NO_VALUE;

    if (temb != GRAPH_NO_VALUE)
        e = graph_linear(g, name_of("%s.time_emb_proj", prefix).text, temb,
                         spec->is_scale_shift ? 2 * spec->cout : spec->cout,
                         true);
    if (e != GRAPH_NO_VALUE && !spec->is_scale_shift)
        h = graph_add_vec(g, h, e);
    h = graph_group_norm(g, name_of("%s.norm2", prefix).text, h,
                         spec->groups_out, spec->eps);
    if (e != GRAPH_NO_VALUE && spec->is_scale_shift)
        h = graph_scale_shift(g, h, e);
    return graph_act(g, h, spec->act);
}

value_id resblock(struct graph *g, const char *prefix, value_id x,
                  value_id temb, const struct resblock_spec *spec)
{
    bool has_shortcut = spec->has_shortcut || graph_shape(g, x).c != spec->cout;
    value_id h;

    h = graph_group_norm(g, name_of("%s.norm1", prefix).text, x,
                         spec->groups_in, spec->eps);
    h = resample(g, graph_act(g, h, spec->act), spec->resample);
    x = resample(g, x, spec->resample);
    h = conv3x3(g, name_of("%s.conv1", prefix).text, h, spec->cout);
    h = condition(g, prefix, h, temb, spec);
    h = conv3x3(g, name_of("%s.conv2", prefix).text, h, spec->cout);
    if (has_shortcut)
        x = conv1x1(g, name_of("%s.conv_shortcut", prefix).text, x, spec->cout);
    h = graph_add(g, x, h);
    if (spec->out_divisor != 1)
        h = graph_affine(g, h, (float)(1 / spec->out_divisor), 0);
    return h;
}
