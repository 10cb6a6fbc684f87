/* api_generation.c - public doors: executors and generations.
 *
 * SPDX-License-Identifier: MIT
 */
#include "unstir.h"

#include "base/compiler.h"
#include "base/error.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"
#include "pipeline/latent_file.h"
#include "pipeline/metadata.h"
#include "pipeline/picture.h"
#include "pipeline/relay.h"
#include "pipeline/state.h"

/* -- executors ------------------------------------------------------------- */

enum unstir_status
unstir_executor_new(struct unstir_executor **out,
                    const struct unstir_executor_options *options,
                    struct unstir_error *err)
{
    return generation_executor_new(out, options, err);
}

void unstir_executor_free(struct unstir_executor *executor)
{
    generation_executor_free(executor);
}

unsigned unstir_executor_threads(const struct unstir_executor *executor)
{
    return executor_threads(executor->inner);
}

/* -- generations ----------------------------------------------------------- */

enum unstir_status unstir_generation_begin(struct unstir_generation **out,
                                           const struct unstir_model *model,
                                           const struct unstir_request *request,
                                           struct unstir_error *err)
{
    return generation_begin(out, model, NULL, request, NULL, err);
}

enum unstir_status unstir_generation_begin_beside(
    struct unstir_generation **out, const struct unstir_model *model,
    const struct unstir_request *request,
    const struct unstir_generation *company, struct unstir_error *err)
{
    return generation_begin(out, model, NULL, request, company, err);
}

enum unstir_status unstir_generation_begin_refined(
    struct unstir_generation **out, const struct unstir_model *model,
    const struct unstir_refiner *refiner, const struct unstir_request *request,
    const struct unstir_generation *company, struct unstir_error *err)
{
    return generation_begin(out, model, refiner, request, company, err);
}

void unstir_generation_free(struct unstir_generation *generation)
{
    generation_free(generation);
}

enum unstir_status unstir_generation_step(struct unstir_generation *generation,
                                          struct unstir_executor *executor,
                                          struct unstir_error *err)
{
    return generation_step(&generation, 1, executor, err);
}

enum unstir_status
unstir_step_many(struct unstir_generation *const *generations, size_t n,
                 struct unstir_executor *executor, struct unstir_error *err)
{
    return generation_step(generations, n, executor, err);
}

bool unstir_generation_is_done(const struct unstir_generation *generation)
{
    return generation_is_done(generation);
}

struct unstir_progress
unstir_generation_progress(const struct unstir_generation *generation)
{
    return relay_progress(generation);
}

struct unstir_times
unstir_generation_times(const struct unstir_generation *generation)
{
    return generation->times;
}

const struct unstir_request *
unstir_generation_request(const struct unstir_generation *generation)
{
    return &relay_first(generation)->request;
}

enum unstir_status
unstir_generation_json(const struct unstir_generation *generation, char **json,
                       struct unstir_error *err)
{
    return generation_json(generation, json, err);
}

void unstir_generation_cancel(struct unstir_generation *generation)
{
    cancel_set(&generation->cancel, true);
}

void unstir_generation_uncancel(struct unstir_generation *generation)
{
    cancel_set(&generation->cancel, false);
}

enum unstir_status
unstir_generation_preview(const struct unstir_generation *generation,
                          enum unstir_view view, struct unstir_image *image,
                          struct unstir_error *err)
{
    return generation_view(generation, view, UNSTIR_PREVIEW_MATRIX, NULL, image,
                           err);
}

const char *unstir_preview_decoder_name(enum unstir_preview_decoder decoder)
{
    static const char *const names[] = {
        [UNSTIR_PREVIEW_MATRIX] = "matrix",
        [UNSTIR_PREVIEW_TINY] = "tiny",
        [UNSTIR_PREVIEW_FULL] = "full",
    };

    return (size_t)decoder < ARRAY_LEN(names) ? names[decoder] : "";
}

enum unstir_status unstir_generation_preview_by(
    const struct unstir_generation *generation, enum unstir_view view,
    enum unstir_preview_decoder decoder, struct unstir_executor *executor,
    struct unstir_image *image, struct unstir_error *err)
{
    *image = (struct unstir_image){0};
    if ((unsigned)decoder >= UNSTIR_N_PREVIEW_DECODERS)
        return error_set(err, UNSTIR_ERR_ARG, "there is no preview decoder %d",
                         (int)decoder);
    return generation_view(generation, view, decoder,
                           executor ? executor->inner : NULL, image, err);
}

