/* vector_loops.h - streaming kernels that are plain loops, compiled once a
 * rung with that rung's flags.
 *
 * Each is elementwise and free of fused multiply-adds, so the compiler may
 * vectorise it and every rung still gives the scalar bits.  Included by the
 * rungs' vector_<isa>.c only; everything is static.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_VECTOR_LOOPS_H
#define KERNELS_VECTOR_LOOPS_H

#include <string.h>

#include "kernels/vector_kernels.h"

static void loops_axpby(size_t n, float a, const float *x0, float b,
                        const float *x1, float c, float *y)
{
    if (!x1) {
        for (size_t i = 0; i < n; i++)
            y[i] = a * x0[i] + c;
    } else if (a == 1 && b == 1 && c == 0) {
        for (size_t i = 0; i < n; i++)
            y[i] = x0[i] + x1[i];
    } else {
        for (size_t i = 0; i < n; i++)
            y[i] = a * x0[i] + b * x1[i] + c;
    }
}

static void loops_div_scalar(size_t n, const float *x, float v, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] / v;
}

/* One row; the three forms are loops of their own so that each vectorises. */
static void loops_scale_shift_row(size_t c, const float *x, const float *s,
                                  const float *t, float *y)
{
    if (s && t) {
        for (size_t j = 0; j < c; j++)
            y[j] = x[j] * (1.0f + s[j]) + t[j];
    } else if (s) {
        for (size_t j = 0; j < c; j++)
            y[j] = x[j] * (1.0f + s[j]);
    } else if (t) {
        for (size_t j = 0; j < c; j++)
            y[j] = x[j] + t[j];
    } else {
        memmove(y, x, c * sizeof *y);
    }
}

static void loops_scale_shift_row_acc(size_t c, const float *x, const float *s,
                                      const float *t, float *y)
{
    if (s && t) {
        for (size_t j = 0; j < c; j++)
            y[j] += x[j] * (1.0f + s[j]) + t[j];
    } else if (s) {
        for (size_t j = 0; j < c; j++)
            y[j] += x[j] * (1.0f + s[j]);
    } else if (t) {
        for (size_t j = 0; j < c; j++)
            y[j] += x[j] + t[j];
    } else {
        for (size_t j = 0; j < c; j++)
            y[j] += x[j];
    }
}

static void loops_scale_shift(size_t rows, size_t c, const float *x,
                              const float *s, const float *t, float *y,
                              bool acc)
{
    for (size_t r = 0; r < rows; r++) {
        if (acc)
            loops_scale_shift_row_acc(c, x + r * c, s, t, y + r * c);
        else
            loops_scale_shift_row(c, x + r * c, s, t, y + r * c);
    }
}

/* Pairs along the row first, then the rows: ((a + b) + (c + d)) / 4. */
static void loops_mean_cells2(size_t ow, size_t c, const float *x0,
                              const float *x1, float *y)
{
    for (size_t o = 0; o < ow; o++) {
        const float *a = x0 + 2 * o * c;
        const float *b = x1 + 2 * o * c;

        for (size_t j = 0; j < c; j++)
            y[o * c + j] = (a[j] + a[j + c] + b[j] + b[j + c]) * 0.25f;
    }
}

static void loops_scale_columns(size_t rows, size_t c, const float *f,
                                const float *x, size_t ldx, float *y,
                                size_t ldy)
{
    for (size_t r = 0; r < rows; r++) {
        const float *in = x + r * ldx;
        float *out = y + r * ldy;

        for (size_t j = 0; j < c; j++)
            out[j] = f[j] * in[j];
    }
}

#endif
