/* blocks.c - the quantised number formats of GGUF files, to f32.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tensor/blocks.h"

#include <stdbool.h>
#include <stdint.h>

#include "tensor/dtype.h"

#define GROUP  32u /* numbers of a Q4_K or Q5_K block under one scale       */
#define GROUPS (Q4_K_BLOCK / GROUP)

static float load_f16(const unsigned char *p)
{
    return dtype_from_f16((uint16_t)(p[0] | p[1] << 8));
}

void blocks_load_q8_0(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q8_0_BYTES, dst += Q8_0_BLOCK) {
        float scale = load_f16(p);

        for (size_t i = 0; i < Q8_0_BLOCK; i++)
            dst[i] = scale * (float)(int8_t)p[2 + i];
    }
}

void blocks_load_q4_0(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q4_0_BYTES, dst += Q4_0_BLOCK) {
        float scale = load_f16(p);

        for (size_t i = 0; i < Q4_0_BLOCK / 2; i++) {
            dst[i] = scale * (float)((p[2 + i] & 15) - 8);
            dst[i + Q4_0_BLOCK / 2] = scale * (float)((p[2 + i] >> 4) - 8);
        }
    }
}

void blocks_load_q4_1(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q4_1_BYTES, dst += Q4_1_BLOCK) {
        float scale = load_f16(p), offset = load_f16(p + 2);

        for (size_t i = 0; i < Q4_1_BLOCK / 2; i++) {
            dst[i] = scale * (float)(p[4 + i] & 15) + offset;
            dst[i + Q4_1_BLOCK / 2] = scale * (float)(p[4 + i] >> 4) + offset;
        }
    }
}

/* Number i of 32: 4 bits of 16 bytes, and bit i of 4 bytes before them. */
static int five_bits(const unsigned char *fifth, size_t i)
{
    const unsigned char *p = fifth + 4;
    int low = i < 16 ? p[i] & 15 : p[i - 16] >> 4;

    return low | (fifth[i / 8] >> i % 8 & 1) << 4;
}

void blocks_load_q5_0(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q5_0_BYTES, dst += Q5_0_BLOCK) {
        float scale = load_f16(p);

        for (size_t i = 0; i < Q5_0_BLOCK; i++)
            dst[i] = scale * (float)(five_bits(p + 2, i) - 16);
    }
}

void blocks_load_q5_1(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q5_1_BYTES, dst += Q5_1_BLOCK) {
        float scale = load_f16(p), offset = load_f16(p + 2);

        for (size_t i = 0; i < Q5_1_BLOCK; i++)
            dst[i] = scale * (float)five_bits(p + 4, i) + offset;
    }
}

/* Number i of 256, two bits: half a block is 32 bytes, a byte 4 numbers that
 * are 32 apart. */
static int two_bits(const unsigned char *p, size_t i)
{
    return p[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

void blocks_load_q2_k(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q2_K_BYTES, dst += Q2_K_BLOCK) {
        float scale = load_f16(p + 80), offset = load_f16(p + 82);

        for (size_t i = 0; i < Q2_K_BLOCK; i++) {
            float a = scale * (float)(p[i / 16] & 15);
            float b = offset * (float)(p[i / 16] >> 4);

            dst[i] = a * (float)two_bits(p + 16, i) - b;
        }
    }
}

/* Of group g: the lower 4 bits in the halves of 8 bytes, the upper 2 in 4. */
static int six_bits(const unsigned char *p, size_t g)
{
    int low = g < 8 ? p[g] & 15 : p[g - 8] >> 4;

    return low | (p[8 + g % 4] >> g / 4 * 2 & 3) << 4;
}

void blocks_load_q3_k(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q3_K_BYTES, dst += Q3_K_BLOCK) {
        float scale = load_f16(p + 108);

        for (size_t i = 0; i < Q3_K_BLOCK; i++) {
            float a = scale * (float)(six_bits(p + 96, i / 16) - 32);
            int third = p[i % 32] >> i / 32 & 1;

            dst[i] = a * (float)(two_bits(p + 32, i) - (third ? 0 : 4));
        }
    }
}

void blocks_load_q6_k(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;

    for (; n > 0; n--, p += Q6_K_BYTES, dst += Q6_K_BLOCK) {
        float scale = load_f16(p + 208);

        for (size_t i = 0; i < Q6_K_BLOCK; i++) {
            int low = p[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
            int q = low | two_bits(p + 128, i) << 4;

            dst[i] = scale * (float)(int8_t)p[192 + i / 16] * (float)(q - 32);
        }
    }
}

/* Bytes 0-3 hold the scales of groups 0-3, bytes 4-7 their offsets, in 6 low
 * bits; the upper 2 bits belong to groups 4-7, whose lower 4 bits are in bytes
 * 8-11 (scales low, offsets high). */
static void load_scales(unsigned char scales[GROUPS],
                        unsigned char offsets[GROUPS], const unsigned char *p)
{
    for (size_t i = 0; i < GROUPS / 2; i++) {
        scales[i] = p[i] & 63;
        offsets[i] = p[i + 4] & 63;
        scales[i + 4] = (unsigned char)((p[i + 8] & 15) | p[i] >> 6 << 4);
        offsets[i + 4] = (unsigned char)(p[i + 8] >> 4 | p[i + 4] >> 6 << 4);
    }
}

/* Q4_K, and Q5_K, whose fifth bits stand before the halves. */
static inline void load_groups(float *dst, const unsigned char *p, size_t n,
                               size_t bytes, bool has_fifth)
{
    unsigned char scales[GROUPS], offsets[GROUPS];

    for (; n > 0; n--, p += bytes) {
        float scale = load_f16(p), offset = load_f16(p + 2);

        load_scales(scales, offsets, p + 4);
        for (size_t g = 0; g < GROUPS; g++, dst += GROUP) {
            const unsigned char *fifth = p + 16;
            const unsigned char *q = fifth + (has_fifth ? GROUP : 0);
            float a = scale * (float)scales[g], b = offset * (float)offsets[g];

            q += g / 2 * GROUP;
            for (size_t i = 0; i < GROUP; i++) {
                int low = q[i] >> g % 2 * 4 & 15;
                int high = has_fifth ? (fifth[i] >> g & 1) << 4 : 0;

                dst[i] = a * (float)(low | high) - b;
            }
        }
    }
}

void blocks_load_q4_k(float *dst, const void *src, size_t n)
{
    load_groups(dst, src, n, Q4_K_BYTES, false);
}

void blocks_load_q5_k(float *dst, const void *src, size_t n)
{
    load_groups(dst, src, n, Q5_K_BYTES, true);
}
