/* cost.c - how long a picture takes, learned by watching.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cost.h"

#include <math.h>
#include <string.h>

/* Weight of the newest measurement: half of the memory is gone after three
 * batches of steps, so that a change of load shows within a second or two. */
#define NEWEST_WEIGHT 0.2

/* The guess: what two cores with AVX2 make of their peak, measured with Stable
 * Diffusion 1.5.  Only its order of magnitude matters. */
#define GUESS_GFLOP_PER_SECOND 100.0

void cost_init(struct cost *cost, uint32_t width, uint32_t height,
               double evaluation_gflop, double decode_gflop)
{
    double per_gflop =
        1 / (GUESS_GFLOP_PER_SECOND * (double)width * (double)height);

    memset(cost, 0, sizeof *cost);
    cost->evaluation.guess_s_per_pixel = evaluation_gflop * per_gflop;
    cost->decode.guess_s_per_pixel = decode_gflop * per_gflop;
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

void cost_learn(struct cost_average *average, uint32_t width, uint32_t height,
                double n, double seconds)
{
    unsigned bucket = bucket_of(width, height);
    double *at = &average->seconds[bucket];
    double each;

    if (!(n > 0) || !(seconds > 0))
        return;
    each = seconds / n;
    if (*at <= 0) {
        *at = each;
        return;
    }
    if (!average->is_warm[bucket] && each < *at)
        *at = each;
    average->is_warm[bucket] = true;
    *at += NEWEST_WEIGHT * (each - *at);
}

double cost_of(const struct cost_average *average, uint32_t width,
               uint32_t height)
{
    double measured = average->seconds[bucket_of(width, height)];

    if (measured > 0)
        return measured;
    return average->guess_s_per_pixel * (double)width * (double)height;
}

double cost_predict(const struct cost *cost, uint32_t width, uint32_t height,
                    double n_evaluations, double n_decodings)
{
    return n_evaluations * cost_of(&cost->evaluation, width, height) +
           n_decodings * cost_of(&cost->decode, width, height);
}

bool cost_is_measured(const struct cost *cost, uint32_t width, uint32_t height)
{
    return cost->evaluation.seconds[bucket_of(width, height)] > 0;
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
