/* sampler.h - one interface for every way from noise to a picture.
 *
 * A sampler is a row of functions without state; a run is one sampler made
 * ready for a schedule and a number of steps (read-only, shared by nobody); a
 * sampler_state is all that changes from step to step.
 *
 *     start:    state->sample = run.first_scale * noise, or a picture noised
 *               by sampler_add_noise()
 *     step k:   for e in 0 .. sampler_n_evals(run, k) - 1
 *                   t = sampler_timestep(run, k, e)
 *                   input = state->sample, scaled by sampler_scale_input()
 *                   output = network(input, t)
 *                   sampler_advance(run, k, e, &io, state)
 *
 * A step is what a user counts; methods of second order evaluate the network
 * twice in one.  Multistep methods keep outputs of earlier steps in
 * state->history (n_history tensors) and say in state->n_held how many are
 * valid between steps; what lies behind them is scratch of the step under way.
 * The caller works on a copy of the state and keeps it when the whole step is
 * done, so a cancelled step leaves nothing behind.
 *
 * Noise beyond the first is drawn from state->rng alone, in the reference's
 * order, so a state is all that a run needs to go on.
 *
 * Some methods keep the sample in the variance-exploding form (x0 + sigma z,
 * up to a thousand times a picture's range): sampler_view_scale() brings it
 * back to that of noise for looking at it.
 *
 * Tensors are f32 [channels][height][width], as the reference draws them, and
 * arithmetic keeps its order of f32 operations; a step agrees with it to 1e-6.
 *
 * Adding a sampler: one file with one `const struct sampler`, one row in
 * sampler_table.c.
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

#define SAMPLER_MAX_HISTORY 8

struct json;
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

/* A name that a request can say for the levels or the spacing of a run. */
struct sampler_schedule {
    const struct unstir_schedule_info *info;
    bool is_spacing; /* else a sigma_kind */
    unsigned kind;
};
#define SAMPLER_N_SCHEDULES 9
extern const struct unstir_schedule_info
    sampler_schedule_infos[SAMPLER_N_SCHEDULES];
extern const struct sampler_schedule sampler_schedules[SAMPLER_N_SCHEDULES];

struct sampler {
    const struct unstir_sampler_info *info;
    enum schedule_method method;
    uint32_t order; /* of the solver in the configuration; 0: as it says     */
    bool is_sde;    /* the solver draws noise                                */
    bool is_heun;   /* solver_type, whatever the configuration says          */
    size_t n_history;
    bool has_eta;
    double default_eta;
    uint32_t default_steps;  /* 0: 50                                         */
    uint32_t sigma_kinds;    /* bit per sigma_kind that a request may choose  */
    bool has_spacings;       /* a request may choose the spacing              */
    bool is_unit_range;      /* pictures lie in 0 .. 1, not -1 .. 1           */
    bool is_result_estimate; /* the result is the last estimate              */
    bool is_inverse;         /* from a picture to noise                      */
    bool has_grid;           /* takes options' share                         */

    /* Change what the name stands for in a parsed configuration; `is_own`: it
     * was written for this class.  NULL: nothing. */
    enum unstir_status (*adapt)(const struct sampler *self,
                                struct schedule_config *config, bool is_own,
                                struct unstir_error *err);
    /* Fill the run's tables; NULL: timesteps by the spacing. */
    enum unstir_status (*prepare)(struct sampler_run *run,
                                  struct unstir_error *err);
    /* Refuse what this method cannot do; the tables are filled already. */
    enum unstir_status (*check)(const struct sampler_run *run,
                                struct unstir_error *err);
    /* Most steps of a configuration; NULL: by the spacing. */
    uint32_t (*max_steps)(const struct schedule *s);
    /* Steps that a run really has, where the configuration says more or less
     * than was asked for; NULL: as many. */
    uint32_t (*count_steps)(const struct sampler_run *run);
    uint32_t (*n_evals)(const struct sampler_run *run, uint32_t step);
    double (*timestep)(const struct sampler_run *run, uint32_t step,
                       uint32_t eval);
    /* out = the network's input; NULL: the sample as it is. */
    void (*scale_input)(const struct sampler_run *run, uint32_t step,
                        uint32_t eval, const float *sample, float *out);
    void (*advance)(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    const struct sampler_io *io, struct sampler_state *state);
    /* Shares of picture and noise in what an evaluation is made of; NULL:
     * those of the step's timestep. */
    void (*mixture)(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    float *signal, float *noise);
};

