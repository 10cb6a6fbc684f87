/* cost.h - how long a step takes, learned by watching.
 *
 * One moving average per (model, pixels in powers of two); everything that is
 * predicted to a client (place in the queue in seconds, Retry-After, time
 * left) comes from here.  Before the first measurement the estimate is a guess
 * from the size of the model, marked as such.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_COST_H
#define SERVER_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COST_N_BUCKETS 32u

/* Of one model. */
struct cost {
    double step_s[COST_N_BUCKETS]; /* per picture and step; 0: not measured */
    bool is_warm[COST_N_BUCKETS];  /* a second measurement was made         */
    double guess_s_per_pixel;
};

/* n_parameters of the network, which visits each pixel. */
void cost_init(struct cost *cost, uint64_t n_parameters);

/* n_steps (summed over the pictures of a batch) took `seconds`.  The first
 * measurement of a size includes its planning and first touch of memory; a
 * shorter second one replaces it. */
void cost_learn(struct cost *cost, uint32_t width, uint32_t height,
                uint64_t n_steps, double seconds);

/* Seconds of one step of one picture, above 0. */
double cost_step_s(const struct cost *cost, uint32_t width, uint32_t height);

bool cost_is_measured(const struct cost *cost, uint32_t width, uint32_t height);

/* A prediction as a Retry-After: rounded up, 1..3600, up to a tenth longer by
 * `jitter` (0..1), so that those refused together do not return together. */
unsigned cost_retry_after(double seconds, double jitter);

#endif
