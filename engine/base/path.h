/* path.h - names of files and folders.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* "folder/name" into `size` bytes. */
enum unstir_status path_join(char *out, size_t size, const char *folder,
                             const char *name, struct unstir_error *err);

/* Something is there. */
bool path_exists(const char *path);
bool path_is_folder(const char *path);

#endif
