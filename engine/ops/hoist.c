/* hoist.c - which values of a network are of the step, which of the text.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/hoist.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

/* The inputs that a row of the step is looked up by. */
static const char *const step_inputs[] = {"timestep", "label"};
static const char text_input[] = "context";

static bool is_step_input(const struct graph *g, value_id v)
{
    for (size_t i = 0; i < ARRAY_LEN(step_inputs); i++)
        if (strcmp(graph_value_at(g, v)->name, step_inputs[i]) == 0)
            return true;
    return false;
}

static enum hoist_kind input_kind(const struct graph *g, value_id v)
{
    if (strcmp(graph_value_at(g, v)->name, text_input) == 0)
        return HOIST_TEXT;
    return is_step_input(g, v) ? HOIST_STEP : HOIST_BODY;
}

/* The kind of all operands; operations without any know no pictures. */
static enum hoist_kind operand_kind(const struct hoist *hoist,
                                    const struct graph_op *op)
{
    enum hoist_kind kind = op->n_in ? hoist->kind[op->in[0]] : HOIST_BODY;

    for (uint32_t j = 1; j < op->n_in; j++)
        if (hoist->kind[op->in[j]] != kind)
            return HOIST_BODY;
    return kind;
}

/* Whether v is a row as its kind has them. */
static bool is_row(const struct graph *g, value_id v, enum hoist_kind kind)
{
    struct shape s = graph_shape(g, v);

    return s.h == 1 && (s.w == 1 || kind == HOIST_TEXT);
}

static void find_kinds(struct hoist *hoist, const struct graph *g)
{
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);
        enum hoist_kind kind = op->kind == OP_INPUT ? input_kind(g, op->out)
                                                    : operand_kind(hoist, op);

        hoist->kind[op->out] = is_row(g, op->out, kind) ? kind : HOIST_BODY;
    }
}

/* Inputs stay where they are: both parts are given them. */
static void cross(struct hoist *hoist, const struct graph *g, value_id v)
{
    bool is_input = graph_op_at(g, graph_value_at(g, v)->op)->kind == OP_INPUT;

    if (hoist->kind[v] != HOIST_BODY && !is_input)
        hoist->column[v] = 0;
}

static void find_row(struct hoist *hoist, const struct graph *g)
{
    for (value_id v = 0; v < graph_n_values(g); v++)
        hoist->column[v] = HOIST_NO_COLUMN;
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);

        for (uint32_t j = 0; j < op->n_in; j++)
            if (hoist->kind[op->out] != hoist->kind[op->in[j]])
                cross(hoist, g, op->in[j]);
    }
    for (size_t i = 0; i < graph_n_outputs(g); i++)
        cross(hoist, g, graph_output_at(g, i));
    for (value_id v = 0; v < graph_n_values(g); v++) {
        size_t *floats = hoist->kind[v] == HOIST_TEXT ? &hoist->text_floats
                                                      : &hoist->row_floats;

        if (hoist->column[v] == HOIST_NO_COLUMN)
            continue;
        hoist->column[v] = *floats;
        *floats += graph_shape(g, v).c;
    }
}

enum unstir_status hoist_init(struct hoist *hoist, const struct graph *g,
                              struct unstir_error *err)
{
    enum unstir_status status;

    *hoist = (struct hoist){.row_floats = 0};
    TRY(alloc_zero(&hoist->kind, graph_n_values(g), sizeof *hoist->kind, err));
    status = alloc_zero(&hoist->column, graph_n_values(g),
                        sizeof *hoist->column, err);
    if (status != UNSTIR_OK) {
        hoist_fini(hoist);
        return status;
    }
    find_kinds(hoist, g);
    find_row(hoist, g);
    return UNSTIR_OK;
}

void hoist_fini(struct hoist *hoist)
{
    alloc_free(hoist->kind);
    alloc_free(hoist->column);
    *hoist = (struct hoist){.row_floats = 0};
}
