/* model_nearest.c - the model of a folder that a person may have meant.
 *
 * By name alone what looks like a model is compared: a folder with a
 * model_index.json or a network's config.json, a .safetensors or .gguf file.
 * It is for the text of an error: what cannot be read is passed over in
 * silence, and so is what is beyond the first some hundred entries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/model_nearest.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/nearest.h"
#include "base/path.h"

#define MAX_MODELS 256u
#define NAME_BYTES 64u /* longer ones are near nothing (nearest.c)         */

struct list {
    char names[MAX_MODELS][NAME_BYTES];
    const char *words[MAX_MODELS];
    size_t n;
};

static bool has(const char *folder, const char *file)
{
    char path[PATH_BYTES];

    return path_join(path, folder, file, NULL) == UNSTIR_OK &&
           path_exists(path);
}

static bool is_model(const char *folder, const char *name)
{
    char path[PATH_BYTES];

    if (affix_ends(name, ".safetensors") || affix_ends(name, ".gguf"))
        return true;
    return path_join(path, folder, name, NULL) == UNSTIR_OK &&
           (has(path, "model_index.json") || has(path, "unet/config.json") ||
            has(path, "config.json"));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* In order, so that of two that are as near always the same is told. */
static void fill(struct list *l, const char *folder, DIR *dir)
{
    for (struct dirent *e; l->n < MAX_MODELS && (e = readdir(dir));)
        if (e->d_name[0] != '.' && strlen(e->d_name) < NAME_BYTES &&
            is_model(folder, e->d_name))
            memcpy(l->names[l->n++], e->d_name, strlen(e->d_name) + 1);
    qsort(l->names, l->n, sizeof l->names[0], by_text);
    for (size_t i = 0; i < l->n; i++)
        l->words[i] = l->names[i];
}

/* The name in `folder` that is nearest to `name`, behind `before`. */
static bool nearest_in(char *near, size_t size, const char *folder,
                       const char *before, const char *name)
{
    struct list *l;
    DIR *dir;
    int at;

    near[0] = '\0';
    if (alloc_zero(&l, 1, sizeof *l, NULL) != UNSTIR_OK)
        return false;
    dir = opendir(folder);
    if (dir) {
        fill(l, folder, dir);
        closedir(dir);
    }
    at = nearest_word(name, l->words, l->n);
    if (at >= 0 && strlen(before) + strlen(l->words[at]) < size)
        snprintf(near, size, "%s%s", before, l->words[at]);
    alloc_free(l);
    return near[0] != '\0';
}

bool model_nearest(char *near, size_t size, const char *folder,
                   const char *given)
{
    const char *slash = strrchr(given, '/');
    size_t n = slash ? (size_t)(slash - given) + 1 : 0;
    char own[PATH_BYTES];

    if (n >= sizeof own) {
        near[0] = '\0';
        return false;
    }
    memcpy(own, given, n);
    own[n] = '\0';
    return nearest_in(near, size, n > 0 ? own : folder, own, given + n);
}