enum unstir_status
unstir_generation_finish_early(struct unstir_generation *generation,
                               struct unstir_error *err)
{
    if (generation_is_done(generation))
        return error_set(err, UNSTIR_ERR_ARG,
                         "the picture is finished already");
    generation->is_early = true;
    return UNSTIR_OK;
}

static enum unstir_status check_done(const struct unstir_generation *g,
                                     struct unstir_error *err)
{
    struct unstir_progress at = relay_progress(g);

    if (generation_is_done(g))
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_ARG,
                     "the picture is not finished: step %u of %u", at.step,
                     at.steps);
}

enum unstir_status
unstir_generation_image(const struct unstir_generation *generation,
                        struct unstir_image *image, struct unstir_error *err)
{
    *image = (struct unstir_image){0};
    TRY(check_done(generation, err));
    return generation_result(generation, image, err);
}

enum unstir_status
unstir_generation_encode(const struct unstir_generation *generation,
                         const struct unstir_picture_options *options,
                         unsigned char **bytes, size_t *n_bytes,
                         struct unstir_error *err)
{
    static const struct unstir_picture_options usual = {UNSTIR_ENCODE_INIT,
                                                        false};
    const struct unstir_picture_options *o = options ? options : &usual;
    struct unstir_image image;
    struct metadata m;
    enum unstir_status st;

    *bytes = NULL;
    *n_bytes = 0;
    TRY(unstir_generation_image(generation, &image, err));
    st = metadata_init(&m, generation, o->file.format, o->no_metadata, err);
    if (!st)
        st = unstir_image_encode(&image, &o->file, m.texts, m.n, bytes, n_bytes,
                                 err);
    metadata_fini(&m);
    unstir_image_fini(&image);
    return st;
}

enum unstir_status
unstir_generation_png(const struct unstir_generation *generation,
                      const struct unstir_png_options *options,
                      unsigned char **bytes, size_t *n_bytes,
                      struct unstir_error *err)
{
    struct unstir_picture_options o = {UNSTIR_ENCODE_INIT, false};

    if (options) {
        o.file.png_level = options->level;
        o.no_metadata = options->no_metadata;
    }
    return unstir_generation_encode(generation, &o, bytes, n_bytes, err);
}

const float *
unstir_generation_sample(const struct unstir_generation *generation,
                         size_t *n_floats)
{
    *n_floats = generation_floats(generation);
    return generation->now.sample;
}

void unstir_generation_sample_shape(const struct unstir_generation *generation,
                                    uint32_t shape[3])
{
    generation_sample_shape(generation, shape);
}

const float *
unstir_generation_result(const struct unstir_generation *generation,
                         size_t *n_floats)
{
    *n_floats = generation_floats(generation);
    return generation_result_sample(generation);
}

enum unstir_status
unstir_generation_latents(const struct unstir_generation *generation,
                          bool has_no_metadata, unsigned char **bytes,
                          size_t *n_bytes, struct unstir_error *err)
{
    *bytes = NULL;
    *n_bytes = 0;
    TRY(check_done(generation, err));
    return latent_file_write(generation, has_no_metadata, bytes, n_bytes, err);
}

void unstir_generation_leave_latents(struct unstir_generation *generation)
{
    generation->is_left_latent = true;
}

enum unstir_status
unstir_generation_planes(const struct unstir_generation *generation,
                         float **planes, size_t *n_floats,
                         struct unstir_error *err)
{
    *planes = NULL;
    *n_floats = 0;
    TRY(check_done(generation, err));
    return generation_planes(generation, planes, n_floats, err);
}

enum unstir_status
unstir_generation_save(const struct unstir_generation *generation,
                       unsigned char **bytes, size_t *n_bytes,
                       struct unstir_error *err)
{
    return state_save(generation, bytes, n_bytes, err);
}

enum unstir_status unstir_generation_restore(struct unstir_generation **out,
                                             const struct unstir_model *model,
                                             const unsigned char *bytes,
                                             size_t n_bytes,
                                             struct unstir_error *err)
{
    return state_restore(out, model, NULL, bytes, n_bytes, err);
}

enum unstir_status unstir_generation_restore_refined(
    struct unstir_generation **out, const struct unstir_model *model,
    const struct unstir_model *refiner, const unsigned char *bytes,
    size_t n_bytes, struct unstir_error *err)
{
    return state_restore(out, model, refiner, bytes, n_bytes, err);
}
