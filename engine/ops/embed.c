/* embed.c - embeddings of times, noise levels and classes.
 *
 * The vectors are small (n x some hundred floats): one thread computes them.
 * Each step is rounded to f32 where the reference rounds; functions are
 * evaluated in double and rounded once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/embed.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

static void put_pair(float *y, uint32_t half, uint32_t i, float angle,
                     bool is_cos_first)
{
    float s = (float)sin((double)angle), c = (float)cos((double)angle);

    y[i] = is_cos_first ? c : s;
    y[half + i] = is_cos_first ? s : c;
}

void time_embed(const struct op_ctx *ctx, const void *args)
{
    const struct time_embed_args *a = args;
    uint32_t half = a->dim / 2;
    float log_period = (float)-log((double)a->max_period);
    float n_steps = (float)((double)half - (double)a->freq_shift);

    (void)ctx;
    for (uint32_t i = 0; i < half; i++) {
        float exponent = log_period * (float)i / n_steps;
        float freq = (float)exp((double)exponent);

        for (uint32_t r = 0; r < a->n; r++)
            put_pair(a->y + (size_t)r * a->dim, half, i,
                     a->scale * (a->t[r] * freq), a->is_cos_first);
    }
    for (uint32_t r = 0; a->dim % 2 && r < a->n; r++)
        a->y[(size_t)r * a->dim + a->dim - 1] = 0;
}

void fourier_embed(const struct op_ctx *ctx, const void *args)
{
    const struct fourier_embed_args *a = args;

    (void)ctx;
    for (uint32_t r = 0; r < a->n; r++) {
        float x = a->is_log ? (float)log((double)a->sigma[r]) : a->sigma[r];
        float *y = a->y + (size_t)r * 2 * a->m;

        for (uint32_t i = 0; i < a->m; i++)
            put_pair(y, a->m, i, x * a->freq[i] * 2.0f * 3.14159265358979f,
                     a->is_cos_first);
    }
}

void lookup(const struct op_ctx *ctx, const void *args)
{
    const struct lookup_args *a = args;

    (void)ctx;
    for (uint32_t r = 0; r < a->n; r++)
        memcpy(a->y + (size_t)r * a->c, a->table + (size_t)a->id[r] * a->c,
               a->c * sizeof *a->y);
}

void lookup_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct lookup_bwd_args *a = args;

    for (uint32_t r = 0; r < a->n; r++) {
        float *row = a->dtable + (size_t)a->id[r] * a->c;

        ctx->k->vec.axpby(a->c, 1, row, 1, a->dy + (size_t)r * a->c, 0, row);
    }
}
