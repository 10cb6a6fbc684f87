/* winograd.h - 3x3 convolutions of stride 1 with a quarter of the products.
 *
 * F(4x4, 3x3) as kernels/winograd_kernels.h has it, under the arguments and
 * fusions of ops/conv2d.h, which decides by winograd_fits() and is the only
 * caller.  The choice changes bits, so it is a rule over rung and shape of one
 * picture (never the number of pictures or threads).
 *
 * Two schedules with the same bits: a deep batch is cut into blocks of some
 * tens of patches that stay in cache from transform to transform; a shallow
 * one runs three phases over all patches, so that weights stream once.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_WINOGRAD_H
#define OPS_WINOGRAD_H

#include <stdbool.h>

#include "ops/conv2d.h"

/* Whether weights of this kind get a transformed packing behind the plain one. */
bool winograd_packs(const struct kernel_table *k, uint32_t cin, uint32_t cout,
                    uint32_t kh, uint32_t kw);

/* Whether this convolution runs by it; implies winograd_packs(). */
bool winograd_fits(const struct kernel_table *k, const struct conv2d_shape *s);

size_t winograd_packed_bytes(uint32_t cin, uint32_t cout);
/* w as in files, [cout][cin][3][3]; the adjoint packing swaps channels and
 * flips taps (then cin, cout are still the forward's). */
void winograd_pack(float *dst, const float *w, uint32_t cin, uint32_t cout,
                   bool is_adjoint);

/* args->w is what winograd_pack() wrote. */
size_t winograd_scratch(unsigned n_threads, const struct conv2d_shape *s);
void winograd_run(const struct op_ctx *ctx, const struct conv2d_args *args);

/* Whether the weights' adjoint runs by it: sums for all filters are written
 * and transformed back once, which few tiles do not repay. */
bool winograd_fits_bwd_weights(const struct kernel_table *k,
                               const struct conv2d_shape *s);

/* dw += , as conv2d_bwd_weights; dbias is left alone. */
size_t winograd_bwd_weights_scratch(unsigned n_threads,
                                    const struct conv2d_shape *s);
void winograd_bwd_weights(const struct op_ctx *ctx,
                          const struct conv2d_bwd_weights_args *args);

#endif
