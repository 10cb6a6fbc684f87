/* lora_derive.c - a model's weights with LoRAs added.
 *
 * Sums run over uses in order and over ranks from 0, in f32 on top of the f32
 * value of the weight: the bits depend on nothing else.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/lora_derive.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "format/lora_details.h"
#include "format/weights_build.h"
#include "model/param_load.h"

static enum unstir_status load_floats(float **out, const struct tensor_view *t,
                                      struct unstir_error *err)
{

    TRY(alloc_aligned(out, t->n, sizeof(float), err));
    dtype_load(*out, t->data, t->dtype, t->n);
    return UNSTIR_OK;
}

static const char *name_of(const struct lora_use *use)
{
    return use->name ? use->name : "LoRA";
}

/* Of a LoRA, which must be finite. */
static enum unstir_status load_half(float **out, const struct tensor_view *t,
                                    const struct lora_use *use,
                                    struct unstir_error *err)
{
    TRY(load_floats(out, t, err));
    for (size_t i = 0; i < t->n; i++)
        if (!isfinite((*out)[i]))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.100s: tensor \"%.200s\": number %zu is not "
                             "finite",
                             name_of(use), t->name, i);
    return UNSTIR_OK;
}

/* w [rows][columns] += factor * up [rows][rank] * down [rank][columns] */
static void add_product(float *w, const float *up, const float *down,
                        size_t rows, size_t columns, size_t rank, float factor)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t r = 0; r < rank; r++) {
            float f = factor * up[i * rank + r];
            const float *d = down + r * columns;

            for (size_t j = 0; j < columns; j++)
                w[i * columns + j] += f * d[j];
        }
    }
}

static enum unstir_status check_layer(const struct tensor_view *t,
                                      const struct lora_layer *l,
                                      const struct lora_use *use,
                                      struct unstir_error *err)
{
    size_t rows = (size_t)l->up->dims[0];
    size_t columns = l->down->n / (size_t)l->rank;

    if (t->rank >= 2 && t->dims[0] == rows && t->n / rows == columns &&
        t->n % rows == 0)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "%.100s: layer %.150s is %zu x %zu; the tensor of the "
                     "model has %llu rows and %zu numbers: it was made for %s",
                     name_of(use), l->name, rows, columns,
                     (unsigned long long)(t->rank ? t->dims[0] : 0), t->n,
                     lora_family_title(lora_family(use->lora)));
}

static enum unstir_status add_layer(float *w, const struct lora_layer *l,
                                    const struct lora_use *use,
                                    struct unstir_error *err)
{
    size_t rank = (size_t)l->rank, rows = (size_t)l->up->dims[0];
    size_t columns = l->down->n / rank;
    float *up = NULL, *down = NULL;
    enum unstir_status status;

    status = load_half(&up, l->up, use, err);
    if (status == UNSTIR_OK)
        status = load_half(&down, l->down, use, err);
    if (status == UNSTIR_OK)
        add_product(w, up, down, rows, columns, rank,
                    (float)(use->scale * (double)l->factor));
    alloc_free(up);
    alloc_free(down);
    return status;
}

/* The layer of a LoRA that changes this tensor, or NULL. */
static const struct lora_layer *find(const struct lora_use *use,
                                     const struct tensor_view *t,
                                     enum single_file_part_id part)
{
    return dtype_is_float(t->dtype) ? lora_find(use->lora, part, t->name)
                                    : NULL;
}

enum unstir_status lora_touches(bool *is_touched, const struct tensor_view *t,
                                const struct lora_task *task,
                                struct unstir_error *err)
{
    *is_touched = false;
    for (size_t u = 0; u < task->n_uses; u++) {
        const struct lora_layer *l = find(&task->uses[u], t, task->part);

        if (l)
            TRY(check_layer(t, l, &task->uses[u], err));
        *is_touched |= l != NULL;
    }
    return UNSTIR_OK;
}

/* The tensor with all that changes it; *changed is false, and nothing made,
 * if nothing does. */
static enum unstir_status derive(struct tensor_view *t, bool *changed,
                                 struct weights *out,
                                 const struct lora_task *task,
                                 struct unstir_error *err)
{
    const struct tensor_view base = *t;
    struct weights_source source = {.block = NULL};
    float *floats;

    TRY(lora_touches(changed, &base, task, err));
    if (!*changed)
        return UNSTIR_OK;
    if (task->is_canceled && task->is_canceled(task->user))
        return error_set(err, UNSTIR_ERR_CANCELLED,
                         "adding LoRAs was canceled");
    TRY(load_floats(&floats, &base, err));
    source.block = floats;
    TRY(weights_add_source(out, &source, err));
    for (size_t u = 0; u < task->n_uses; u++) {
        const struct lora_layer *l = find(&task->uses[u], &base, task->part);

        if (l)
            TRY(add_layer(floats, l, &task->uses[u], err));
    }
    t->data = floats;
    t->dtype = DTYPE_F32;
    t->n_bytes = t->n * sizeof(float);
    return UNSTIR_OK;
}

static enum unstir_status fill(struct weights *out, const struct weights *base,
                               const struct lora_task *task, size_t *n_touched,
                               struct unstir_error *err)
{
    for (size_t i = 0; i < weights_len(base); i++) {
        struct tensor_view t = *weights_at(base, i);
        bool changed;

        TRY(derive(&t, &changed, out, task, err));
        TRY(weights_add(out, &t, err));
        *n_touched += changed;
    }
    return weights_seal(out, err);
}

enum unstir_status lora_derive(struct weights **out, const struct weights *base,
                               const struct lora_task *task, size_t *n_touched,
                               struct unstir_error *err)
{
    enum unstir_status status;

    *n_touched = 0;
    TRY(weights_new(out, err));
    status = fill(*out, base, task, n_touched, err);
    if (status != UNSTIR_OK) {
        weights_close(*out);
        *out = NULL;
    }
    return status;
}
