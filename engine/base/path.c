/* path.c - names of files and folders.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/path.h"

#include <stdio.h>
#include <sys/stat.h>

enum unstir_status path_join(char *out, size_t size, const char *folder,
                             const char *name, struct unstir_error *err)
{
    int n = snprintf(out, size, "%s/%s", folder, name);

    if (n < 0 || (size_t)n >= size)
        return error_set(err, UNSTIR_ERR_ARG, "path too long: %.200s...",
                         folder);
    return UNSTIR_OK;
}

bool path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

bool path_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
