/* objective.h - what the network is asked to say, and how wrong an answer is.
 *
 * With a = sqrt(abar_t), s = sqrt(1 - abar_t), noise e and
 * x_t = a x_0 + s e, the forward process in closed form:
 *
 *   epsilon    target e            weight 1
 *   x0         target x_0          weight 1
 *   v          target a e - s x_0  weight 1
 *   origin     target e     \  the loss of Sohl-Dickstein et al. [1]: the
 *   origin-x0  target x_0   /  mean of the picture one step earlier,
 *              |mu(x_t, x0hat) - mu(x_t, x_0)|^2 / (2 beta_t)
 *
 * where mu(x_t, x_0) = c0 x_0 + ct x_t is the mean of q(x_{t-1} | x_t, x_0)
 * and c0 = sqrt(abar_{t-1}) beta_t / (1 - abar_t).  That is the divergence
 * between the true and the learned step, both of variance beta_t, in nats a
 * pixel.  x_t cancels, so it is a squared error of the head's own target with
 * the weight c0^2 / (2 beta_t) (x0), times (s/a)^2 (epsilon).
 *
 *   origin-bits  the same paper's chain of bits (sample/binomial.h) on pictures
 *              of pure black and white.  The head says the log-odds that the
 *              other bits give each bit of x_0; the loss is the divergence of
 *              the step itself (bit_loss.h) times T: the bound, in nats a bit.
 *   score      pictures lie in 0..1, x = x_0 + sigma e; target -e / sigma, the
 *              gradient of the noisy density [2], weight sigma^2.  The
 *              network is told sigma and divides its output by it.
 *
 * Levels of sigma are geometric: as many as there are timesteps, from
 * sigma_min to sigma_max.
 *
 *   [1] arXiv:1503.03585, section 2.3; the Gaussian rows of its table App. 1.
 *   [2] Song and Ermon, arXiv:1907.05600, section 4.2 (denoising score
 *       matching, weighted so that every level counts alike); division by
 *       sigma: arXiv:2006.09011, technique 3.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_OBJECTIVE_H
#define TRAIN_OBJECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct schedule;

enum objective {
    OBJECTIVE_EPSILON = 0,
    OBJECTIVE_X0,
    OBJECTIVE_V,
    OBJECTIVE_ORIGIN,
    OBJECTIVE_ORIGIN_X0,
    OBJECTIVE_SCORE,
    OBJECTIVE_ORIGIN_BITS,
    OBJECTIVE_COUNT
};

extern const char *const objective_names[OBJECTIVE_COUNT];

/* false: no such name. */
bool objective_parse(enum objective *out, const char *name);

/* prediction_type of a scheduler_config.json; not of scores and bits, whose
 * schedulers have none. */
const char *objective_prediction(enum objective o);

/* c0 above, in double from the schedule's tables; abar before step 0 is 1. */
double objective_mean_coefficient(const struct schedule *s, uint32_t t);

float objective_weight(enum objective o, const struct schedule *s, uint32_t t);

/* From a picture x0 and noise (m floats each) to the noisy sample and the
 * target.  sample may be x0, target may be noise. */
void objective_apply(enum objective o, const struct schedule *s, uint32_t t,
                     const float *x0, const float *noise, size_t m,
                     float *sample, float *target);

/* Level t of n >= 2: from sigma_min, the least noise, to sigma_max. */
double objective_sigma(double sigma_min, double sigma_max, uint32_t n,
                       uint32_t t);

/* As objective_apply() for the score; x0 lies in -1..1 as pictures do here and
 * is taken to 0..1. */
void objective_apply_score(double sigma, const float *x0, const float *noise,
                           size_t m, float *sample, float *target);

/* Bits x0 (-1 and 1) and uniform numbers of 0..1 to bits after step t of T;
 * target is x0.  sample may be x0, target may be uniform. */
void objective_apply_bits(uint32_t n_timesteps, uint32_t t, const float *x0,
                          const float *uniform, size_t m, float *sample,
                          float *target);

/* What bit_loss() wants of a picture at step t: BIT_WEIGHTS floats. */
void objective_bit_weights(uint32_t n_timesteps, uint32_t t, float *weights);

#endif
