/* start.c - where a run begins.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/start.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "format/digest.h"
#include "image/fit.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"
#include "pipeline/latent.h"
#include "pipeline/picture.h"
#include "pipeline/request.h"

#define MASK_CUT 128 /* 0.5 of 255, rounded up                               */

/* -- the plan -------------------------------------------------------------- */

/* The product is cut in f64, as the reference's int() does: 0.29 of 100 steps
 * are 28. */
uint32_t start_skipped(uint32_t n_steps, double strength)
{
    double run = n_steps * strength;

    return run < n_steps ? n_steps - (uint32_t)run : 0;
}

/* -- a part of the way ------------------------------------------------------ */

/* Where in a plan timesteps fall below some value. */
struct place {
    uint32_t step, eval; /* of the first evaluation below it                 */
    uint32_t n_before;   /* evaluations                                      */
};

static struct place place_below(const struct sampler_run *run, double t)
{
    struct place p = {.step = run->first};

    for (; p.step < run->n_steps; p.step++, p.eval = 0)
        for (; p.eval < sampler_n_evals(run, p.step); p.eval++, p.n_before++)
            if (sampler_timestep(run, p.step, p.eval) < t)
                return p;
    return p;
}

static double cutoff_of(const struct sampler_run *run, double share)
{
    double n = run->schedule->config.n_timesteps;

    return rint(n - share * n);
}

/* The reference counts evaluations, and PNDM's first step has one more: steps
 * of its img2img plans begin after as many, unless none is left behind them. */
static void begin_below(struct start *s, const struct sampler_run *run,
                        double share)
{
    struct place p = place_below(run, cutoff_of(run, share));
    bool is_twice = run->sampler->n_evals == sampler_n_evals_twice;
    bool has_plain_start = run->schedule->config.has_no_prk;

    s->first = is_twice ? p.n_before / 2 : p.n_before;
    s->is_single =
        s->first == run->n_steps && p.step < run->n_steps && has_plain_start;
    if (s->is_single)
        s->first = p.step;
}

static void end_below(struct start *s, struct sampler_run *run, double share)
{
    double cutoff = cutoff_of(run, share);
    struct place p;

    if (s->is_single) {
        if (sampler_timestep(run, s->first, 0) < cutoff)
            s->end = s->first;
        return;
    }
    run->first = s->first;
    p = place_below(run, cutoff);
    s->end = p.step + (p.eval > 0);
    s->last_evals = p.eval;
}

static enum unstir_status cut_plan(struct start *s,
                                   const struct unstir_model *model,
                                   const struct unstir_request *r,
                                   const struct sampler *sampler,
                                   struct unstir_error *err)
{
    const struct schedule *schedule =
        &model->samplers[sampler_index(sampler)].schedule;
    struct sampler_run_options o = generation_run_options(model, r, sampler, s);
    struct sampler_run run;

    o.eta = 0; /* changes no timestep, and may not be settled yet */
    enum unstir_status st = sampler_run_init(&run, sampler, schedule, &o, err);
    if (!st && r->denoising_start > 0)
        begin_below(s, &run, r->denoising_start);
    if (!st && r->denoising_end < 1)
        end_below(s, &run, r->denoising_end);
    sampler_run_fini(&run);
    return st == UNSTIR_ERR_NOMEM ? st : UNSTIR_OK; /* else told by the run */
}

uint32_t start_run_first(const struct start *s)
{
    return s->is_single ? 0 : s->first;
}

uint32_t start_n_evals(const struct start *s, const struct sampler_run *run,
                       uint32_t step)
{
    bool is_last = s->last_evals > 0 && step + 1 == s->end;

    return is_last ? s->last_evals : sampler_n_evals(run, step);
}

enum unstir_status start_plan(struct start *s, const struct unstir_model *model,
                              const struct unstir_request *resolved,
                              const struct sampler *sampler,
                              struct unstir_error *err)
{
    bool is_cut = resolved->denoising_start > 0 || resolved->denoising_end < 1;
    uint32_t n = resolved->steps, skipped, end;

