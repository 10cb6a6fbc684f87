/* guidance.h - classifier-free guidance.
 *
 *   output = u + g (c - u)
 *
 * u is the network's output for the null class, c for the wanted one.  Both
 * come from one batch of two pictures with the same sample, null class first.
 *
 * Source.  Ho and Salimans, arXiv:2207.12598, in the form the reference's
 * pipelines use.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_GUIDANCE_H
#define PIPELINE_GUIDANCE_H

#include <stddef.h>

/* out may be `with`. */
static inline void guidance_combine(float *out, const float *without,
                                    const float *with, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = without[i] + scale * (with[i] - without[i]);
}

#endif
