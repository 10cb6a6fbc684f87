/* api_misc.c - public doors that belong to no object.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/nearest.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "kernels/kernels.h"
#include "format/weights.h"
#include "pipeline/model_nearest.h"

void unstir_free(void *pointer)
{
    alloc_free(pointer);
}

const char *unstir_cpu_rungs(void)
{
    return kernels_rungs();
}

int unstir_nearest(const char *text, const char *const *candidates, size_t n)
{
    return nearest_word(text, candidates, n);
}

bool unstir_model_nearest(char *near, size_t size, const char *folder,
                          const char *name)
{
    return model_nearest(near, size, folder, name);
}

enum unstir_status
unstir_tensors_write(const char *path, const struct unstir_tensor *tensors,
                     size_t n_tensors, const struct unstir_text *metadata,
                     size_t n_metadata, struct unstir_error *err)
{
    void *entries = NULL, *meta = NULL;
    enum unstir_status status;

    for (size_t i = 0; i < n_tensors; i++)
        if (tensors[i].rank > SAFETENSORS_MAX_RANK)
            return error_set(err, UNSTIR_ERR_ARG,
                             "tensor \"%.100s\": %zu dimensions, at most %u "
                             "are allowed",
                             tensors[i].name, tensors[i].rank,
                             SAFETENSORS_MAX_RANK);
    status =
        alloc_zero(&entries, n_tensors, sizeof(struct safetensors_entry), err);
    if (status == UNSTIR_OK)
        status =
            alloc_zero(&meta, n_metadata, sizeof(struct safetensors_meta), err);
    if (status != UNSTIR_OK)
        goto out;
    for (size_t i = 0; i < n_tensors; i++) {
        struct safetensors_entry *e = (struct safetensors_entry *)entries + i;
        const struct unstir_tensor *t = &tensors[i];
        *e = (struct safetensors_entry){.name = t->name,
                                        .dtype = DTYPE_F32,
                                        .rank = (uint32_t)t->rank,
                                        .data = t->data};
        for (size_t k = 0; k < t->rank; k++)
            e->dims[k] = t->dims[k];
    }
    for (size_t i = 0; i < n_metadata; i++)
        ((struct safetensors_meta *)meta)[i] =
            (struct safetensors_meta){metadata[i].key, metadata[i].value};
    status = safetensors_write(path, entries, n_tensors, meta, n_metadata, err);
out:
    alloc_free(meta);
    alloc_free(entries);
    return status;
}

/* -- latents ---------------------------------------------------------------- */

static const struct tensor_view *find_latents(const struct weights *w)
{
    static const char *const names[] = {"sample", "latents"};
    const struct tensor_view *v = NULL;

    for (size_t i = 0; i < ARRAY_LEN(names) && !v; i++)
        v = weights_find(w, names[i]);
    return !v && weights_len(w) == 1 ? weights_at(w, 0) : v;
}

static enum unstir_status take_latents(const struct weights *w,
                                       struct unstir_latents *out,
                                       struct unstir_error *err)
{
    const struct tensor_view *v = find_latents(w);
    void *values;

    if (!v)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "no tensor \"sample\" or \"latents\", and %zu others",
                         weights_len(w));
    if (v->dtype != DTYPE_F32 && v->dtype != DTYPE_F16 &&
        v->dtype != DTYPE_BF16)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "latents are f32, f16 or bf16");
    if (v->rank < 3 || v->rank > 4 || v->n == 0 || v->n > UINT32_MAX)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "latents have 3 or 4 dimensions, not %u", v->rank);
    TRY(alloc_aligned(&values, v->n, sizeof(float), err));
    dtype_load(values, v->data, v->dtype, v->n);
    const uint64_t *dims = v->dims + (v->rank - 3);
    *out = (struct unstir_latents){.n = v->rank == 4 ? (uint32_t)v->dims[0] : 1,
                                   .channels = (uint32_t)dims[0],
                                   .height = (uint32_t)dims[1],
                                   .width = (uint32_t)dims[2],
                                   .values = values};
    for (size_t i = 0; i < v->n; i++)
        if (!isfinite(out->values[i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "a number of the latents is not finite");
    return UNSTIR_OK;
}

enum unstir_status unstir_latents_decode(const unsigned char *bytes,
                                         size_t n_bytes,
                                         struct unstir_latents *latents,
                                         struct unstir_error *err)
{
    struct weights *w;

    *latents = (struct unstir_latents){.values = NULL};
    TRY(safetensors_parse(&w, bytes, n_bytes, "latents", err));
    enum unstir_status st = take_latents(w, latents, err);
    weights_close(w);
    if (st)
        unstir_latents_fini(latents);
    return st;
}

void unstir_latents_fini(struct unstir_latents *latents)
{
    alloc_free(latents->values);
    *latents = (struct unstir_latents){.values = NULL};
}