    end = sampler_count_steps(
        sampler, &model->samplers[sampler_index(sampler)].schedule,
        resolved->schedule ? sampler_schedule_find(resolved->schedule) : NULL,
        n);
    *s = (struct start){.end = end,
                        .variation_seed = resolved->variation_seed,
                        .variation = resolved->variation_strength};
    if (!request_has_start(resolved))
        return is_cut ? cut_plan(s, model, resolved, sampler, err) : UNSTIR_OK;
    skipped = start_skipped(n, resolved->strength);
    s->has_picture = true;
    s->is_partway = resolved->denoising_start > 0;
    s->has_mask = resolved->mask != NULL;
    s->is_inverse = sampler->is_inverse;
    s->is_edit = model->reads_picture;
    s->is_pure = s->is_edit ||
                 (s->has_mask && !s->is_partway && resolved->strength == 1);
    if (model->keeps_steps && !s->has_mask && sampler->has_grid) {
        s->share = resolved->strength;
        return is_cut ? cut_plan(s, model, resolved, sampler, err) : UNSTIR_OK;
    }
    s->first = s->is_inverse ? 0 : skipped;
    s->end = s->is_inverse ? n - skipped : end;
    return is_cut ? cut_plan(s, model, resolved, sampler, err) : UNSTIR_OK;
}

/* -- pictures -------------------------------------------------------------- */

static enum unstir_status digest_tensor(const uint32_t shape[3],
                                        const void *bytes, size_t n_bytes,
                                        char hex[65], struct unstir_error *err)
{
    struct digest *d;
    unsigned char little[3 * sizeof *shape];

    for (size_t i = 0; i < sizeof little; i++)
        little[i] = (unsigned char)(shape[i / 4] >> 8 * (i % 4));
    TRY(digest_new(&d, err));
    digest_add(d, "shape", little, sizeof little);
    digest_add(d, "pixels", bytes, n_bytes);
    digest_finish(d, hex);
    return UNSTIR_OK;
}

enum unstir_status start_digest(const struct unstir_image *image, char hex[65],
                                struct unstir_error *err)
{
    const uint32_t shape[] = {image->width, image->height, image->channels};

    return digest_tensor(shape, image->pixels,
                         (size_t)image->width * image->height * image->channels,
                         hex, err);
}

enum unstir_status start_digest_latents(const struct unstir_latents *latents,
                                        char hex[65], struct unstir_error *err)
{
    const uint32_t shape[] = {latents->channels, latents->height,
                              latents->width};
    size_t n = (size_t)latents->channels * latents->height * latents->width;

    return digest_tensor(shape, latents->values, n * sizeof *latents->values,
                         hex, err);
}

/* For the encoder: pixels, not planes. */
static enum unstir_status keep_pixels(struct start_common *c, bool is_read,
                                      const struct unstir_image *fitted,
                                      struct unstir_error *err)
{
    size_t n = (size_t)fitted->width * fitted->height * fitted->channels;

    TRY(alloc_aligned(&c->pictures, n * (is_read ? 2 : 1), sizeof(float), err));
    for (size_t i = 0; i < n; i++)
        c->pictures[i] = 2 * (fitted->pixels[i] / 255.0F) - 1;
    return UNSTIR_OK;
}

static enum unstir_status keep_planes(struct start_common *c,
                                      const struct unstir_image *fitted,
                                      size_t n, struct unstir_error *err)
{

    TRY(alloc_aligned(&c->known, n, sizeof(float), err));
    picture_to_planes(c->known, fitted);
    return UNSTIR_OK;
}

static enum unstir_status read_picture(struct start_common *c,
                                       const struct start *s,
                                       const struct unstir_request *r, size_t n,
                                       struct unstir_error *err)
{
    struct unstir_image fitted;
    enum unstir_status st;

    TRY(image_fit(r->init_image, r->width, r->height, c->model->info.channels,
                  &fitted, err));
    st = s->is_pending ? keep_pixels(c, s->is_read, &fitted, err)
                       : keep_planes(c, &fitted, n, err);
    unstir_image_fini(&fitted);
    return st;
}

