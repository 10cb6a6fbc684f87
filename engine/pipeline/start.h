/* start.h - where a run begins: in noise, or in a picture noised part of the
 * way.  From noise all steps are run.
 *
 * Picture to picture.  Of a plan of n steps the last floor(n s) are run, s being
 * the strength, and the picture z is noised to the level of their first, x = a z
 * + b e.  A latent consistency model runs all n, in the last s of its grid.
 *
 * Inpainting, with a network that knows nothing of masks: where the mask is
 * black the picture is kept.  After each evaluation the sample there is put
 * back to the picture at the level of the next one, always with the same first
 * noise e, so that both halves fit together; after the last step to the picture
 * itself.  So the pixels of a pixel model come back to the byte outside of the
 * mask.  Nothing is blended at its border.  With strength 1 and a mask the
 * run begins in pure noise: what is not kept owes nothing to the picture.
 *
 * A network that knows of masks (of 2 c + 1 channels) reads the mask and the
 * latents of the picture, grey where it is painted; nothing is put back.
 *
 * Editing by instruction, with a network of 2 c channels: from pure noise, in
 * all steps; the mean of the picture's latents is read beside the sample.
 *
 * A part of the way, from denoising_start a to denoising_end b: a run takes the
 * evaluations at timesteps below round(T - a T) of the training's T, and not
 * below round(T - b T), and begins in what has the noise of there.  Methods of
 * second order begin with a step; they may end within one.  PNDM, which begins
 * with two evaluations, has a plain step where a single one is left.
 *
 * With a mask such a run keeps what it begins in: noised to each next level,
 * though it may have noise already, and after the last evaluation as it is.  So
 * a base hands over what is not painted without noise, and a refiner that gets
 * the same mask keeps it.
 *
 * Inversion (ddim_inverse) goes the other way: it begins in the picture, draws
 * no noise, runs the first floor(n s) steps of its rising plan, and ends in
 * the noise that the picture would come from.
 *
 * Variations.  e is not the seed's own noise a but lies between it and the
 * first draw b of a generator of the variation's seed, on the arc from one to
 * the other, at a share t of the angle w between them:
 *
 *   e = (sin((1 - t) w) a + sin(t w) b) / sin(w)
 *
 * w is that of the whole tensors; of parallel ones e = a + t (b - a).
 *
 * Random numbers, of the request's seed: the posterior's draw of latent models,
 * e, with a mask the posterior of the masked picture, then the sampler's.
 *
 * Pictures are fitted by image_fit(), masks cut at 128 and taken to latents by
 * their nearest pixel.
 *
 * Sources.  Shoemake, "Animating rotation with quaternion curves", SIGGRAPH
 * 1985 (the arc); Meng et al., arXiv:2108.01073 (picture to picture); Lugmayr
 * et al., arXiv:2201.09865, eq. 8 (keeping); diffusers 0.42.1,
 * StableDiffusionImg2ImgPipeline.get_timesteps and prepare_latents (XL's, too),
 * StableDiffusionInpaintPipeline.__call__ (of 4 channels; and XL's),
 * StableDiffusionInstructPix2PixPipeline.prepare_image_latents,
 * LatentConsistencyModelImg2ImgPipeline.__call__.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_START_H
#define PIPELINE_START_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct cancel;
struct executor;
struct sampler;
struct sampler_run;
struct sampler_state;

/* What is made of the pictures once, for all runs that begin with them. */
struct start_common {
    size_t n_users;
    const struct unstir_model *model;
    uint32_t width, height;
    float *known;    /* [n] of pixel models: the picture as planes           */
    float *mask;     /* [n], if there is one                                 */
    float *pictures; /* of latent models until they are encoded: [1 or 2]
                        [height][width][channels], the picture and, for
                        networks that read a mask, the masked one            */
    float *moments;  /* from then on: see latent_encode()                    */
    bool has_variance;
};

