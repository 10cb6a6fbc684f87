/* tokens.h - what transformers need beside products and attention.
 *
 * Rows are tokens of c floats; ldx is the distance between rows of x where x
 * may be columns of a wider product.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_TOKENS_H
#define OPS_TOKENS_H

#include <stdbool.h>

#include "ops/op.h"

/* The rows of a layer norm and of a gate may be stored as the rung's operands,
 * narrowed once more, for a product that reads them so (is_narrow); then they
 * take scratch. */
size_t tokens_narrow_scratch(unsigned n_threads, uint32_t c);

/* Each row by itself to mean 0 and variance 1 (the biased one), then
 * gamma x + beta unless both are NULL. */
struct layer_norm_args {
    size_t rows;
    uint32_t c, ldx;
    float eps;
    const float *x, *gamma, *beta;
    void *y; /* [rows][c] floats, or operands                                */
    bool is_narrow;
};
void layer_norm(const struct op_ctx *ctx, const void *args);

/* y[r][j] = x[r][j] act(x[r][c + j]). */
struct glu_args {
    size_t rows;
    uint32_t c, ldx;
    enum act act;
    const float *x;
    void *y; /* as above                                                     */
    bool is_narrow;
};
void glu(const struct op_ctx *ctx, const void *args);

/* y[i][p][c] = x[i][p][c] v[i][c]. */
struct mul_vec_args {
    uint32_t n, hw, c, v_stride;
    const float *x, *v;
    float *y;
};
void mul_vec(const struct op_ctx *ctx, const void *args);

/* y[i] = x[i] + r for each image of m floats. */
struct add_rows_args {
    uint32_t n;
    size_t m;
    const float *x, *r;
    float *y;
};
void add_rows(const struct op_ctx *ctx, const void *args);

/* Sines and cosines of the places of a grid: y[i][j] = [sin jw | cos jw |
 * sin iw | cos iw] with c / 4 frequencies w = 10000^(-k / (c / 4)).  Places run
 * to `extent` at every size. */
struct grid_embed_args {
    uint32_t h, w, c;
    float extent;
    float *y;
};
void grid_embed(const struct op_ctx *ctx, const void *args);

/* Tokens [n][h][w][patch][patch][c] to pixels [n][h patch][w patch][c]. */
struct unpatch_args {
    uint32_t n, h, w, c, patch;
    const float *x;
    float *y;
};
void unpatch(const struct op_ctx *ctx, const void *args);

/* Each row becomes the nearest of n_codes rows of `table`, the first of equals
 * (Euclidean distance). */
struct nearest_args {
    size_t rows;
    uint32_t c, n_codes;
    const float *x, *table;
    float *y;
};
void nearest(const struct op_ctx *ctx, const void *args);

#endif
