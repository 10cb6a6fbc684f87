/* companion.h - unstir.json, where a user says more of a model than its own
 * files do.
 *
 * In a folder it is unstir.json, beside NAME.safetensors NAME.unstir.json.
 * Its entries "vae" (a path) and "text_encoders" (a list of one or two) name
 * parts that come from elsewhere, relative to where it stands.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_COMPANION_H
#define PIPELINE_COMPANION_H

#include "base/error.h"
#include "base/path.h"
#include "pipeline/model_parts.h"

struct json;

/* NAME.unstir.json of a model's file. */
enum unstir_status companion_path(char path[PATH_BYTES], const char *model,
                                  struct unstir_error *err);

/* *json is NULL if there is no such file. */
enum unstir_status companion_read(struct json **json, const char *path,
                                  struct unstir_error *err);

/* What it wishes for in place of what `wish` leaves open; `path` is its own,
 * and `memory` holds the paths. */
struct companion_parts {
    char paths[1 + CONDITIONING_ENCODERS][PATH_BYTES];
};
enum unstir_status companion_wish(struct model_parts_wish *wish,
                                  struct companion_parts *memory,
                                  const struct json *json, const char *path,
                                  struct unstir_error *err);

#endif