/* Behind the picture itself, it again but grey where it is painted. */
static void hide(float *pictures, const struct unstir_image *mask, size_t c)
{
    size_t n = (size_t)mask->width * mask->height;

    for (size_t i = 0; i < n * c; i++)
        pictures[n * c + i] = mask->pixels[i / c] >= MASK_CUT ? 0 : pictures[i];
}

/* Each latent pixel takes the mask at its upper left one. */
static enum unstir_status read_mask(struct start_common *c,
                                    const struct start *s,
                                    const struct unstir_request *r,
                                    struct unstir_error *err)
{
    const struct unstir_model *m = c->model;
    uint32_t w = r->width / m->factor, h = r->height / m->factor;
    size_t hw = (size_t)w * h;
    struct unstir_image fitted;

    TRY(alloc_aligned(&c->mask, hw * m->sample_channels, sizeof(float), err));
    TRY(image_fit(r->mask, r->width, r->height, 1, &fitted, err));
    for (size_t i = 0; i < hw * m->sample_channels; i++) {
        size_t y = i % hw / w * m->factor, x = i % w * m->factor;
        c->mask[i] = fitted.pixels[y * r->width + x] >= MASK_CUT;
    }
    if (s->is_read)
        hide(c->pictures, &fitted, m->info.channels);
    unstir_image_fini(&fitted);
    return UNSTIR_OK;
}

static void drop_common(struct start_common *c)
{
    if (!c || --c->n_users > 0)
        return;
    alloc_free(c->known);
    alloc_free(c->mask);
    alloc_free(c->pictures);
    alloc_free(c->moments);
    alloc_free(c);
}

static enum unstir_status make_common(struct start *s,
                                      const struct unstir_model *model,
                                      const struct unstir_request *r, size_t n,
                                      struct unstir_error *err)
{

    TRY(alloc_zero(&s->common, 1, sizeof *s->common, err));
    *s->common = (struct start_common){
        .n_users = 1, .model = model, .width = r->width, .height = r->height};
    if (r->init_image)
        TRY(read_picture(s->common, s, r, n, err));
    return s->has_mask ? read_mask(s->common, s, r, err) : UNSTIR_OK;
}

static bool is_same_start(const struct start *s,
                          const struct unstir_model *model,
                          const struct unstir_request *r,
                          const struct start *other)
{
    const struct start_common *c = other->common;

    return c && c->model == model && c->width == r->width &&
           c->height == r->height && strcmp(s->digest, other->digest) == 0 &&
           strcmp(s->mask_digest, other->mask_digest) == 0;
}

/* What is in common, as this run needs it. */
static void take_common(struct start *s, const struct sampler *sampler,
                        size_t n)
{
    const struct start_common *c = s->common;

    for (size_t i = 0; c->known && i < n; i++)
        s->known[i] =
            sampler->is_unit_range ? c->known[i] / 2 + 0.5F : c->known[i];
    if (s->has_mask)
        memcpy(s->mask, c->mask, n * sizeof *s->mask);
}

enum unstir_status start_init(struct start *s, const struct unstir_model *model,
                              const struct unstir_request *resolved, size_t n,
                              const struct start *company,
                              struct unstir_error *err)
{
    const struct unstir_image *init = resolved->init_image;
    const struct unstir_latents *latents = resolved->init_latents;
    size_t total;

