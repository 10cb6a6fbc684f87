/* generation_inside.h - what the files of a generation share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_GENERATION_INSIDE_H
#define PIPELINE_GENERATION_INSIDE_H

#include "pipeline/generation.h"

/* The eval-th evaluation of every generation that has one, in batches of those
 * that share model, size, length of text and layers to be evaluated.  Works in
 * `next`; *is_any says whether there was one. */
enum unstir_status generation_round(struct unstir_generation *const *gens,
                                    size_t n, uint32_t eval,
                                    struct unstir_executor *x, bool *is_any,
                                    struct unstir_error *err);

/* What becomes the picture: the state's sample, or its estimate when finished
 * early or where the sampler says so. */
const float *generation_state_result(const struct unstir_generation *g,
                                     const struct sampler_state *state);

#endif
