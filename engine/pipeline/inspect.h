/* inspect.h - what a checkpoint is, without running it or trusting it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_INSPECT_H
#define PIPELINE_INSPECT_H

#include <stdbool.h>

#include "base/error.h"

/* As unstir_inspect(). */
enum unstir_status
inspect_checkpoint(const char *path, const struct unstir_model_options *options,
                   bool with_tensors, char **json, struct unstir_error *err);

#endif
