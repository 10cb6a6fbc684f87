/* guidance.h - classifier-free guidance, its rescaling and its interval.
 *
 *   output = u + g (c - u)
 *   then, with a share p: p output std(c) / std(output) + (1 - p) output
 *
 * u is the network's output for the null class, c for the wanted one.  Both
 * come from one batch of two pictures with the same sample, null class first.
 *
 * Where a picture is edited by instruction there are two scales and three
 * evaluations: without both, with the picture i alone, with both t:
 *
 *   output = u + g (t - i) + g' (i - u)
 *
 * It may act in a part of the steps only: guided steps cost two evaluations.
 *
 * Sources.  Brooks et al., arXiv:2211.09800, section 3.2 (two scales); Ho and
 * Salimans, arXiv:2207.12598, in the form the reference's pipelines use; Lin et
 * al., arXiv:2305.08891, section 3.4 (rescaling); Kynkaanniemi et al.,
 * arXiv:2404.07724 (interval; counted in steps as the reference's guiders do).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_GUIDANCE_H
#define PIPELINE_GUIDANCE_H

#include <math.h>
#include <stddef.h>

/* out may be `with`. */
static inline void guidance_combine(float *out, const float *without,
                                    const float *with, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = without[i] + scale * (with[i] - without[i]);
}

/* out may be `both`. */
static inline void guidance_combine_two(float *out, const float *without,
                                        const float *picture, const float *both,
                                        float scale, float picture_scale,
                                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = without[i] + scale * (both[i] - picture[i]) +
                 picture_scale * (picture[i] - without[i]);
}

/* Standard deviation, unbiased, in two passes. */
static inline float guidance_deviation(const float *x, size_t n)
{
    double mean = 0, sum = 0;

    for (size_t i = 0; i < n; i++)
        mean += (double)x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    return n > 1 ? (float)sqrt(sum / (double)(n - 1)) : 0;
}

/* `wanted`: the deviation of the output without guidance. */
static inline void guidance_rescale(float *out, float wanted, float share,
                                    size_t n)
{
    float own = guidance_deviation(out, n);
    float ratio = own > 0 ? wanted / own : 1;

    for (size_t i = 0; i < n; i++)
        out[i] = share * (out[i] * ratio) + (1 - share) * out[i];
}

#endif
