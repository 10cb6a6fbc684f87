/* sigmas.h - noise levels: from a table of training steps to those of a run.
 *
 * A level is a sigma of the variance-exploding form: x = x0 + sigma z.  The
 * form that preserves variance has the signal a = 1 / sqrt(sigma^2 + 1) and the
 * noise s = a sigma.  Levels descend; the last stands for the finished picture.
 *
 * Lists are made in double and rounded once, as the reference does with numpy;
 * its table and the logarithms of it are f32.
 *
 * Sources.  diffusers 0.42.1, set_timesteps() of the classes named in
 * schedule_config.c; Karras et al., arXiv:2206.00364, eq. 5 (karras); Lu et
 * al., arXiv:2211.01095 (uniform in log-SNR); Sabour et al., arXiv:2404.14507
 * (align your steps: its tables, interpolated log-linearly as its authors do;
 * their last level, 0.029, is that of timestep 0, where diffusers' constant
 * AysSchedules writes the 0 that a run ends with).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SAMPLE_SIGMAS_H
#define SAMPLE_SIGMAS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sample/schedule.h"

/* numpy.linspace(start, end, n)[i] */
double sigmas_linspace(double start, double end, uint32_t n, uint32_t i);

/* The table's level t: sqrt((1 - abar) / abar), f32. */
float sigmas_of_table(const struct schedule *s, uint32_t t);
/* Linear between the table's levels; clamped at its ends. */
double sigmas_interpolate(const struct schedule *s, double t);
/* The timestep, with a fraction, whose level is sigma: linear in logarithms. */
double sigmas_to_timestep(const struct schedule *s, double sigma);

/* n levels from most to least.  `kind`: karras (with rho), exponential, beta.
 * From 0 to 1 at i = 0 .. n - 1. */
void sigmas_karras(double *out, uint32_t n, double most, double least,
                   double rho);
void sigmas_exponential(double *out, uint32_t n, double most, double least);
void sigmas_beta(double *out, uint32_t n, double most, double least);
/* Align your steps: n + 1 levels of the table for SD 1.x (or XL), the last
 * left out. */
void sigmas_align_your_steps(double *out, uint32_t n, bool is_xl);

#endif
