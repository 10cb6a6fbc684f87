/* int8_scalar.c - 8-bit products of the scalar rung: the specification.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/int8_kernels.h"

#include <string.h>

#define MR 4
#define NR 8

/* Bits of the largest magnitude: as whole numbers they order like the floats,
 * infinity and NaN last. */
static uint32_t largest(const float *x, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        u &= 0x7fffffffu;
        most = u > most ? u : most;
    }
    return most;
}

static float quantise(void *dst, const float *x, size_t n)
{
    const float magic = 0x1.8p23f; /* added, it rounds to whole numbers */
    uint32_t bits = largest(x, n);
    int8_t *q = dst;
    float d;
    memcpy(&d, &bits, sizeof d);
    if (bits < INT8_TINY || bits >= INT8_INFINITE) {
        memset(q, 0, n);
        return bits < INT8_TINY ? 0.0f : d;
    }
    float inverse = 127.0f / d;
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)(x[i] * inverse + magic - magic);
    return d / 127.0f;
}

static void tile(const struct int8_tile *t)
{
    for (unsigned r = 0; r < t->m; r++) {
        const int8_t *a = (const int8_t *)t->a + r * t->a_row, *b = t->b;
        int32_t sum[NR] = {0};
        for (size_t k = 0; k < t->k; k++, b += NR)
            for (unsigned j = 0; j < NR; j++)
                sum[j] += a[k] * b[j];
        for (unsigned j = 0; j < t->n; j++) {
            float v = (float)sum[j] * (t->a_scale[r] * t->b_scale[j]);
            if (t->bias)
                v += t->bias[r][t->bias_at + j];
            if (t->res)
                v += t->res[r * t->ldc + j];
            t->c[r * t->ldc + j] = v * t->out;
        }
    }
}

void int8_kernels_scalar(struct int8_kernels *k)
{
    *k = (struct int8_kernels){.mr = MR,
                               .nr = NR,
                               .ku = 1,
                               .a_bytes = 1,
                               .quantise = quantise,
                               .tile = tile};
}
