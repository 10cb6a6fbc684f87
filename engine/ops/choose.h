/* choose.h - which algorithm computes a convolution: rules, in one place.
 *
 * The choice changes bits, so it follows from the rung, the precision and the
 * shape of one picture, never from timing, the number of pictures or threads
 * (tests/kern/t_conv2d_phases.c).  Rules were found by measuring; each says what.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_CHOOSE_H
#define OPS_CHOOSE_H

#include <stdbool.h>

#include "ops/conv2d.h"

enum conv_way {
    CONV_TILES,    /* tiles of direct products                               */
    CONV_DOTS,     /* dot products, for few outputs                          */
    CONV_BLAS,     /* gathered rows times a matrix, by the system's BLAS     */
    CONV_WINOGRAD, /* ops/winograd.h                                         */
    CONV_PHASES,   /* ops/conv2d_phases.h                                    */
};

/* CONV_PHASES only if `has_phases`: the weights have that packing. */
enum conv_way choose_conv(const struct kernel_table *k,
                          const struct conv2d_shape *s, bool has_phases);

/* As words for benchmarks: "tiles", "dots" ... */
const char *choose_name(enum conv_way way);

#endif
