/* solver.h - what the exponential integrators share.
 *
 * They count in lambda = ln a - ln s, half the logarithm of the signal-to-noise
 * ratio.  Scalars are f32 and keep the reference's order, as its 0-dimensional
 * tensors do; at level 0 lambda is infinite, and formulas of first order give
 * the finished picture exactly.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SAMPLE_SOLVER_H
#define SAMPLE_SOLVER_H

#include "sample/sampler.h"

/* One level in the form that preserves variance. */
struct solver_point {
    float signal, noise, lambda;
};
struct solver_point solver_point_at(const struct sampler_run *run,
                                    uint32_t level);

/* x' = x * sample + m * m0 + d1 * D1 + d2 * D2 + z * noise */
struct solver_terms {
    float x, m, d1, d2, z;
};

/* Terms of a step from `s` to `t` of this order (1 to 3). */
struct solver_terms solver_terms_of(const struct schedule_config *c,
                                    struct solver_point t,
                                    struct solver_point s, unsigned order);

/* The finished picture (or, of the older algorithms, the noise) that an output
 * stands for at a level; `estimate` is always the picture. */
void solver_convert(const struct sampler_run *run, struct solver_point at,
                    const float *output, const float *sample, float *estimate,
                    float *converted);

/* Does the algorithm draw noise / work on noise instead of pictures? */
bool solver_is_sde(const struct schedule_config *c);
bool solver_is_of_noise(const struct schedule_config *c);

/* The order of a multistep step with `n_held` outputs, its own included. */
unsigned solver_order_at(const struct sampler_run *run, uint32_t step,
                         uint32_t n_held);

/* One step of the multistep method: shared by the latent and EDM forms.
 * history[0 ..] holds converted outputs, the newest (this step's) first. */
void solver_advance(const struct sampler_run *run, uint32_t step,
                    const struct sampler_io *io, struct sampler_state *state);

/* The mixture of a method whose samples keep the variance. */
void solver_mixture(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    float *signal, float *noise);

#endif
