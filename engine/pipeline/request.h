/* request.h - what may be asked of a model: checks, and defaults filled in.
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

#define REQUEST_MAX_GUIDANCE 100.0

/* unstir_request_check(): see unstir.h.  A resolved request has the class in
 * class_id (UNSTIR_CLASS_NULL: none), the class's own label or NULL, the
 * sampler's own name, and guidance 1 where it would change nothing; resolving
 * it again gives the same. */
enum unstir_status request_check(const struct unstir_model *model,
                                 const struct unstir_request *request,
                                 struct unstir_request *resolved,
                                 unstir_violation_fn report, void *user,
                                 struct unstir_error *err);

/* Does a resolved request need two evaluations, with and without class? */
bool request_is_guided(const struct unstir_request *resolved);
/* In this step (0-based)? */
bool request_is_guided_at(const struct unstir_request *resolved, uint32_t step);

/* See unstir_request_has_interval(). */
bool request_has_interval(const struct unstir_model *model,
                          const struct unstir_request *resolved);

/* The canonical JSON: model, class, seed, steps, sampler, schedule (if it is
 * not the model's own), guidance_scale, guidance_rescale (if it changes
 * something), guidance_start and guidance_end (by request_has_interval()),
 * eta, width, height, in this order, compact; a body that can be posted again.
 * *json is ended by alloc_free(). */
enum unstir_status request_write(const struct unstir_model *model,
                                 const struct unstir_request *resolved,
                                 char **json, struct unstir_error *err);

/* Back from canonical JSON that may be hostile: every key must be there, no
 * other, and request_check() must find nothing to change.  UNSTIR_ERR_FORMAT.
 */
enum unstir_status request_read(const struct unstir_model *model,
                                const struct json *object,
                                struct unstir_request *resolved,
                                struct unstir_error *err);

#endif
