/* latent_file.h - latents as a safetensors file in memory.
 *
 * Written: the tensor "sample", f32 [1][channels][height][width], and the
 * canonical request as "request" in the metadata.  Read, as hostile input:
 * "sample", "latents" or the only tensor, of 3 or 4 dimensions, in f32, f16 or
 * bf16.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_LATENT_FILE_H
#define PIPELINE_LATENT_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* See unstir_latents_probe(), unstir_latents_decode(). */
enum unstir_status latent_file_probe(const unsigned char *bytes, size_t n_bytes,
                                     struct unstir_latents *shape,
                                     struct unstir_error *err);
enum unstir_status latent_file_read(const unsigned char *bytes, size_t n_bytes,
                                    struct unstir_latents *latents,
                                    struct unstir_error *err);

/* The result of a finished generation.  *bytes is ended by alloc_free(). */
enum unstir_status latent_file_write(const struct unstir_generation *g,
                                     bool has_no_metadata,
                                     unsigned char **bytes, size_t *n_bytes,
                                     struct unstir_error *err);

#endif