/* The table; order is the public one. */
enum sampler_id {
    SAMPLER_DDIM = 0,
    SAMPLER_DDPM,
    SAMPLER_PNDM,
    SAMPLER_LMS,
    SAMPLER_EULER,
    SAMPLER_EULER_A,
    SAMPLER_HEUN,
    SAMPLER_DPM2,
    SAMPLER_DPM2_A,
    SAMPLER_DPMPP_2M,
    SAMPLER_DPMPP_3M,
    SAMPLER_DPMPP_2M_SDE,
    SAMPLER_DPMPP_3M_SDE,
    SAMPLER_DPMPP_2S,
    SAMPLER_DPMPP_3S,
    SAMPLER_DPMPP_SDE,
    SAMPLER_UNIPC,
    SAMPLER_DEIS,
    SAMPLER_LCM,
    SAMPLER_TCD,
    SAMPLER_DDIM_INVERSE,
    SAMPLER_UNCLIP,
    SAMPLER_IPNDM,
    SAMPLER_EDM_EULER,
    SAMPLER_EDM_DPMPP_2M,
    SAMPLER_FLOW_EULER,
    SAMPLER_CONSISTENCY,
    SAMPLER_SCORE_VE,
    SAMPLER_SCORE_VP,
    SAMPLER_ANNEALED_LANGEVIN,
    SAMPLER_BINOMIAL,
    SAMPLER_DPMPP_2S_A,
    SAMPLER_DPMPP_2M_SDE_HEUN,
    SAMPLER_COUNT
};
extern const struct sampler *const samplers[SAMPLER_COUNT];
extern const struct unstir_sampler_info sampler_infos[SAMPLER_COUNT];

/* By name or alias, case and blanks ignored ("Euler a"), also with
 * k-diffusion's k in front, or by a class of the reference; NULL if unknown.  A
 * name may end with that of a schedule ("DPM++ 2M Karras"): then *schedule is
 * it, else NULL. */
const struct sampler *sampler_find(const char *name);
const struct sampler *
sampler_find_scheduled(const char *name,
                       const struct sampler_schedule **schedule);
/* What an unknown name may have meant; NULL if nothing is near. */
const struct sampler *sampler_nearest(const char *name);
/* The first of a class of the reference; NULL if it is not here. */
const struct sampler *sampler_of_class(const char *class_name);
/* Of a scheduler_config.json: class, order and algorithm; NULL likewise. */
const struct sampler *sampler_of_config(const struct json *config);
size_t sampler_index(const struct sampler *s);
const struct sampler_schedule *sampler_schedule_find(const char *name);
/* The model's own: "default", of webuis "Automatic". */
bool sampler_schedule_is_default(const char *name);

/* The schedule of this sampler from a folder's configuration (NULL: the
 * defaults of its class). */
enum unstir_status sampler_schedule_init(const struct sampler *s,
                                         struct schedule *schedule,
                                         const struct json *config,
                                         struct unstir_error *err);
uint32_t sampler_max_steps(const struct sampler *s,
                           const struct schedule *schedule);
/* Steps of a run of which `n_asked` were asked for; `asked` as in the run's
 * options. */
uint32_t sampler_count_steps(const struct sampler *s,
                             const struct schedule *schedule,
                             const struct sampler_schedule *asked,
                             uint32_t n_asked);

