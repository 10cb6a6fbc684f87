/* forward.c - the forward process.
 *
 * A chain of betas has its table.  Others noise a picture as a run of theirs
 * that starts from one does, at the step that lies as far along; pictures of
 * exploding variance are shown at the scale of pictures, as previews are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/forward.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "base/rng.h"
#include "base/size.h"
#include "pipeline/checkpoint.h"
#include "pipeline/picture.h"

/* out = x_t of n floats, noise from rng_seed(seed); out is not x0.  t below the
 * schedule's T. */
static void add_noise(const struct schedule *s, uint32_t t, uint64_t seed,
                      const float *x0, float *out, size_t n)
{
    float signal = sqrtf(s->abar[t]), noise = sqrtf(1 - s->abar[t]);
    struct rng rng;

    rng_seed(&rng, seed);
    rng_normal_f32(&rng, out, n);
    for (size_t i = 0; i < n; i++)
        out[i] = signal * x0[i] + noise * out[i];
}

static const struct named_schedule {
    const char *name, *other_name;
    enum beta_schedule kind;
    double beta_start, beta_end;
} named[] = {
    {"linear", "", BETA_LINEAR, 0.0001, 0.02},
    {"cosine", "squaredcos_cap_v2", BETA_COSINE, 0.0001, 0.02},
    {"scaled-linear", "scaled_linear", BETA_SCALED_LINEAR, 0.00085, 0.012},
    {"sigmoid", "", BETA_SIGMOID, 0.0001, 0.02},
};

static enum unstir_status schedule_by_name(struct schedule *s, const char *name,
                                           uint32_t n_timesteps,
                                           struct unstir_error *err)
{
    const char *names[ARRAY_LEN(named)];
    struct schedule_config c;

    for (size_t i = 0; i < ARRAY_LEN(named); i++) {
        names[i] = named[i].name;
        if (strcmp(name, named[i].name) && strcmp(name, named[i].other_name))
            continue;
        schedule_config_defaults(&c, METHOD_DDPM);
        c.n_timesteps = n_timesteps;
        c.beta_schedule = named[i].kind;
        c.beta_start = named[i].beta_start;
        c.beta_end = named[i].beta_end;
        return schedule_init(s, &c, err);
    }
    int near = nearest_word(name, names, ARRAY_LEN(named));
    return error_field(err, "schedule", "schedule \"%.40s\" is not known%s%s%s",
                       name, near < 0 ? "" : "; did you mean \"",
                       near < 0 ? "" : names[near], near < 0 ? "" : "\"?");
}

/* x0 is spoiled. */
static void noise_by_run(const struct sampler_run *run, uint32_t step,
                         uint64_t seed, float *x0, float *out)
{
    bool is_unit = run->sampler->is_unit_range;
    float scale = sampler_view_scale(run, step);
    struct rng rng;

    for (size_t i = 0; i < run->n && is_unit; i++)
        x0[i] = 0.5f * (x0[i] + 1);
    rng_seed(&rng, seed);
    rng_normal_f32(&rng, out, run->n);
    sampler_add_noise(run, step, x0, out, out);
    if (run->schedule->config.method == METHOD_BINOMIAL)
        sampler_scale_input(run, step, 0, out, out); /* bits are signs */
    for (size_t i = 0; i < run->n; i++)
        out[i] = (is_unit ? 2 * out[i] - 1 : out[i]) * scale;
}

static enum unstir_status noise_by(const struct sampler *sampler,
                                   const struct schedule *s, uint32_t t,
                                   uint64_t seed, float *x0, float *out,
                                   size_t n, struct unstir_error *err)
{
    struct sampler_run_options o = {.n = n};
    struct sampler_run run;

    if (s->abar) { /* also of a schedule by name, which has no sampler */
        add_noise(s, t, seed, x0, out, n);
        return UNSTIR_OK;
    }
    o.n_steps = sampler_max_steps(sampler, s);
    enum unstir_status st = sampler_run_init(&run, sampler, s, &o, err);
    if (!st)
        noise_by_run(&run,
                     (uint32_t)((uint64_t)(s->config.n_timesteps - 1 - t) *
                                o.n_steps / s->config.n_timesteps),
                     seed, x0, out);
    sampler_run_fini(&run);
    return st;
}

static enum unstir_status
noise_image(const struct sampler *sampler, const struct schedule *s,
            const struct unstir_image *image, int32_t t, uint64_t seed,
            struct unstir_image *out, struct unstir_error *err)
{
    enum unstir_status st = UNSTIR_OK;
    size_t n = (size_t)image->width * image->height * image->channels;
    void *memory;

    TRY(alloc_zero(&memory, 2 * n, sizeof(float), err));
    float *x0 = memory, *xt = x0 + n;
    picture_to_planes(x0, image);
    if (t >= 0)
        st = noise_by(sampler, s, (uint32_t)t, seed, x0, xt, n, err);
    if (!st)
        st = picture_from_planes(out, t >= 0 ? xt : x0, image->width,
                                 image->height, image->channels, err);
    alloc_free(memory);
    return st;
}

static enum unstir_status check_image(const struct unstir_image *image,
                                      struct unstir_error *err)
{
    size_t n;

    if (!image->pixels || image->width == 0 || image->height == 0 ||
        (image->channels != 1 && image->channels != 3) ||
        !size_mul(image->width, image->height, &n) || n > SIZE_MAX / 64)
        return error_set(err, UNSTIR_ERR_ARG,
                         "a picture has 1 or 3 channels and at least one "
                         "pixel, not %u x %u x %u",
                         image->width, image->height, image->channels);
    return UNSTIR_OK;
}

enum unstir_status forward_image(const struct unstir_forward *f,
                                 const struct unstir_image *image, int32_t t,
                                 struct unstir_image *out,
                                 struct unstir_error *err)
{
    struct schedule own = {0};
    const struct sampler *sampler = NULL;
    const struct schedule *s = &own;

    *out = (struct unstir_image){0};
    TRY(check_image(image, err));
    if (f->model) {
        sampler = samplers[f->model->default_sampler];
        s = &f->model->samplers[f->model->default_sampler].schedule;
    } else {
        TRY(schedule_by_name(&own, f->schedule ? f->schedule : "linear",
                             f->n_timesteps ? f->n_timesteps : 1000, err));
    }
    enum unstir_status st;
    if (t < -1 || t >= (int64_t)s->config.n_timesteps)
        st = error_field(err, "t", "t must be -1 to %u, not %d",
                         s->config.n_timesteps - 1, t);
    else
        st = noise_image(sampler, s, image, t, f->seed, out, err);
    schedule_fini(&own);
    return st;
}
