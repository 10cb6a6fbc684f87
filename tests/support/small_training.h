/* small_training.h - trainings of a moment: a network of some thousand weights
 * on twelve pictures of two classes of bars, 8 x 8, in a scratch folder.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_SMALL_TRAINING_H
#define SUPPORT_SMALL_TRAINING_H

#include "scratch.h"
#include "unstir_train.h"

#define SMALL_TRAINING_EDGE 8 /* pixels                                      */

/* Around each test: the pictures are there, and go with all that it wrote. */
int small_training_begin(void **state);
int small_training_end(void **state);

/* One more picture, so that the data are others. */
void small_training_add(void);

/* Nine steps of batches of eight, which straddle epochs, on two threads, into
 * the folder of that name, whose path stays in `out`. */
struct unstir_train_options small_training(char out[SCRATCH_PATH],
                                           const char *name);
void small_training_path(char out[SCRATCH_PATH], const char *name);

/* Or the test fails, saying why; the last step's progress. */
struct unstir_trainer *must_trainer(const struct unstir_train_options *o);
struct unstir_train_progress must_step(struct unstir_trainer *t, int n);

#endif
