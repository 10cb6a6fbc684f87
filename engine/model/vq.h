/* vq.h - VQModel: the autoencoder whose latents are rows of a codebook.
 *
 * As AutoencoderKL, but latents are deterministic, and decoding first replaces
 * each of their pixels by the nearest code.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_VQ_H
#define MODEL_VQ_H

#include "model/model.h"

enum unstir_status vq_decode_facts(struct model_facts *facts,
                                   const struct json *config,
                                   struct unstir_error *err);
enum unstir_status vq_decode_build(struct graph *g, const struct json *config,
                                   const struct model_size *size,
                                   struct unstir_error *err);
enum unstir_status vq_encode_facts(struct model_facts *facts,
                                   const struct json *config,
                                   struct unstir_error *err);
enum unstir_status vq_encode_build(struct graph *g, const struct json *config,
                                   const struct model_size *size,
                                   struct unstir_error *err);

#endif
