/* schedule.h - how fast a picture drowns in noise: betas, their products, and
 * which of the T training steps a run of n steps visits.
 *
 * A schedule is read-only after schedule_init() and shared by all threads.
 * Tables are f32 with the reference's own roundings [1]: betas as its
 * constructor makes them, abar[t] = prod(1 - beta) accumulated in double and
 * rounded once an entry.
 *
 * Configuration.  schedule_config_parse() reads a scheduler_config.json of any
 * class of the family for one method: keys of the file that the method has
 * carry over, keys that the file lacks take the method's defaults, keys that
 * the method lacks fall away.  Values that the reference would turn into NaN
 * or an index out of range are refused with the key's name.
 *
 * Pitfalls, each with its test in t_schedule.c:
 *  - trailing spacing yields n + 1 timesteps, the last one -1, for some n (61,
 *    103, 121 of 1000), by the length rule of a floating-point range; the -1
 *    is dropped here, so a run always has n steps;
 *  - rounding is half to even;
 *  - leading spacing with an offset can run past T - 1 when n is near T.
 *
 * Sources.
 *   [1] diffusers 0.42.1, DDPMScheduler and DDIMScheduler, torch 2.15.0.
 *   [2] Nichol and Dhariwal, arXiv:2102.09672 (cosine).
 *   [3] Lin et al., arXiv:2305.08891 (zero terminal SNR, spacings).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SAMPLE_SCHEDULE_H
#define SAMPLE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json;

#define SCHEDULE_MAX_TIMESTEPS 100000

enum beta_schedule {
    BETA_LINEAR = 0,
    BETA_SCALED_LINEAR,
    BETA_COSINE, /* "squaredcos_cap_v2" */
    BETA_SIGMOID,
    BETA_LAPLACE,
    BETA_COUNT
};

enum prediction {
    PREDICTION_EPSILON = 0,
    PREDICTION_SAMPLE,
    PREDICTION_V,
    PREDICTION_COUNT
};

enum spacing {
    SPACING_LEADING = 0,
    SPACING_LINSPACE,
    SPACING_TRAILING,
    SPACING_COUNT
};

enum variance_type {
    VARIANCE_FIXED_SMALL = 0,
    VARIANCE_FIXED_SMALL_LOG,
    VARIANCE_FIXED_LARGE,
    VARIANCE_LEARNED,
    VARIANCE_LEARNED_RANGE,
    VARIANCE_COUNT
};

/* Which method the configuration is for: its fields and its defaults. */
enum schedule_method { METHOD_DDPM = 0, METHOD_DDIM, METHOD_COUNT };

struct schedule_config {
    uint32_t n_timesteps; /* T: training steps                               */
    double beta_start, beta_end;
    enum beta_schedule beta_schedule;
    float *trained_betas; /* [T], owned; NULL: by beta_schedule              */
    enum prediction prediction;
    enum spacing spacing;
    uint32_t steps_offset;
    bool is_clipping;
    double clip_range;
    bool is_thresholding;
    double threshold_ratio, threshold_max;
    bool is_zero_snr;
    enum variance_type variance; /* DDPM                                     */
    bool is_last_alpha_one;      /* DDIM: abar before step 0 is 1            */
};

void schedule_config_defaults(struct schedule_config *c,
                              enum schedule_method m);

/* `object` NULL: the defaults.  On success `c` owns trained_betas:
 * schedule_config_fini().  UNSTIR_ERR_FORMAT (wrong type, out of range),
 * UNSTIR_ERR_UNSUPPORTED (a name we do not know, or that is NaN upstream). */
enum unstir_status schedule_config_parse(struct schedule_config *c,
                                         const struct json *object,
                                         enum schedule_method m,
                                         struct unstir_error *err);
void schedule_config_fini(struct schedule_config *c);

struct schedule {
    struct schedule_config config;
    float *beta; /* [T] */
    float *abar; /* [T] cumulative product of 1 - beta */
};

/* Takes `config` over in every case (it is zeroed). */
enum unstir_status schedule_init(struct schedule *s,
                                 struct schedule_config *config,
                                 struct unstir_error *err);
void schedule_fini(struct schedule *s);

/* Fill timesteps[n_steps], descending, each 0..T-1.  UNSTIR_ERR_ARG with the
 * field "steps" when n_steps is 0, above T, or runs past the table. */
enum unstir_status schedule_timesteps(const struct schedule *s,
                                      uint32_t n_steps, uint32_t *timesteps,
                                      struct unstir_error *err);

/* Most steps that schedule_timesteps() takes. */
uint32_t schedule_max_steps(const struct schedule *s);

/* abar of a timestep that may be negative: `before` stands for -1 and less. */
float schedule_abar(const struct schedule *s, int64_t t, float before);

#endif
