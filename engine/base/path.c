/* path.c - names of files and folders.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/path.h"

#include <stdio.h>
#include <sys/stat.h>

enum unstir_status path_join(char out[PATH_BYTES], const char *folder,
                             const char *name, struct unstir_error *err)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", folder, name);

    if (n < 0 || n >= PATH_BYTES)
        return error_set(err, UNSTIR_ERR_ARG,
                         "%.200s.../%.100s: a path of %d bytes, at most %d "
                         "are allowed",
                         folder, name, n, PATH_BYTES - 1);
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
