/* winograd.h - 3x3 convolutions of stride 1 with a part of the products.
 *
 * F(4x4, 3x3) on f32 operands, F(2x2, 3x3) on those rounded to bf16, as
 * kernels/winograd_kernels.h has them, under the arguments and fusions of
 * ops/conv2d.h.  Which convolutions run by them, if their weights pass the
 * gate, the rules of ops/choose.h say.
 *
 * Two schedules with the same bits: a deep batch is cut into blocks of some
 * tens of patches that stay in cache from transform to transform; a shallow
 * one runs three phases over all patches, so that weights stream once.  F(4x4)
 * on filters that are transformed when used has a schedule of its own, again
 * with the same bits (winograd_made.c).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_WINOGRAD_H
#define OPS_WINOGRAD_H

#include <stdbool.h>

#include "base/error.h"
#include "ops/conv2d_args.h"
#include "ops/op.h"

uint32_t winograd_panel_width(const struct kernel_table *k);
size_t winograd_packed_bytes(const struct kernel_table *k, uint32_t cin,
                             uint32_t cout);
/* w as in files, [cout][cin][3][3]; the adjoint packing swaps channels and
 * flips taps (then cin, cout are still the forward's). */
void winograd_pack(const struct kernel_table *k, void *dst, const float *w,
                   uint32_t cin, uint32_t cout, bool is_adjoint);

/* The same bytes of rows; room: weight_room_bytes(). */
void winograd_pack_rows(const struct kernel_table *k, void *dst,
                        const struct weight_rows *rows, void *room);

/* Weight of channel `in` to channel `out` at a tap, as the packing reads it. */
float winograd_tap(const float *w, uint32_t cin, uint32_t in, uint32_t out,
                   uint32_t tap, bool is_adjoint);

/* Whether packed weights of F(2x2) give what the weights give: their error on
 * fixed data, in the mean square, is at most 1e-2 of the outputs (3.5e-3 is
 * usual).  Looks at four panels of outputs at most.  (winograd_gate.c) */
bool winograd_is_accurate(const struct kernel_table *k, const void *packed,
                          const float *w, uint32_t cin, uint32_t cout,
                          bool is_adjoint);

/* The same verdict about rows that nothing was packed of. */
enum unstir_status winograd_rows_are_accurate(bool *is_accurate,
                                              const struct kernel_table *k,
                                              const struct weight_rows *w);

/* args->w is what winograd_pack() wrote; or args->rows is set, and as many
 * panels as are read at once are made of them, with the same bits. */
size_t winograd_scratch(const struct kernel_table *k, unsigned n_threads,
                        const struct conv2d_shape *s, bool is_made);
void winograd_run(const struct op_ctx *ctx, const struct conv2d_args *args);

/* dw += , as conv2d_bwd_weights; dbias is left alone. */
size_t winograd_bwd_weights_scratch(const struct kernel_table *k,
                                    unsigned n_threads,
                                    const struct conv2d_shape *s);
void winograd_bwd_weights(const struct op_ctx *ctx,
                          const struct conv2d_bwd_weights_args *args);

#endif
