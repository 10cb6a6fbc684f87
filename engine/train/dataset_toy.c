/* dataset_toy.c - sets made by rule, whose distributions are known.
 *
 * The two toy sets of Sohl-Dickstein et al. (arXiv:1503.03585, section 3.1),
 * drawn by a generator of fixed seed, so that a set is the same everywhere.
 *
 *   swiss-roll      points of a noisy spiral; a point is a picture of two
 *                   pixels, x and y, so that the whole house can learn and
 *                   sample it.  Bytes put points on a grid of 1/127.5, finer
 *                   than the noise around the spiral.
 *   heartbeat-bits  rows of 20 bits, black or white, with a beat on every
 *                   fifth; the beat starts at one of five places: log2(5)
 *                   bits are all that such a row holds.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/dataset.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

#define ROLL_POINTS 20000u
#define ROLL_SEED   20150603u
/* Turns 0.75 to 2.25 of r = angle, scaled into -1..1 with room for noise. */
#define ROLL_SCALE 15.0
#define ROLL_NOISE 0.02 /* standard deviation, after scaling                 */

#define BEAT_ROWS   20000u
#define BEAT_BITS   20u
#define BEAT_PERIOD 5u

static uint8_t byte_of(double x)
{
    double v = (x + 1) * 127.5 + 0.5;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void make_roll(struct dataset *d, struct rng *rng)
{
    double pi = acos(-1.0);
    for (uint32_t i = 0; i < d->n; i++) {
        double angle = 1.5 * pi * (1 + 2 * rng_uniform_f64(rng));
        float noise[2];
        rng_normal_f32(rng, noise, 2);
        d->pixels[2 * i] = byte_of(angle * cos(angle) / ROLL_SCALE +
                                   ROLL_NOISE * (double)noise[0]);
        d->pixels[2 * i + 1] = byte_of(angle * sin(angle) / ROLL_SCALE +
                                       ROLL_NOISE * (double)noise[1]);
    }
}

static void make_beats(struct dataset *d, struct rng *rng)
{
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t at = (uint32_t)rng_below(rng, BEAT_PERIOD);
        for (; at < BEAT_BITS; at += BEAT_PERIOD)
            d->pixels[i * BEAT_BITS + at] = 255;
    }
}

struct toy {
    const char *name;
    uint32_t n, width;
    void (*make)(struct dataset *d, struct rng *rng);
};

static const struct toy toys[] = {
    {"swiss-roll", ROLL_POINTS, 2, make_roll},
    {"heartbeat-bits", BEAT_ROWS, BEAT_BITS, make_beats},
};

int dataset_is_toy(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(toys); i++)
        if (strcmp(toys[i].name, name) == 0)
            return 1;
    return 0;
}

enum unstir_status dataset_make_toy(struct dataset *d, const char *name,
                                    uint32_t max_pictures,
                                    struct unstir_error *err)
{
    const struct toy *toy = toys;
    struct rng rng;
    while (strcmp(toy->name, name) != 0)
        toy++;
    d->n = max_pictures && max_pictures < toy->n ? max_pictures : toy->n;
    d->width = toy->width;
    d->height = d->channels = 1;
    TRY(alloc_zero(&d->pixels, d->n, d->width, err));
    rng_seed(&rng, ROLL_SEED);
    toy->make(d, &rng);
    return UNSTIR_OK;
}

/* -- what there is to know ------------------------------------------------ */

#define KNOWN_POINTS 2000u
#define KNOWN_ANGLES 1500u

/* Density of the spiral at (x, y), each angle alike. */
static double roll_density(double x, double y, double variance)
{
    double pi = acos(-1.0), sum = 0;
    for (uint32_t i = 0; i < KNOWN_ANGLES; i++) {
        double a = 1.5 * pi * (1 + 2 * (i + 0.5) / KNOWN_ANGLES);
        double dx = x - a * cos(a) / ROLL_SCALE;
        double dy = y - a * sin(a) / ROLL_SCALE;
        double square = (dx * dx + dy * dy) / (2 * variance);
        sum += square < 40 ? exp(-square) : 0;
    }
    return sum / (KNOWN_ANGLES * 2 * pi * variance);
}

/* The mean over points drawn by the rule.  Rounding to bytes and the uniform
 * part stand as more noise: to some thousandths of a bit. */
static double roll_bits(void)
{
    double pi = acos(-1.0), sum = 0, byte = 1 / 127.5;
    double variance = ROLL_NOISE * ROLL_NOISE + byte * byte / 6;
    struct rng rng;
    rng_seed(&rng, ROLL_SEED + 1);
    for (uint32_t i = 0; i < KNOWN_POINTS; i++) {
        double a = 1.5 * pi * (1 + 2 * rng_uniform_f64(&rng));
        double s = sqrt(variance);
        float noise[2];
        rng_normal_f32(&rng, noise, 2);
        sum += log2(roll_density(a * cos(a) / ROLL_SCALE + s * (double)noise[0],
                                 a * sin(a) / ROLL_SCALE + s * (double)noise[1],
                                 variance));
    }
    return sum / (2 * KNOWN_POINTS);
}

double dataset_known_bits(const char *name)
{
    if (strcmp(name, "swiss-roll") == 0)
        return roll_bits();
    if (strcmp(name, "heartbeat-bits") == 0)
        return log2(127.5) - log2(BEAT_PERIOD) / BEAT_BITS;
    return (double)NAN;
}
