/* blocks.h - the quantised number formats of GGUF files, to f32.
 *
 *   Q8_0   32 numbers: scale f16, 32 x i8
 *              x = scale * q
 *   Q4_0   32 numbers: scale f16, 16 bytes; byte i holds numbers i (low half)
 *          and i + 16 (high half)
 *              x = scale * (q - 8)
 *   Q4_1   as Q4_0, but offset f16 behind the scale
 *              x = scale * q + offset
 *   Q5_0   as Q4_0, but 32 bits behind the scale are the fifth bits of 32
 *          numbers
 *              x = scale * (q - 16)
 *   Q5_1   scale f16, offset f16, 32 fifth bits, 16 bytes
 *              x = scale * q + offset
 *   Q2_K   256 numbers in 16 groups of 16: 16 bytes with a scale (low half)
 *          and an offset (high half) for each group, 64 bytes of 2 bits, scale
 *          f16, offset f16; of each 32 bytes the lowest 2 bits are two groups,
 *          the next 2 bits the next two
 *              x = (scale * group scale) * q - (offset * group offset)
 *   Q3_K   256 numbers in 16 groups of 16: 32 bytes of third bits, which say
 *          what is not to be taken away, 64 bytes of 2 bits as in Q2_K, 12
 *          bytes with a scale of 6 bits for each group, scale f16
 *              x = (scale * (group scale - 32)) * (q - 4)
 *   Q4_K   256 numbers in 8 groups of 32: scale f16, offset f16, 12 bytes with
 *          a scale and an offset of 6 bits for each group, 128 bytes; of each
 *          32 bytes the low halves are one group, the high halves the next
 *              x = (scale * group scale) * q - (offset * group offset)
 *   Q5_K   as Q4_K, but 32 bytes of fifth bits before the halves: bit g of byte
 *          i belongs to number i of group g
 *   Q6_K   256 numbers in 16 groups of 16: 128 bytes of low halves, 64 bytes of
 *          upper 2 bits, a scale i8 for each group, scale f16
 *              x = (scale * group scale) * (q - 32)
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
#define Q4_1_BLOCK 32u
#define Q4_1_BYTES 20u
#define Q5_0_BLOCK 32u
#define Q5_0_BYTES 22u
#define Q5_1_BLOCK 32u
#define Q5_1_BYTES 24u
#define Q2_K_BLOCK 256u
#define Q2_K_BYTES 84u
#define Q3_K_BLOCK 256u
#define Q3_K_BYTES 110u
#define Q4_K_BLOCK 256u
#define Q4_K_BYTES 144u
#define Q5_K_BLOCK 256u
#define Q5_K_BYTES 176u
#define Q6_K_BLOCK 256u
#define Q6_K_BYTES 210u

/* n blocks from src, of any alignment. */
void blocks_load_q8_0(float *dst, const void *src, size_t n);
void blocks_load_q4_0(float *dst, const void *src, size_t n);
void blocks_load_q4_1(float *dst, const void *src, size_t n);
void blocks_load_q5_0(float *dst, const void *src, size_t n);
void blocks_load_q5_1(float *dst, const void *src, size_t n);
void blocks_load_q2_k(float *dst, const void *src, size_t n);
void blocks_load_q3_k(float *dst, const void *src, size_t n);
void blocks_load_q4_k(float *dst, const void *src, size_t n);
void blocks_load_q5_k(float *dst, const void *src, size_t n);
void blocks_load_q6_k(float *dst, const void *src, size_t n);

#endif
