/* weights.c - named tensors of a checkpoint, sorted by name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/weights_build.h"

enum unstir_status weights_new(struct weights **out, struct unstir_error *err)
{
    *out = NULL;
    TRY(alloc_zero(out, 1, sizeof(struct weights), err));
    return UNSTIR_OK;
}

static void source_fini(struct weights_source *source)
{
    json_free(source->header);
    mapfile_close(&source->map);
    alloc_free(source->block);
}

void weights_forget(const struct weights *w)
{
    for (; w; w = w->lender)
        for (size_t i = 0; i < w->n_sources; i++)
            mapfile_forget(&w->sources[i].map);
}

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_sources; i++)
        source_fini(&w->sources[i]);
    for (size_t i = 0; i < w->n_names; i++)
        alloc_free(w->names[i]);
    alloc_free(w->names);
    alloc_free(w->sources);
    alloc_free(w->views);
    alloc_free(w);
}

enum unstir_status weights_add(struct weights *w,
                               const struct tensor_view *view,
                               struct unstir_error *err)
{
    TRY(alloc_grow(&w->views, &w->capacity, w->n + 1, sizeof(*w->views), err));
    w->views[w->n++] = *view;
    return UNSTIR_OK;
}

enum unstir_status weights_add_source(struct weights *w,
                                      struct weights_source *source,
                                      struct unstir_error *err)
{
    enum unstir_status status =
        alloc_grow(&w->sources, &w->sources_capacity, w->n_sources + 1,
                   sizeof(*w->sources), err);
    if (status != UNSTIR_OK) {
        source_fini(source);
        return status;
    }
    w->sources[w->n_sources++] = *source;
    return UNSTIR_OK;
}

void *weights_take_block(struct weights *w, const void *data)
{
    for (size_t i = 0; i < w->n_sources; i++) {
        void *block = w->sources[i].block;

        if (!block || block != data)
            continue;
        w->sources[i].block = NULL;
        return block;
    }
    return NULL;
}

enum unstir_status weights_merge(struct weights *w, struct weights *from,
                                 struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    for (size_t i = 0; status == UNSTIR_OK && i < from->n_sources; i++) {
        status = weights_add_source(w, &from->sources[i], err);
        from->sources[i] = (struct weights_source){0}; /* moved, or ended */
    }
    for (size_t i = 0; status == UNSTIR_OK && i < from->n; i++)
        status = weights_add(w, &from->views[i], err);
    weights_close(from);
    return status;
}

enum unstir_status weights_rename(struct weights *w, size_t i, const char *name,
                                  struct unstir_error *err)
{
    TRY(alloc_grow(&w->names, &w->names_capacity, w->n_names + 1,
                   sizeof(*w->names), err));
    TRY(alloc_strdup(&w->names[w->n_names], name, err));
    w->views[i].name = w->names[w->n_names++];
    return UNSTIR_OK;
}

void weights_drop(struct weights *w, size_t i)
{
    w->views[i] = w->views[--w->n];
}

static int compare_names(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    return strcmp(x->name, y->name);
}

enum unstir_status weights_seal(struct weights *w, struct unstir_error *err)
{
    if (w->n > 1)
        qsort(w->views, w->n, sizeof(*w->views), compare_names);
    for (size_t i = 1; i < w->n; i++)
        if (strcmp(w->views[i - 1].name, w->views[i].name) == 0)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "tensor \"%.200s\" stands twice",
                             w->views[i].name);
    return UNSTIR_OK;
}

/* -- opening ----------------------------------------------------------- */

static enum unstir_status read_source(struct weights **out,
                                      struct weights_source *source,
                                      const char *name, const void *bytes,
                                      size_t n_bytes, weights_read_fn read,
                                      struct unstir_error *err)
{
    enum unstir_status status = weights_new(out, err);

    if (status == UNSTIR_OK)
        status = read(*out, &source->header, name, bytes, n_bytes, err);
    if (status == UNSTIR_OK)
        status = weights_add_source(*out, source, err);
    else
        source_fini(source);
    if (status != UNSTIR_OK) {
        weights_close(*out);
        *out = NULL;
    }
    return status;
}

enum unstir_status weights_open_as(struct weights **out, const char *path,
                                   weights_read_fn read,
                                   struct unstir_error *err)
{
    struct weights_source source = {.header = NULL};

    *out = NULL;
    TRY(mapfile_open(&source.map, path, 0, err));
    return read_source(out, &source, path, source.map.bytes, source.map.n_bytes,
                       read, err);
}

enum unstir_status weights_parse_as(struct weights **out, const void *bytes,
                                    size_t n_bytes, const char *name,
                                    weights_read_fn read,
                                    struct unstir_error *err)
{
    struct weights_source none = {.header = NULL};

    return read_source(out, &none, name, bytes, n_bytes, read, err);
}

/* -- reading ----------------------------------------------------------- */

size_t weights_len(const struct weights *w)
{
    return w->n;
}

const struct tensor_view *weights_at(const struct weights *w, size_t i)
{
    return &w->views[i];
}

const struct tensor_view *weights_find(const struct weights *w,
                                       const char *name)
{
    struct tensor_view wanted = {.name = name};
    if (w->n == 0)
        return NULL;
    return bsearch(&wanted, w->views, w->n, sizeof(*w->views), compare_names);
}

const char *weights_metadata(const struct weights *w, const char *key)
{
    for (size_t i = 0; i < w->n_sources; i++) {
        const struct json *all =
            json_get(w->sources[i].header, SAFETENSORS_METADATA);
        const struct json *v = json_get(all, key);
        if (json_type(v) == JSON_STRING)
            return json_string(v);
    }
    return NULL;
}
