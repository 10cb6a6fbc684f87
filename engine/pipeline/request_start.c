/* request_start.c - what a request begins in, and its size.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/request_inside.h"

#include <stdio.h>

#include "image/image.h"
#include "pipeline/checkpoint.h"
#include "pipeline/latent.h"
#include "pipeline/request.h"

static void check_shape(struct check *c, const char *field,
                        const struct unstir_image *image)
{
    if (image->width >= 1 && image->width <= IMAGE_MAX_EDGE &&
        image->height >= 1 && image->height <= IMAGE_MAX_EDGE &&
        (image->channels == 1 || image->channels == 3))
        return;
    check_violate(
        c, field, NULL,
        "a picture has edges of 1 to %u pixels and 1 or 3 channels, not "
        "%u x %u x %u",
        IMAGE_MAX_EDGE, image->width, image->height, image->channels);
}

/* Models that read the picture beside the noise begin in noise. */
static void check_editing(struct check *c, const struct sampler *s)
{
    const struct unstir_request *q = c->request;
    const char *id = c->model->info.id;

    if (!c->model->reads_picture) {
        if (q->image_guidance != UNSTIR_UNSET_F)
            check_violate(c, "image_guidance_scale", NULL,
                          "%s does not edit pictures by instruction", id);
        return;
    }
    if (!q->init_image)
        check_violate(c, "init_image", NULL,
                      "%s edits a picture and needs an init_image", id);
    if (q->mask)
        check_violate(c, "mask", NULL,
                      "%s edits whole pictures and takes no mask", id);
    if (q->strength != UNSTIR_UNSET_F && q->strength != 1)
        check_violate(
            c, "strength", "1",
            "%s begins in noise: strength is 1; image_guidance_scale says "
            "how hard to hold on to the picture",
            id);
    if (s && s->is_inverse)
        check_violate(c, "sampler", NULL, "%s does not suit a model that edits",
                      s->info->name);
}

/* Latents come in place of a picture. */
static void check_latents(struct check *c)
{
    const struct unstir_latents *l = c->request->init_latents;
    const struct unstir_model *m = c->model;

    if (!l)
        return;
    if (c->request->init_image)
        check_violate(c, "init_latents", NULL, "goes with no init_image");
    if (!m->decoder || m->reads_mask || m->reads_picture)
        check_violate(c, "init_latents", NULL, "%s does not begin in latents",
                      m->info.id);
    else if (l->values && (l->n < 1 || l->channels != m->sample_channels))
        check_violate(c, "init_latents", NULL,
                      "%s has latents of %u channels, not %u", m->info.id,
                      m->sample_channels, l->channels);
}

/* A part of the way: the reference's two models that hand over. */
static void check_range(struct check *c, const struct sampler *s)
{
    const struct unstir_request *q = c->request;
    double start = q->denoising_start,
           end = q->denoising_end == 0 ? 1 : q->denoising_end;
    bool is_cut = start != 0 || end != 1;

    if (!(start >= 0 && start < 1))
        check_violate(c, "denoising_start", start < 0 ? "0" : NULL,
                      "denoising_start must be 0 to below 1, not %g", start);
    if (!(end > 0 && end <= 1))
        check_violate(c, "denoising_end", "1",
                      "denoising_end must be above 0 and at most 1, not %g",
                      end);
    else if (start >= end)
        check_violate(c, "denoising_start", "0",
                      "denoising_start %g does not lie before denoising_end %g",
                      start, end);
    if (start > 0 && !request_has_start(q))
        check_violate(
            c, "denoising_start", "0",
            "needs an init_image or latents, with the noise of there");
    if (start > 0 && q->strength != UNSTIR_UNSET_F && q->strength != 1)
        check_violate(
            c, "strength", "1",
            "denoising_start says where to begin; strength has no say");
    if (is_cut && (c->model->reads_picture || (s && s->is_inverse)))
        check_violate(c, start != 0 ? "denoising_start" : "denoising_end",
                      start != 0 ? "0" : "1",
                      "a part of the way goes with no model that edits and no "
                      "ddim_inverse");
    c->out->denoising_start = start;
    c->out->denoising_end = end;
}

