/* unet2d.h - UNet2DModel: its configuration and its graph.
 *
 *     conv_in -> down blocks -> mid -> up blocks -> norm, SiLU, conv_out
 *
 * Each down block hands the outputs of its layers to the up block opposite,
 * which joins them along channels, newest first.  A vector made from timestep
 * and class enters every residual block.
 *
 * Pitfalls, each guarded by tests/golden/t_unet2d.c unless said:
 *  - attention_head_dim is the width of a head; null means one head;
 *  - null and absent differ for attention_head_dim, norm_num_groups and
 *    mid_block_type (tests/unit/t_unet2d_config.c);
 *  - downsample_padding 0 pads on the right and below only (ddpm);
 *  - skip blocks (NCSN++) divide by sqrt 2, take min(c / 4, 32) groups, and
 *    AttnSkipUpBlock2D min(main + skip / 4, 32): a slip of the reference's
 *    operator precedence that checkpoints were trained with (ncsnpp);
 *  - skip blocks add a picture that is resampled beside the network; the up
 *    path starts a new one (ncsnpp);
 *  - with Fourier time embedding the output is divided by sigma, which comes
 *    in as the timestep (ncsnpp);
 *  - act_fn does not reach the time embedding, skip_norm and conv_norm_out:
 *    they are SiLU always (mish, gelu);
 *  - with scale_shift and attn_norm_num_groups null the middle attention has
 *    no norm, while those of the blocks have (scale_shift).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_UNET2D_H
#define MODEL_UNET2D_H

#include "model/model.h"
#include "ops/op.h"

#define UNET2D_MAX_LEVELS 12
#define UNET2D_MAX_LAYERS 32

enum unet2d_block {
    UNET2D_PLAIN = 0, /* DownBlock2D, UpBlock2D                              */
    UNET2D_ATTN,      /* AttnDownBlock2D, AttnUpBlock2D                      */
    UNET2D_RESNET,    /* ResnetDownsampleBlock2D, ResnetUpsampleBlock2D      */
    UNET2D_SKIP,      /* SkipDownBlock2D, SkipUpBlock2D                      */
    UNET2D_ATTN_SKIP, /* AttnSkipDownBlock2D, AttnSkipUpBlock2D              */
    UNET2D_BLOCK_COUNT
};

enum unet2d_time { UNET2D_POSITIONAL = 0, UNET2D_FOURIER, UNET2D_LEARNED };

enum unet2d_class {
    UNET2D_NO_CLASS = 0,
    UNET2D_CLASS_TABLE,
    UNET2D_CLASS_TIMESTEP,
    UNET2D_CLASS_IDENTITY
};

struct unet2d_config {
    uint32_t sample_h, sample_w; /* 0: not said                              */
    uint32_t in_channels, out_channels;
    bool is_centering; /* x -> 2x - 1 first                                  */
    enum unet2d_time time;
    uint32_t time_dim;  /* of the conditioning vector                   */
    uint32_t time_rows; /* num_train_timesteps, for LEARNED             */
    double freq_shift;
    bool is_cos_first;
    uint32_t n_levels;
    uint32_t channels[UNET2D_MAX_LEVELS];
    enum unet2d_block down[UNET2D_MAX_LEVELS];
    enum unet2d_block up[UNET2D_MAX_LEVELS];
    bool has_mid, has_mid_attention;
    double mid_divisor;
    uint32_t n_layers;
    uint32_t downsample_padding;
    bool is_resnet_down, is_resnet_up; /* of attention blocks                */
    enum act act;
    uint32_t head_dim;        /* 0: one head                                 */
    uint32_t groups;          /* 0: min(c / 4, 32)                           */
    uint32_t mid_attn_groups; /* 0: by rule                                  */
    double eps;
    bool is_scale_shift;
    enum unet2d_class class_embed;
    uint32_t class_rows;
};

/* Read and check; what is wrong is named by its key. */
enum unstir_status unet2d_parse(struct unet2d_config *c,
                                const struct json *config,
                                struct unstir_error *err);

/* The row of model.c. */
enum unstir_status unet2d_facts(struct model_facts *facts,
                                const struct json *config,
                                struct unstir_error *err);
enum unstir_status unet2d_build_config(struct graph *g,
                                       const struct json *config,
                                       const struct model_size *size,
                                       struct unstir_error *err);

#endif
