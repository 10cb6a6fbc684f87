/* tiny_decoder.h - a small decoder beside a model's own, for previews.
 *
 * A folder with an AutoencoderTiny in the diffusers layout: config.json and
 * diffusion_pytorch_model.safetensors.  It must read the latents of the model
 * and write pictures of its kind; whether it was trained for them no file
 * tells.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_TINY_DECODER_H
#define PIPELINE_TINY_DECODER_H

#include "base/error.h"
#include "model/vae_kl.h"

struct json;
struct network;
struct network_options;
struct weights;

struct tiny_decoder {
    struct network *net; /* NULL: there is none                              */
    struct vae_scaling scaling;
    struct json *config;
    struct weights *weights;
};

/* For a model whose other parts are open.  tiny_decoder_fini() always. */
enum unstir_status tiny_decoder_open(struct tiny_decoder *d,
                                     const struct unstir_model *m,
                                     const char *folder,
                                     const struct network_options *options,
                                     struct unstir_error *err);
void tiny_decoder_fini(struct tiny_decoder *d);

#endif
