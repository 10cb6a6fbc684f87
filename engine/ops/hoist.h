/* hoist.h - which values of a network depend neither on the picture nor on
 * all of its conditions.
 *
 * The time embedding, the class embedding and the time projections of all
 * residual blocks depend on timestep and label alone.  They are the same for
 * every picture and every request that meets that timestep, so they are
 * computed once (model/rows.h) and not in every step.
 *
 * The keys and values of a text depend on the context alone: they are the same
 * in all steps of a request.
 *
 * A value is of the step if every input that it comes from is a step input, by
 * name, and of the text if it comes from the context alone; all others are the
 * body's.  What other operations read of the values of the step makes one row
 * of floats a picture, value after value in the graph's order; of those of the
 * text, one row a token of the context.
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

enum hoist_kind { HOIST_BODY = 0, HOIST_STEP, HOIST_TEXT };

struct hoist {
    enum hoist_kind *kind; /* by value                                       */
    size_t *column; /* by value: its first float in its row, or none         */
    size_t row_floats, text_floats;
};

/* Of the step are vectors only ([n][1][1][c]), of the text tokens only
 * ([n][1][context_len][c]).  0 floats: none cross. */
enum unstir_status hoist_init(struct hoist *hoist, const struct graph *g,
                              struct unstir_error *err);
void hoist_fini(struct hoist *hoist); /* of a zeroed one, too                */

#endif
