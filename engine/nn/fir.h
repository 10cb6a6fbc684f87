/* fir.h - resampling with the binomial filter (1, 3, 3, 1) of NCSN++.
 *
 * The filter is separable; along one axis, with its gain,
 *   down:  (1, 3, 3, 1) / 8, padded by (1, 1), every second sample;
 *   up:    (1, 3, 3, 1) / 4 after inserting a zero behind each sample, padded
 *          by (2, 1): the factor 2 makes up for the zeros.
 *
 * With a convolution ("prefix.Conv2d_0.*", 3x3, bias):
 *   down:  filter at full size, padded by (2, 2); conv stride 2, no padding;
 *   up:    filter of the zero-inserted picture in its whole support (padded
 *          by (3, 2)), then conv, no padding.
 *
 * The reference convolves before it filters on the way up; nothing is cut
 * off between the two there, so they commute, and in this order the bias is
 * an ordinary one.
 *
 * Pitfall: a filter padded less than its support would not commute, and a
 * bias put in front of it would be darkened at the edges
 * (tests/golden/t_blocks.c: fir_up_conv).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef NN_FIR_H
#define NN_FIR_H

#include "ops/graph.h"

value_id fir_down(struct graph *g, value_id x);
value_id fir_up(struct graph *g, value_id x);
value_id fir_down_conv(struct graph *g, const char *prefix, value_id x,
                       uint32_t cout);
value_id fir_up_conv(struct graph *g, const char *prefix, value_id x,
                     uint32_t cout);

#endif
