/* micro.h - what SDXL is told of how a picture was made: micro-conditioning.
 *
 * Beside the text such a network reads the size of the picture before it was
 * scaled, what was cut off at its top and left, and the size that it was scaled
 * for; the refiner a score of beauty instead of the last.  Each side of
 * guidance is told its own.
 *
 * What a request leaves out is as the reference's pipelines have it:
 *  - sizes are those of the picture that is made, of the side to keep away from
 *    those of the other side;
 *  - the crop of the side to keep away from is that of the other side, but 0, 0
 *    of networks that read a score, and of pictures from noise whose negative
 *    sizes are both given.
 * What those pipelines take and pass over is refused here, with the reason.
 *
 * Sources.  Podell et al., arXiv:2307.01952, section 2.2; diffusers 0.42.1,
 * StableDiffusionXLPipeline.__call__ and _get_add_time_ids of
 * StableDiffusionXLImg2ImgPipeline.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_MICRO_H
#define PIPELINE_MICRO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define MICRO_MAX_IDS    6
#define MICRO_MAX_PIXELS 1048576 /* of a size or a crop                      */
#define MICRO_MAX_SCORE  100.0   /* and its negative                         */

struct json;
struct json_writer;
struct unstir_micro;
struct unstir_model;
struct unstir_request;

/* What is wrong with a request; texts are constant. */
struct micro_fault {
    const char *field, *text;
};

/* Fill in what `asked` leaves out; width and height of `out` are settled.
 * False: *fault tells why not. */
bool micro_settle(const struct unstir_model *model,
                  const struct unstir_request *asked,
                  struct unstir_request *out, struct micro_fault *fault);

/* Whether nothing is said. */
bool micro_is_empty(const struct unstir_micro *m);

/* See unstir_request_has_micro(). */
bool micro_is_said(const struct unstir_model *model,
                   const struct unstir_request *resolved);

/* The numbers that the network reads, of the side to go toward or the other. */
void micro_ids(const struct unstir_request *resolved, size_t n_ids,
               bool is_toward, float ids[MICRO_MAX_IDS]);

/* As members of a request's JSON, if micro_is_said(); and back. */
void micro_write(struct json_writer *w, const struct unstir_model *model,
                 const struct unstir_request *resolved);
enum unstir_status micro_read(const struct json *object,
                              struct unstir_request *out,
                              struct unstir_error *err);

bool micro_is_same(const struct unstir_request *a,
                   const struct unstir_request *b);

#endif
