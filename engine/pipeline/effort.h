/* effort.h - what a request costs: evaluations of the network, bytes of arena.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_EFFORT_H
#define PIPELINE_EFFORT_H

#include <stddef.h>
#include <stdint.h>

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

/* As unstir_model_arena_bytes(). */
enum unstir_status effort_arena_bytes(const struct unstir_model *model,
                                      uint32_t width, uint32_t height,
                                      size_t *bytes, struct unstir_error *err);

#endif
