/* path.h - names of files and folders.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>

#include "base/error.h"

/* A path with its NUL, as long as Linux takes one (PATH_MAX). */
#define PATH_BYTES 4096

/* "folder/name"; UNSTIR_ERR_ARG if it is too long. */
enum unstir_status path_join(char out[PATH_BYTES], const char *folder,
                             const char *name, struct unstir_error *err);

/* Something is there. */
bool path_exists(const char *path);
bool path_is_folder(const char *path);

#endif
