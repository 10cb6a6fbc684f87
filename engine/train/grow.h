/* grow.h - where a deeper network takes a shallower one's weights from.
 *
 * A network with more layers a block, or with attention at more levels, can
 * start as exactly the function that a smaller trained one computes: what the
 * smaller one has is taken over, what it lacks starts as the identity (its
 * residual branch ends in zeros; the branch beside it hands on what it gets).
 * Training then goes on from the smaller network's loss instead of from noise.
 * The idea is that of Chen, Goodfellow and Shlens, "Net2Net" (2016), section
 * 2.4; that a residual layer needs nothing but zeros for it is older than U-Nets.
 *
 * New layers stand last in a block of the downward path, and behind the first
 * in a block of the upward path.  That first layer takes the coarser level's
 * channels and the downward block's last output, which new layers there hand
 * on; the layers behind the new ones meet the skip connections they know.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_GROW_H
#define TRAIN_GROW_H

#include <stddef.h>

#include "ops/graph.h"

struct weights;

#define GROW_NAME_MAX 160

enum grow_kind {
    GROW_TAKEN,   /* `from` names the tensor in the smaller network          */
    GROW_DRAWN,   /* new: a draw whose branch ends in zeros                  */
    GROW_PASSING, /* new: the weight that hands on its first inputs          */
    GROW_ZERO,    /* new: its bias                                           */
};

/* What parameter `name` of graph `g` starts from, given a file `w` of a
 * network with as many layers or fewer.  A name that is in no layer that could
 * be new is GROW_TAKEN from itself, whether the file has it or not. */
enum grow_kind grow_source(const struct graph *g, const struct weights *w,
                           const char *name, char from[GROW_NAME_MAX]);

/* A [cout][cin] matrix that hands on the first cout of its cin inputs. */
void grow_pass(float *x, size_t cout, size_t cin);

#endif