struct start {
    struct start_common *common; /* NULL: of no picture, or a saved state    */
    uint32_t first, end; /* steps first .. end - 1 of the plan are run       */
    uint32_t last_evals; /* evaluations of the last of them; 0: all          */
    bool is_partway;     /* the picture has its noise already                */
    bool is_single;      /* PNDM: the last step alone, of one evaluation     */
    bool has_picture, has_mask;
    bool is_inverse;
    bool is_pure; /* begins in pure noise all the same                       */
    bool is_read; /* the network reads the mask: nothing is put back         */
    double share; /* of the sampler's grid that the steps lie in; 0: all      */
    bool is_edit; /* it reads the picture: `known` as it lies there          */
    uint64_t variation_seed;
    double variation; /* t; 0: the seed's own noise                          */
    bool is_pending;  /* of latent models: pictures are not encoded yet       */
    size_t n_latent;  /* floats of a plane                                    */
    float *masked;    /* [n] of the masked picture, if is_read                */
    float *memory;
    float *known; /* [n] the picture as a sample without noise, or NULL      */
    float *noise; /* [n] e                                                   */
    float *mask;  /* [n] 0: keep, 1: paint; NULL: paint all                  */
    char digest[65], mask_digest[65]; /* of the pictures as given, or ""     */
};

/* Steps of a plan that are not run. */
uint32_t start_skipped(uint32_t n_steps, double strength);

/* The plan of a resolved request, which holds no memory: first, end, has_*,
 * is_*.  UNSTIR_ERR_NOMEM: denoising_start and denoising_end are not in it. */
enum unstir_status start_plan(struct start *s, const struct unstir_model *model,
                              const struct unstir_request *resolved,
                              const struct sampler *sampler,
                              struct unstir_error *err);

/* The step that the sampler's run begins with: `first`, but of a single step,
 * which has nothing of a beginning, 0. */
uint32_t start_run_first(const struct start *s);

/* Evaluations of a step of the plan: all of the sampler's, but in the last step
 * of one that ends within it. */
uint32_t start_n_evals(const struct start *s, const struct sampler_run *run,
                       uint32_t step);

/* Memory for samples of n floats; start_fini() in every case.  If `company` (or
 * NULL) begins with the same pictures, theirs is shared.  Of pixel models
 * `known` is made of the picture; of latent models it is when start_encode()
 * has run, and until then the run is_pending. */
enum unstir_status start_init(struct start *s, const struct unstir_model *model,
                              const struct unstir_request *resolved, size_t n,
                              const struct start *company,
                              struct unstir_error *err);
void start_fini(struct start *s);

/* Keep what `other` keeps, which has as many floats. */
void start_take_mask(struct start *s, const struct start *other, size_t n);

/* Run the encoder, if that is to be done, and begin anew in what it says.  On
 * failure nothing has changed. */
enum unstir_status start_encode(struct start *s,
                                const struct unstir_model *model,
                                const struct unstir_request *resolved,
                                const struct sampler_run *run,
                                struct sampler_state *state, struct executor *x,
                                const struct cancel *cancel,
                                struct unstir_error *err);

/* a becomes the point at a share t of the arc from a to b. */
void start_vary(float *a, const float *b, double t, size_t n);

/* The sample before the first step, by noise from the state's generator.  While
 * the run is_pending it is noise, and the generator stays as it was. */
void start_sample(struct start *s, const struct sampler_run *run,
                  struct sampler_state *state);

/* After an evaluation: put back what is kept, in sample and estimate.
 * `scratch` [n]. */
void start_keep(const struct start *s, const struct sampler_run *run,
                uint32_t step, uint32_t eval, float *scratch,
                struct sampler_state *state);

/* SHA-256 of a picture's shape and bytes. */
enum unstir_status start_digest(const struct unstir_image *image, char hex[65],
                                struct unstir_error *err);
/* The same of the first of some latents. */
enum unstir_status start_digest_latents(const struct unstir_latents *latents,
                                        char hex[65], struct unstir_error *err);

#endif
