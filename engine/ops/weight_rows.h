/* weight_rows.h - a product's weights where their file has them.
 *
 * A big network's weights stay in the mapped file, in f32, f16, bf16 or any
 * other type that a file may hold: rows [cout][cin][kh][kw], and for joined
 * linear layers several such pieces one below the other.  A product makes the
 * panels that it is about to read, a few at a time, in scratch: spread into
 * lines of outputs, then narrowed to the rung's operands, or transformed
 * (kernels/weight_kernels.h).  A panel is then read by as many rows of pixels
 * as there are, so that making it costs little, and what it holds is bit for
 * bit what packing would have written: widening is exact.
 *
 * Of it all, nothing is written once it is made; any thread may read.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_WEIGHT_ROWS_H
#define OPS_WEIGHT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/dtype.h"

struct gemm_kernels;
struct kernel_table;

struct weight_piece {
    const void *data; /* maybe unaligned                                     */
    enum dtype type;
    uint32_t n_rows; /* outputs                                              */
};

/* Which of the four convolutions that follow an upsampling by two: it has 2x2
 * taps, sums of the rows' 3x3 (ops/conv2d_phases.h). */
#define WEIGHT_WHOLE UINT32_MAX

struct weight_rows {
    const struct weight_piece *pieces; /* cout rows together                 */
    size_t n_pieces;
    uint32_t cin, cout, kh, kw; /* as the product sees them                  */
    uint32_t phase;             /* 0 .. 3, or WEIGHT_WHOLE                   */
    bool is_demoted;            /* refused by Winograd's gate                */
};

/* Whether rows of that type, cin and taps can be read piece by piece. */
bool weight_rows_fit(enum dtype type, uint32_t cin, uint32_t taps);

/* Bytes of rows as they lie. */
size_t weight_rows_bytes(const struct weight_rows *w);

/* The rows of one phase of a 3x3 convolution. */
struct weight_rows weight_rows_phase(const struct weight_rows *w,
                                     uint32_t phase);

/* Room that making panels takes, of one thread.  64-byte aligned. */
size_t weight_room_bytes(const struct kernel_table *k);

/* Panel p of the direct product (conv2d_pack's), all of it. */
void weight_panel(const struct kernel_table *k, void *dst,
                  const struct weight_rows *w, uint32_t p, void *room);

/* Channels c .. c + n of panel p, transformed for Winograd, n a multiple of 8
 * and c of n: point q of channel c goes to dst + q * plane, bytes, with those
 * behind it side by side. */
#define WEIGHT_FILTER_CHANNELS 32u
void weight_filters(const struct kernel_table *k, char *dst, size_t plane,
                    const struct weight_rows *w, uint32_t p, uint32_t c,
                    uint32_t n, void *room);

/* n lines of nr floats to the operands of a panel. */
void weight_narrow_lines(const struct gemm_kernels *g, void *dst,
                         const float *lines, size_t n);

/* Rows o .. o + n as f32, [n][cin * kh * kw]. */
void weight_rows_load(float *dst, const struct weight_rows *w, uint32_t o,
                      uint32_t n);

#endif