/* Before steps and sizes, whose defaults depend on it. */
void check_pictures(struct check *c, const struct sampler *s)
{
    const struct unstir_request *q = c->request;
    bool is_inverse = s && s->is_inverse;
    double strength = q->strength;

    check_editing(c, s);
    check_latents(c);
    check_range(c, s);
    if (c->model->reads_mask && (!q->init_image || !q->mask))
        check_violate(c, q->init_image ? "mask" : "init_image", NULL,
                      "this model repaints a part of a picture and needs an "
                      "init_image and a mask");
    if (!request_has_start(q)) {
        if (q->mask)
            check_violate(c, "mask", NULL, "a mask needs an init_image");
        if (strength != UNSTIR_UNSET_F)
            check_violate(c, "strength", NULL, "strength needs an init_image");
        if (is_inverse)
            check_violate(
                c, "sampler", NULL,
                "%s goes from a picture to noise and needs an init_image",
                s->info->name);
        return;
    }
    if (q->init_image)
        check_shape(c, "init_image", q->init_image);
    if (q->mask)
        check_shape(c, "mask", q->mask);
    if (q->init_image && c->model->decoder && !latent_is_encodable(c->model))
        check_violate(
            c, "init_image", NULL,
            "this model has no encoder and cannot begin with a picture");
    if (q->mask && is_inverse)
        check_violate(c, "mask", NULL, "%s takes no mask", s->info->name);
    if (c->model->reads_picture || q->denoising_start > 0)
        strength = 1; /* whatever was said has been told */
    if (strength == UNSTIR_UNSET_F)
        strength = q->mask || is_inverse ? 1 : 0.8;
    if (!(strength >= 0 && strength <= 1))
        check_violate(c, "strength", strength > 1 ? "1" : "0.8",
                      "strength must be 0 to 1, not %g", strength);
    c->out->strength = strength;
}

static uint32_t nearest_size(const struct unstir_model_info *info, uint32_t v)
{
    uint32_t unit = info->size_multiple;
    uint64_t up = ((uint64_t)v + unit / 2) / unit * unit;

    if (up < info->min_size)
        return info->min_size;
    return up > info->max_size ? info->max_size : (uint32_t)up;
}

static uint32_t check_size(struct check *c, const char *field, uint32_t v,
                           uint32_t fallback)
{
    const struct unstir_model_info *info = &c->model->info;
    char nearest[32];

    if (v == 0)
        v = fallback;
    (void)snprintf(nearest, sizeof nearest, "%u", nearest_size(info, v));
    if (v < info->min_size || v > info->max_size)
        check_violate(c, field, nearest, "%s must be %u to %u, not %u", field,
                      info->min_size, info->max_size, v);
    else if (v % info->size_multiple)
        check_violate(c, field, nearest, "%s must be a multiple of %u, not %u",
                      field, info->size_multiple, v);
    return v;
}

/* Of a request that says none: that of its picture as far as the model can. */
static uint32_t default_size(const struct check *c, uint32_t of_picture,
                             uint32_t fallback)
{
    const struct unstir_model_info *info = &c->model->info;
    uint32_t unit = info->size_multiple;

    if (!request_has_start(c->request) || of_picture == 0)
        return fallback;
    uint32_t v = of_picture / unit * unit;
    return v < info->min_size   ? info->min_size
           : v > info->max_size ? info->max_size / unit * unit
                                : v;
}

/* Of what it begins with. */
void check_sizes(struct check *c)
{
    const struct unstir_model_info *info = &c->model->info;
    const struct unstir_request *q = c->request;
    const struct unstir_latents *l = q->init_latents;
    uint32_t w = 0, h = 0, most = UINT32_MAX / c->model->factor;

    if (q->init_image) {
        w = q->init_image->width;
        h = q->init_image->height;
    } else if (l && l->values) {
        w = (l->width < most ? l->width : most) * c->model->factor;
        h = (l->height < most ? l->height : most) * c->model->factor;
    }
    c->out->width = check_size(c, "width", q->width,
                               default_size(c, w, info->default_width));
    c->out->height = check_size(c, "height", q->height,
                                default_size(c, h, info->default_height));
    if (l && l->values && (c->out->width != w || c->out->height != h))
        check_violate(c, "init_latents", NULL,
                      "are those of a picture of %u x %u, not %u x %u", w, h,
                      c->out->width, c->out->height);
}
