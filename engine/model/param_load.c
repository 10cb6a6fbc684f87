/* param_load.c - from the tensors of a checkpoint to the parameters of a graph.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/param_load.h"

#include <stdint.h>
#include <stdio.h>

#include "base/alloc.h"
#include "ops/graph.h"

static bool is_shape_right(const struct tensor_view *t,
                           const struct graph_param *p)
{
    uint32_t rank = t->rank > p->rank ? t->rank : p->rank;

    for (uint32_t i = 0; i < rank; i++) {
        uint64_t a = i < t->rank ? t->dims[i] : 1;
        uint64_t b = i < p->rank ? p->dims[i] : 1;

        if (a != b)
            return false;
    }
    return true;
}

static void shape_text(char *out, size_t size, const uint64_t *dims,
                       uint32_t rank)
{
    size_t n = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%llu", i ? "x" : "",
                              (unsigned long long)dims[i]);
}

static enum unstir_status wrong_shape(const struct tensor_view *t,
                                      const struct graph_param *p,
                                      struct unstir_error *err)
{
    char found[80], wanted[80];
    uint64_t dims[4];

    for (uint32_t i = 0; i < 4; i++)
        dims[i] = p->dims[i];
    shape_text(found, sizeof found, t->dims, t->rank);
    shape_text(wanted, sizeof wanted, dims, p->rank);
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "tensor %s has shape %s; config.json asks for %s", p->name,
                     found, wanted);
}

static enum unstir_status find(const struct tensor_view **out,
                               const struct graph_param *want,
                               const struct weights *weights,
                               struct unstir_error *err)
{
    const struct tensor_view *t = *out = weights_find(weights, want->name);

    if (!t)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor %s is missing from the weights", want->name);
    if (!is_shape_right(t, want))
        return wrong_shape(t, want, err);
    if (!dtype_is_float(t->dtype))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "tensor %s is stored as %s; supported: F32, F16, "
                         "BF16, F64, F8_E4M3, F8_E5M2, " DTYPE_BLOCK_NAMES,
                         want->name, dtype_name(t->dtype));
    return UNSTIR_OK;
}

enum unstir_status param_load(const float **param, float **own,
                              const struct graph_param *want,
                              const struct weights *weights,
                              struct unstir_error *err)
{
    const struct tensor_view *t;
    void *floats;

    *param = *own = NULL;
    TRY(find(&t, want, weights, err));
    if (t->dtype == DTYPE_F32 && (uintptr_t)t->data % _Alignof(float) == 0) {
        *param = t->data;
        return UNSTIR_OK;
    }
    TRY(alloc_aligned(&floats, want->n, sizeof(float), err));
    dtype_load(floats, t->data, t->dtype, want->n);
    *param = *own = floats;
    return UNSTIR_OK;
}

enum unstir_status param_load_all(const float **values, float **own,
                                  const struct param_source *s,
                                  struct unstir_error *err)
{
    for (size_t i = 0; i < graph_n_params(s->g); i++) {
        const struct graph_param *want = graph_param_at(s->g, (param_id)i);
        const struct tensor_view *t;

        if (packs_reads_once(s->g, (param_id)i))
            TRY(find(&t, want, s->weights, err)); /* to see that it is right */
        else
            TRY(param_load(&values[i], &own[i], want, s->weights, err));
    }
    return UNSTIR_OK;
}

void param_stored_all(struct packs_stored *stored, const float **values,
                      float *const *own, const struct param_source *s)
{
    for (size_t i = 0; i < graph_n_params(s->g); i++) {
        const struct tensor_view *t =
            s->weights ? weights_find(s->weights,
                                      graph_param_at(s->g, (param_id)i)->name)
                       : NULL;

        if (own[i] || (values && values[i]))
            stored[i] =
                (struct packs_stored){own[i] ? own[i] : values[i], DTYPE_F32};
        else if (t)
            stored[i] = (struct packs_stored){t->data, t->dtype};
    }
}

enum unstir_status param_load_later(const void *source, param_id p,
                                    const float **values, float **own)
{
    const struct param_source *s = source;

    return param_load(values, own, graph_param_at(s->g, p), s->weights, NULL);
}

void param_forget(const void *source)
{
    const struct param_source *s = source;

    weights_forget(s->weights);
}