    if (!s->has_picture)
        return UNSTIR_OK;
    s->is_read = s->has_mask && model->reads_mask;
    s->is_pending = init && init->pixels && model->decoder;
    s->n_latent = n / model->sample_channels;
    if (!size_mul(n, s->is_read ? 4 : s->has_mask ? 3 : 2, &total))
        return error_set(err, UNSTIR_ERR_LIMIT, "the picture is too large");
    TRY(alloc_aligned(&s->known, total, sizeof(float), err));
    s->memory = s->known;
    s->noise = s->known + n;
    s->mask = s->has_mask ? s->noise + n : NULL;
    s->masked = s->is_read ? s->mask + n : NULL;
    if (latents ? !latents->values : !init->pixels)
        return UNSTIR_OK; /* of a saved state, which brings them */
    TRY(latents ? start_digest_latents(latents, s->digest, err)
                : start_digest(init, s->digest, err));
    if (latents)
        memcpy(s->known, latents->values, n * sizeof *s->known);
    if (s->has_mask && resolved->mask->pixels)
        TRY(start_digest(resolved->mask, s->mask_digest, err));
    if (latents && !s->mask_digest[0])
        return UNSTIR_OK; /* nothing is made of any picture */
    if (company && is_same_start(s, model, resolved, company)) {
        s->common = company->common;
        s->common->n_users++;
    } else {
        TRY(make_common(s, model, resolved, n, err));
    }
    take_common(s, sampler_find(resolved->sampler), n);
    return UNSTIR_OK;
}

void start_take_mask(struct start *s, const struct start *other, size_t n)
{
    memcpy(s->mask, other->mask, n * sizeof *s->mask);
    memcpy(s->mask_digest, other->mask_digest, sizeof s->mask_digest);
}

void start_fini(struct start *s)
{
    drop_common(s->common);
    alloc_free(s->memory);
    s->common = NULL;
    s->masked = NULL;
    s->memory = s->known = s->noise = s->mask = NULL;
}

/* -- samples --------------------------------------------------------------- */

/* Sines of smaller angles say nothing about the direction. */
#define LEAST_SINE 1e-6

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

void start_vary(float *a, const float *b, double t, size_t n)
{
    double lengths = sqrt(dot(a, a, n) * dot(b, b, n));
    double cosine = lengths > 0 ? dot(a, b, n) / lengths : 1;
    double angle = acos(fmax(-1, fmin(1, cosine)));
    double sine = sin(angle);
    bool is_arc = sine >= LEAST_SINE;
    double of_a = is_arc ? sin((1 - t) * angle) / sine : 1;
    double of_b = is_arc ? sin(t * angle) / sine : t;

    for (size_t i = 0; i < n; i++) {
        double towards = is_arc ? (double)b[i] : (double)b[i] - (double)a[i];
        a[i] = (float)(of_a * (double)a[i] + of_b * towards);
    }
}

/* e.  `scratch` [n]. */
static void draw_noise(const struct start *s, struct rng *rng, float *e,
                       float *scratch, size_t n)
{
    struct rng other;

    rng_normal_f32(rng, e, n);
    if (s->variation == 0)
        return;
    rng_seed(&other, s->variation_seed);
    rng_normal_f32(&other, scratch, n);
    start_vary(e, scratch, s->variation, n);
}

void start_sample(struct start *s, const struct sampler_run *run,
                  struct sampler_state *state)
{
    float *x = state->sample;
    size_t bytes = run->n * sizeof *x;

    if (s->is_pending) {
        struct rng rng = state->rng;
        draw_noise(s, &rng, x, state->estimate, run->n);
        for (size_t i = 0; i < run->n; i++)
            x[i] *= run->first_scale;
    } else if (s->is_inverse || (s->is_partway && !s->has_mask)) {
        memcpy(x, s->known, bytes);
        memset(s->noise, 0, bytes);
    } else if (s->is_partway) { /* what is kept is noised again */
        draw_noise(s, &state->rng, s->noise, x, run->n);
        memcpy(x, s->known, bytes);
    } else {
        draw_noise(s, &state->rng, x, state->estimate, run->n);
        if (s->has_picture)
            memcpy(s->noise, x, bytes);
        if (s->has_picture && !s->is_pure)
            sampler_add_noise(run, run->first, s->known, s->noise, x);
        else
            for (size_t i = 0; i < run->n; i++)
                x[i] *= run->first_scale;
    }
    memcpy(state->estimate, x, bytes);
}

/* What a network that edits reads: the mean, drawing nothing. */
static void keep_mean(const struct unstir_model *m, const float *moments,
                      size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)m->read_scale * moments[i];
}

/* Behind a mask the reference's pipelines know no latents_mean and
 * latents_std: they encode with scaling_factor alone, though they decode with
 * all three (diffusers 0.42.1, StableDiffusionXLInpaintPipeline,
 * _encode_vae_image). */
