/* unstir_train.h - teach a network to undo noise: the public training API.
 *
 * The algorithm of Sohl-Dickstein et al. (arXiv:1503.03585): noise pictures
 * step by step with a nudge toward the origin until they are static, and
 * learn to undo one step.  A trainer is a value that is advanced one
 * optimiser step at a time, like a generation.
 *
 * Deterministic: same options and data, same weights, bit for bit, for any
 * number of threads, with or without a stop and resume in between.
 *
 * Threads.  A trainer serves one thread at a time and owns its own pool.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef UNSTIR_TRAIN_H
#define UNSTIR_TRAIN_H

#include "unstir.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* Start from unstir_train_defaults(); strings are copied. */
struct unstir_train_options {
    const char *data;      /* folder, IDX files' folder, or a named set      */
    const char *output;    /* the model being made; state in training/       */
    const char *objective; /* "epsilon" "x0" "v" "origin" "origin-x0"
                              "origin-bits" "score"                          */
    const char *noise_schedule; /* "linear" "cosine" "scaled-linear"         */
    const char *isa;       /* NULL: best                                     */
    const char *precision; /* "auto" "f32" "bf16": of the products' operands;
                              weights, sums and the optimiser are f32        */
    const char *lr_schedule; /* "cosine" "constant"                          */
    const char *init;        /* model folder whose weights are the first ones,
                              for going on with other options; or NULL       */
    uint32_t n_timesteps; /* of the chain; score: levels of noise            */
    double sigma_min, sigma_max; /* score: least and most noise; sigma_max 0:
                                    the largest distance between two pictures */
    uint32_t size;        /* pixels; 0: by data                             */
    uint32_t channels[8]; /* per level; [0] == 0: by data                   */
    uint32_t n_levels;
    uint32_t layers; /* a block                                        */
    uint32_t attention_mask; /* bit i: level i has attention                 */
    uint32_t attention_head_dim; /* channels a head; 0: 32, or as many as the
                                    narrowest level with attention has      */
    uint32_t norm_groups;
    uint32_t batch;      /* pictures an optimiser step                     */
    uint32_t accumulate; /* micro-batches a step; batch is divided by it;
                              0: by rule                                     */
    double lr, weight_decay, clip, ema, label_dropout;
    double beta1, beta2;
    uint32_t warmup; /* steps                                          */
    bool flip;
    uint64_t steps; /* one of steps, epochs, minutes is set           */
    double epochs;
    double minutes;
    uint64_t seed;
    unsigned n_threads;
    int nice;              /* of the trainer's own threads                   */
    bool half;             /* the model in half precision                    */
    uint32_t max_pictures; /* 0: all; else the first ones, for trials        */
};
void unstir_train_defaults(struct unstir_train_options *options);

struct unstir_trainer;

/* Load data, build the network, draw the first weights.                     */
enum unstir_status
unstir_trainer_new(struct unstir_trainer **out,
                   const struct unstir_train_options *options,
                   struct unstir_error *err);

/* Go on from `folder`/training/state.safetensors with its own options.      */
enum unstir_status unstir_trainer_resume(struct unstir_trainer **out,
                                         const char *folder, unsigned n_threads,
                                         struct unstir_error *err);
void unstir_trainer_free(struct unstir_trainer *trainer);

struct unstir_train_progress {
    uint64_t step, steps;
    uint64_t pictures;  /* seen                                           */
    double loss;        /* of the last step                               */
    double loss_smooth; /* exponential mean                               */
    double lr, grad_norm;
    double images_per_s; /* over the last seconds                          */
    double elapsed_s;    /* all sittings                                   */
    double left_s;
};

/* How many of the planned steps are done; with `minutes` the plan is time. */
bool unstir_trainer_is_done(const struct unstir_trainer *trainer);

/* Where it stands: after a resume what the state says, without the numbers of
 * a last step (lr and grad_norm are 0 until the next). */
void unstir_trainer_progress(const struct unstir_trainer *trainer,
                             struct unstir_train_progress *progress);

/* One optimiser step.  UNSTIR_ERR_ARG when the planned ones are done;
 * UNSTIR_ERR_LIMIT when loss or gradient are no longer finite (the weights
 * are those before the step).                                               */
enum unstir_status unstir_trainer_step(struct unstir_trainer *trainer,
                                       struct unstir_train_progress *progress,
                                       struct unstir_error *err);

/* Everything that resume needs; written beside its place and renamed.       */
enum unstir_status unstir_trainer_save(struct unstir_trainer *trainer,
                                       struct unstir_error *err);

/* The averaged weights as a model folder (diffusers layout), half precision
 * if asked; with unstir.json when the data has labels.                      */
enum unstir_status unstir_trainer_export(struct unstir_trainer *trainer,
                                         const char *folder, bool half,
                                         struct unstir_error *err);

/* Loss curve and sample grid into output/training/ (PNG, CSV appended as it
 * goes).                                                                    */
enum unstir_status unstir_trainer_report(struct unstir_trainer *trainer,
                                         bool with_grid,
                                         struct unstir_error *err);

/* The objective's name and the model's precision, also of a resumed training. */
const char *unstir_trainer_objective(const struct unstir_trainer *trainer);
bool unstir_trainer_is_half(const struct unstir_trainer *trainer);

/* What the averaged weights know of the pictures, a dimension: mean log2
 * density of pictures in -1..1 with a uniform part of a byte added; with
 * "origin-bits" the mean log2 probability of a bit. */
struct unstir_train_bound {
    double bits;       /* lower bound by the chain; engine/train/bound.c     */
    double null_bits;  /* by what the chain ends in: the best Gaussian of one
                          mean and variance; fair coins                      */
    double known_bits; /* by the set's own distribution; NaN: not known      */
};

/* Some thousand evaluations.  UNSTIR_ERR_ARG for the objective "score". */
enum unstir_status unstir_trainer_bound(struct unstir_trainer *trainer,
                                        struct unstir_train_bound *bound,
                                        struct unstir_error *err);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
