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
    BETA_EXP,
    BETA_COUNT
};

enum prediction {
    PREDICTION_EPSILON = 0,
    PREDICTION_SAMPLE,
    PREDICTION_V,
    PREDICTION_FLOW,
    PREDICTION_COUNT
};

enum spacing {
    SPACING_LEADING = 0,
    SPACING_LINSPACE,
    SPACING_TRAILING,
    SPACING_COUNT
};

/* How a run's noise levels are chosen; see sigmas.h. */
enum sigma_kind {
    SIGMAS_SPACED = 0, /* those of the spaced timesteps */
    SIGMAS_KARRAS,
    SIGMAS_EXPONENTIAL,
    SIGMAS_BETA,
    SIGMAS_LU,
    SIGMAS_FLOW,
    SIGMAS_AYS,
    SIGMAS_AYS_XL,
    SIGMAS_KIND_COUNT
};

enum final_sigma { FINAL_ZERO = 0, FINAL_SIGMA_MIN, FINAL_COUNT };

enum variance_type {
    VARIANCE_FIXED_SMALL = 0,
    VARIANCE_FIXED_SMALL_LOG,
    VARIANCE_FIXED_LARGE,
    VARIANCE_LEARNED,
    VARIANCE_LEARNED_RANGE,
    VARIANCE_COUNT
};

enum algorithm {
    ALGORITHM_DPMPP = 0,
    ALGORITHM_SDE_DPMPP,
    ALGORITHM_DPM,
    ALGORITHM_SDE_DPM,
    ALGORITHM_DEIS,
    ALGORITHM_COUNT
};

enum solver_type {
    SOLVER_MIDPOINT = 0,
    SOLVER_HEUN,
    SOLVER_BH1,
    SOLVER_BH2,
    SOLVER_LOGRHO,
    SOLVER_COUNT
};

enum interpolation { INTERPOLATION_LINEAR = 0, INTERPOLATION_LOG_LINEAR };
enum timestep_type { TIMESTEPS_DISCRETE = 0, TIMESTEPS_CONTINUOUS };

/* Which class of the reference the configuration is for: its fields and its
 * defaults (schedule_config.c). */
enum schedule_method {
    METHOD_DDPM = 0,
    METHOD_DDIM,
    METHOD_DDIM_INVERSE,
    METHOD_PNDM,
    METHOD_LMS,
    METHOD_EULER,
    METHOD_EULER_A,
    METHOD_HEUN,
    METHOD_DPM2,
    METHOD_DPM2_A,
    METHOD_DPMPP,
    METHOD_DPMPP_SINGLE,
    METHOD_DPMPP_SDE,
    METHOD_UNIPC,
    METHOD_DEIS,
    METHOD_LCM,
    METHOD_TCD,
    METHOD_UNCLIP,
    METHOD_IPNDM,
    METHOD_EDM_EULER,
    METHOD_EDM_DPMPP,
    METHOD_FLOW,
    METHOD_CONSISTENCY,
    METHOD_SCORE_VE,
    METHOD_SCORE_VP,
    METHOD_BINOMIAL,
    METHOD_COUNT
};

/* What a network was trained on decides which methods can drive it. */
enum schedule_kin {
    KIN_BETAS = 0, /* T steps with betas */
    KIN_IPNDM,     /* angles */
    KIN_EDM,       /* preconditioned by sigma */
    KIN_FLOW,
    KIN_CONSISTENCY,
    KIN_SCORE_VE,
    KIN_SCORE_VP,
    KIN_BITS, /* binomial.h */
    KIN_COUNT
};

#define SCHEDULE_MAX_UNCORRECTED 16

/* Reals that a file may leave out are NAN. */
struct schedule_config {
    enum schedule_method method;
    uint32_t n_timesteps; /* T: training steps                               */
    double beta_start, beta_end;
    enum beta_schedule beta_schedule;
    float *trained_betas; /* [n_trained_betas], owned; NULL: by beta_schedule */
    uint32_t n_trained_betas; /* T, but of IPNDM                             */
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
    bool has_no_prk;             /* PNDM: no Runge-Kutta at the start        */

    enum sigma_kind sigmas;
    enum final_sigma final_sigma;
    double sigma_min, sigma_max; /* ends of the levels                       */
    double sigma_data, rho;      /* EDM, consistency                         */
    double lambda_min_clipped;   /* -INFINITY: all of the table              */
    enum interpolation interpolation; /* Euler                            */
    enum timestep_type timestep_type; /* Euler                            */

    uint32_t solver_order; /* 1 to 3                                         */
    enum algorithm algorithm;
    enum solver_type solver;
    bool is_lower_order_final, is_euler_at_final;
    bool is_predicting_x0;                          /* UniPC               */
    uint32_t uncorrected[SCHEDULE_MAX_UNCORRECTED]; /* UniPC: steps        */
    uint32_t n_uncorrected;

    uint32_t original_steps; /* LCM, TCD */
    double timestep_scaling; /* LCM */

    double flow_shift;     /* also FlowMatch's shift                       */
    bool is_shift_dynamic; /* by mu                                        */
    bool is_shift_linear;  /* time_shift_type                              */
    double shift_terminal;
    double base_shift, max_shift;
    uint32_t base_seq, max_seq;
    bool is_flow_inverted, is_flow_stochastic;

    double noise_gain; /* consistency: s_noise */
    double snr;        /* score VE: of the corrector                      */
    uint32_t n_corrections;
    uint32_t n_langevin;     /* annealed Langevin: walks a level             */
    double langevin_epsilon; /* their length at sigma_min; NAN: by rule      */
    double sampling_eps; /* score: where time ends                          */
    double beta_min, beta_max; /* score VP                                   */
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

/* "DDIMScheduler" */
const char *schedule_class_name(enum schedule_method m);
/* The class whose fields, defaults and steps this one has: of those made for
 * many steps at once ("DDIMParallelScheduler") the plain one, else itself. */
const char *schedule_twin(const char *class_name);
bool schedule_has_betas(enum schedule_method m);
enum schedule_kin schedule_kin_of(enum schedule_method m);
const char *schedule_kin_text(enum schedule_kin kin);

/* Methods that know no betas (schedule_has_betas) have no tables: NULL. */
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
/* By another spacing than the configured one. */
enum unstir_status schedule_timesteps_as(const struct schedule *s,
                                         enum spacing spacing, uint32_t n_steps,
                                         uint32_t *timesteps,
                                         struct unstir_error *err);

/* The same as the multistep solvers count: of n_steps + 1 the last is left out
 * (linspace, leading).  `last`: T, or less where lambda is clipped. */
enum unstir_status schedule_timesteps_solver(const struct schedule *s,
                                             enum spacing spacing,
                                             uint32_t n_steps, uint32_t last,
                                             uint32_t *timesteps,
                                             struct unstir_error *err);

/* How many timesteps the reference counts from `last` down by n_train / n: n,
 * or by rounding one more, which is -1; fewer where `last` is below n_train. */
uint32_t schedule_trailing_count(uint32_t n_train, uint32_t n, uint32_t last);

/* Most steps that schedule_timesteps() takes. */
uint32_t schedule_max_steps(const struct schedule *s);

/* The two-sided formula of torch.linspace in f32. */
void schedule_linspace_f32(float *out, double start, double end, uint32_t n);

/* abar of a timestep that may be negative: `before` stands for -1 and less. */
float schedule_abar(const struct schedule *s, int64_t t, float before);

#endif