static struct vae_scaling encoder_scaling(const struct unstir_model *m,
                                          bool has_mask)
{
    struct vae_scaling scaling = m->scaling;

    if (has_mask)
        scaling.n_channels = 0;
    return scaling;
}

/* latent = scaled (mean + deviation e), with a draw of e. */
static void draw_latent(const struct unstir_model *m, bool has_mask,
                        const float *moments, bool has_variance, size_t n,
                        struct rng *rng, float *out)
{
    size_t hw = n / m->sample_channels;
    struct vae_scaling scaling = encoder_scaling(m, has_mask);

    if (has_variance)
        rng_normal_f32(rng, out, n);
    for (size_t i = 0; i < n; i++) {
        float x = moments[i];
        if (has_variance) {
            float log_variance = fminf(fmaxf(moments[n + i], -30), 20);
            x += expf(0.5F * log_variance) * out[i];
        }
        out[i] = vae_scale(&scaling, i / hw, x);
    }
}

/* Of all runs with this picture the first one does it. */
static enum unstir_status encode_common(struct start_common *c, uint32_t n,
                                        struct executor *x,
                                        const struct cancel *cancel,
                                        struct unstir_error *err)
{
    if (c->moments)
        return UNSTIR_OK;
    TRY(latent_encode(c->model, x, c->pictures, n, c->width, c->height,
                      &c->moments, &c->has_variance, cancel, err));
    alloc_free(c->pictures);
    c->pictures = NULL;
    return UNSTIR_OK;
}

/* A draw that the reference makes and does not use. */
static enum unstir_status skip_draw(struct rng *rng, size_t n,
                                    struct unstir_error *err)
{
    void *scratch;

    TRY(alloc_aligned(&scratch, n, sizeof(float), err));
    rng_normal_f32(rng, scratch, n);
    alloc_free(scratch);
    return UNSTIR_OK;
}

enum unstir_status start_encode(struct start *s,
                                const struct unstir_model *model,
                                const struct unstir_request *resolved,
                                const struct sampler_run *run,
                                struct sampler_state *state, struct executor *x,
                                const struct cancel *cancel,
                                struct unstir_error *err)
{
    struct start_common *c = s->common;
    size_t n = run->n;

    if (!s->is_pending)
        return UNSTIR_OK;
    TRY(encode_common(c, s->is_read ? 2 : 1, x, cancel, err));
    const float *moments = c->moments;
    s->is_pending = false;
    if (s->is_edit)
        keep_mean(model, moments, n, s->known);
    else if (!(s->is_read && s->is_pure)) /* else the reference does not look */
        draw_latent(model, s->has_mask, moments, c->has_variance, n,
                    &state->rng, s->known);
    start_sample(s, run, state);
    if (s->is_read)
        draw_latent(model, true, moments + n * (c->has_variance ? 2 : 1),
                    c->has_variance, n, &state->rng, s->masked);
    else if (s->has_mask && c->has_variance)
        return skip_draw(&state->rng, n, err);
    return UNSTIR_OK;
}

/* A run that ends on the way keeps the picture itself all the same. */
static bool is_end(const struct start *s, const struct sampler_run *run,
                   uint32_t step, uint32_t eval)
{
    return step + 1 == s->end && eval + 1 == start_n_evals(s, run, step);
}

void start_keep(const struct start *s, const struct sampler_run *run,
                uint32_t step, uint32_t eval, float *scratch,
                struct sampler_state *state)
{
    float *x = state->sample, *x0 = state->estimate;
    const float *kept = s->known;

    if (!s->mask || s->is_read)
        return;
    if (!is_end(s, run, step, eval)) {
        sampler_add_noise_after(run, step, eval, s->known, s->noise, scratch);
        kept = scratch;
    }
    for (size_t i = 0; i < run->n; i++) {
        float m = s->mask[i];
        x[i] = (1 - m) * kept[i] + m * x[i];
        x0[i] = (1 - m) * s->known[i] + m * x0[i];
    }
}
