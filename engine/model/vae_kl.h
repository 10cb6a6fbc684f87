/* vae_kl.h - AutoencoderKL: pictures to latents and back; its encoder and
 * decoder serve VQModel (model/vq.h), too.
 *
 *     encode:  conv_in, down blocks, middle, norm, SiLU, conv_out, quant_conv
 *              -> moments: mean and logarithm of the variance
 *     decode:  post_quant_conv, conv_in, middle, up blocks, norm, SiLU,
 *              conv_out
 *
 * Latents are as the network sees them: scaling_factor, latents_mean and
 * latents_std are the pipeline's (struct vae_scaling).
 *
 * Pitfalls, each guarded by tests/golden/t_families.c (vae_kl):
 *  - downsampling pads on the right and below only;
 *  - the middle's attention has one head as wide as the picture has channels;
 *  - the decoder has one residual block more a level than the encoder;
 *  - levels may attend, too (AttnDownEncoderBlock2D, AttnUpDecoderBlock2D),
 *    behind each residual block, with one head as wide as the level;
 *  - all norms have eps 1e-6.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_VAE_KL_H
#define MODEL_VAE_KL_H

#include "model/model.h"
#include "ops/graph.h"

#define VAE_MAX_LEVELS 8
#define VAE_MAX_LAYERS 16
#define VAE_MAX_SCALED 64 /* channels of latents_mean                     */

struct vae_config {
    uint32_t sample_h, sample_w; /* of pictures; 0: not said                 */
    uint32_t in_channels, out_channels, latent_channels;
    uint32_t n_levels;
    uint32_t channels[VAE_MAX_LEVELS];
    uint32_t n_layers;
    uint32_t groups;
    enum act act;
    bool encoder_attends[VAE_MAX_LEVELS]; /* by level; 0 is the picture's    */
    bool decoder_attends[VAE_MAX_LEVELS];
    bool has_mid_attention;
    bool has_quant_conv, has_post_quant_conv;
};

/* The fields that AutoencoderKL and VQModel share. */
enum unstir_status vae_parse(struct vae_config *c, const struct json *config,
                             uint32_t latent_fallback,
                             struct unstir_error *err);

/* The picture x to 2 (is_double) or 1 times latent_channels, and back;
 * without the quantisation's convolutions. */
value_id vae_encoder(struct graph *g, const struct vae_config *c, value_id x,
                     bool is_double);
value_id vae_decoder(struct graph *g, const struct vae_config *c, value_id z);

/* latent of the autoencoder = (latent of the pipeline) deviation / factor +
 * mean; factor without the key 0.18215, but 1 of AutoencoderTiny; mean and
 * deviation, latents_mean and latents_std, 0 and 1 unless both are there.
 * shift_factor belongs to pipelines that are not run here; those that are do
 * not look at it. */
struct vae_scaling {
    double factor;
    uint32_t n_channels; /* with a mean and a deviation; 0: none             */
    float mean[VAE_MAX_SCALED], deviation[VAE_MAX_SCALED];
};
enum unstir_status vae_scaling(struct vae_scaling *s, const struct json *config,
                               struct unstir_error *err);

/* A number of channel c on its way to the autoencoder, and back. */
float vae_unscale(const struct vae_scaling *s, size_t c, float latent);
float vae_scale(const struct vae_scaling *s, size_t c, float latent);

/* The rows of model.c. */
enum unstir_status vae_decode_facts(struct model_facts *facts,
                                    const struct json *config,
                                    struct unstir_error *err);
enum unstir_status vae_decode_build(struct graph *g, const struct json *config,
                                    const struct model_size *size,
                                    struct unstir_error *err);
enum unstir_status vae_encode_facts(struct model_facts *facts,
                                    const struct json *config,
                                    struct unstir_error *err);
enum unstir_status vae_encode_build(struct graph *g, const struct json *config,
                                    const struct model_size *size,
                                    struct unstir_error *err);

#endif
