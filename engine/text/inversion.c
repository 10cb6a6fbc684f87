/* inversion.c - textual inversion: words whose vectors come from a file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "text/inversion.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/safetensors.h"
#include "format/weights.h"

#define MAX_FILE_TENSORS 64u
#define MAX_STEM_BYTES   256u

static const struct {
    const char *tensor;
    unsigned encoder;
} webui_tensors[] = {{"emb_params", 0}, {"clip_l", 0}, {"clip_g", 1}};

static enum unstir_status bad_shape(const struct tensor_view *t,
                                    struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "tensor \"%.80s\": vectors must be [c] or [n][c] of a "
                     "float type, n up to %u, c up to %u",
                     t->name, INVERSION_MAX_VECTORS, INVERSION_MAX_CHANNELS);
}

static enum unstir_status load(struct inversion *v, unsigned encoder,
                               const struct tensor_view *t,
                               struct unstir_error *err)
{
    uint64_t n = t->rank == 2 ? t->dims[0] : 1;
    uint64_t c = t->rank ? t->dims[t->rank - 1] : 0;

    if (t->rank < 1 || t->rank > 2 || n < 1 || n > INVERSION_MAX_VECTORS ||
        c < 1 || c > INVERSION_MAX_CHANNELS || !dtype_is_float(t->dtype))
        return bad_shape(t, err);
    if (v->n_vectors && v->n_vectors != n)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%.80s\" has %u vectors, that of the other "
                         "encoder %u",
                         t->name, (unsigned)n, v->n_vectors);
    v->n_vectors = (uint32_t)n;
    v->channels[encoder] = (uint32_t)c;
    TRY(alloc_zero(&v->vectors[encoder], t->n, sizeof(float), err));
    dtype_load(v->vectors[encoder], t->data, t->dtype, t->n);
    for (size_t i = 0; i < t->n; i++)
        if (!isfinite(v->vectors[encoder][i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "tensor \"%.80s\": number %zu is not finite",
                             t->name, i);
    return UNSTIR_OK;
}

static void inversion_fini(struct inversion *v)
{
    alloc_free(v->name);
    for (size_t i = 0; i < INVERSION_ENCODERS; i++)
        alloc_free(v->vectors[i]);
}

/* Takes over what *v owns, also on failure. */
static enum unstir_status take(struct inversions *set, struct inversion *v,
                               struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;

    for (size_t i = 0; i < set->n; i++)
        if (strcmp(set->list[i].name, v->name) == 0)
            status = error_set(err, UNSTIR_ERR_ARG,
                               "two embeddings are called \"%.80s\"", v->name);
    if (status == UNSTIR_OK && set->n == INVERSION_MAX)
        status = error_set(err, UNSTIR_ERR_LIMIT, "more than %u embeddings",
                           INVERSION_MAX);
    if (status == UNSTIR_OK)
        status = alloc_grow(&set->list, &set->capacity, set->n + 1,
                            sizeof *set->list, err);
    if (status != UNSTIR_OK) {
        inversion_fini(v);
        return status;
    }
    v->first = set->n_rows;
    set->n_rows += v->n_vectors;
    set->list[set->n++] = *v;
    return UNSTIR_OK;
}

static enum unstir_status add_word(struct inversions *set,
                                   const struct tensor_view *t,
                                   struct unstir_error *err)
{
    struct inversion v = {0};
    enum unstir_status status = alloc_strdup(&v.name, t->name, err);

    if (status == UNSTIR_OK)
        status = load(&v, 0, t, err);
    if (status == UNSTIR_OK)
        return take(set, &v, err);
    inversion_fini(&v);
    return status;
}

static enum unstir_status add_webui(struct inversions *set,
                                    const struct weights *w, const char *stem,
                                    struct unstir_error *err)
{
    struct inversion v = {0};
    enum unstir_status status = alloc_strdup(&v.name, stem, err);

    for (size_t i = 0; status == UNSTIR_OK && i < ARRAY_LEN(webui_tensors);
         i++) {
        const struct tensor_view *t = weights_find(w, webui_tensors[i].tensor);

        if (t && v.vectors[webui_tensors[i].encoder])
            status =
                error_set(err, UNSTIR_ERR_FORMAT, "both emb_params and clip_l");
        else if (t)
            status = load(&v, webui_tensors[i].encoder, t, err);
    }
    if (status == UNSTIR_OK)
        return take(set, &v, err);
    inversion_fini(&v);
    return status;
}

/* Add the words of a file; `stem` is the file's name without folder and
 * extension.  A word that is there already is UNSTIR_ERR_ARG. */
static enum unstir_status add_file(struct inversions *set,
                                   const struct weights *w, const char *stem,
                                   struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(webui_tensors); i++)
        if (weights_find(w, webui_tensors[i].tensor))
            return add_webui(set, w, stem, err);
    if (weights_len(w) == 0 || weights_len(w) > MAX_FILE_TENSORS)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%zu tensors; an embedding file has 1 to %u",
                         weights_len(w), MAX_FILE_TENSORS);
    for (size_t i = 0; i < weights_len(w); i++)
        TRY(add_word(set, weights_at(w, i), err));
    return UNSTIR_OK;
}

/* The file's name without folder and extension. */
static void stem_of(char out[MAX_STEM_BYTES], const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    size_t n = dot && dot != name ? (size_t)(dot - name) : strlen(name);

    snprintf(out, MAX_STEM_BYTES, "%.*s", (int)(n < 255 ? n : 255), name);
}

enum unstir_status inversions_open(struct inversions *set, const char *path,
                                   struct unstir_error *err)
{
    char stem[MAX_STEM_BYTES];
    enum unstir_status status;
    struct weights *w;

    stem_of(stem, path);
    TRY(safetensors_open(&w, path, err));
    status = add_file(set, w, stem, err);
    weights_close(w);
    return error_prefix(status, path, err);
}

void inversions_fini(struct inversions *set)
{
    for (size_t i = 0; i < set->n; i++)
        inversion_fini(&set->list[i]);
    alloc_free(set->list);
    *set = (struct inversions){0};
}

enum unstir_status inversions_row(const struct inversions *set,
                                  const float **vector, uint32_t row,
                                  unsigned encoder, uint32_t channels,
                                  struct unstir_error *err)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct inversion *v = &set->list[i];

        if (row < v->first || row - v->first >= v->n_vectors)
            continue;
        if (!v->vectors[encoder])
            return error_set(err, UNSTIR_ERR_ARG,
                             "embedding \"%.80s\" has no vectors for text "
                             "encoder %u: it was made for another kind of "
                             "model",
                             v->name, encoder + 1);
        if (v->channels[encoder] != channels)
            return error_set(err, UNSTIR_ERR_ARG,
                             "embedding \"%.80s\" has vectors of %u numbers "
                             "for text encoder %u; the model's have %u",
                             v->name, v->channels[encoder], encoder + 1,
                             channels);
        *vector = v->vectors[encoder] + (size_t)(row - v->first) * channels;
        return UNSTIR_OK;
    }
    return error_set(err, UNSTIR_ERR_INTERNAL, "no embedding has row %u", row);
}
