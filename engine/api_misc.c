/* api_misc.c - public doors that belong to no object.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/nearest.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "kernels/kernels.h"
#include "pipeline/latent_file.h"
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
                          const char *given)
{
    return model_nearest(near, size, folder, given);
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

/* The length of a header, and its first letter; a JPEG may have that there. */
bool unstir_is_safetensors(const unsigned char *bytes, size_t n_bytes)
{
    return n_bytes > 8 && bytes[8] == '{' &&
           !(bytes[0] == 0xff && bytes[1] == 0xd8);
}

enum unstir_status unstir_latents_probe(const unsigned char *bytes,
                                        size_t n_bytes,
                                        struct unstir_latents *shape,
                                        struct unstir_error *err)
{
    return latent_file_probe(bytes, n_bytes, shape, err);
}

enum unstir_status unstir_latents_decode(const unsigned char *bytes,
                                         size_t n_bytes,
                                         struct unstir_latents *latents,
                                         struct unstir_error *err)
{
    return latent_file_read(bytes, n_bytes, latents, err);
}
