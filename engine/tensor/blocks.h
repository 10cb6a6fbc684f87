/* blocks.h - the quantised number formats of GGUF files, to f32.
 *
 *   Q8_0   32 numbers: scale f16, 32 x i8
 *              x = scale * q
 *   Q4_0   32 numbers: scale f16, 16 bytes; byte i holds numbers i (low half)
 *          and i + 16 (high half)
 *              x = scale * (q - 8)
 *   Q4_K   256 numbers in 8 groups of 32: scale f16, offset f16, 12 bytes with
 *          a scale and an offset of 6 bits for each group, 128 bytes; of each
 *          32 bytes the low halves are one group, the high halves the next
 *              x = (scale * group scale) * q - (offset * group offset)
 *
 * Results are those of the package "gguf" (ggml's own, in Python) bit for bit.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TENSOR_BLOCKS_H
#define TENSOR_BLOCKS_H

#include <stddef.h>

#define Q8_0_BLOCK 32u
#define Q8_0_BYTES 34u
#define Q4_0_BLOCK 32u
#define Q4_0_BYTES 18u
#define Q4_K_BLOCK 256u
#define Q4_K_BYTES 144u

/* n blocks from src, of any alignment. */
void blocks_load_q8_0(float *dst, const void *src, size_t n);
void blocks_load_q4_0(float *dst, const void *src, size_t n);
void blocks_load_q4_k(float *dst, const void *src, size_t n);

#endif
