/* generation_view.c - a generation as people see it: previews and the result.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/alloc.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation_inside.h"
#include "pipeline/latent.h"
#include "pipeline/picture.h"

/* x * scale at the range of pictures; samplers of unit range keep 0 .. 1. */
static void to_range(const struct unstir_generation *g, const float *x,
                     float scale, float *out)
{
    bool is_unit = g->run.sampler->is_unit_range;

    for (size_t i = 0; i < g->run.n; i++)
        out[i] = (is_unit ? 2 * x[i] - 1 : x[i]) * scale;
}

/* By the model's decoder or the tiny one; x NULL: with a thread of its own. */
static enum unstir_status decode_view(const struct unstir_generation *g,
                                      bool is_tiny, struct executor *x,
                                      const float *sample, float *planes,
                                      struct unstir_error *err)
{
    const struct unstir_model *m = g->model;
    bool is_other = is_tiny && m->tiny.net;
    struct executor *own = NULL;
    enum unstir_status st;

    if (!x)
        TRY(executor_new(&own, 1, 0, 0, err));
    st =
        latent_decode_by(m, is_other ? m->tiny.net : m->decoder,
                         is_other ? &m->tiny.scaling : &m->scaling, x ? x : own,
                         sample, g->request.width, g->request.height, planes,
                         x ? &g->cancel : NULL, err);
    executor_free(own);
    return st;
}

static enum unstir_status
paint(const struct unstir_generation *g, const float *x, float scale,
      enum unstir_preview_decoder decoder, struct executor *executor,
      struct unstir_image *image, struct unstir_error *err)
{
    const struct unstir_request *r = &g->request;
    size_t n = latent_picture_floats(g->model, r->width, r->height);
    enum unstir_status st = UNSTIR_OK;
    void *memory;

    TRY(alloc_aligned(&memory, g->run.n + n, sizeof(float), err));
    float *ranged = memory, *planes = ranged + g->run.n;
    to_range(g, x, scale, ranged);
    if (decoder != UNSTIR_PREVIEW_MATRIX && g->model->decoder)
        st = decode_view(g, decoder == UNSTIR_PREVIEW_TINY, executor, ranged,
                         planes, err);
    else
        latent_sketch(g->model, ranged, r->width, r->height, planes);
    if (!st)
        st = picture_from_planes(image, planes, r->width, r->height,
                                 g->model->info.channels, err);
    alloc_free(memory);
    return st;
}

/* What the last step has decoded already. */
static bool is_result(const struct unstir_generation *g, const float *x)
{
    return g->decoded && g->step == g->start.end && !g->is_early &&
           memcmp(x, generation_state_result(g, &g->now),
                  g->run.n * sizeof *x) == 0;
}

enum unstir_status
generation_view(const struct unstir_generation *g, enum unstir_view view,
                enum unstir_preview_decoder decoder, struct executor *x,
                struct unstir_image *image, struct unstir_error *err)
{
    bool is_estimate = view == UNSTIR_VIEW_ESTIMATE;
    const float *from = is_estimate ? g->now.estimate : g->now.sample;
    float scale = is_estimate ? 1 : sampler_view_scale(&g->run, g->step);

    if (decoder == UNSTIR_PREVIEW_TINY && g->model->decoder &&
        !g->model->info.has_tiny_decoder)
        return error_field(err, "preview.decoder",
                           "%s has no tiny decoder: it wants a folder with an "
                           "AutoencoderTiny, vae_tiny beside its parts or one "
                           "that is named when it is opened",
                           g->model->info.id);
    if (decoder == UNSTIR_PREVIEW_FULL && is_result(g, from))
        return generation_result(g, image, err);
    return paint(g, from, scale, decoder, x, image, err);
}

void generation_sample_shape(const struct unstir_generation *g,
                             uint32_t shape[3])
{
    shape[0] = g->model->sample_channels;
    shape[1] = g->request.height / g->model->factor;
    shape[2] = g->request.width / g->model->factor;
}

const float *generation_result_sample(const struct unstir_generation *g)
{
    return generation_state_result(g, &g->now);
}

/* What the last step decoded; NULL if the picture is of another one. */
static const float *decoded_result(const struct unstir_generation *g)
{
    return g->is_early || g->step != g->start.end ? NULL : g->decoded;
}

enum unstir_status generation_planes(const struct unstir_generation *g,
                                     float **planes, size_t *n_floats,
                                     struct unstir_error *err)
{
    const float *x = generation_state_result(g, &g->now),
                *decoded = decoded_result(g);
    enum unstir_status st = UNSTIR_OK;
    size_t n =
        latent_picture_floats(g->model, g->request.width, g->request.height);
    void *memory;

    TRY(alloc_aligned(&memory, n, sizeof **planes, err));
    if (decoded || !g->model->decoder)
        memcpy(memory, decoded ? decoded : x, n * sizeof **planes);
    else
        st = decode_view(g, false, NULL, x, memory, err);
    if (st) {
        alloc_free(memory);
        return st;
    }
    *planes = memory;
    *n_floats = n;
    return UNSTIR_OK;
}

enum unstir_status generation_result(const struct unstir_generation *g,
                                     struct unstir_image *image,
                                     struct unstir_error *err)
{
    const float *decoded = decoded_result(g);

    if (decoded)
        return picture_from_planes(image, decoded, g->request.width,
                                   g->request.height, g->model->info.channels,
                                   err);
    return paint(g, generation_state_result(g, &g->now), 1, UNSTIR_PREVIEW_FULL,
                 NULL, image, err);
}
