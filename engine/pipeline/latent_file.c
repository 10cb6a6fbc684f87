/* latent_file.c - latents as a safetensors file in memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/latent_file.h"

#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "pipeline/generation.h"

/* -- reading --------------------------------------------------------------- */

static const struct tensor_view *find_tensor(const struct weights *w)
{
    static const char *const names[] = {"sample", "latents"};
    const struct tensor_view *v = NULL;

    for (size_t i = 0; i < ARRAY_LEN(names) && !v; i++)
        v = weights_find(w, names[i]);
    return !v && weights_len(w) == 1 ? weights_at(w, 0) : v;
}

/* The tensor that holds latents; no number of it has been looked at. */
static enum unstir_status find_latents(const struct weights *w,
                                       const struct tensor_view **out,
                                       struct unstir_latents *shape,
                                       struct unstir_error *err)
{
    const struct tensor_view *v = find_tensor(w);

    if (!v)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "no tensor \"sample\" or \"latents\", and %zu others",
                         weights_len(w));
    if (v->dtype != DTYPE_F32 && v->dtype != DTYPE_F16 &&
        v->dtype != DTYPE_BF16)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%.100s\" is %s; latents are f32, f16 or "
                         "bf16",
                         v->name, dtype_name(v->dtype));
    if (v->rank < 3 || v->rank > 4)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%.100s\" has %u dimensions; latents have 3 "
                         "or 4",
                         v->name, v->rank);
    if (v->n == 0 || v->n > UINT32_MAX)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%.100s\" has %zu numbers; latents have 1 to "
                         "%" PRIu32,
                         v->name, (size_t)v->n, UINT32_MAX);
    const uint64_t *dims = v->dims + (v->rank - 3);
    *shape =
        (struct unstir_latents){.n = v->rank == 4 ? (uint32_t)v->dims[0] : 1,
                                .channels = (uint32_t)dims[0],
                                .height = (uint32_t)dims[1],
                                .width = (uint32_t)dims[2]};
    *out = v;
    return UNSTIR_OK;
}

static enum unstir_status take_values(const struct tensor_view *v,
                                      struct unstir_latents *out,
                                      struct unstir_error *err)
{
    TRY(alloc_aligned(&out->values, v->n, sizeof(float), err));
    dtype_load(out->values, v->data, v->dtype, v->n);
    for (size_t i = 0; i < v->n; i++)
        if (!isfinite(out->values[i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "tensor \"%.100s\" holds a number that is not "
                             "finite, its %zu-th",
                             v->name, i + 1);
    return UNSTIR_OK;
}

void unstir_latents_fini(struct unstir_latents *latents)
{
    alloc_free(latents->values);
    *latents = (struct unstir_latents){.values = NULL};
}

static enum unstir_status read_file(const unsigned char *bytes, size_t n_bytes,
                                    bool has_values, struct unstir_latents *out,
                                    struct unstir_error *err)
{
    const struct tensor_view *v = NULL;
    struct weights *w;

    *out = (struct unstir_latents){.values = NULL};
    TRY(safetensors_parse(&w, bytes, n_bytes, "latents", err));
    enum unstir_status st = find_latents(w, &v, out, err);
    if (!st && has_values)
        st = take_values(v, out, err);
    weights_close(w);
    if (st)
        unstir_latents_fini(out);
    return st;
}

enum unstir_status latent_file_probe(const unsigned char *bytes, size_t n_bytes,
                                     struct unstir_latents *shape,
                                     struct unstir_error *err)
{
    return read_file(bytes, n_bytes, false, shape, err);
}

enum unstir_status latent_file_read(const unsigned char *bytes, size_t n_bytes,
                                    struct unstir_latents *latents,
                                    struct unstir_error *err)
{
    return read_file(bytes, n_bytes, true, latents, err);
}

/* -- writing --------------------------------------------------------------- */

enum unstir_status latent_file_write(const struct unstir_generation *g,
                                     bool has_no_metadata,
                                     unsigned char **bytes, size_t *n_bytes,
                                     struct unstir_error *err)
{
    struct safetensors_meta meta = {"request", NULL};
    uint32_t shape[3];
    char *json = NULL;

    generation_sample_shape(g, shape);
    const struct safetensors_entry entry = {"sample",
                                            DTYPE_F32,
                                            4,
                                            {1, shape[0], shape[1], shape[2]},
                                            generation_result_sample(g)};
    if (!has_no_metadata)
        TRY(generation_json(g, &json, err));
    meta.value = json;
    enum unstir_status st =
        safetensors_build(bytes, n_bytes, &entry, 1, &meta, json ? 1 : 0, err);
    alloc_free(json);
    return st;
}
