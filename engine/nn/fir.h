/* fir.h - resampling with the binomial filter (1, 3, 3, 1) of NCSN++.
 *
 * The filter is separable; along one axis, with its gain,
 *   down:  (1, 3, 3, 1) / 8, padded by (1, 1), every second sample;
 *   up:    (1, 3, 3, 1) / 4 after inserting a zero behind each sample, padded
 *          by (2, 1): the factor 2 makes up for the zeros.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_FIR_H
#define NN_FIR_H

#include "ops/graph.h"

value_id fir_down(struct graph *g, value_id x);
value_id fir_up(struct graph *g, value_id x);

#endif
