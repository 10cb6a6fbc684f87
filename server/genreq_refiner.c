/* genreq_refiner.c - the second model of a request.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "buf.h"
#include "genreq.h"
#include "genreq_body.h"

struct unstir_micro genreq_micro(const struct micro_body *m)
{
    return (struct unstir_micro){
        (uint32_t)m->original_width, (uint32_t)m->original_height,
        (uint32_t)m->crop_left,      (uint32_t)m->crop_top,
        (uint32_t)m->target_width,   (uint32_t)m->target_height};
}

static void take(double *out, bool is_given, double value)
{
    if (is_given)
        *out = value;
}

/* What is not given stays unset: as in the rest of the request. */
static struct unstir_request own_of(const struct refiner_body *b)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;

    r.negative_prompt = b->negative_prompt;
    r.sampler = b->sampler;
    r.schedule = b->schedule;
    r.steps = (uint32_t)b->steps;
    r.deep_cache = (uint32_t)b->deep_cache;
    r.micro = genreq_micro(&b->micro);
    r.negative_micro = genreq_micro(&b->negative_micro);
    take(&r.guidance, b->has_guidance, b->guidance);
    take(&r.guidance_rescale, b->has_guidance_rescale, b->guidance_rescale);
    take(&r.guidance_start, b->has_guidance_start, b->guidance_start);
    take(&r.guidance_end, b->has_guidance_end, b->guidance_end);
    take(&r.eta, b->has_eta, b->eta);
    take(&r.aesthetic_score, b->has_aesthetic_score, b->aesthetic_score);
    take(&r.negative_aesthetic_score, b->has_negative_aesthetic_score,
         b->negative_aesthetic_score);
    return r;
}

struct model *genreq_refiner(const struct body *body,
                             const struct models *models,
                             const struct jdoc *doc, struct problem *problem,
                             struct unstir_request *own)
{
    const struct refiner_body *b = body->refiner.items;
    struct mem_arena *arena = problem->arena;
    struct model *model;
    const char *nearest;

    *own = (struct unstir_request)UNSTIR_REQUEST_INIT;
    if (body->refiner.n == 0)
        return NULL;
    if (b->model == NULL || b->model[0] == '\0') {
        problem_add(problem, "/refiner", "has no model",
                    jdoc_text(doc, "/refiner", arena), NULL);
        return NULL;
    }
    *own = own_of(b);
    model = models_find(models, b->model);
    if (model != NULL)
        return model;
    nearest = models_nearest(models, b->model);
    problem_add(problem, "/refiner", "there is no such model here",
                json_quote(arena, b->model),
                nearest != NULL ? json_quote(arena, nearest) : NULL);
    return NULL;
}

const char *genreq_refiner_pointer(const struct jdoc *doc, const char *field,
                                   struct mem_arena *arena)
{
    static const char prefix[] = "refiner.";
    const char *pointer;

    if (strncmp(field, prefix, sizeof prefix - 1) != 0)
        return NULL;
    field += sizeof prefix - 1;
    pointer = mem_arena_printf(arena, "/refiner/%s", field);
    if (pointer != NULL && jdoc_text(doc, pointer, arena) != NULL)
        return pointer;
    return "/refiner";
}
