/* attention_kernels.h - the steps of attention on operands of bf16.
 *
 * For rungs whose operands are bf16 of 16 bits; where they are floats,
 * attention goes by the tiles of gemm_kernels.h.  ATTENTION_COLS queries are
 * the columns of everything:
 *
 *     powers    P = 2^(K Q^T - max)           rows of K, panels of Q^T and P
 *     scores    S[key][query] = K Q^T - max   the same in two steps, for where
 *     softmax   P = 2^(S - top)               max is to grow by top
 *     weigh     O^T = O^T factor + V^T P      rows of V^T
 *
 * A panel is that of gemm_kernels.h, [k / 2][ATTENTION_COLS][2] operands.
 * Panels and arrays of ATTENTION_COLS columns are 64-byte aligned and dense.
 * Where fewer columns have a query the others hold anything, which disturbs
 * nobody.  Powers are of two: the queries' scale is to have log2 e in it.  An
 * element's sum goes in the order of k, whatever else is in the block.
 *
 * Any thread; no state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_ATTENTION_KERNELS_H
#define KERNELS_ATTENTION_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#define ATTENTION_COLS 32

/* A number is not too far from the maximum if the sum of powers is neither
 * above this nor below its inverse: they are floats, and as good as any. */
#define ATTENTION_FAR 0x1p60f

/* m rows of k operands, `pitch` apart, times a panel; k is even. */
struct attention_product {
    size_t m, k, pitch;
    const void *rows, *panel;
};

/* Of each column: what is subtracted from its scores, their maximum or a number
 * not too far from it, and what is to be added to that; the sum of powers; what
 * those so far are multiplied by. */
struct attention_sums {
    _Alignas(64) float max[ATTENTION_COLS], top[ATTENTION_COLS];
    float sum[ATTENTION_COLS], factor[ATTENTION_COLS];
    float total[ATTENTION_COLS]; /* of powers(): of the block alone          */
};

static inline bool attention_is_near(const struct attention_sums *s, size_t j)
{
    return s->total[j] <= ATTENTION_FAR &&
           s->sum[j] + s->total[j] >= 1 / ATTENTION_FAR;
}

struct attention_kernels {
    /* A panel of Q^T from n rows of d floats, times alpha; row d is 0 if d is
     * odd. */
    void (*queries)(void *panel, size_t n, size_t d, const float *q, size_t ldq,
                    float alpha);
    /* block[d][pitch] of operands from v[n][d]; its columns from n on are 0.
     * pitch is even. */
    void (*values)(void *block, size_t pitch, size_t n, size_t d,
                   const float *v, size_t ldv);
    /* s = rows times panel - max[j]. */
    void (*scores)(const struct attention_product *p, const float *max,
                   float *s);
    /* One block of a running softmax down n columns of s:
     *   panel = 2^(s - top);  factor = 2^-top, 1 of a top below 0;
     *   sum = sum factor + column sum before rounding;  max += top.
     * Scores are finite.  The panel may be s.  Whether any factor is not 1. */
    bool (*softmax)(size_t rows, size_t n, const float *s,
                    struct attention_sums *sums, void *panel);
    /* scores() and softmax() of n columns in one pass, top being 0:
     *   panel = 2^(rows times panel - max);  total = column sum;  sum += total.
     * False where a column is not attention_is_near(): sum is left alone then,
     * and the panel is of no worth. */
    bool (*powers)(const struct attention_product *p, size_t n,
                   struct attention_sums *sums, void *panel);
    /* o = o factor[j] + rows times panel; factor NULL: 1. */
    void (*weigh)(const struct attention_product *p, const float *factor,
                  float *o);
    /* out[j][i] = o[i][j] / sum[j] of n columns. */
    void (*outputs)(size_t d, size_t n, const float *o, const float *sum,
                    float *out, size_t ldo);
};

/* The rungs' tables of this file's kernels. */
void attention_kernels_scalar(struct attention_kernels *a);
void attention_kernels_avx512bf16(struct attention_kernels *a);

#endif
