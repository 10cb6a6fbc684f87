/* hoist.h - which values of a network do not depend on the picture.
 *
 * The time embedding, the class embedding and the time projections of all
 * residual blocks depend on timestep and label alone.  They are the same for
 * every picture and every request that meets that timestep, so they are
 * computed once (model/rows.h) and not in every step.
 *
 * A value is early if every input that it comes from is a step input, by
 * name.  What later operations read of the early values makes one row of
 * floats a picture, value after value in the graph's order.  Keys and values
 * of a text will be a second kind of row, from inputs of their own.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_HOIST_H
#define OPS_HOIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "ops/graph.h"

#define HOIST_NO_COLUMN SIZE_MAX

struct hoist {
    bool *is_early; /* by value                                              */
    size_t *column; /* by value: its first float in the row, or none         */
    size_t row_floats;
};

/* Of values that are vectors ([n][1][1][c]); row_floats 0: none cross. */
enum unstir_status hoist_init(struct hoist *hoist, const struct graph *g,
                              struct unstir_error *err);
void hoist_fini(struct hoist *hoist); /* of a zeroed one, too                */

#endif
