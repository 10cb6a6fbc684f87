/* generation.h - one picture in the making: the state machine.
 *
 *   begin -> step 1 .. steps -> done
 *                 \-> finish early -> done
 *
 * With a refiner (relay.h) the steps are those of two runs, one behind the
 * other.
 *
 * `now` is the state after the last whole step; a step computes in `next` and
 * swaps the two at its very end, so a step that fails or is cancelled leaves
 * nothing behind.  All memory is taken at the beginning.
 *
 * A generation serves one thread at a time, except its cancel flag.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_GENERATION_H
#define PIPELINE_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/error.h"
#include "pipeline/conditioning.h"
#include "pipeline/deep.h"
#include "pipeline/start.h"
#include "sample/sampler.h"

/* Pictures a network evaluation takes at most. */
#define GENERATION_MAX_BATCH 16

struct executor;

struct unstir_generation {
    const struct unstir_model *model;
    struct unstir_request request;  /* resolved                               */
    char *prompt, *negative_prompt; /* behind the request's                  */
    struct conditioning text;       /* of models that read one               */
    struct sampler_run run;
    struct start start;
    struct deep_cache deep;
    struct sampler_state now, next;
    float *memory; /* behind the states and the five below   */
    float *input, *output, *unguided, *noise;
    float *pictured; /* of models that edit: guided by the picture alone     */
    float *decoded;  /* planes of a latent model's last sample, or NULL    */
    uint32_t step;   /* of the plan; before it start.first are not run     */
    bool is_early;   /* finished by generation_finish_early()  */
    struct unstir_times times;
    bool is_evaluated; /* in the round of a batch under way      */

    /* What stands above is the run of one model; from here on it is the
     * picture's, whoever runs.  See relay.h. */
    struct cancel cancel;
    bool is_left_latent; /* the last step decodes nothing                    */
    struct relay {
        const struct unstir_model *model; /* the refiner; NULL: none         */
        struct unstir_request request;    /* resolved, texts owned           */
        struct unstir_generation *ready;  /* the refiner's run, in the step that
                                            makes it                         */
        struct unstir_generation *base;   /* the run that is over, or NULL    */
        uint32_t n_steps;                 /* of the refiner's run             */
    } relay;
};

/* One worker's engine: pool, plans, arena, and the batch's own tensors. */
struct unstir_executor {
    struct executor *inner;
    float *sample, *out; /* NHWC                                             */
    float *deep;         /* of networks whose shallow layers run alone       */
    size_t sample_floats, out_floats, deep_floats;
    struct conditioning_batch text;
    float timestep[GENERATION_MAX_BATCH], label[GENERATION_MAX_BATCH];
};

/* options may be NULL; free takes NULL. */
enum unstir_status
generation_executor_new(struct unstir_executor **out,
                        const struct unstir_executor_options *options,
                        struct unstir_error *err);
void generation_executor_free(struct unstir_executor *executor);

/* Checks the request, then generation_new().  With a refiner (may be NULL) the
 * one request becomes those of both. */
enum unstir_status generation_begin(struct unstir_generation **out,
                                    const struct unstir_model *model,
                                    const struct unstir_refiner *refiner,
                                    const struct unstir_request *request,
                                    const struct unstir_generation *company,
                                    struct unstir_error *err);

/* `resolved` as request_check() gives it.  Draws the first noise.  `company`
 * may be NULL: see unstir_generation_begin_beside(). */
enum unstir_status generation_new(struct unstir_generation **out,
                                  const struct unstir_model *model,
                                  const struct unstir_request *resolved,
                                  const struct unstir_generation *company,
                                  struct unstir_error *err);
void generation_free(struct unstir_generation *g);

/* Of the run of a resolved request, planned by start_plan(). */
struct sampler_run_options generation_run_options(
    const struct unstir_model *model, const struct unstir_request *resolved,
    const struct sampler *sampler, const struct start *start);

/* Advance all by one step or none. */
enum unstir_status generation_step(struct unstir_generation *const *gens,
                                   size_t n, struct unstir_executor *x,
                                   struct unstir_error *err);

/* The canonical request (request.h), a refiner's with it.  *json is ended by
 * alloc_free(). */
enum unstir_status generation_json(const struct unstir_generation *g,
                                   char **json, struct unstir_error *err);

bool generation_is_done(const struct unstir_generation *g);

/* Floats of a sample; of a latent model it is smaller than the picture. */
size_t generation_floats(const struct unstir_generation *g);
/* Of one picture: channels, height, width. */
void generation_sample_shape(const struct unstir_generation *g,
                             uint32_t shape[3]);

/* What `view` shows, as a picture: samples at the scale of pictures and unit
 * noise, whatever form the sampler keeps them in.  x NULL: one thread. */
enum unstir_status
generation_view(const struct unstir_generation *g, enum unstir_view view,
                enum unstir_preview_decoder decoder, struct executor *x,
                struct unstir_image *image, struct unstir_error *err);

/* The result: the sample, or the estimate when finished early or where the
 * sampler says so.  The last step of a latent model decodes it; what was
 * finished early is decoded here, by one thread. */
enum unstir_status generation_result(const struct unstir_generation *g,
                                     struct unstir_image *image,
                                     struct unstir_error *err);

/* The sample that becomes the picture. */
const float *generation_result_sample(const struct unstir_generation *g);

/* The result before clamping; *planes is the caller's, to alloc_free(). */
enum unstir_status generation_planes(const struct unstir_generation *g,
                                     float **planes, size_t *n_floats,
                                     struct unstir_error *err);

#endif
