/* hoist.c - which values of a network do not depend on the picture.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/hoist.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

/* The inputs that a row is looked up by. */
static const char *const step_inputs[] = {"timestep", "label"};

static bool is_step_input(const struct graph *g, value_id v)
{
    for (size_t i = 0; i < ARRAY_LEN(step_inputs); i++)
        if (strcmp(graph_value_at(g, v)->name, step_inputs[i]) == 0)
            return true;
    return false;
}

static bool is_vector(const struct graph *g, value_id v)
{
    struct shape s = graph_shape(g, v);

    return s.h == 1 && s.w == 1;
}

static void find_early(struct hoist *hoist, const struct graph *g)
{
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);
        bool is_early = is_vector(g, op->out);

        if (op->kind == OP_INPUT)
            is_early = is_early && is_step_input(g, op->out);
        for (uint32_t j = 0; j < op->n_in; j++)
            is_early = is_early && hoist->is_early[op->in[j]];
        hoist->is_early[op->out] = is_early;
    }
}

/* Inputs stay where they are: both parts are given them. */
static void cross(struct hoist *hoist, const struct graph *g, value_id v)
{
    bool is_input = graph_op_at(g, graph_value_at(g, v)->op)->kind == OP_INPUT;

    if (hoist->is_early[v] && !is_input)
        hoist->column[v] = 0;
}

static void find_row(struct hoist *hoist, const struct graph *g)
{
    for (value_id v = 0; v < graph_n_values(g); v++)
        hoist->column[v] = HOIST_NO_COLUMN;
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);

        for (uint32_t j = 0; j < op->n_in; j++)
            if (!hoist->is_early[op->out])
                cross(hoist, g, op->in[j]);
    }
    for (size_t i = 0; i < graph_n_outputs(g); i++)
        cross(hoist, g, graph_output_at(g, i));
    for (value_id v = 0; v < graph_n_values(g); v++) {
        if (hoist->column[v] == HOIST_NO_COLUMN)
            continue;
        hoist->column[v] = hoist->row_floats;
        hoist->row_floats += graph_shape(g, v).c;
    }
}

enum unstir_status hoist_init(struct hoist *hoist, const struct graph *g,
                              struct unstir_error *err)
{
    enum unstir_status status;
    void *p;

    *hoist = (struct hoist){.row_floats = 0};
    TRY(alloc_zero(&p, graph_n_values(g), sizeof *hoist->is_early, err));
    hoist->is_early = p;
    status = alloc_zero(&p, graph_n_values(g), sizeof *hoist->column, err);
    if (status != UNSTIR_OK) {
        hoist_fini(hoist);
        return status;
    }
    hoist->column = p;
    find_early(hoist, g);
    find_row(hoist, g);
    return UNSTIR_OK;
}

void hoist_fini(struct hoist *hoist)
{
    alloc_free(hoist->is_early);
    alloc_free(hoist->column);
    *hoist = (struct hoist){.row_floats = 0};
}
