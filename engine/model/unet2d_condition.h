/* unet2d_condition.h - UNet2DConditionModel: the network of latent diffusion,
 * conditioned on tokens of a text.
 *
 *     conv_in -> down blocks -> mid -> up blocks -> norm, SiLU, conv_out
 *
 * as UNet2DModel, with a transformer behind each residual block of the cross
 * blocks.  SD 1.x, 2.x, XL and its refiner, Turbo, LCM, inpainting,
 * instruct-pix2pix, the x4 upscaler and the small ones without a middle are
 * configurations of it.
 *
 * Inputs beside picture and timestep: "label" (class embeddings), "context"
 * (tokens), "text_embeds" and "time_ids" (XL: pooled text; sizes and crops),
 * "timestep_cond" (LCM: embedding of the guidance scale).
 *
 * Pitfalls, each guarded by tests/golden/t_families.c, by its rows unetc_*:
 *  - attention_head_dim is the number of heads here, not their width (sd1);
 *  - edges need not be multiples of anything: an upsampler goes to the size
 *    of the skip that it meets (sd1_odd);
 *  - lists are by level on the way down and reversed on the way up (sd2, xl);
 *  - the added vector is [text_embeds | sinusoids of time_ids] (xl);
 *  - the guidance embedding is added before the first linear layer of the
 *    time embedding (lcm);
 *  - UNetMidBlock2D is one residual block alone here (small);
 *  - absent and null differ for mid_block_type (nomid);
 *  - attention_head_dim is the width of a head after all in AttnDownBlock2D
 *    and AttnUpBlock2D (resampled), and there by the block's own place in the
 *    list, which is not reversed (heads);
 *  - blocks resampled by residual blocks may read the time embedding before
 *    its activation (resampled).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_UNET2D_CONDITION_H
#define MODEL_UNET2D_CONDITION_H

#include "model/model.h"
#include "ops/op.h"

#define UNETC_MAX_LEVELS 12
#define UNETC_MAX_LAYERS 32

enum unetc_block {
    UNETC_PLAIN = 0,
    UNETC_CROSS,  /* a transformer behind each residual block                */
    UNETC_ATTN,   /* attention over pixels; its head_dim is heads[]          */
    UNETC_RESNET, /* no attention; resampled by a residual block             */
    UNETC_BLOCK_COUNT
};

enum unetc_mid { UNETC_MID_CROSS = 0, UNETC_MID_PLAIN, UNETC_MID_NONE };

enum unetc_class {
    UNETC_NO_CLASS = 0,
    UNETC_CLASS_TABLE,
    UNETC_CLASS_TIMESTEP,
    UNETC_CLASS_IDENTITY,
    UNETC_CLASS_PROJECTION, /* two linear layers                             */
    UNETC_CLASS_LINEAR      /* one: simple_projection                        */
};

/* Arrays are by level from the largest picture down; those of the up blocks
 * are reversed already: up[i] is beside down[i]. */
struct unetc_config {
    uint32_t sample_h, sample_w; /* 0: not said                              */
    uint32_t in_channels, out_channels;
    bool is_centering;
    double freq_shift;
    bool is_cos_first;
    bool is_fourier;
    uint32_t time_dim, time_features;
    enum act time_post_act, emb_act; /* ACT_NONE: none                      */
    uint32_t n_levels;
    uint32_t channels[UNETC_MAX_LEVELS];
    enum unetc_block down[UNETC_MAX_LEVELS], up[UNETC_MAX_LEVELS];
    enum unetc_mid mid;
    double mid_divisor;
    uint32_t n_layers[UNETC_MAX_LEVELS];
    uint32_t down_padding;
    enum act act;
    uint32_t groups;
    double eps;
    bool is_scale_shift;
    bool is_temb_plain;    /* of UNETC_RESNET: no activation before its layer */
    double resnet_divisor; /* of UNETC_RESNET                                 */
    bool has_context_proj; /* context_width to cross_width                    */
    uint32_t cross_width;
    uint32_t context_width; /* 0: no cross block                             */
    uint32_t heads[UNETC_MAX_LEVELS];
    bool is_only_cross[UNETC_MAX_LEVELS];
    /* Transformer blocks of each layer; the last of n_down_blocks is the
     * middle's. */
    uint32_t n_down_blocks[UNETC_MAX_LEVELS][UNETC_MAX_LAYERS];
    uint32_t n_up_blocks[UNETC_MAX_LEVELS][UNETC_MAX_LAYERS + 1];
    uint32_t n_mid_blocks;
    bool has_linear_proj;
    enum unetc_class class_embed;
    uint32_t class_rows, class_width;
    bool is_class_beside; /* concatenated, not added                         */
    uint32_t added_width; /* of the added vector; 0: none                 */
    uint32_t added_time_dim; /* of each of its sinusoids                     */
    uint32_t n_time_ids;
    uint32_t guidance_width; /* of "timestep_cond"; 0: none                  */
    uint32_t in_kernel, out_kernel;
};

/* Read and check; what is wrong is named by its key. */
enum unstir_status unetc_parse(struct unetc_config *c,
                               const struct json *config,
                               struct unstir_error *err);

/* The row of model.c. */
enum unstir_status unetc_facts(struct model_facts *facts,
                               const struct json *config,
                               struct unstir_error *err);
enum unstir_status unetc_build(struct graph *g, const struct json *config,
                               const struct model_size *size,
                               struct unstir_error *err);

#endif
