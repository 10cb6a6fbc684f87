/* embed.h - embeddings of times, noise levels and classes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_EMBED_H
#define OPS_EMBED_H

#include <stdbool.h>

#include "ops/op.h"

/* Sines and cosines of t[i] (diffusers 0.42.1, models/embeddings.py,
 * get_timestep_embedding): y [n][dim], an odd last place zero. */
struct time_embed_args {
    uint32_t n, dim;
    bool is_cos_first; /* flip_sin_to_cos                                    */
    float freq_shift, scale, max_period;
    const float *t;
    float *y;
};
void time_embed(const struct op_ctx *ctx, const void *args);

/* Gaussian Fourier features of ln(sigma[i]): y [n][2m] = [sin | cos]. */
struct fourier_embed_args {
    uint32_t n, m;
    bool is_cos_first, is_log;
    const float *sigma, *freq; /* [n], [m] */
    float *y;
};
void fourier_embed(const struct op_ctx *ctx, const void *args);

/* y[i] = table[(size_t)id[i]] for n numbers; they are floats holding whole
 * numbers inside the table (checked by the caller). */
struct lookup_args {
    uint32_t n, c;
    uint32_t rows;
    const float *id, *table;
    float *y;
};
void lookup(const struct op_ctx *ctx, const void *args);

/* dtable[id[i]] += dy[i], in order of i. */
struct lookup_bwd_args {
    uint32_t n, c, rows;
    const float *id, *dy;
    float *dtable;
};
void lookup_bwd(const struct op_ctx *ctx, const void *args);

#endif