struct sampler_run {
    const struct sampler *sampler;
    const struct schedule *schedule; /* borrowed                             */
    enum spacing spacing;            /* as configured or as asked for        */
    enum sigma_kind sigma_kind;
    void *memory;
    uint32_t *timesteps; /* [n_steps] entries of the schedule's tables       */
    float *times;        /* [n_steps] what the network is told               */
    float *sigmas;       /* [n_steps + 1] levels, of methods that use them   */
    float *middle_times, *middle_sigmas; /* [n_steps] of second evaluations  */
    uint32_t n_steps;
    uint32_t n_asked;  /* steps that the spacing is of: see count_steps       */
    uint32_t first;    /* step that the run begins with                      */
    size_t n;          /* floats of a sample                                 */
    float first_scale; /* of the first noise                                 */
    double eta;
    const uint32_t *custom;    /* [n_steps] or NULL, borrowed                */
    double mu;                 /* shift of flow matching                     */
    double share;              /* of the grid of distilled methods; 0: all   */
    bool has_clipped_output;   /* DDIM: epsilon from the clipped estimate    */
    bool has_learned_variance; /* the network brings a second half           */
};

struct sampler_run_options {
    uint32_t n_steps;
    uint32_t first; /* below n_steps; above 0: begins from a picture         */
    size_t n;
    double eta;
    const struct sampler_schedule *schedule; /* NULL: as configured          */
    double mu; /* flow matching with is_shift_dynamic                        */
    const uint32_t *timesteps; /* [n_steps] falling, instead of spaced ones:
                                  consistency models                         */
    double share; /* LCM: all steps lie in the last share of the grid that they
                     are taken from; 0: in all of it                         */
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

/* out = a picture noised to the start of `step`: where a run begins that
 * starts from a picture.  `noise` [n] may be `out`. */
void sampler_add_noise(const struct sampler_run *run, uint32_t step,
                       const float *picture, const float *noise, float *out);
/* The same to the level that an evaluation leaves the sample at, that of the
 * next one; after the last one the picture itself. */
void sampler_add_noise_after(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, const float *picture,
                             const float *noise, float *out);
/* What brings a sample before `step` (n_steps: the result) to the scale of
 * pictures and unit noise. */
float sampler_view_scale(const struct sampler_run *run, uint32_t step);

/* -- for the files of samplers --------------------------------------------- */

/* estimate = the finished picture that `output` stands for at signal share
 * `abar`, thresholded or clipped as configured. */
void sampler_estimate(const struct sampler_run *run, float abar,
                      const float *output, const float *sample,
                      float *estimate);
/* Without any limit. */
void sampler_estimate_free(const struct sampler_run *run, float abar,
                           const float *output, const float *sample,
                           float *estimate);
/* The noise that one element of an output stands for; signal and noise are
 * the roots of abar and 1 - abar. */
float sampler_noise_of(const struct sampler_run *run, float signal, float noise,
                       float output, float sample);
/* The same for a sample x0 + sigma z. */
void sampler_estimate_exploding(const struct sampler_run *run, float sigma,
                                const float *output, const float *sample,
                                float *estimate);
/* Threshold or clip an estimate as configured. */
void sampler_limit(const struct sampler_run *run, float *estimate);

/* The two ends of linear interpolation at rank q * (n - 1) of the sorted
 * |x|, interpolated: torch.quantile.  n >= 1, no NaN. */
float sampler_quantile_abs(const float *x, size_t n, double q);

/* The tensor `i` of the history. */
float *sampler_history(const struct sampler_run *run,
                       const struct sampler_state *state, size_t i);
/* Make room at the front of history[first ..]: all move back by one, at most
 * `most` stay.  n_held counts from `first`. */
float *sampler_push(const struct sampler_run *run, struct sampler_state *state,
                    size_t first, size_t most);

/* Levels and times of the methods with sigmas: Euler's family (levels of the
 * spaced steps, first_scale) and the multistep solvers. */
enum unstir_status sampler_prepare_exploding(struct sampler_run *run,
                                             struct unstir_error *err);
enum unstir_status sampler_prepare_solver(struct sampler_run *run,
                                          struct unstir_error *err);
uint32_t sampler_max_steps_solver(const struct schedule *s);
/* Trailing steps keep their distance where lambda_min_clipped cuts the table:
 * there are fewer. */
uint32_t sampler_count_steps_solver(const struct sampler_run *run);
/* Levels must be finite and fall from step to step. */
enum unstir_status sampler_check_levels(const struct sampler_run *run,
                                        struct unstir_error *err);
/* x / sqrt(sigma^2 + 1), and its shares x0 + sigma z.  The reference takes the
 * level where a step ends for that of its second evaluation, also where that is
 * made half way. */
void sampler_scale_exploding(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, const float *sample, float *out);
void sampler_mix_exploding(const struct sampler_run *run, uint32_t step,
                           uint32_t eval, float *signal, float *noise);

/* Two in every step but the last. */
uint32_t sampler_n_evals_twice(const struct sampler_run *run, uint32_t step);
/* Of second evaluations at middle_times and middle_sigmas. */
double sampler_timestep_middle(const struct sampler_run *run, uint32_t step,
                               uint32_t eval);
void sampler_scale_middle(const struct sampler_run *run, uint32_t step,
                          uint32_t eval, const float *sample, float *out);

/* A step from `sigma` to `next` as one down and fresh noise on top. */
struct sampler_ancestral {
    float up, down;
};
struct sampler_ancestral sampler_ancestral_split(float sigma, float next);

/* Timesteps of distilled models: picked from a grid of original_steps. */
enum unstir_status sampler_prepare_distilled(struct sampler_run *run,
                                             struct unstir_error *err);
uint32_t sampler_max_steps_distilled(const struct schedule *s);

#define SIGMA_BIT(kind) (1u << SIGMAS_##kind)
#define SIGMA_USUAL                                                   \
    (SIGMA_BIT(SPACED) | SIGMA_BIT(KARRAS) | SIGMA_BIT(EXPONENTIAL) | \
     SIGMA_BIT(BETA) | SIGMA_BIT(AYS) | SIGMA_BIT(AYS_XL))

extern const struct sampler sampler_ddim;
extern const struct sampler sampler_ddpm;
extern const struct sampler sampler_pndm;
extern const struct sampler sampler_lms;
extern const struct sampler sampler_euler;
extern const struct sampler sampler_euler_a;
extern const struct sampler sampler_heun;
extern const struct sampler sampler_dpm2;
extern const struct sampler sampler_dpm2_a;
extern const struct sampler sampler_dpmpp_2m;
extern const struct sampler sampler_dpmpp_3m;
extern const struct sampler sampler_dpmpp_2m_sde;
extern const struct sampler sampler_dpmpp_3m_sde;
extern const struct sampler sampler_dpmpp_2s;
extern const struct sampler sampler_dpmpp_3s;
extern const struct sampler sampler_dpmpp_sde;
extern const struct sampler sampler_unipc;
extern const struct sampler sampler_deis;
extern const struct sampler sampler_lcm;
extern const struct sampler sampler_tcd;
extern const struct sampler sampler_ddim_inverse;
extern const struct sampler sampler_unclip;
extern const struct sampler sampler_ipndm;
extern const struct sampler sampler_edm_euler;
extern const struct sampler sampler_edm_dpmpp_2m;
extern const struct sampler sampler_flow_euler;
extern const struct sampler sampler_consistency;
extern const struct sampler sampler_score_ve;
extern const struct sampler sampler_score_vp;
extern const struct sampler sampler_annealed_langevin;
extern const struct sampler sampler_binomial;
extern const struct sampler sampler_dpmpp_2s_a;
extern const struct sampler sampler_dpmpp_2m_sde_heun;

#endif
