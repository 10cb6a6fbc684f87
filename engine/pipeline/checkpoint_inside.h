/* checkpoint_inside.h - what the files of an opened model share.
 *
 * checkpoint.c opens, checkpoint_samplers.c finds out which samplers suit,
 * checkpoint_json.c reads unstir.json and settles defaults and limits.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_CHECKPOINT_INSIDE_H
#define PIPELINE_CHECKPOINT_INSIDE_H

#include "pipeline/checkpoint.h"

/* Schedules of all samplers that this configuration (or NULL) suits.  Where the
 * folder's own one is not among them, m->no_default says why. */
enum unstir_status checkpoint_samplers_load(struct unstir_model *m,
                                            const struct json *config,
                                            struct unstir_error *err);

/* With the network known: refuse samplers that want output channels that it
 * lacks. */
enum unstir_status checkpoint_samplers_check(struct unstir_model *m,
                                             struct unstir_error *err);

/* Identity, labels, defaults and limits: what unstir.json says, else what
 * follows from network and schedule. */
enum unstir_status checkpoint_describe(struct unstir_model *m,
                                       const struct checkpoint_parts *parts,
                                       struct unstir_error *err);

/* End a model that shares with its base. */
void checkpoint_free_derived(struct unstir_model *m);

#endif
