/* optim.h - what a step of training does with all parameters at once: the
 * loss, the gradient's norm, the optimiser's pass.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_OPTIM_H
#define OPS_OPTIM_H

#include "ops/op.h"

/* Weighted squared error: loss[i] = weight[i] * mean over m of (y - target)^2;
 * dy = 2 weight[i] (y - target) / (m * n).  weight NULL: 1. */
struct squared_error_args {
    uint32_t n;
    size_t m;
    const float *y, *target, *weight;
    float *dy, *loss;
};
void squared_error(const struct op_ctx *ctx, const void *args);

/* Sum of squares of n floats, in fixed chunks; double result. */
struct sum_squares_args {
    size_t n;
    const float *x;
    double *out;
};
size_t sum_squares_scratch(size_t n);
void sum_squares(const struct op_ctx *ctx, const void *args);

/* AdamW on n parameters (decoupled decay, bias correction by the caller's
 * c1 = 1 - beta1^t, c2 = 1 - beta2^t), as torch.optim.AdamW orders it; then
 * the running mean: ema += (1 - ema_decay) * (p - ema).  Gradients are
 * multiplied by grad_scale (clipping) first and zeroed after. */
struct adamw_args {
    size_t n;
    float lr, beta1, beta2, eps, weight_decay, c1, c2, grad_scale, ema_decay;
    float *p, *g, *m, *v, *ema;
};
void adamw(const struct op_ctx *ctx, const void *args);

#endif
