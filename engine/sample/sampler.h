/* sampler.h - one interface for every way from noise to a picture.
 *
 * A sampler is a row of functions without state; a run is one sampler made
 * ready for a schedule and a number of steps (read-only, shared by nobody); a
 * sampler_state is all that changes from step to step.
 *
 *     step k:   for e in 0 .. sampler_n_evals(run, k) - 1
 *                   t = sampler_timestep(run, k, e)
 *                   input = state->sample, scaled by sampler_scale_input()
 *                   output = network(input, t)
 *                   sampler_advance(run, k, e, &io, state)
 *
 * A step is what a user counts; methods of second order evaluate the network
 * twice in one.  Multistep methods keep outputs of earlier steps in
 * state->history (n_history tensors) and say in state->n_held how many are
 * valid.  The caller works on a copy of the state and keeps it when the whole
 * step is done, so a cancelled step leaves nothing behind.
 *
 * Tensors are f32 [channels][height][width], as the reference draws them, and
 * arithmetic keeps its order of f32 operations; a step agrees with it to 1e-6.
 *
 * Adding a sampler: one file with one `const struct sampler`, one row in
 * sampler.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SAMPLE_SAMPLER_H
#define SAMPLE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/rng.h"
#include "sample/schedule.h"

#define SAMPLER_MAX_HISTORY 4

struct sampler_run;

struct sampler_state {
    float *sample;   /* [n] x_t                                              */
    float *estimate; /* [n] the finished picture as last estimated           */
    float *history;  /* [n_history][n]                                       */
    uint32_t n_held; /* valid tensors of history                             */
    struct rng rng;
};

/* What one evaluation brings. */
struct sampler_io {
    const float *output;   /* [n] of the network, guidance applied           */
    const float *variance; /* [n] second half of a learned-variance network,
                              or NULL                                        */
    float *noise;          /* [n] scratch                                    */
};

struct sampler {
    const struct unstir_sampler_info *info;
    const char *class_name; /* in scheduler_config.json                      */
    enum schedule_method method;
    size_t n_history;
    bool has_eta;

    /* Refuse what this method cannot do; timesteps are filled already. */
    enum unstir_status (*check)(const struct sampler_run *run,
                                struct unstir_error *err);
    uint32_t (*n_evals)(const struct sampler_run *run, uint32_t step);
    double (*timestep)(const struct sampler_run *run, uint32_t step,
                       uint32_t eval);
    /* out = the network's input; NULL: the sample as it is. */
    void (*scale_input)(const struct sampler_run *run, uint32_t step,
                        uint32_t eval, const float *sample, float *out);
    void (*advance)(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    const struct sampler_io *io, struct sampler_state *state);
};

/* The table; order is the public one. */
enum sampler_id { SAMPLER_DDIM = 0, SAMPLER_DDPM, SAMPLER_COUNT };
extern const struct sampler *const samplers[SAMPLER_COUNT];
extern const struct unstir_sampler_info sampler_infos[SAMPLER_COUNT];

/* By name or alias, case and blanks ignored ("Euler a"); NULL if unknown. */
const struct sampler *sampler_find(const char *name);
/* By class of a scheduler_config.json; NULL if it is not here. */
const struct sampler *sampler_of_class(const char *class_name);
size_t sampler_index(const struct sampler *s);

struct sampler_run {
    const struct sampler *sampler;
    const struct schedule *schedule; /* borrowed                             */
    uint32_t *timesteps;             /* [n_steps]                            */
    uint32_t n_steps;
    size_t n; /* floats of a sample                   */
    float eta;
    bool has_clipped_output;   /* DDIM: epsilon from the clipped estimate     */
    bool has_learned_variance; /* the network brings a second half           */
};

struct sampler_run_options {
    uint32_t n_steps;
    size_t n;
    double eta;
    bool has_clipped_output;
    bool has_learned_variance;
};

/* sampler_run_fini() in every case. */
enum unstir_status sampler_run_init(struct sampler_run *run,
                                    const struct sampler *sampler,
                                    const struct schedule *schedule,
                                    const struct sampler_run_options *options,
                                    struct unstir_error *err);
/* One evaluation is done: io holds what it brought. */
void sampler_advance(const struct sampler_run *run, uint32_t step,
                     uint32_t eval, const struct sampler_io *io,
                     struct sampler_state *state);

void sampler_run_fini(struct sampler_run *run);

uint32_t sampler_n_evals(const struct sampler_run *run, uint32_t step);
double sampler_timestep(const struct sampler_run *run, uint32_t step,
                        uint32_t eval);
/* The sample itself, or `buffer` filled. */
const float *sampler_scale_input(const struct sampler_run *run, uint32_t step,
                                 uint32_t eval, const float *sample,
                                 float *buffer);

/* -- for the files of samplers --------------------------------------------- */

/* estimate = the finished picture that `output` stands for at signal share
 * `abar`, thresholded or clipped as configured. */
void sampler_estimate(const struct sampler_run *run, float abar,
                      const float *output, const float *sample,
                      float *estimate);

/* The two ends of linear interpolation at rank q * (n - 1) of the sorted
 * |x|, interpolated: torch.quantile.  n >= 1, no NaN. */
float sampler_quantile_abs(const float *x, size_t n, double q);

extern const struct sampler sampler_ddpm;
extern const struct sampler sampler_ddim;

#endif
