/* model_files.h - where models are found, and how they are opened.
 *
 * What --model names is a path, or the name of a model that was installed with
 * the program.  `--check` opens all of them without their weights.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODEL_FILES_H
#define SERVER_MODEL_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "unstir.h"

/* How the service opens a model.  Not to be copied: options point into it. */
struct model_files {
    struct unstir_model_options options;
    char merges[1024];
};

void model_files_fill(struct model_files *files, const struct config *config,
                      bool without_weights);

/* The models that the options name, at least one. */
size_t model_files_n(const struct config *config);

/* Where the i-th is: in `place` or a string of the config.  NULL after *why was
 * written. */
const char *model_files_path(const struct config *config, size_t i, char *place,
                             size_t place_size, char *why, size_t why_size);

/* What can be told without loading: folders that can be read, an instruction
 * set that this CPU has.  False: *why says what is wrong. */
bool model_files_check(const struct config *config, char *why, size_t why_size);

#endif
