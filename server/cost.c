/* cost.c - how long a step takes, learned by watching.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cost.h"

#include <math.h>
#include <string.h>

/* Weight of the newest measurement: half of the memory is gone after three
 * batches of steps, so that a change of load shows within a second or two. */
#define NEWEST_WEIGHT 0.2

/* The guess: two operations a parameter and pixel, a quarter of the pixels on
 * average (half of a network's work is below full resolution), 20 G/s. */
#define GUESS_OPERATIONS 0.5
#define GUESS_PER_SECOND 20e9

void cost_init(struct cost *cost, uint64_t n_parameters)
{
    memset(cost, 0, sizeof *cost);
    cost->guess_s_per_pixel =
        (double)(n_parameters + 1) * GUESS_OPERATIONS / GUESS_PER_SECOND;
}

static unsigned bucket_of(uint32_t width, uint32_t height)
{
    uint64_t pixels = (uint64_t)width * height;
    unsigned bucket = 0;

    while (pixels > 1 && bucket < COST_N_BUCKETS - 1) {
        pixels >>= 1;
        bucket++;
    }
    return bucket;
}

void cost_learn(struct cost *cost, uint32_t width, uint32_t height,
                uint64_t n_steps, double seconds)
{
    unsigned bucket = bucket_of(width, height);
    double *at = &cost->step_s[bucket];
    double each;

    if (n_steps == 0 || !(seconds > 0))
        return;
    each = seconds / (double)n_steps;
    if (*at <= 0) {
        *at = each;
        return;
    }
    if (!cost->is_warm[bucket] && each < *at)
        *at = each;
    cost->is_warm[bucket] = true;
    *at += NEWEST_WEIGHT * (each - *at);
}

bool cost_is_measured(const struct cost *cost, uint32_t width, uint32_t height)
{
    return cost->step_s[bucket_of(width, height)] > 0;
}

double cost_step_s(const struct cost *cost, uint32_t width, uint32_t height)
{
    double measured = cost->step_s[bucket_of(width, height)];

    if (measured > 0)
        return measured;
    return cost->guess_s_per_pixel * (double)width * (double)height;
}

unsigned cost_retry_after(double seconds, double jitter)
{
    double whole = ceil(seconds);
    double late;

    whole = whole >= 1 ? whole : 1; /* NaN lands here too */
    late = floor(whole * 0.1 * jitter + 0.5);
    whole += late;
    return whole < 3600 ? (unsigned)whole : 3600;
}
