/* choose.c - which algorithm computes a convolution.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/choose.h"

#include "kernels/kernels.h"
#include "ops/conv2d_parts.h"
#include "ops/conv2d_phases.h"
#include "ops/winograd.h"

/* Up to this many source pixels phases beat Winograd on the large picture,
 * where that fits.  Measured on avx2, f32, 2.4 GHz Zen 3, milliseconds for
 * one picture, large direct / large Winograd / phases:
 *    7x7   64    0.20   0.11   0.08     14x14  64    0.62   0.22   0.29
 *    4x4  256    1.09   0.90   0.71     16x16 256   14.0    4.9    6.2
 *    8x8  256    3.2    1.6    1.6      64x64 512  960    310    479
 * At 8x8 the times are equal, but phases read less than half of the bytes of
 * weights. */
#define PHASES_MAX_PIXELS 64U

static bool phases_fit(const struct kernel_table *k,
                       const struct conv2d_shape *s)
{
    return conv2d_phases_fits(s) &&
           (!winograd_fits(k, s) || (uint64_t)s->h * s->w <= PHASES_MAX_PIXELS);
}

enum conv_way choose_conv(const struct kernel_table *k,
                          const struct conv2d_shape *s, bool has_phases)
{
    if (has_phases && phases_fit(k, s))
        return CONV_PHASES;
    if (winograd_fits(k, s))
        return CONV_WINOGRAD;
    if (k->gemm.is_blas)
        return CONV_BLAS;
    return conv_is_thin(k, s->c0 + s->c1, s->cout) ? CONV_DOTS : CONV_TILES;
}

const char *choose_name(enum conv_way way)
{
    switch (way) {
    case CONV_TILES:
        return "tiles";
    case CONV_DOTS:
        return "dots";
    case CONV_BLAS:
        return "blas";
    case CONV_WINOGRAD:
        return "winograd";
    case CONV_PHASES:
        return "phases";
    }
    return "";
}
