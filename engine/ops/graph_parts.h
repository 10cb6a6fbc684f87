/* graph_parts.h - the inside of a graph, for the files that build one.
 *
 * graph.c has arrays, errors, parameters and the operations of convolutional
 * networks; graph_tokens.c those of transformers.  Names are inner to ops/.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_GRAPH_PARTS_H
#define OPS_GRAPH_PARTS_H

#include "ops/graph.h"

struct graph {
    enum unstir_status status;
    struct unstir_error err;

    struct graph_op *ops;
    size_t n_ops, cap_ops;
    struct graph_value *values;
    size_t n_values, cap_values;
    struct graph_param *params;
    size_t n_params, cap_params;
    value_id *inputs;
    size_t n_inputs, cap_inputs;
    value_id *outputs;
    size_t n_outputs, cap_outputs;
    value_id deep;
};

_Static_assert(GRAPH_NO_VALUE == GRAPH_NO_PARAM, "FAIL serves both");
#define FAIL(g, ...)                                                     \
    ((g)->status = error_set(&(g)->err, UNSTIR_ERR_FORMAT, __VA_ARGS__), \
     GRAPH_NO_VALUE)

/* Whether v may be read: nothing failed so far and it exists. */
bool graph_is_readable(struct graph *g, value_id v);

/* Append `op` (kind, in, param, attrs set) that makes a value of `shape`. */
value_id graph_append(struct graph *g, struct graph_op op, struct shape shape);

struct graph_op graph_op0(enum op_kind kind);
struct graph_op graph_op1(enum op_kind kind, value_id x);
struct graph_op graph_op2(enum op_kind kind, value_id x, value_id y);

/* graph_param() of "prefix.suffix". */
param_id graph_sub_param(struct graph *g, const char *prefix,
                         const char *suffix, enum param_role role,
                         uint32_t fan_in, uint32_t rank, const uint32_t *dims);

#endif
