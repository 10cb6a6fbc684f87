/* bound.c - what a trained chain knows of its pictures, in bits.
 *
 * The lower bound of Sohl-Dickstein et al. (arXiv:1503.03585, section 2.4) on
 * the mean log-likelihood, for Gaussian steps of the posterior's variance:
 *
 *   K = - sum over t = 2..T of KL( q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t) )
 *       + H_q(X_T | X_0) - H_q(X_1 | X_0) - H_p(X_T)
 *       + E[ log N(x_0) - log N(x_1) ]
 *
 * The last line is their treatment of the edge: p(x_0 | x_1) is the forward
 * step reversed as if the data were already the static that the chain ends
 * in; for data of unit variance it is nothing.  H_p is the cross entropy of
 * x_T with that static, so that K stays a bound for data of any variance.
 *
 * Each divergence is the head's squared error times a factor, which is what a
 * learner computes anyway: its gradient is thrown away.  Times are spread
 * evenly over the chain, so the sum is the mean times T - 1.
 *
 * Bits.  Of the chain of bits (sample/binomial.h) the bound is the first line
 * alone, t = 1 included: the last step is exact and ends in fair coins.  The
 * sum is the learner's loss itself.  Probabilities, not densities; beside the
 * bound stand fair coins, -1 bit a bit, which is what the chain ends in.
 *
 * Pictures are bytes; a uniform part of a byte is added, so that there is a
 * density.  Beside K stands the likelihood under the best Gaussian with one
 * mean and one variance for all dimensions and, for a set made by rule, that
 * of the distribution itself, which no bound can pass.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "train/bit_loss.h"

#define MIN_DRAWS    4096u /* pictures that the divergences are averaged over */
#define STREAM       5u    /* of trainer_seed()                              */
#define LOG_2PI      1.8378770664093453
#define NATS_PER_BIT 0.6931471805599453

/* Divergence of step t over the squared error of the head. */
static double factor_of(const struct unstir_trainer *t, uint32_t step)
{
    const struct schedule *s = &t->schedule;
    double abar = (double)s->abar[step], before = (double)s->abar[step - 1];
    double variance = (double)s->beta[step] * (1 - before) / (1 - abar);
    double c0 = objective_mean_coefficient(s, step);
    double x0 = c0 * c0 / (2 * variance); /* over the error of x_0           */
    const char *says = objective_prediction(t->objective);
    if (says[0] == 'v')
        return x0 * (1 - abar);
    return says[0] == 's' ? x0 : x0 * (1 - abar) / abar;
}

/* Picture x_0 at place `at` to bits after `step`. */
static void draw_bits(struct unstir_trainer *t, size_t at, uint32_t step,
                      struct rng *rng)
{
    size_t m = (size_t)t->data.width * t->data.height * t->data.channels;
    uint32_t n = t->options.n_timesteps;
    float *x = t->sample + at * m;
    rng_fill_uniform_f32(rng, t->noise, m);
    objective_apply_bits(n, step, x, t->noise, m, x, t->target + at * m);
    objective_bit_weights(n, step, t->weight + at * BIT_WEIGHTS);
    t->timestep[at] = (float)step;
}

/* Picture j of `n`, with a time of 1 .. T - 1, of bits 0 .. T - 1. */
static void draw_one(struct unstir_trainer *t, uint64_t j, uint64_t n)
{
    const struct unstir_train_options *o = &t->options;
    size_t m = (size_t)t->data.width * t->data.height * t->data.channels;
    size_t at = j % o->batch;
    float *x = t->sample + at * m, *target = t->target + at * m;
    uint32_t picture = (uint32_t)(j % t->data.n), last = o->n_timesteps - 1;
    struct rng rng;
    rng_seed(&rng, trainer_seed(t, STREAM, j));
    double u = ((double)j + rng_uniform_f64(&rng)) / (double)n;
    if (t->data.n_classes)
        t->label[at] = (float)t->data.labels[picture];
    dataset_picture(&t->data, picture, 0, x);
    if (t->objective == OBJECTIVE_ORIGIN_BITS) {
        uint32_t any = (uint32_t)(u * o->n_timesteps);
        draw_bits(t, at, any < last ? any : last, &rng);
        return;
    }
    uint32_t step = 1 + (uint32_t)(u * last);
    step = step < last ? step : last;
    rng_fill_uniform_f32(&rng, t->noise, m);
    for (size_t i = 0; i < m; i++)
        x[i] += (t->noise[i] - 0.5f) / 127.5f;
    rng_normal_f32(&rng, t->noise, m);
    objective_apply(t->objective, &t->schedule, step, x, t->noise, m, x,
                    target);
    t->timestep[at] = (float)step;
    t->weight[at] = (float)factor_of(t, step);
}

