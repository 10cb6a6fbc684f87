/* weight_loops.h - transforms of weights in plain C, compiled once a rung with
 * that rung's flags: the order of every sum is written here, so rungs agree to
 * the bit.
 *
 * Included by the rungs' .c files only; everything is static.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_WEIGHT_LOOPS_H
#define KERNELS_WEIGHT_LOOPS_H

#include <stddef.h>

#define LANES 8

/* G of F(2x2, 3x3): rows (1 0 0), (1 1 1) / 2, (1 -1 1) / 2, (0 0 1). */
static inline void loops_g_f2(double out[4][LANES], const double *x0,
                              const double *x1, const double *x2)
{
    for (size_t i = 0; i < LANES; i++) {
        out[0][i] = x0[i];
        out[1][i] = 0.5 * (x0[i] + x1[i] + x2[i]);
        out[2][i] = 0.5 * (x0[i] - x1[i] + x2[i]);
        out[3][i] = x2[i];
    }
}

static inline void loops_taps(double t[9][LANES], const float *w,
                              size_t tap_step)
{
    for (size_t tap = 0; tap < 9; tap++)
        for (size_t i = 0; i < LANES; i++)
            t[tap][i] = (double)w[tap * tap_step + i];
}

static inline void loops_filters_f2(float *u, size_t plane, const float *w,
                                    size_t tap_step, size_t n)
{
    double taps[9][LANES], t[3][4][LANES], out[4][LANES];

    for (size_t at = 0; at < n; at += LANES) {
        loops_taps(taps, w + at, tap_step);
        for (size_t s = 0; s < 3; s++)
            loops_g_f2(t[s], taps[s], taps[3 + s], taps[6 + s]);
        for (size_t r = 0; r < 4; r++) {
            loops_g_f2(out, t[0][r], t[1][r], t[2][r]);
            for (size_t s = 0; s < 4; s++)
                for (size_t i = 0; i < LANES; i++)
                    u[(4 * r + s) * plane + at + i] = (float)out[s][i];
        }
    }
}

/* Tap `tap` of three meets which of the two source pixels, in phase 0 or 1. */
static inline size_t loops_source_of(unsigned phase, size_t tap)
{
    return phase == 0 ? tap > 0 : tap > 1;
}

static inline void loops_phase(float *sums, size_t sum_step, const float *w,
                               size_t tap_step, size_t n, unsigned phase)
{
    double t[4][LANES];

    for (size_t at = 0; at < n; at += LANES) {
        for (size_t q = 0; q < 4; q++)
            for (size_t i = 0; i < LANES; i++)
                t[q][i] = 0;
        for (size_t tap = 0; tap < 9; tap++) {
            double *to = t[2 * loops_source_of(phase / 2, tap / 3) +
                           loops_source_of(phase % 2, tap % 3)];

            for (size_t i = 0; i < LANES; i++)
                to[i] += (double)w[tap * tap_step + at + i];
        }
        for (size_t q = 0; q < 4; q++)
            for (size_t i = 0; i < LANES; i++)
                sums[q * sum_step + at + i] = (float)t[q][i];
    }
}

#endif
