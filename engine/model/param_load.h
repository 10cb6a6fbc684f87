/* param_load.h - from the tensors of a checkpoint to the parameters of a graph.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_PARAM_LOAD_H
#define MODEL_PARAM_LOAD_H

#include <stdbool.h>

#include "base/error.h"
#include "format/weights.h"
#include "ops/graph.h"
#include "ops/lower.h"

/* The f32 data of a parameter: *param points into the file where it is f32
 * and aligned, else *own is new memory (alloc_free) and *param points there.
 * A tensor that is missing or of another shape (trailing ones aside: old
 * files keep linear layers as 1x1 convolutions) is UNSTIR_ERR_FORMAT. */
enum unstir_status param_load(const float **param, float **own,
                              const struct graph_param *want,
                              const struct weights *weights,
                              struct unstir_error *err);

/* Where all parameters of a graph lie for as long as the weights do and `own`
 * is kept: in own memory where there is some, else in the file.  `stored` has a
 * place for each. */
struct param_source;
void param_stored_all(struct packs_stored *stored, const float **values,
                      float *const *own, const struct param_source *source);

/* All parameters of a graph for packing: large ones that packing alone reads
 * are checked here and loaded when their turn comes, through
 * param_load_later(); the others stand in values and own as param_load() says.
 */
struct param_source {
    const struct graph *g;
    const struct weights *weights;
};
enum unstir_status param_load_all(const float **values, float **own,
                                  const struct param_source *source,
                                  struct unstir_error *err);
enum unstir_status param_load_later(const void *source, param_id p,
                                    const float **values, float **own);

/* Let the system have the pages of all tensors until they are read again. */
void param_forget(const void *source);

#endif
