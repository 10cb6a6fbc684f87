/* state.h - a generation as a safetensors file, and back.
 *
 * Tensors: sample, estimate f32 [channels][height][width]; history f32
 * [n_held][channels][height][width] when the sampler holds one; rng i32 [624],
 * the generator's words; of a run from a picture known, noise (and mask,
 * masked) f32 [channels][height][width]; with deep_cache deep f32
 * [pictures][floats], once there is one.  Metadata, all of it text:
 *
 *   format        "unstir-state-1"
 *   model_digest  SHA-256 of weights and configuration
 *   fingerprint   numerics: rung, rules version, precision
 *   request       the canonical request
 *   progress      {"step", "is_early", "n_held", "rng_index", "rng_cached"}
 *                 rng_cached: 16 hex digits of a double's bits, or null
 *
 * and of a picture by two models (relay.h), whose tensors are those of the one
 * that runs:
 *
 *   refiner_digest, refiner_fingerprint, refiner_request    as above
 *   runs          "base" or "refiner"
 *
 * A state is read as hostile input: every field is checked against what a
 * generation could have written.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_STATE_H
#define PIPELINE_STATE_H

#include <stddef.h>

#include "base/error.h"

/* *bytes is ended by alloc_free(). */
enum unstir_status state_save(const struct unstir_generation *g,
                              unsigned char **bytes, size_t *n_bytes,
                              struct unstir_error *err);

/* UNSTIR_ERR_FORMAT: damaged; _MISMATCH: of another model or numerics, or of
 * two models where `refiner` is NULL, or of one where it is not. */
enum unstir_status state_restore(struct unstir_generation **out,
                                 const struct unstir_model *model,
                                 const struct unstir_model *refiner,
                                 const unsigned char *bytes, size_t n_bytes,
                                 struct unstir_error *err);

#endif
