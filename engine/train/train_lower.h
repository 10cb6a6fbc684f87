/* train_lower.h - what train_forward.c and adjoint.c share while they build a
 * training plan.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_TRAIN_LOWER_H
#define TRAIN_TRAIN_LOWER_H

#include <stdbool.h>
#include <stddef.h>

#include "ops/attention.h"
#include "ops/graph.h"
#include "ops/plan.h"
#include "ops/resample.h"
#include "train/params.h"

#define NO_OP UINT32_MAX

/* How an operation of the graph is emitted. */
struct op_note {
    bool is_absorbed;  /* emitted as part of another operation               */
    uint32_t absorber; /* of a convolution emitted late: the operation at
                          whose place it is emitted                          */
    uint32_t scale_shift, act; /* GROUP_NORM: joined operations, or NO_OP    */
    uint32_t add_vec, add;     /* CONV2D, LINEAR: joined, or NO_OP           */
    value_id out;              /* the value that the joined operation makes  */
    buffer_id mean, rstd, lse; /* kept for the adjoint                       */
};

/* The gradient of a value: a buffer, maybe shared with other values. */
struct grad {
    buffer_id buffer;
    uint32_t group; /* index of its share count                              */
};

struct train_lowering {
    const struct graph *g;
    const struct kernel_table *table;
    const struct params *params;
    const struct train_packs *packs;
    unsigned n_threads;
    struct plan_builder *b;
    struct op_note *notes; /* [n_ops]                                       */
    buffer_id *values;     /* [n_values]                                    */
    uint32_t *users;       /* [n_values] last operation that reads it       */
    bool *needs_grad;      /* [n_values] depends on a parameter             */
    struct grad *grads;    /* [n_values]                                    */
    uint32_t *shares;      /* [n_groups] values that still hold the buffer  */
    size_t n_groups, groups_capacity;
    buffer_id target, weight, loss;
    struct unstir_error *err;
    enum unstir_status status; /* first failure                              */
};

/* A pointer of an argument struct that is a buffer. */
#define SLOT(type, field, id, how)               \
    (struct plan_slot)                           \
    {                                            \
        offsetof(struct type, field), id, how, 0 \
    }

/* Notes of every operation: what is joined with what. */
void train_find_joins(struct train_lowering *l);

/* Emit the forward operations. */
void train_lower_forward(struct train_lowering *l);

struct conv2d_shape train_conv_shape(const struct graph *g,
                                     const struct graph_op *op);
struct attention_args train_attention_args(const struct graph *g,
                                           const struct graph_op *op);
struct fir_args train_fir_args(const struct graph *g,
                               const struct graph_op *op);

static inline struct op_note *train_note_of(struct train_lowering *l,
                                            const struct graph_op *op)
{
    return &l->notes[graph_value_at(l->g, op->out)->op];
}

static inline size_t shape_floats(struct shape s)
{
    return (size_t)s.n * s.h * s.w * s.c;
}

#endif
