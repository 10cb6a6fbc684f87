/* request.h - what may be asked of a model: checks, and defaults filled in.
 *
 * request.c checks, request_json.c writes and reads.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_REQUEST_H
#define PIPELINE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct json;
struct sampler;
struct sampler_run;
struct start;

#define REQUEST_MAX_GUIDANCE   100.0
#define REQUEST_IMAGE_GUIDANCE 1.5 /* the reference's                       */
#define REQUEST_MAX_DEEP_CACHE 100

/* unstir_request_check(): see unstir.h.  A resolved request has the class in
 * class_id (UNSTIR_CLASS_NULL: none), the class's own label or NULL, the
 * sampler's own name, and guidance 1 where it would change nothing; resolving
 * it again gives the same. */
enum unstir_status request_check(const struct unstir_model *model,
                                 const struct unstir_request *request,
                                 struct unstir_request *resolved,
                                 unstir_violation_fn report, void *user,
                                 struct unstir_error *err);

/* The same of a request whose texts may name LoRAs that are not in use: what
 * they are for is another model's. */
enum unstir_status request_check_untagged(const struct unstir_model *model,
                                          const struct unstir_request *request,
                                          struct unstir_request *resolved,
                                          unstir_violation_fn report,
                                          void *user, struct unstir_error *err);

/* Does a resolved request need two evaluations, with and without class or
 * text?  Not of models that embed the guidance scale. */
bool request_is_guided(const struct unstir_model *model,
                       const struct unstir_request *resolved);

/* Pictures that a step (0-based) evaluates: with guidance the unguided one, of
 * models that edit the one with the picture alone, last the one with all. */
uint32_t request_images_at(const struct unstir_model *model,
                           const struct unstir_request *resolved,
                           uint32_t step);

/* See unstir_request_has_interval(). */
bool request_has_interval(const struct unstir_model *model,
                          const struct unstir_request *resolved);

/* Stand for what was given and is not held any more. */
extern const struct unstir_image request_absent_picture;
extern const struct unstir_latents request_absent_latents;

/* Does it begin in a picture, or in latents of one? */
bool request_has_start(const struct unstir_request *r);

/* The canonical JSON: model, class (of models that read a text: prompt,
 * negative_prompt if there is one, clip_skip if not 1, prompt_syntax if
 * "plain"), seed, variation_seed and variation_strength (above 0), steps,
 * sampler, schedule (if it is not the model's own), guidance_scale,
 * image_guidance_scale (of models that edit), guidance_rescale (if it changes
 * something), guidance_start and guidance_end (by request_has_interval()), eta,
 * deep_cache (above 1), width, height, denoising_start and denoising_end (if
 * they cut), what micro.h writes, and from a picture strength,
 * init_image_sha256 and mask_sha256 (of latents init_latents_sha256), in this
 * order, compact; a body that can be posted again.  Digests are those of
 * `start`, or if it is NULL made of the pictures.  With a refiner (or NULL),
 * whose own request is resolved, last "refiner": its model and settings as
 * above, negative_prompt if it is not the base's.  *json is ended by
 * alloc_free(). */
enum unstir_status request_write(const struct unstir_model *model,
                                 const struct unstir_request *resolved,
                                 const struct start *start,
                                 const struct unstir_refiner *refiner,
                                 char **json, struct unstir_error *err);

/* Back from canonical JSON that may be hostile: every key must be there, no
 * other, and request_check() must find nothing to change.  UNSTIR_ERR_FORMAT.
 * For pictures there is request_absent_picture. */
enum unstir_status request_read(const struct unstir_model *model,
                                const struct json *object,
                                struct unstir_request *resolved,
                                struct unstir_error *err);

/* The same, as request_check_untagged(). */
enum unstir_status request_read_untagged(const struct unstir_model *model,
                                         const struct json *object,
                                         struct unstir_request *resolved,
                                         struct unstir_error *err);

#endif
