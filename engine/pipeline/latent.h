/* latent.h - from what a sampler works on to the pixels of a picture.
 *
 * Pixel models: the sample is the picture.  Latent models: the decoder makes
 * pictures of latents; previews are made of the latents directly, each of
 * whose pixels becomes a square of one colour.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_LATENT_H
#define PIPELINE_LATENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct cancel;
struct executor;
struct network;
struct tiling;
struct unstir_model;
struct vae_scaling;

/* Whether pictures can be made latents of: the model has an autoencoder. */
bool latent_is_encodable(const struct unstir_model *m);

/* n pictures f32 [n][height][width][channels] to what the encoder says of each:
 * [n][2 c][height'][width'] mean and logarithm of the variance of its latents,
 * or, of encoders that are sure, [n][c] the latents alone; *has_variance tells
 * which.  *moments is ended by alloc_free().
 *
 * The encoder is opened for this and closed again: a text needs none, and of
 * Stable Diffusion it holds 140 MB.  Its weights stay mapped. */
enum unstir_status latent_encode(const struct unstir_model *m,
                                 struct executor *x, const float *pictures,
                                 uint32_t n, uint32_t width, uint32_t height,
                                 float **moments, bool *has_variance,
                                 const struct cancel *cancel,
                                 struct unstir_error *err);

/* Floats of a sample, of the planes of a picture. */
size_t latent_floats(const struct unstir_model *m, uint32_t width,
                     uint32_t height);
size_t latent_picture_floats(const struct unstir_model *m, uint32_t width,
                             uint32_t height);

/* Planes [channels][height][width] in the network's range, from a sample. */
enum unstir_status latent_decode(const struct unstir_model *m,
                                 struct executor *x, const float *sample,
                                 uint32_t width, uint32_t height, float *planes,
                                 const struct cancel *cancel,
                                 struct unstir_error *err);

/* The same by another decoder of such latents. */
enum unstir_status latent_decode_by(const struct unstir_model *m,
                                    const struct network *decoder,
                                    const struct vae_scaling *scaling,
                                    struct executor *x, const float *sample,
                                    uint32_t width, uint32_t height,
                                    float *planes, const struct cancel *cancel,
                                    struct unstir_error *err);

/* How large pictures are decoded; frugal: smaller ones, too. */
struct tiling latent_tiling(bool is_frugal);

/* The same at once and roughly; of a pixel model it is the picture. */
void latent_sketch(const struct unstir_model *m, const float *sample,
                   uint32_t width, uint32_t height, float *planes);

#endif
