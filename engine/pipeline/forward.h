/* forward.h - the forward process: a picture at any step of its drowning.
 *
 *   x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) z
 *
 * Source.  arXiv:1503.03585, eq. 2 and arXiv:2006.11239, eq. 4.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_FORWARD_H
#define PIPELINE_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct schedule;

/* out = x_t of n floats, noise from rng_seed(seed); out may be x0's copy's
 * place, not x0 itself.  t below the schedule's T. */
void forward_noise(const struct schedule *s, uint32_t t, uint64_t seed,
                   const float *x0, float *out, size_t n);

enum unstir_status forward_image(const struct unstir_forward *f,
                                 const struct unstir_image *image, int32_t t,
                                 struct unstir_image *out,
                                 struct unstir_error *err);

#endif
