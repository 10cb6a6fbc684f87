/* adjoint.h - from a graph to a plan for training: forward, loss, adjoints.
 *
 * The second lowering of a graph (the first is ops/lower.h).  One run of the
 * plan is one micro-batch: it evaluates the network, writes each picture's
 * loss, and adds the gradient of their mean to params->g.
 *
 * Forward operations are left whole where the adjoint needs what lies between
 * (a convolution's plain input), and joined where nothing is lost: norm,
 * scale-shift and activation; bias, time vector and residual into the end of
 * a convolution.  Values live from their first use to their last, adjoints
 * included, in the planner that inference uses.
 *
 * The adjoint of a sum hands its gradient on without copying; a gradient
 * shared in that way is copied only when somebody must add to it while
 * another still has to read it.
 *
 * Externals, in order: the graph's inputs; "target" (as the graph's output);
 * "weight" [n], of bits [n][BIT_WEIGHTS]; "loss" [n].
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_ADJOINT_H
#define TRAIN_ADJOINT_H

#include "base/error.h"
#include "ops/graph.h"

struct kernel_table;
struct params;
struct plan;
struct train_packs;

/* What the output is held to the target by. */
enum train_loss {
    TRAIN_LOSS_SQUARES = 0, /* weighted squared error                        */
    TRAIN_LOSS_BITS,        /* bit_loss.h; the first input is the sample     */
};

/* Floats of "weight" a picture. */
size_t train_loss_weights(enum train_loss loss);

/* params and packs are bound: their memory must outlive the plan.  The graph
 * has one output. */
enum unstir_status lower_training(struct plan **out, const struct graph *g,
                                  const struct kernel_table *table,
                                  const struct params *params,
                                  const struct train_packs *packs,
                                  enum train_loss loss, unsigned n_threads,
                                  struct unstir_error *err);

#endif
