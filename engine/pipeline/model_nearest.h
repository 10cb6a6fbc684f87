/* model_nearest.h - the model of a folder that a person may have meant.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_MODEL_NEAREST_H
#define PIPELINE_MODEL_NEAREST_H

#include <stdbool.h>
#include <stddef.h>

/* As unstir_model_nearest(). */
bool model_nearest(char *near, size_t size, const char *folder,
                   const char *given);

#endif
