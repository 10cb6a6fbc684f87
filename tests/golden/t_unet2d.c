/* t_unet2d.c - UNet2DModel.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/compiler.h"
#include "network_golden.h"

#define CLASS "UNet2DModel"

static const struct network_golden goldens[] = {
    {"modules/unet2d_gray_class", CLASS, NULL, "in.x", "out.out"},
    {"unet2d/plain", CLASS, NULL, NULL, NULL},
    {"unet2d/attention", CLASS, NULL, NULL, NULL},
    {"unet2d/one_head", CLASS, NULL, NULL, NULL},
    {"unet2d/head_dim_uneven", CLASS, NULL, NULL, NULL},
    {"unet2d/class_table", CLASS, NULL, NULL, NULL},
    {"unet2d/class_timestep", CLASS, NULL, NULL, NULL},
    {"unet2d/class_identity", CLASS, NULL, NULL, NULL},
    {"unet2d/scale_shift", CLASS, NULL, NULL, NULL},
    {"unet2d/resnet_samplers", CLASS, NULL, NULL, NULL},
    {"unet2d/ncsnpp", CLASS, NULL, NULL, NULL},
    {"unet2d/skip_positional", CLASS, NULL, NULL, NULL},
    {"unet2d/skip_mixed", CLASS, NULL, NULL, NULL},
    {"unet2d/rectangular", CLASS, NULL, NULL, NULL},
    {"unet2d/odd", CLASS, NULL, NULL, NULL},
    {"unet2d/one_pixel", CLASS, NULL, NULL, NULL},
    {"unet2d/mish", CLASS, NULL, NULL, NULL},
    {"unet2d/gelu", CLASS, NULL, NULL, NULL},
    {"unet2d/relu_no_mid_attention", CLASS, NULL, NULL, NULL},
    {"unet2d/mid_null", CLASS, NULL, NULL, NULL},
    {"unet2d/learned_time", CLASS, NULL, NULL, NULL},
    {"unet2d/channels", CLASS, NULL, NULL, NULL},
    {"unet2d/ddpm", CLASS, NULL, NULL, NULL},
    {"unet2d/old_names", CLASS, NULL, NULL, NULL},
    {"unet2d/wide", CLASS, NULL, NULL, NULL},
    {"unet2d/ddpm_small", CLASS, NULL, NULL, NULL},
    {"unet2d/ldm", CLASS, NULL, NULL, NULL},
    {"unet2d/consistency", CLASS, NULL, NULL, NULL},
};

int main(void)
{
    return network_goldens_run(goldens, ARRAY_LEN(goldens));
}
