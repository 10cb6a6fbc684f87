/* dtype.h - element types and exact conversions to and from f32.
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
    DTYPE_COUNT
};

size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t); /* safetensors spelling: "F32"         */
bool dtype_parse(const char *name, enum dtype *out);

float dtype_from_f16(uint16_t bits);
uint16_t dtype_to_f16(float x); /* round to nearest even                    */
float dtype_from_bf16(uint16_t bits);
uint16_t dtype_to_bf16(float x); /* round to nearest even, NaN stays NaN     */

/* n elements of type t (unaligned allowed) to f32 and back. */
void dtype_load(float *dst, const void *src, enum dtype t, size_t n);
void dtype_store(void *dst, enum dtype t, const float *src, size_t n);

#endif
