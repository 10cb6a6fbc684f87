/* linear_int8.h - linear layers and 1x1 convolutions in whole numbers of 8
 * bits, with the arguments and fusions of ops/conv2d.h.
 *
 * Each column of weights has a scale of its own, set when they are packed, and
 * so has each row of the input (a token, a pixel), set while it is packed,
 * behind norm and activation: nothing is calibrated.  Sums are exact, so the
 * bits depend neither on rung, threads nor company, but for those that norm
 * and activation have by the rung.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_LINEAR_INT8_H
#define OPS_LINEAR_INT8_H

#include "ops/conv2d.h"

/* Whether weights, as in files [cout][cin], may be packed so: their error on
 * fixed data, in the mean square, is at most 2e-2 of the outputs (8e-3 is
 * usual).  Looks at 64 outputs at most.  The scalar twin computes it, so the
 * verdict is of the weights alone. */
bool linear_int8_is_accurate(const float *w, uint32_t cin, uint32_t cout);

/* cin up to INT8_MAX_K. */
size_t linear_int8_packed_bytes(const struct kernel_table *k, uint32_t cin,
                                uint32_t cout);
void linear_int8_pack(const struct kernel_table *k, void *dst, const float *w,
                      uint32_t cin, uint32_t cout);

/* args->w is what linear_int8_pack() wrote; kh, kw and stride are 1, without
 * border and upsampling. */
size_t linear_int8_scratch(const struct kernel_table *k, unsigned n_threads,
                           const struct conv2d_shape *s);
void linear_int8_run(const struct op_ctx *ctx, const void *conv2d_args);

#endif
