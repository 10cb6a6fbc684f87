/* effort.h - what a request makes the network do, counted in evaluations.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_EFFORT_H
#define PIPELINE_EFFORT_H

#include <stddef.h>

#include "pipeline/deep.h"

struct unstir_model;
struct unstir_request;

/* Count the operations of a described model: info's, and shallow_share. */
enum unstir_status effort_measure(struct unstir_model *m,
                                  struct unstir_error *err);

/* Of one evaluation for n_images pictures. */
double effort_of(const struct unstir_model *m, enum deep_mode mode,
                 size_t n_images);

/* As unstir_request_evaluations(). */
double effort_of_request(const struct unstir_model *m,
                         const struct unstir_request *resolved);

#endif
