/* deep.h - DeepCache: what the deep layers of a network made, kept for steps
 * that evaluate its shallow layers alone.
 *
 * Every `every`-th step of a run is whole and leaves behind what its deep
 * layers made of each of its pictures (two or three with guidance); the steps
 * between build upon the last of these.  A step that needs a picture more than
 * there are, where guidance begins, is whole as well.  Ma et al.,
 * arXiv:2312.00858, with uniform steps and the skip branch behind the second
 * layer.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_DEEP_H
#define PIPELINE_DEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct unstir_model;
struct unstir_request;

#define DEEP_MAX_PICTURES 3

enum deep_mode {
    DEEP_OFF,
    DEEP_WHOLE, /* and leave something behind */
    DEEP_SHALLOW
};

/* Of one generation; zeroed: off. */
struct deep_cache {
    uint32_t every;
    size_t floats; /* of a picture                                         */
    float *held;   /* [n_held][floats], of the last whole step             */
    float *fresh;  /* [n_fresh][floats], of the step under way             */
    uint32_t n_held, n_fresh;
};

/* `every` below 2 is off; the network must be able to (deep_is_possible). */
enum unstir_status deep_init(struct deep_cache *d,
                             const struct unstir_model *model,
                             const struct unstir_request *resolved,
                             struct unstir_error *err);
void deep_fini(struct deep_cache *d);

bool deep_is_possible(const struct unstir_model *model);

/* Of a step, counted from the run's first, that evaluates n_images. */
enum deep_mode deep_mode_at(const struct deep_cache *d, uint32_t step,
                            size_t n_images);

/* Picture i of n_images of this generation, from and to its place in a batch:
 * before a shallow evaluation, after a whole one. */
void deep_give(const struct deep_cache *d, size_t i, size_t n_images,
               float *batch);
void deep_take(struct deep_cache *d, size_t i, size_t n_images,
               const float *batch);

/* A step begins; it is done. */
void deep_begin(struct deep_cache *d);
void deep_commit(struct deep_cache *d);

#endif
