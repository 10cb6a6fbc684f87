/* params.h - the numbers that training changes, and their packs.
 *
 * All parameters of a graph lie behind each other in one array (each on 64
 * bytes), so do gradients, the optimiser's two moments and the running mean:
 * the optimiser is one pass over one array, a saved state five tensors.
 * Parameters that are not trained (Fourier frequencies) stand behind
 * n_trained.  The gaps are zero and stay zero.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_PARAMS_H
#define TRAIN_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ops/conv2d.h"
#include "ops/graph.h"

struct kernel_table;
struct weights;

struct params {
    size_t n;         /* floats in each array                                */
    size_t n_trained; /* the optimiser's share                               */
    size_t n_params;
    size_t *offset; /* [n_params], floats                                  */
    float *p, *g, *m, *v, *ema;
};

enum unstir_status params_init(struct params *s, const struct graph *g,
                               struct unstir_error *err);
void params_fini(struct params *s);

/* First weights from `seed`: uniform in +-1/sqrt(fan_in), as the reference's
 * layers start; tables normal; norms 1 and 0.  The last convolution of each
 * residual branch and of the network starts at zero, so that every block
 * starts as the identity. */
enum unstir_status params_draw(struct params *s, const struct graph *g,
                               uint64_t seed, struct unstir_error *err);

/* Take the parameters from a file's tensors, which are all taken; names and
 * shapes must agree.  The file's network may have fewer layers a block or less
 * attention: what it lacks keeps its draw, so that the network computes what
 * the file's does (grow.h).  Call after params_draw(). */
enum unstir_status params_load(struct params *s, const struct graph *g,
                               const struct weights *w,
                               struct unstir_error *err);

/* ema = p. */
void params_start_mean(struct params *s);

/* Packed weights of every convolution and linear layer, for both directions. */
struct train_packs {
    struct conv2d_pack_job *jobs;
    size_t n_jobs;
    void **forward, **adjoint; /* by param_id; NULL for others               */
    unsigned char *memory;
};
enum unstir_status train_packs_init(struct train_packs *t,
                                    const struct graph *g,
                                    const struct kernel_table *table,
                                    const struct params *s,
                                    struct unstir_error *err);
void train_packs_fini(struct train_packs *t);

/* The planned form of conv2d_pack_many(): args is a struct repack_args. */
struct repack_args {
    const struct conv2d_pack_job *jobs;
    size_t n;
};
void train_repack(const struct op_ctx *ctx, const void *args);

#endif
