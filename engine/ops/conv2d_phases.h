/* conv2d_phases.h - upsampling by two and a 3x3 convolution in one, without
 * the large picture.
 *
 * Under nearest upsampling by two the nine taps of a 3x3 convolution meet four
 * source pixels only: an output of even row reads the source rows above and
 * at it, one of odd row those at it and below, and so for columns.  Taps that
 * meet one pixel are added up beforehand.  Outputs of one parity of row and
 * column, a phase, are a 2x2 convolution of the source with weights of their
 * own: 16 products where the large picture takes 36.  The algebra is exact,
 * borders of zeros included; the sums of taps are rounded once.  Which
 * convolutions are such ones the rules of ops/choose.h know.
 *
 * The rounding errors are those of conv2d with 4 cin + 2 roundings in place
 * of 9 cin, of the same products' magnitudes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_CONV2D_PHASES_H
#define OPS_CONV2D_PHASES_H

#include "ops/conv2d.h"

/* w as files hold it, [cout][cin][3][3]; `room` has 4 * cin * cout floats. */
size_t conv2d_phases_packed_bytes(const struct kernel_table *k, uint32_t cin,
                                  uint32_t cout);
void conv2d_phases_pack(const struct kernel_table *k, void *dst, const float *w,
                        uint32_t cin, uint32_t cout, float *room);

/* conv2d_run() with args->w from conv2d_phases_pack(), or args->rows. */
size_t conv2d_phases_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct conv2d_shape *s,
                             const struct conv2d_kind *kind);
void conv2d_phases_run(const struct op_ctx *ctx, const void *conv2d_args);

#endif
