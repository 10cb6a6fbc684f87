/* bit_loss.h - the divergence of a step back of the binomial chain.
 *
 * sample/binomial.h has the chain.  For one bit, the true step keeps x_t with
 * chance u* = same where x_0 = x_t and u* = other where it is not; the learned
 * one with u = r same + (1 - r) other, r = 1 / (1 + exp(-own - x_t a)) of the
 * head's log-odds a and what x_t says itself.  In nats
 *
 *     KL = u* log(u* / u) + (1 - u*) log((1 - u*) / (1 - u)),
 *     dKL / da = x_t (same - other) r (1 - r) ((1 - u*) / (1 - u) - u* / u)
 *
 * and the mean over pictures is smallest where r is P(x_0 = x_t | x_t): a
 * divergence is a proper score.  The bound on the likelihood is the sum of
 * just these over the chain, so with scale = T a batch whose times are spread
 * evenly has the bound itself for its mean loss.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_BIT_LOSS_H
#define TRAIN_BIT_LOSS_H

#include <stddef.h>
#include <stdint.h>

struct op_ctx;

#define BIT_WEIGHTS 4 /* floats a picture: same, other, own, scale           */

/* loss[i] = scale times the mean over m bits; dy its gradient over n. */
struct bit_loss_args {
    uint32_t n;
    size_t m;
    const float *y;      /* log-odds of x_0 = 1 from the other bits          */
    const float *sample; /* x_t, -1 or 1                                     */
    const float *target; /* x_0, -1 or 1                                     */
    const float *weight; /* [n][BIT_WEIGHTS]                                 */
    float *dy, *loss;
};
void bit_loss(const struct op_ctx *ctx, const void *args);

#endif
