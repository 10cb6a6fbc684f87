/* vae_tiny.h - AutoencoderTiny (TAESD): a small stand-in for AutoencoderKL,
 * for previews and fast decoding.
 *
 *     block:   relu(conv(relu(conv(relu(conv(x))))) + skip(x))
 *     encode:  (x + 1) / 2, then stages halved by strided convolutions
 *     decode:  3 tanh(z / 3), stages doubled, then 2 y - 1
 *
 * Layers are numbered through, activations and upsamplings included.  Latents
 * are the pipeline's own: no scaling.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_VAE_TINY_H
#define MODEL_VAE_TINY_H

#include "model/model.h"

enum unstir_status tiny_decode_facts(struct model_facts *facts,
                                     const struct json *config,
                                     struct unstir_error *err);
enum unstir_status tiny_decode_build(struct graph *g, const struct json *config,
                                     const struct model_size *size,
                                     struct unstir_error *err);
enum unstir_status tiny_encode_facts(struct model_facts *facts,
                                     const struct json *config,
                                     struct unstir_error *err);
enum unstir_status tiny_encode_build(struct graph *g, const struct json *config,
                                     const struct model_size *size,
                                     struct unstir_error *err);

#endif
