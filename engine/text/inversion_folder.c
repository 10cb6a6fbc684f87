/* inversion_folder.c - a folder of textual inversions.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/path.h"
#include "format/pickle.h"
#include "text/inversion.h"

#define EXTENSION ".safetensors"

struct names {
    char **list;
    size_t n, capacity;
};

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        alloc_free(names->list[i]);
    alloc_free(names->list);
}

static enum unstir_status add(struct names *names, const char *name,
                              struct unstir_error *err)
{
    void *list = names->list;

    if (names->n == INVERSION_MAX)
        return error_set(err, UNSTIR_ERR_LIMIT, "more than %u files",
                         INVERSION_MAX);
    TRY(alloc_grow(&list, &names->capacity, names->n + 1, sizeof(char *), err));
    names->list = list;
    TRY(alloc_strdup(&names->list[names->n], name, err));
    names->n++;
    return UNSTIR_OK;
}

static bool is_wanted(const char *name)
{
    size_t n = strlen(name);

    return name[0] != '.' && n > strlen(EXTENSION) &&
           strcmp(name + n - strlen(EXTENSION), EXTENSION) == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A word whose vectors are not read would be taken for plain text, so a file
 * in a form that is refused is an error. */
static enum unstir_status list(struct names *names, DIR *dir,
                               struct unstir_error *err)
{
    for (struct dirent *e; (e = readdir(dir));) {
        if (is_wanted(e->d_name))
            TRY(add(names, e->d_name, err));
        else if (e->d_name[0] != '.' && pickle_is_name(e->d_name))
            return pickle_refuse(e->d_name, err);
    }
    if (names->n)
        qsort(names->list, names->n, sizeof *names->list, by_text);
    return UNSTIR_OK;
}

static enum unstir_status open_all(struct inversions *set, const char *folder,
                                   const struct names *names,
                                   struct unstir_error *err)
{
    char path[PATH_BYTES];

    for (size_t i = 0; i < names->n; i++) {
        TRY(path_join(path, folder, names->list[i], err));
        TRY(inversions_open(set, path, err));
    }
    return UNSTIR_OK;
}

enum unstir_status inversions_open_folder(struct inversions *set,
                                          const char *folder,
                                          struct unstir_error *err)
{
    struct names names = {.list = NULL};
    enum unstir_status status;
    DIR *dir = opendir(folder);

    if (!dir)
        return UNSTIR_OK;
    status = error_prefix(list(&names, dir, err), folder, err);
    closedir(dir);
    if (status == UNSTIR_OK)
        status = open_all(set, folder, &names, err);
    names_fini(&names);
    return status;
}
