/* cost.h - how long a picture takes, learned by watching.
 *
 * What is learned is the time of one evaluation of the network for one
 * picture, and that of decoding one; how many evaluations a request makes is
 * counted by the engine (guidance, methods of second order, DeepCache), so that
 * requests of any kind teach and are told by the same numbers.  One moving
 * average per (model, pixels in powers of two); everything that is predicted
 * to a client (place in the queue in seconds, Retry-After, time left) comes
 * from here.  Before the first measurement the estimate is a guess from the
 * operations that the engine counts, marked as such.
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

struct cost_average {
    double seconds[COST_N_BUCKETS]; /* of one; 0: not measured              */
    bool is_warm[COST_N_BUCKETS];   /* a second measurement was made        */
    double guess_s_per_pixel;
};

/* Of one model. */
struct cost {
    struct cost_average evaluation, decode;
};

/* The operations (1e9) of an evaluation and of a decoding at that size. */
void cost_init(struct cost *cost, uint32_t width, uint32_t height,
               double evaluation_gflop, double decode_gflop);

/* n of them (n need not be whole) took `seconds`.  The first measurement of a
 * size includes its planning and first touch of memory; a shorter second one
 * replaces it. */
void cost_learn(struct cost_average *average, uint32_t width, uint32_t height,
                double n, double seconds);

/* Seconds of one. */
double cost_of(const struct cost_average *average, uint32_t width,
               uint32_t height);

/* Seconds of so many evaluations and decodings. */
double cost_predict(const struct cost *cost, uint32_t width, uint32_t height,
                    double n_evaluations, double n_decodings);

bool cost_is_measured(const struct cost *cost, uint32_t width, uint32_t height);

/* A prediction as a Retry-After: rounded up, 1..3600, up to a tenth longer by
 * `jitter` (0..1), so that those refused together do not return together. */
unsigned cost_retry_after(double seconds, double jitter);

#endif
