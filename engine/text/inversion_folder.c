/* inversion_folder.c - a folder of textual inversions.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/mapfile.h"
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

    if (names->n == INVERSION_MAX)
        return error_set(err, UNSTIR_ERR_LIMIT, "more than %u files",
                         INVERSION_MAX);
    TRY(alloc_grow(&names->list, &names->capacity, names->n + 1, sizeof(char *),
                   err));
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

/* None if there is no such folder; names_fini() in every case. */
static enum unstir_status read_names(struct names *names, const char *folder,
                                     struct unstir_error *err)
{
    enum unstir_status status;
    DIR *dir = opendir(folder);

    *names = (struct names){.list = NULL};
    if (!dir)
        return UNSTIR_OK;
    status = list(names, dir, err);
    closedir(dir);
    return error_prefix(status, folder, err);
}

enum unstir_status inversions_open_folder(struct inversions *set,
                                          const char *folder,
                                          struct unstir_error *err)
{
    struct names names;
    enum unstir_status status = read_names(&names, folder, err);

    if (status == UNSTIR_OK)
        status = open_all(set, folder, &names, err);
    names_fini(&names);
    return status;
}

enum unstir_status inversions_find(char folder[PATH_BYTES], const char *model,
                                   bool is_file, struct unstir_error *err)
{
    const char *slash = is_file ? strrchr(model, '/') : NULL;
    char owner[PATH_BYTES];

    if (strlen(model) >= sizeof owner)
        return error_set(err, UNSTIR_ERR_ARG, "path too long: %.200s...",
                         model);
    memcpy(owner, model, strlen(model) + 1);
    if (is_file && !slash)
        memcpy(owner, ".", sizeof ".");
    else if (is_file) /* "/model" stands in "/" */
        owner[slash > model ? slash - model : 1] = '\0';
    return path_join(folder, owner, "embeddings", err);
}

enum unstir_status inversions_count(size_t *n, const char *folder,
                                    struct unstir_error *err)
{
    struct names names;
    enum unstir_status status = read_names(&names, folder, err);

    *n = names.n;
    names_fini(&names);
    return status;
}

static enum unstir_status copy_file(const char *to, const char *folder,
                                    const char *name, struct unstir_error *err)
{
    char from_path[PATH_BYTES], to_path[PATH_BYTES];
    enum unstir_status status;
    struct mapfile map;

    TRY(path_join(from_path, folder, name, err));
    TRY(path_join(to_path, to, name, err));
    TRY(mapfile_open(&map, from_path, 0, err));
    status = mapfile_write(to_path, map.bytes, map.n_bytes, err);
    mapfile_close(&map);
    return status;
}

static enum unstir_status copy_all(const char *to, const char *folder,
                                   const struct names *names,
                                   struct unstir_error *err)
{
    if (names->n > 0 && mkdir(to, 0777) != 0 && errno != EEXIST)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s", to, strerror(errno));
    for (size_t i = 0; i < names->n; i++)
        TRY(copy_file(to, folder, names->list[i], err));
    return UNSTIR_OK;
}

enum unstir_status inversions_copy(size_t *n, const char *to,
                                   const char *folder, struct unstir_error *err)
{
    struct names names;
    enum unstir_status status = read_names(&names, folder, err);

    if (status == UNSTIR_OK)
        status = copy_all(to, folder, &names, err);
    *n = names.n;
    names_fini(&names);
    return status;
}
