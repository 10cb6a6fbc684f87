/* deep.c - DeepCache: what the deep layers of a network made.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/deep.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"

bool deep_is_possible(const struct unstir_model *model)
{
    return network_info(model->net)->is_deep;
}

enum unstir_status deep_init(struct deep_cache *d,
                             const struct unstir_model *model,
                             const struct unstir_request *resolved,
                             struct unstir_error *err)
{
    size_t total;

    *d = (struct deep_cache){.every = resolved->deep_cache};
    if (d->every < 2)
        return UNSTIR_OK;
    TRY(network_deep_floats(model->net, resolved->height / model->factor,
                            resolved->width / model->factor, &d->floats, err));
    if (!size_mul(d->floats, (size_t)2 * DEEP_MAX_PICTURES, &total))
        return error_set(err, UNSTIR_ERR_LIMIT, "the picture is too large");
    TRY(alloc_aligned(&d->held, total, sizeof(float), err));
    d->fresh = d->held + DEEP_MAX_PICTURES * d->floats;
    return UNSTIR_OK;
}

/* The two halves of one allocation change places; the lower one begins it. */
void deep_fini(struct deep_cache *d)
{
    alloc_free(d->held < d->fresh ? d->held : d->fresh);
    *d = (struct deep_cache){0};
}

enum deep_mode deep_mode_at(const struct deep_cache *d, uint32_t step,
                            size_t n_images)
{
    if (d->every < 2)
        return DEEP_OFF;
    return step % d->every == 0 || d->n_held < n_images ? DEEP_WHOLE
                                                        : DEEP_SHALLOW;
}

/* The guided picture is the last one, however many there are. */
void deep_give(const struct deep_cache *d, size_t i, size_t n_images,
               float *batch)
{
    size_t at = d->n_held - n_images + i;

    memcpy(batch, d->held + at * d->floats, d->floats * sizeof *batch);
}

void deep_take(struct deep_cache *d, size_t i, size_t n_images,
               const float *batch)
{
    memcpy(d->fresh + i * d->floats, batch, d->floats * sizeof *batch);
    d->n_fresh = (uint32_t)n_images;
}

void deep_begin(struct deep_cache *d)
{
    d->n_fresh = 0;
}

void deep_commit(struct deep_cache *d)
{
    float *held = d->held;

    if (d->n_fresh == 0)
        return;
    d->held = d->fresh;
    d->n_held = d->n_fresh;
    d->fresh = held;
    d->n_fresh = 0;
}