/* Mean divergence of a step, nats a dimension, of the weights in place; of
 * bits times T. */
static enum unstir_status mean_divergence(struct unstir_trainer *t, double *out,
                                          struct unstir_error *err)
{
    uint32_t batch = t->options.batch;
    uint64_t rounds = (MIN_DRAWS + batch - 1) / batch;
    struct learner_batch b = {
        t->sample, t->timestep, t->data.n_classes ? t->label : NULL,
        t->target, t->weight,   t->loss};
    *out = 0;
    for (uint64_t r = 0; r < rounds; r++) {
        double loss;
        for (uint64_t j = 0; j < batch; j++)
            draw_one(t, r * batch + j, rounds * batch);
        TRY(learner_gradients(&t->learner, &b, &loss, err));
        *out += loss / (double)rounds;
    }
    return UNSTIR_OK;
}

/* Mean and variance over all dimensions, a byte's spread included. */
static void moments(const struct dataset *d, double *mean, double *variance)
{
    size_t n = (size_t)d->n * d->width * d->height * d->channels;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += d->pixels[i] / 127.5 - 1;
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double x = d->pixels[i] / 127.5 - 1 - *mean;
        squares += x * x;
    }
    *variance = squares / (double)n + 1 / (12 * 127.5 * 127.5);
}

/* Weights and running mean, which is the model, change places: plans know the
 * arrays by their addresses. */
static void swap_mean(struct learner *l)
{
    struct params *p = &l->params;
    for (size_t i = 0; i < p->n; i++) {
        float x = p->p[i];
        p->p[i] = p->ema[i];
        p->ema[i] = x;
    }
    learner_repack(l);
}

enum unstir_status unstir_trainer_bound(struct unstir_trainer *t,
                                        struct unstir_train_bound *out,
                                        struct unstir_error *err)
{
    const struct schedule *s = &t->schedule;
    double divergence, mean, variance;
    memset(out, 0, sizeof *out);
    if (t->objective == OBJECTIVE_SCORE)
        return error_field(err, "objective",
                           "a score has no chain to bound; origin has");
    swap_mean(&t->learner);
    enum unstir_status status = mean_divergence(t, &divergence, err);
    swap_mean(&t->learner);
    learner_forget(&t->learner);
    if (status != UNSTIR_OK)
        return status;
    if (t->objective == OBJECTIVE_ORIGIN_BITS) {
        out->bits = -divergence / NATS_PER_BIT;
        out->null_bits = -1;
        out->known_bits = dataset_known_bits(t->options.data) - log2(127.5);
        return UNSTIR_OK;
    }
    moments(&t->data, &mean, &variance);
    uint32_t last = t->options.n_timesteps - 1;
    double square = mean * mean + variance, end = (double)s->abar[last];
    double first = (double)s->beta[0];
    double k = -divergence * last + 0.5 * log((1 - end) / first) -
               0.5 * (LOG_2PI + end * square + 1 - end) +
               0.5 * first * (1 - square);
    out->bits = k / NATS_PER_BIT;
    out->null_bits = -0.5 * (LOG_2PI + 1 + log(variance)) / NATS_PER_BIT;
    out->known_bits = dataset_known_bits(t->options.data);
    return UNSTIR_OK;
}
