/* learner.h - a network that learns: parameters, lanes, and one optimiser
 * step.
 *
 * A batch is computed in micro-batches; lane i takes numbers i, i + n_lanes
 * and so on, each by one thread from end to end, and has a gradient of its
 * own.  Lanes depend on batch and micro-batches only and are summed in order,
 * so that results do not depend on the number of threads; and threads meet
 * once a step, which costs little even when other programs hold a core.
 *
 * A learner serves one thread at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_LEARNER_H
#define TRAIN_LEARNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "train/adjoint.h"
#include "train/params.h"
#include "unstir.h"

struct graph;
struct json;
struct plan;
struct pool;

#define LEARNER_MAX_LANES 8

struct learner_spec {
    const struct json *config; /* unet/config.json                           */
    uint32_t batch, micro;     /* pictures a step, and at once; micro
                                  divides batch                              */
    uint32_t h, w;
    const char *isa; /* NULL: the best                                       */
    enum unstir_precision precision; /* of operands: packed weights and what
                                        they multiply; the products for the
                                        weights' gradients have f32 ones     */
    enum train_loss loss;
    unsigned n_threads;
    int nice;
};

/* Pictures of one step, NHWC; label NULL where the network has no classes. */
struct learner_batch {
    const float *sample, *timestep, *label, *target, *weight;
    /* weight: train_loss_weights() floats a picture                         */
    float *loss; /* [batch], written                                         */
};

/* AdamW of one step; see ops/optim.h. */
struct learner_update {
    double lr, weight_decay, beta1, beta2;
    double clip; /* largest norm of the gradient; 0: any                     */
    double ema;  /* share of the running mean that is kept                   */
    uint64_t step; /* counted from 0                                         */
};

struct learner_lane {
    struct params params; /* the learner's, but for g                        */
    struct plan *plan;    /* one micro-batch                                 */
    float *g;             /* owned; NULL in lane 0: the learner's            */
    double loss;          /* sum over the lane's pictures                    */
    enum unstir_status status;
    struct unstir_error err;
};

struct learner {
    struct learner_spec spec; /* config is not kept                          */
    struct graph *graph;      /* for one micro-batch                         */
    struct kernel_table table;
    struct pool *pool;
    struct params params;
    struct train_packs packs;
    struct learner_lane lanes[LEARNER_MAX_LANES];
    uint32_t n_lanes, n_micros;
    struct plan *update_plan; /* sum, norm, AdamW, repack                    */
    unsigned char *arenas;    /* of each thread                              */
    size_t arena_bytes;
    const struct learner_batch *batch; /* of the step in progress            */
    struct learner_update update;
    double sum_squares, norm; /* of the mean gradient                        */
};

enum unstir_status learner_init(struct learner *l,
                                const struct learner_spec *spec,
                                struct unstir_error *err);
void learner_fini(struct learner *l);

/* Pack the weights as they are now: after they were set from outside. */
void learner_repack(struct learner *l);

/* Forget gradients that were added up but not used. */
void learner_forget(struct learner *l);

/* Add the gradient of all pictures to the lanes; *loss is their mean. */
enum unstir_status learner_gradients(struct learner *l,
                                     const struct learner_batch *batch,
                                     double *loss, struct unstir_error *err);

/* Change the weights by the gradient and forget it.  *norm is the mean
 * gradient's; if that is not finite, the weights are left as they are. */
enum unstir_status learner_step(struct learner *l,
                                const struct learner_update *update,
                                double *norm, struct unstir_error *err);

#endif
