/* relay.h - one picture by two models: a base begins, a refiner goes on.
 *
 *     request --> base's request   from noise (or a picture) to denoising_end
 *            \-> refiner's request from there to the end
 *
 * Each of the two is an ordinary request of an ordinary run; the border is what
 * a person does by hand who keeps the latents of the first (--raw) and begins
 * the second with them (--init): the same numbers come of it.  So a generation
 * is always the run of one model; at the border the refiner's takes its place,
 * and the base's stays behind it for what is said of the whole (request,
 * metadata, progress).
 *
 * What a request says goes to both, as far as the model knows of it; what it
 * leaves out each fills in as its own folder says.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_RELAY_H
#define PIPELINE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct start;
struct unstir_generation;

/* Where the base stops if nothing is said: the reference's example. */
#define RELAY_BORDER 0.8

/* See unstir_request_check_refined(): resolved[2]. */
enum unstir_status relay_check(const struct unstir_model *model,
                               const struct unstir_refiner *refiner,
                               const struct unstir_request *request,
                               struct unstir_request *resolved,
                               unstir_violation_fn report, void *user,
                               struct unstir_error *err);

/* Tell a generation of the base's resolved request who goes on, by which
 * resolved request.  The texts are copied. */
enum unstir_status relay_join(struct unstir_generation *g,
                              const struct unstir_model *refiner,
                              const struct unstir_request *resolved,
                              struct unstir_error *err);

/* Whether a refiner is still to come. */
bool relay_is_ahead(const struct unstir_generation *g);

/* Make the refiner's run ready, which begins in `latents` (NULL: those of a
 * saved state, which brings them later): nothing has changed for `g` until
 * relay_pass().  relay_drop() gives it up. */
enum unstir_status relay_prepare(struct unstir_generation *g,
                                 const float *latents,
                                 struct unstir_error *err);
void relay_pass(struct unstir_generation *g);
void relay_drop(struct unstir_generation *g);
void relay_free(struct unstir_generation *g);

/* relay_join() for a saved state, of the refiner's run if that has begun: its
 * latents are still to come. */
enum unstir_status relay_restore(struct unstir_generation *g,
                                 const struct unstir_model *refiner,
                                 const struct unstir_request *resolved,
                                 bool has_begun, struct unstir_error *err);

/* The run that the picture began with: the base's, or `g` itself. */
const struct unstir_generation *relay_first(const struct unstir_generation *g);

/* Steps of both, and those that are taken. */
struct unstir_progress relay_progress(const struct unstir_generation *g);

#endif
