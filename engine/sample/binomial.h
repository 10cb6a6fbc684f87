/* binomial.h - the chain of bits: how fast it forgets, and the way back.
 *
 * The second chain of Sohl-Dickstein et al. (arXiv:1503.03585, table App. 1).
 * A bit is kept or, with chance beta_t, thrown anew like a fair coin:
 *
 *     q(x_t = 1 | x_{t-1}) = x_{t-1} (1 - beta_t) + beta_t / 2
 *
 * With beta_t = 1 / (T - t + 1), t = 1 .. T, each step forgets as much of the
 * picture as any other, and the last leaves nothing: of x_0 there remains
 *
 *     abar_t = prod over s <= t of (1 - beta_s) = 1 - t / T,
 *     q(x_t = x_0) = (1 + abar_t) / 2
 *
 * (a bit agrees with its start when it was never thrown, and half the time
 * when it was).  For s < t the bit keeps the share k = abar_t / abar_s, and
 * by Bayes, since x_t depends on x_0 through x_s alone,
 *
 *     P(x_s = x_t | x_t, x_0) = (1 + k) / 2 (1 +- abar_s) / (1 +- abar_t)
 *
 * with + where x_0 = x_t and - where it is not.  Those two numbers are all
 * that a step back needs.  If the network says that x_0 = x_t with chance r,
 * the step keeps the bit with chance
 *
 *     P(x_s = x_t | x_t) = r same + (1 - r) other,
 *
 * exactly so for a bit alone: noise falls on each bit by itself, hence given
 * all of x_t what x_s needs of x_0 is this bit's own chance.  What is lost is
 * that bits of one step are drawn apart; with T steps little of it remains.
 *
 * What x_t says of its own bit needs no learning: by Bayes once more, for the
 * log-odds of x_0 = x_t,
 *
 *     log r / (1 - r) = log (1 + abar_t) / (1 - abar_t) + x_t a
 *
 * with a the log-odds of x_0 = 1 that the other bits of x_t give (bits as -1
 * and 1).  That a is what the network says: one that says 0 draws fair coins,
 * and its bound is 1 bit a bit, exactly.
 *
 * Steps are counted from 0 as everywhere in this house: step t of T here has
 * t + 1 throws behind it, step -1 is the picture.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SAMPLE_BINOMIAL_H
#define SAMPLE_BINOMIAL_H

#include <stdint.h>

struct binomial_back {
    double same, other; /* chance to keep the bit: x_0 = x_t, x_0 != x_t     */
};

/* What remains of the picture after step t, -1 .. T - 1. */
double binomial_kept(uint32_t n_timesteps, int64_t t);

/* What a bit after step t says of its start: log-odds that they agree. */
double binomial_evidence(uint32_t n_timesteps, int64_t t);

/* From step t to the earlier one `to`, -1 .. t - 1. */
struct binomial_back binomial_back(uint32_t n_timesteps, int64_t t, int64_t to);

#endif
