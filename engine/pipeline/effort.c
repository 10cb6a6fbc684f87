/* effort.c - what a request costs: evaluations of the network, bytes of arena.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/effort.h"

#include "model/network.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"
#include "pipeline/request.h"

enum unstir_status effort_measure(struct unstir_model *m,
                                  struct unstir_error *err)
{
    struct unstir_model_info *info = &m->info;
    uint32_t h = info->default_height / m->factor;
    uint32_t w = info->default_width / m->factor;
    double whole, shallow;

    TRY(network_flops(m->net, h, w, &whole, &shallow, err));
    info->evaluation_gflop = 1e-9 * whole;
    m->shallow_share = whole > 0 ? shallow / whole : 1;
    if (!m->decoder)
        return UNSTIR_OK;
    TRY(network_flops(m->decoder, h, w, &whole, NULL, err));
    info->decode_gflop = 1e-9 * whole;
    return UNSTIR_OK;
}

double effort_of(const struct unstir_model *m, enum deep_mode mode,
                 size_t n_images)
{
    return (mode == DEEP_SHALLOW ? m->shallow_share : 1) * (double)n_images;
}

static double sum_of_steps(const struct unstir_model *m,
                           const struct unstir_request *r,
                           const struct sampler_run *run,
                           const struct start *start)
{
    struct deep_cache deep = {.every = r->deep_cache};
    double sum = 0;

    for (uint32_t step = start->first; step < start->end; step++) {
        uint32_t n_images = request_images_at(m, r, step);
        enum deep_mode mode =
            deep_mode_at(&deep, step - start->first, n_images);

        if (mode == DEEP_WHOLE)
            deep.n_held = n_images;
        sum += effort_of(m, mode, n_images) * start_n_evals(start, run, step);
    }
    return sum;
}

double effort_of_request(const struct unstir_model *m,
                         const struct unstir_request *resolved)
{
    const struct sampler *s = sampler_find(resolved->sampler);
    struct sampler_run_options o;
    struct sampler_run run;
    struct start start;
    double sum;

    (void)start_plan(&start, m, resolved, s, NULL); /* see below */
    o = generation_run_options(m, resolved, s, &start);
    /* Without memory: a step is an evaluation. */
    if (sampler_run_init(&run, s, &m->samplers[sampler_index(s)].schedule, &o,
                         NULL) != UNSTIR_OK)
        sum = start.end - start.first;
    else
        sum = sum_of_steps(m, resolved, &run, &start);
    sampler_run_fini(&run);
    return sum;
}

enum unstir_status effort_arena_bytes(const struct unstir_model *model,
                                      uint32_t width, uint32_t height,
                                      size_t *bytes, struct unstir_error *err)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT, resolved;
    const struct unstir_model_info *info = &model->info;
    size_t decoder;
    bool is_guided = info->takes_guidance && !model->conditioner.guidance_width;
    uint32_t n_embeds = info->n_classes + (info->null_class >= 0);
    uint32_t n_images = !is_guided ? 1 : model->reads_picture ? 3 : 2;

    *bytes = 0;
    r.width = width;
    r.height = height;
    r.class_id = n_embeds ? 0 : UNSTIR_CLASS_UNSET;
    if (model->reads_mask || model->reads_picture)
        r.init_image = &request_absent_picture;
    if (model->reads_mask)
        r.mask = &request_absent_picture;
    TRY(request_check(model, &r, &resolved, NULL, NULL, err));
    /* Guidance evaluates two or three pictures at once. */
    TRY(network_arena_bytes(model->net, n_images, height / model->factor,
                            width / model->factor, bytes, err));
    if (!model->decoder)
        return UNSTIR_OK;
    TRY(network_arena_bytes(model->decoder, 1, height / model->factor,
                            width / model->factor, &decoder, err));
    if (decoder > *bytes)
        *bytes = decoder;
    return UNSTIR_OK;
}
