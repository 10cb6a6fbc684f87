/* dtype.c - element types and exact conversions to and from f32.
 *
 * A type is a row of a table: name, sizes, how a run of it is read and written
 * (narrow.c and blocks.c know the single numbers and the blocks).
 *
 * SPDX-License-Identifier: MIT
 */
#include "tensor/dtype.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "tensor/blocks.h"

/* Whole number nearest to x within [lo, hi]; NaN is 0. */
static int64_t to_whole(float x, int64_t lo, int64_t hi)
{
    if (isnan(x))
        return 0;
    double v = rint((double)x);
    if (v <= (double)lo)
        return lo;
    if (v >= (double)hi)
        return hi;
    return (int64_t)v;
}

static int8_t to_i8(float x)
{
    return (int8_t)to_whole(x, INT8_MIN, INT8_MAX);
}
static uint8_t to_u8(float x)
{
    return (uint8_t)to_whole(x, 0, UINT8_MAX);
}
static int32_t to_i32(float x)
{
    return (int32_t)to_whole(x, INT32_MIN, INT32_MAX);
}
static int64_t to_i64(float x)
{
    return to_whole(x, INT64_MIN, INT64_MAX);
}

/* -- the table ------------------------------------------------------------- */

/* load_NAME and store_NAME: n elements of a C type, of any alignment. */
#define ELEMENTS(name, type, from, to)                              \
    static void load_##name(float *dst, const void *src, size_t n)  \
    {                                                               \
        for (size_t i = 0; i < n; i++) {                            \
            type v;                                                 \
            memcpy(&v, (const char *)src + i * sizeof v, sizeof v); \
            dst[i] = from(v);                                       \
        }                                                           \
    }                                                               \
    static void store_##name(void *dst, const float *src, size_t n) \
    {                                                               \
        for (size_t i = 0; i < n; i++) {                            \
            type v = to(src[i]);                                    \
            memcpy((char *)dst + i * sizeof v, &v, sizeof v);       \
        }                                                           \
    }

ELEMENTS(f16, uint16_t, dtype_from_f16, dtype_to_f16)
ELEMENTS(bf16, uint16_t, dtype_from_bf16, dtype_to_bf16)
ELEMENTS(f64, double, (float), (double))
ELEMENTS(e4m3, uint8_t, dtype_from_e4m3, dtype_to_e4m3)
ELEMENTS(e5m2, uint8_t, dtype_from_e5m2, dtype_to_e5m2)
ELEMENTS(i8, int8_t, (float), to_i8)
ELEMENTS(u8, uint8_t, (float), to_u8)
ELEMENTS(i32, int32_t, (float), to_i32)
ELEMENTS(i64, int64_t, (float), to_i64)

static void load_f32(float *dst, const void *src, size_t n)
{
    memcpy(dst, src, n * sizeof *dst);
}

static void store_f32(void *dst, const float *src, size_t n)
{
    memcpy(dst, src, n * sizeof *src);
}

/* n counts elements, of quantised types blocks; those have no store. */
static const struct {
    const char *name;
    size_t size, block;
    void (*load)(float *dst, const void *src, size_t n);
    void (*store)(void *dst, const float *src, size_t n);
} types[] = {
    [DTYPE_F32] = {"F32", 4, 1, load_f32, store_f32},
    [DTYPE_F16] = {"F16", 2, 1, load_f16, store_f16},
    [DTYPE_BF16] = {"BF16", 2, 1, load_bf16, store_bf16},
    [DTYPE_F64] = {"F64", 8, 1, load_f64, store_f64},
    [DTYPE_F8_E4M3] = {"F8_E4M3", 1, 1, load_e4m3, store_e4m3},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 1, 1, load_e5m2, store_e5m2},
    [DTYPE_I8] = {"I8", 1, 1, load_i8, store_i8},
    [DTYPE_U8] = {"U8", 1, 1, load_u8, store_u8},
    [DTYPE_I32] = {"I32", 4, 1, load_i32, store_i32},
    [DTYPE_I64] = {"I64", 8, 1, load_i64, store_i64},
    [DTYPE_Q8_0] = {"Q8_0", Q8_0_BYTES, Q8_0_BLOCK, blocks_load_q8_0, NULL},
    [DTYPE_Q4_0] = {"Q4_0", Q4_0_BYTES, Q4_0_BLOCK, blocks_load_q4_0, NULL},
    [DTYPE_Q4_K] = {"Q4_K", Q4_K_BYTES, Q4_K_BLOCK, blocks_load_q4_k, NULL},
    [DTYPE_Q4_1] = {"Q4_1", Q4_1_BYTES, Q4_1_BLOCK, blocks_load_q4_1, NULL},
    [DTYPE_Q5_0] = {"Q5_0", Q5_0_BYTES, Q5_0_BLOCK, blocks_load_q5_0, NULL},
    [DTYPE_Q5_1] = {"Q5_1", Q5_1_BYTES, Q5_1_BLOCK, blocks_load_q5_1, NULL},
    [DTYPE_Q2_K] = {"Q2_K", Q2_K_BYTES, Q2_K_BLOCK, blocks_load_q2_k, NULL},
    [DTYPE_Q3_K] = {"Q3_K", Q3_K_BYTES, Q3_K_BLOCK, blocks_load_q3_k, NULL},
    [DTYPE_Q5_K] = {"Q5_K", Q5_K_BYTES, Q5_K_BLOCK, blocks_load_q5_k, NULL},
    [DTYPE_Q6_K] = {"Q6_K", Q6_K_BYTES, Q6_K_BLOCK, blocks_load_q6_k, NULL},
};
_Static_assert(ARRAY_LEN(types) == DTYPE_COUNT, "a row for every type");

size_t dtype_size(enum dtype t)
{
    return (size_t)t < DTYPE_COUNT ? types[t].size : 0;
}

size_t dtype_block(enum dtype t)
{
    return (size_t)t < DTYPE_COUNT ? types[t].block : 1;
}

bool dtype_is_float(enum dtype t)
{
    return t <= DTYPE_F8_E5M2 || t >= DTYPE_FIRST_BLOCK;
}

const char *dtype_name(enum dtype t)
{
    return (size_t)t < DTYPE_COUNT ? types[t].name : "?";
}

bool dtype_parse(const char *name, enum dtype *out)
{
    for (size_t i = 0; i < DTYPE_FIRST_BLOCK; i++) {
        if (strcmp(name, types[i].name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    }
    return false;
}

void dtype_load(float *dst, const void *src, enum dtype t, size_t n)
{
    assert((size_t)t < DTYPE_COUNT);
    types[t].load(dst, src, n / types[t].block);
}

void dtype_store(void *dst, enum dtype t, const float *src, size_t n)
{
    assert(t < DTYPE_FIRST_BLOCK);
    types[t].store(dst, src, n);
}
