/* blocks.c - the quantised number formats of GGUF files, to f32.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tensor/blocks.h"

#include <stdint.h>

#include "tensor/dtype.h"

#define GROUP  32u /* numbers of a Q4_K block under one scale               */
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

void blocks_load_q4_k(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;
    unsigned char scales[GROUPS], offsets[GROUPS];

    for (; n > 0; n--, p += Q4_K_BYTES) {
        float scale = load_f16(p), offset = load_f16(p + 2);

        load_scales(scales, offsets, p + 4);
        for (size_t g = 0; g < GROUPS; g++, dst += GROUP) {
            const unsigned char *q = p + 16 + g / 2 * GROUP;
            float a = scale * (float)scales[g], b = offset * (float)offsets[g];

            for (size_t i = 0; i < GROUP; i++)
                dst[i] = a * (float)(q[i] >> g % 2 * 4 & 15) - b;
        }
    }
}
