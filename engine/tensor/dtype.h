/* dtype.h - element types and exact conversions to and from f32.
 *
 * Quantised types (those of GGUF files) keep whole numbers in blocks that share
 * scales.  They are read only; a row of a tensor is made of whole blocks.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32 = 0,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_F64,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_Q8_0,
    DTYPE_Q4_0,
    DTYPE_Q4_K,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_COUNT
};

#define DTYPE_FIRST_BLOCK DTYPE_Q8_0
/* For messages. */
#define DTYPE_BLOCK_NAMES "Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K"

size_t dtype_size(enum dtype t);   /* bytes of an element, or of a block      */
size_t dtype_block(enum dtype t);  /* elements a block; 1: not quantised      */
bool dtype_is_float(enum dtype t); /* quantised ones too; else whole numbers */
/* Bytes of n elements, n a multiple of the block. */
static inline size_t dtype_bytes(enum dtype t, size_t n)
{
    return n / dtype_block(t) * dtype_size(t);
}
const char *dtype_name(enum dtype t); /* safetensors spelling: "F32"         */
/* A type of safetensors, so none of the quantised ones. */
bool dtype_parse(const char *name, enum dtype *out);

float dtype_from_f16(uint16_t bits);
uint16_t dtype_to_f16(float x); /* round to nearest even                    */
float dtype_from_bf16(uint16_t bits);
uint16_t dtype_to_bf16(float x); /* round to nearest even, NaN stays NaN     */

/* F8_E4M3 has no infinities ("fn"): S.1111.111 is NaN, 448 the largest, and
 * what rounds beyond it is NaN.  F8_E5M2 is the upper half of f16. */
float dtype_from_e4m3(uint8_t bits);
uint8_t dtype_to_e4m3(float x);
float dtype_from_e5m2(uint8_t bits);
uint8_t dtype_to_e5m2(float x);

/* n elements of type t (unaligned allowed) to f32 and back; of quantised
 * types whole blocks, and only to f32. */
void dtype_load(float *dst, const void *src, enum dtype t, size_t n);
void dtype_store(void *dst, enum dtype t, const float *src, size_t n);

#endif
