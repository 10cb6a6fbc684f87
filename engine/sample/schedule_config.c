/* schedule_config.c - scheduler_config.json for one method.
 *
 * One table names every field, where it lives, what it may hold and which
 * methods have it; a field of another method falls away, as it does in the
 * reference's from_config.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/schedule.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/diffusers_pipelines.h"
#include "base/nearest.h"
#include "format/json.h"

static const char *const beta_names[BETA_COUNT] = {
    [BETA_LINEAR] = "linear",
    [BETA_SCALED_LINEAR] = "scaled_linear",
    [BETA_COSINE] = "squaredcos_cap_v2",
    [BETA_SIGMOID] = "sigmoid",
    [BETA_LAPLACE] = "laplace",
    [BETA_EXP] = "exp",
};

static const char *const prediction_names[PREDICTION_COUNT] = {
    [PREDICTION_EPSILON] = "epsilon",
    [PREDICTION_SAMPLE] = "sample",
    [PREDICTION_V] = "v_prediction",
    [PREDICTION_FLOW] = "flow_prediction",
};

static const char *const spacing_names[SPACING_COUNT] = {
    [SPACING_LEADING] = "leading",
    [SPACING_LINSPACE] = "linspace",
    [SPACING_TRAILING] = "trailing",
};

static const char *const variance_names[VARIANCE_COUNT] = {
    [VARIANCE_FIXED_SMALL] = "fixed_small",
    [VARIANCE_FIXED_SMALL_LOG] = "fixed_small_log",
    [VARIANCE_FIXED_LARGE] = "fixed_large",
    [VARIANCE_LEARNED] = "learned",
    [VARIANCE_LEARNED_RANGE] = "learned_range",
};

static const char *const final_names[FINAL_COUNT] = {
    [FINAL_ZERO] = "zero",
    [FINAL_SIGMA_MIN] = "sigma_min",
};

static const char *const algorithm_names[ALGORITHM_COUNT] = {
    [ALGORITHM_DPMPP] = "dpmsolver++",
    [ALGORITHM_SDE_DPMPP] = "sde-dpmsolver++",
    [ALGORITHM_DPM] = "dpmsolver",
    [ALGORITHM_SDE_DPM] = "sde-dpmsolver",
    [ALGORITHM_DEIS] = "deis",
};

static const char *const solver_names[SOLVER_COUNT] = {
    [SOLVER_MIDPOINT] = "midpoint", [SOLVER_HEUN] = "heun",
    [SOLVER_BH1] = "bh1",           [SOLVER_BH2] = "bh2",
    [SOLVER_LOGRHO] = "logrho",
};

static const char *const interpolation_names[] = {
    [INTERPOLATION_LINEAR] = "linear",
    [INTERPOLATION_LOG_LINEAR] = "log_linear",
};

static const char *const timestep_type_names[] = {
    [TIMESTEPS_DISCRETE] = "discrete",
    [TIMESTEPS_CONTINUOUS] = "continuous",
};

/* Sigmas of the EDM classes: only two kinds, under a key of their own. */
static const char *const edm_names[] = {
    [SIGMAS_SPACED] = "spaced",
    [SIGMAS_KARRAS] = "karras",
    [SIGMAS_EXPONENTIAL] = "exponential",
};

static const struct method_row {
    const char *class_name;
    enum schedule_kin kin;
} method_rows[METHOD_COUNT] = {
    [METHOD_DDPM] = {"DDPMScheduler", KIN_BETAS},
    [METHOD_DDIM] = {"DDIMScheduler", KIN_BETAS},
    [METHOD_DDIM_INVERSE] = {"DDIMInverseScheduler", KIN_BETAS},
    [METHOD_PNDM] = {"PNDMScheduler", KIN_BETAS},
    [METHOD_LMS] = {"LMSDiscreteScheduler", KIN_BETAS},
    [METHOD_EULER] = {"EulerDiscreteScheduler", KIN_BETAS},
    [METHOD_EULER_A] = {"EulerAncestralDiscreteScheduler", KIN_BETAS},
    [METHOD_HEUN] = {"HeunDiscreteScheduler", KIN_BETAS},
    [METHOD_DPM2] = {"KDPM2DiscreteScheduler", KIN_BETAS},
    [METHOD_DPM2_A] = {"KDPM2AncestralDiscreteScheduler", KIN_BETAS},
    [METHOD_DPMPP] = {"DPMSolverMultistepScheduler", KIN_BETAS},
    [METHOD_DPMPP_SINGLE] = {"DPMSolverSinglestepScheduler", KIN_BETAS},
    [METHOD_DPMPP_SDE] = {"DPMSolverSDEScheduler", KIN_BETAS},
    [METHOD_UNIPC] = {"UniPCMultistepScheduler", KIN_BETAS},
    [METHOD_DEIS] = {"DEISMultistepScheduler", KIN_BETAS},
    [METHOD_LCM] = {"LCMScheduler", KIN_BETAS},
    [METHOD_TCD] = {"TCDScheduler", KIN_BETAS},
    [METHOD_UNCLIP] = {"UnCLIPScheduler", KIN_BETAS},
    [METHOD_IPNDM] = {"IPNDMScheduler", KIN_IPNDM},
    [METHOD_EDM_EULER] = {"EDMEulerScheduler", KIN_EDM},
    [METHOD_EDM_DPMPP] = {"EDMDPMSolverMultistepScheduler", KIN_EDM},
    [METHOD_FLOW] = {"FlowMatchEulerDiscreteScheduler", KIN_FLOW},
    [METHOD_CONSISTENCY] = {"CMStochasticIterativeScheduler", KIN_CONSISTENCY},
    [METHOD_SCORE_VE] = {"ScoreSdeVeScheduler", KIN_SCORE_VE},
    [METHOD_SCORE_VP] = {"ScoreSdeVpScheduler", KIN_SCORE_VP},
    [METHOD_BINOMIAL] = {"BinomialDiffusionScheduler", KIN_BITS}, /* ours */
};

const char *schedule_twin(const char *class_name)
{
    static const struct {
        const char *name;
        enum schedule_method method;
    } twins[] = {
        {"DDIMParallelScheduler", METHOD_DDIM},
        {"DDPMParallelScheduler", METHOD_DDPM},
    };

    for (size_t i = 0; i < ARRAY_LEN(twins); i++)
        if (strcmp(twins[i].name, class_name) == 0)
            return method_rows[twins[i].method].class_name;
    return class_name;
}

const char *schedule_class_name(enum schedule_method m)
{
    return method_rows[m].class_name;
}

enum schedule_kin schedule_kin_of(enum schedule_method m)
{
    return method_rows[m].kin;
}

bool schedule_has_betas(enum schedule_method m)
{
    return method_rows[m].kin == KIN_BETAS;
}

const char *schedule_kin_text(enum schedule_kin kin)
{
    static const char *const texts[KIN_COUNT] = {
        [KIN_BETAS] = "networks trained on a table of betas",
        [KIN_IPNDM] = "networks told an angle of noise (IPNDM)",
        [KIN_EDM] = "networks preconditioned by their noise level (EDM)",
        [KIN_FLOW] = "networks that predict a flow",
        [KIN_CONSISTENCY] = "consistency models",
        [KIN_SCORE_VE] = "score networks with exploding variance",
        [KIN_SCORE_VP] = "score networks with preserved variance",
        [KIN_BITS] = "networks that say the chance of a bit (binomial)",
    };
    return texts[kin];
}

/* -- defaults -------------------------------------------------------------- */

static void defaults_latent(struct schedule_config *c)
{
    c->beta_start = 0.00085;
    c->beta_end = 0.012;
}

static void defaults_edm(struct schedule_config *c)
{
    c->sigmas = SIGMAS_KARRAS;
    c->sigma_min = 0.002;
    c->sigma_max = 80;
    c->sigma_data = 0.5;
    c->rho = 7;
}

static void defaults_of_solvers(struct schedule_config *c,
                                enum schedule_method m)
{
    c->spacing = SPACING_LINSPACE;
    switch (m) {
    case METHOD_DPM2:
    case METHOD_DPM2_A:
    case METHOD_HEUN:
    case METHOD_DPMPP_SDE:
        c->is_clipping = false;
        defaults_latent(c);
        break;
    case METHOD_DPMPP_SINGLE:
        c->is_lower_order_final = false;
        break;
    case METHOD_UNIPC:
        c->solver = SOLVER_BH2;
        break;
    case METHOD_DEIS:
        c->algorithm = ALGORITHM_DEIS;
        c->solver = SOLVER_LOGRHO;
        break;
    default:
        break;
    }
}

void schedule_config_defaults(struct schedule_config *c, enum schedule_method m)
{
    *c = (struct schedule_config){
        .method = m,
        .n_timesteps = 1000,
        .beta_start = 0.0001,
        .beta_end = 0.02,
        .is_clipping = true,
        .clip_range = 1,
        .threshold_ratio = 0.995,
        .threshold_max = 1,
        .is_last_alpha_one = true,
        .sigma_min = NAN,
        .sigma_max = NAN,
        .shift_terminal = NAN,
        .lambda_min_clipped = -INFINITY,
        .solver_order = 2,
        .is_lower_order_final = true,
        .is_predicting_x0 = true,
        .original_steps = 50,
        .timestep_scaling = 10,
        .flow_shift = 1,
        .base_shift = 0.5,
        .max_shift = 1.15,
        .base_seq = 256,
        .max_seq = 4096,
        .noise_gain = 1,
        .snr = 0.15,
        .n_corrections = 1,
        .n_langevin = 5,
        .langevin_epsilon = NAN,
        .beta_min = 0.1,
        .beta_max = 20,
    };
    switch (m) {
    case METHOD_PNDM:
        c->is_clipping = false;
        c->has_no_prk = true; /* a folder of PNDM itself says otherwise */
        c->is_last_alpha_one = false;
        break;
    case METHOD_LCM:
    case METHOD_TCD:
        c->is_clipping = false;
        c->beta_schedule = BETA_SCALED_LINEAR;
        defaults_latent(c);
        break;
    case METHOD_UNCLIP:
        c->beta_schedule = BETA_COSINE;
        c->variance = VARIANCE_FIXED_SMALL_LOG;
        break;
    case METHOD_EDM_EULER:
    case METHOD_EDM_DPMPP:
        defaults_edm(c);
        break;
    case METHOD_CONSISTENCY:
        defaults_edm(c);
        c->n_timesteps = 40;
        break;
    case METHOD_FLOW:
        c->prediction = PREDICTION_FLOW;
        c->sigmas = SIGMAS_FLOW;
        break;
    case METHOD_SCORE_VE:
        c->n_timesteps = 2000;
        c->sigma_min = 0.01;
        c->sigma_max = 1348;
        c->sampling_eps = 1e-5;
        break;
    case METHOD_SCORE_VP:
        c->n_timesteps = 2000;
        c->sampling_eps = 1e-3;
        break;
    case METHOD_DDPM:
    case METHOD_DDIM:
    case METHOD_DDIM_INVERSE:
    case METHOD_IPNDM:
    case METHOD_BINOMIAL:
        break;
    default:
        defaults_of_solvers(c, m);
        break;
    }
}

/* -- fields ---------------------------------------------------------------- */

enum field_kind { FIELD_BOOL, FIELD_UINT, FIELD_REAL, FIELD_NAME };

struct field {
    const char *key;
    size_t offset;
    enum field_kind kind;
    uint32_t methods;
    double min, max;          /* FIELD_UINT, FIELD_REAL; NULL keeps a real   */
    const char *const *names; /* FIELD_NAME                                  */
    unsigned n_names;
};

#define M(name)  (1u << METHOD_##name)
#define AT(name) offsetof(struct schedule_config, name)
#define FLAG(key, field, methods)                          \
    {                                                      \
        key, AT(field), FIELD_BOOL, methods, 0, 0, NULL, 0 \
    }
#define UINT(key, field, methods, min, max)                    \
    {                                                          \
        key, AT(field), FIELD_UINT, methods, min, max, NULL, 0 \
    }
#define REAL(key, field, methods, min, max)                    \
    {                                                          \
        key, AT(field), FIELD_REAL, methods, min, max, NULL, 0 \
    }
#define NAME(key, field, methods, names)                                   \
    {                                                                      \
        key, AT(field), FIELD_NAME, methods, 0, 0, names, ARRAY_LEN(names) \
    }

#define KARRAS_FAMILY \
    (M(LMS) | M(EULER) | M(HEUN) | M(DPM2) | M(DPM2_A) | M(DPMPP_SDE))
#define EULERS     (KARRAS_FAMILY | M(EULER_A))
#define MULTISTEPS (M(DPMPP) | M(DPMPP_SINGLE) | M(UNIPC) | M(DEIS))
#define TABLED                                                             \
    (M(DDPM) | M(DDIM) | M(DDIM_INVERSE) | M(PNDM) | EULERS | MULTISTEPS | \
     M(LCM) | M(TCD) | M(UNCLIP))
#define EDM    (M(EDM_EULER) | M(EDM_DPMPP))
#define CURVED (EDM | M(CONSISTENCY))
#define ALL    0xffffffffu

_Static_assert(METHOD_COUNT <= 32, "a method is a bit");
_Static_assert(sizeof(enum prediction) == sizeof(unsigned) &&
                   sizeof(enum sigma_kind) == sizeof(unsigned),
               "names are stored as unsigned");

static const struct field fields[] = {
    UINT("num_train_timesteps", n_timesteps, ALL, 1, SCHEDULE_MAX_TIMESTEPS),
    REAL("beta_start", beta_start, TABLED, 0, 1),
    REAL("beta_end", beta_end, TABLED, 0, 1),
    NAME("prediction_type", prediction, TABLED | EDM, prediction_names),
    NAME("timestep_spacing", spacing,
         TABLED & ~(M(DPMPP_SINGLE) | M(LCM) | M(TCD) | M(UNCLIP)),
         spacing_names),
    FLAG("clip_sample", is_clipping,
         M(DDPM) | M(DDIM) | M(DDIM_INVERSE) | M(HEUN) | M(LCM) | M(TCD) |
             M(UNCLIP)),
    FLAG("clip_denoised", is_clipping, M(CONSISTENCY)),
    REAL("clip_sample_range", clip_range,
         M(DDPM) | M(DDIM) | M(DDIM_INVERSE) | M(HEUN) | M(LCM) | M(TCD) |
             M(UNCLIP),
         1e-6, 1e6),
    FLAG("thresholding", is_thresholding,
         M(DDPM) | M(DDIM) | MULTISTEPS | M(LCM) | M(TCD) | M(EDM_DPMPP)),
    REAL("dynamic_thresholding_ratio", threshold_ratio,
         M(DDPM) | M(DDIM) | MULTISTEPS | M(LCM) | M(TCD) | M(EDM_DPMPP), 0, 1),
    REAL("sample_max_value", threshold_max,
         M(DDPM) | M(DDIM) | MULTISTEPS | M(LCM) | M(TCD) | M(EDM_DPMPP), 1e-6,
         1e6),
    FLAG("rescale_betas_zero_snr", is_zero_snr,
         M(DDPM) | M(DDIM) | M(DDIM_INVERSE) | M(EULER) | M(EULER_A) |
             M(DPMPP) | M(UNIPC) | M(LCM) | M(TCD)),
    NAME("variance_type", variance, M(DDPM) | M(UNCLIP), variance_names),
    FLAG("set_alpha_to_one", is_last_alpha_one,
         M(DDIM) | M(DDIM_INVERSE) | M(PNDM) | M(LCM) | M(TCD)),
    NAME("final_sigmas_type", final_sigma,
         M(EULER) | M(DPMPP) | M(DPMPP_SINGLE) | M(UNIPC) | EDM, final_names),
    /* The reference's other methods read these two of any file. */
    REAL("sigma_min", sigma_min, KARRAS_FAMILY | MULTISTEPS, 1e-9, 1e9),
    REAL("sigma_max", sigma_max, KARRAS_FAMILY | MULTISTEPS, 1e-9, 1e9),
    REAL("sigma_min", sigma_min, CURVED | M(SCORE_VE), 1e-9, 1e9),
    REAL("sigma_max", sigma_max, CURVED | M(SCORE_VE), 1e-9, 1e9),
    REAL("sigma_data", sigma_data, CURVED, 1e-6, 1e6),
    REAL("rho", rho, CURVED, 0.1, 100),
    NAME("sigma_schedule", sigmas, EDM, edm_names),
    NAME("interpolation_type", interpolation, M(EULER), interpolation_names),
    NAME("timestep_type", timestep_type, M(EULER), timestep_type_names),
    UINT("solver_order", solver_order, MULTISTEPS | M(EDM_DPMPP), 1, 3),
    NAME("algorithm_type", algorithm, M(DPMPP) | M(DPMPP_SINGLE) | M(EDM_DPMPP),
         algorithm_names),
    NAME("solver_type", solver,
         M(DPMPP) | M(DPMPP_SINGLE) | M(UNIPC) | M(EDM_DPMPP), solver_names),
    FLAG("lower_order_final", is_lower_order_final, MULTISTEPS | M(EDM_DPMPP)),
    FLAG("euler_at_final", is_euler_at_final, M(DPMPP) | M(EDM_DPMPP)),
    FLAG("predict_x0", is_predicting_x0, M(UNIPC)),
    REAL("flow_shift", flow_shift, MULTISTEPS, 1e-3, 1e3),
    REAL("shift", flow_shift, M(FLOW), 1e-3, 1e3),
    FLAG("use_dynamic_shifting", is_shift_dynamic, MULTISTEPS | M(FLOW)),
    REAL("shift_terminal", shift_terminal, M(UNIPC) | M(FLOW), 1e-6, 1),
    REAL("base_shift", base_shift, M(FLOW), -100, 100),
    REAL("max_shift", max_shift, M(FLOW), -100, 100),
    UINT("base_image_seq_len", base_seq, M(FLOW), 1, 1 << 24),
    UINT("max_image_seq_len", max_seq, M(FLOW), 1, 1 << 24),
    FLAG("invert_sigmas", is_flow_inverted, M(FLOW)),
    FLAG("stochastic_sampling", is_flow_stochastic, M(FLOW)),
    UINT("original_inference_steps", original_steps, M(LCM) | M(TCD), 1,
         SCHEDULE_MAX_TIMESTEPS),
    REAL("timestep_scaling", timestep_scaling, M(LCM), 1e-6, 1e6),
    REAL("s_noise", noise_gain, M(CONSISTENCY), 0, 10),
    REAL("snr", snr, M(SCORE_VE), 1e-6, 100),
    UINT("correct_steps", n_corrections, M(SCORE_VE), 0, 16),
    UINT("langevin_steps", n_langevin, M(SCORE_VE), 1, 1000),
    REAL("langevin_epsilon", langevin_epsilon, M(SCORE_VE), 1e-15, 1e9),
    REAL("sampling_eps", sampling_eps, M(SCORE_VE) | M(SCORE_VP), 1e-9, 0.5),
    REAL("beta_min", beta_min, M(SCORE_VP), 1e-6, 1e3),
    REAL("beta_max", beta_max, M(SCORE_VP), 1e-6, 1e3),
    FLAG("skip_prk_steps", has_no_prk, M(PNDM)),
};

/* The index of member `key` in names; *out keeps its value when absent. */
static enum unstir_status get_name(const struct json *object, const char *key,
                                   const char *const *names, unsigned n,
                                   unsigned *out, struct unstir_error *err)
{
    const char *text;

    TRY(json_get_string(object, key, names[*out], &text, err));
    for (unsigned i = 0; i < n; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return UNSTIR_OK;
        }
    int near = nearest_word(text, names, n);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%s \"%.40s\" is not known%s%s%s", key, text,
                     near >= 0 ? "; did you mean \"" : "",
                     near >= 0 ? names[near] : "", near >= 0 ? "\"?" : "");
}

static enum unstir_status get_real(const struct json *object,
                                   const struct field *f, double *out,
                                   struct unstir_error *err)
{
    const struct json *v = json_get(object, f->key);

    if (!v || json_type(v) == JSON_NULL)
        return UNSTIR_OK;
    TRY(json_get_real(object, f->key, *out, out, err));
    if (!(*out >= f->min && *out <= f->max))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s is %g, allowed is %g to %g", f->key, *out, f->min,
                         f->max);
    return UNSTIR_OK;
}

static enum unstir_status read_field(struct schedule_config *c,
                                     const struct json *o,
                                     const struct field *f,
                                     struct unstir_error *err)
{
    void *place = (char *)c + f->offset;
    unsigned name;
    int64_t v;

    switch (f->kind) {
    case FIELD_BOOL:
        return json_get_bool(o, f->key, *(bool *)place, place, err);
    case FIELD_UINT:
        TRY(json_get_int(o, f->key, *(uint32_t *)place, (int64_t)f->min,
                         (int64_t)f->max, &v, err));
        *(uint32_t *)place = (uint32_t)v;
        return UNSTIR_OK;
    case FIELD_REAL:
        return get_real(o, f, place, err);
    case FIELD_NAME:
        memcpy(&name, place, sizeof name);
        TRY(get_name(o, f->key, f->names, f->n_names, &name, err));
        memcpy(place, &name, sizeof name);
        return UNSTIR_OK;
    }
    return UNSTIR_OK;
}

/* -- what is more than a field --------------------------------------------- */

/* The list that trained_betas says, or NULL. */
static const struct json *trained_list(const struct json *object)
{
    const struct json *list = json_get(object, "trained_betas");

    return list && json_type(list) != JSON_NULL ? list : NULL;
}

static enum unstir_status get_trained(const struct json *list,
                                      struct schedule_config *c,
                                      struct unstir_error *err)
{

    if (json_type(list) != JSON_ARRAY)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "trained_betas is not a list of numbers");
    size_t n = json_len(list);
    if (n < 1 || n > SCHEDULE_MAX_TIMESTEPS)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "trained_betas has %zu entries, allowed is 1 to %d", n,
                         SCHEDULE_MAX_TIMESTEPS);
    TRY(alloc_zero(&c->trained_betas, n, sizeof(float), err));
    c->n_trained_betas = (uint32_t)n;
    for (uint32_t i = 0; i < n; i++) {
        const struct json *v = json_at(list, i);
        if (json_type(v) != JSON_INT && json_type(v) != JSON_REAL)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "trained_betas[%u] is not a number", i);
        c->trained_betas[i] = (float)json_real(v);
    }
    return UNSTIR_OK;
}

/* IPNDM's are the levels of a run: one more than its steps. */
static enum unstir_status get_levels(const struct json *object,
                                     struct schedule_config *c,
                                     struct unstir_error *err)
{
    const struct json *list = trained_list(object);

    if (!list)
        return UNSTIR_OK;
    TRY(get_trained(list, c, err));
    if (c->n_trained_betas < 2)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "trained_betas has one entry, and no step");
    for (uint32_t i = 0; i < c->n_trained_betas; i++)
        if (!(c->trained_betas[i] >= 0 && c->trained_betas[i] <= 1))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "trained_betas[%u] is %g, allowed is 0 to 1", i,
                             (double)c->trained_betas[i]);
    return UNSTIR_OK;
}

static enum unstir_status get_betas(const struct json *object,
                                    struct schedule_config *c,
                                    struct unstir_error *err)
{
    const struct json *list = trained_list(object);
    unsigned kind = c->beta_schedule;

    if (!list) {
        TRY(get_name(object, "beta_schedule", beta_names, BETA_COUNT, &kind,
                     err));
        if (kind == BETA_EXP && c->method != METHOD_HEUN)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "beta_schedule \"exp\" is of %s alone",
                             method_rows[METHOD_HEUN].class_name);
        c->beta_schedule = (enum beta_schedule)kind;
        return UNSTIR_OK;
    }
    /* The name still says whether solvers round their timesteps. */
    const char *name = json_string(json_get(object, "beta_schedule"));
    if (strcmp(name, beta_names[BETA_COSINE]) == 0)
        c->beta_schedule = BETA_COSINE;
    TRY(get_trained(list, c, err));
    if (c->n_trained_betas != c->n_timesteps)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "trained_betas has %u entries, num_train_timesteps "
                         "says %u",
                         c->n_trained_betas, c->n_timesteps);
    return UNSTIR_OK;
}

/* Leading spacing alone looks at it, and at the table's end (schedule.c). */
static enum unstir_status get_offset(const struct json *o,
                                     struct schedule_config *c,
                                     struct unstir_error *err)
{
    int64_t offset;

    TRY(json_get_int(o, "steps_offset", c->steps_offset, 0,
                     SCHEDULE_MAX_TIMESTEPS, &offset, err));
    c->steps_offset = (uint32_t)offset;
    return UNSTIR_OK;
}

/* The use_*_sigmas flags: at most one. */
static enum unstir_status get_sigmas(const struct json *o,
                                     struct schedule_config *c,
                                     struct unstir_error *err)
{
    static const struct {
        const char *key;
        enum sigma_kind kind;
        uint32_t methods;
    } rows[] = {
        {"use_karras_sigmas", SIGMAS_KARRAS, KARRAS_FAMILY | MULTISTEPS},
        {"use_exponential_sigmas", SIGMAS_EXPONENTIAL,
         KARRAS_FAMILY | MULTISTEPS},
        {"use_beta_sigmas", SIGMAS_BETA, KARRAS_FAMILY | MULTISTEPS},
        {"use_lu_lambdas", SIGMAS_LU, M(DPMPP)},
        {"use_flow_sigmas", SIGMAS_FLOW, MULTISTEPS},
    };
    const char *chosen = NULL;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool is_on = false;
        if (!(rows[i].methods >> c->method & 1))
            continue;
        TRY(json_get_bool(o, rows[i].key, false, &is_on, err));
        if (is_on && chosen)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "%s and %s cannot be combined", chosen,
                             rows[i].key);
        if (is_on) {
            chosen = rows[i].key;
            c->sigmas = rows[i].kind;
        }
    }
    return UNSTIR_OK;
}

static enum unstir_status get_uncorrected(const struct json *o,
                                          struct schedule_config *c,
                                          struct unstir_error *err)
{
    const struct json *list = json_get(o, "disable_corrector");

    if (!list || json_type(list) == JSON_NULL)
        return UNSTIR_OK;
    if (json_type(list) != JSON_ARRAY ||
        json_len(list) > SCHEDULE_MAX_UNCORRECTED)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "disable_corrector is not a list of at most %d steps",
                         SCHEDULE_MAX_UNCORRECTED);
    for (size_t i = 0; i < json_len(list); i++) {
        const struct json *v = json_at(list, i);
        if (json_type(v) != JSON_INT || json_int(v) < 0 ||
            json_int(v) > SCHEDULE_MAX_TIMESTEPS)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "disable_corrector[%zu] is not a step", i);
        c->uncorrected[c->n_uncorrected++] = (uint32_t)json_int(v);
    }
    return UNSTIR_OK;
}

static enum unstir_status get_clipped(const struct json *o,
                                      struct schedule_config *c,
                                      struct unstir_error *err)
{
    const struct json *v = json_get(o, "lambda_min_clipped");

    /* JSON has no infinity; the reference writes -Infinity or null. */
    if (!v || json_type(v) == JSON_NULL || json_type(v) == JSON_STRING)
        return UNSTIR_OK;
    TRY(json_get_real(o, "lambda_min_clipped", -INFINITY,
                      &c->lambda_min_clipped, err));
    if (c->lambda_min_clipped < 0)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "lambda_min_clipped is %g, allowed is below 0",
                     c->lambda_min_clipped);
}

/* Names of other solvers stand for this one's default, as in the reference. */
static enum unstir_status settle_solver(struct schedule_config *c,
                                        struct unstir_error *err)
{
    bool is_single = c->method == METHOD_DPMPP_SINGLE;

    if (c->method == METHOD_UNIPC) {
        if (c->solver != SOLVER_BH1)
            c->solver = SOLVER_BH2;
        return UNSTIR_OK;
    }
    if (c->solver != SOLVER_HEUN)
        c->solver = SOLVER_MIDPOINT;
    if (c->algorithm == ALGORITHM_DEIS)
        c->algorithm = ALGORITHM_DPMPP;
    if ((c->method == METHOD_EDM_DPMPP &&
         (c->algorithm == ALGORITHM_DPM ||
          c->algorithm == ALGORITHM_SDE_DPM)) ||
        (is_single && c->algorithm == ALGORITHM_SDE_DPM))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "algorithm_type \"%s\" is not one of %s",
                         algorithm_names[c->algorithm],
                         method_rows[c->method].class_name);
    if ((c->algorithm == ALGORITHM_DPM || c->algorithm == ALGORITHM_SDE_DPM) &&
        c->final_sigma == FINAL_ZERO)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "algorithm_type \"%s\" cannot end at noise zero: "
                         "final_sigmas_type must be \"sigma_min\"",
                         algorithm_names[c->algorithm]);
    return UNSTIR_OK;
}

static enum unstir_status parse_variance(struct schedule_config *c,
                                         const struct json *o,
                                         struct unstir_error *err)
{
    const char *text;

    TRY(json_get_string(o, "variance_type", variance_names[c->variance], &text,
                        err));
    if (strcmp(text, "fixed_large_log") == 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "variance_type \"fixed_large_log\" takes the root of "
                         "a negative number in the reference; use "
                         "\"fixed_large\"");
    return UNSTIR_OK;
}

static enum unstir_status get_shift_type(const struct json *o,
                                         struct schedule_config *c,
                                         struct unstir_error *err)
{
    static const char *const names[] = {"exponential", "linear"};
    unsigned kind = 0;

    TRY(get_name(o, "time_shift_type", names, 2, &kind, err));
    c->is_shift_linear = kind == 1;
    return UNSTIR_OK;
}

/* A folder of flow matching may choose other sigmas within its range. */
static enum unstir_status get_flow(const struct json *o,
                                   struct schedule_config *c,
                                   struct unstir_error *err)
{
    static const char *const keys[] = {
        "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"};
    static const enum sigma_kind kinds[] = {SIGMAS_KARRAS, SIGMAS_EXPONENTIAL,
                                            SIGMAS_BETA};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        bool is_on = false;
        TRY(json_get_bool(o, keys[i], false, &is_on, err));
        if (is_on && c->sigmas != SIGMAS_FLOW)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "%s cannot be combined with other sigmas",
                             keys[i]);
        if (is_on)
            c->sigmas = kinds[i];
    }
    return get_shift_type(o, c, err);
}

/* Defaults that hold only for the class the file was written for. */
static void set_own_defaults(struct schedule_config *c, const struct json *o)
{
    const char *class_name = json_string(json_get(o, "_class_name"));

    const struct json *patched = json_get(o, DIFFUSERS_PATCHED);
    int64_t patches = patched ? json_int(patched) : 0;

    if (strcmp(schedule_twin(class_name), schedule_class_name(c->method)) != 0)
        return;
    /* see schedule_config_defaults() */
    c->has_no_prk = patches & DIFFUSERS_PATCH_PRK;
    if (patches & DIFFUSERS_PATCH_OFFSET)
        c->steps_offset = 1;
    if (patches & DIFFUSERS_PATCH_CLIP)
        c->is_clipping = false;
}

static enum unstir_status parse(struct schedule_config *c, const struct json *o,
                                struct unstir_error *err)
{
    enum schedule_method m = c->method;

    set_own_defaults(c, o);
    if (m == METHOD_DDPM || m == METHOD_UNCLIP)
        TRY(parse_variance(c, o, err));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].methods >> m & 1)
            TRY(read_field(c, o, &fields[i], err));
    if (schedule_has_betas(m)) {
        TRY(get_betas(o, c, err));
        TRY(get_offset(o, c, err));
        TRY(get_sigmas(o, c, err));
    }
    if (m == METHOD_IPNDM)
        TRY(get_levels(o, c, err));
    if (m == METHOD_UNIPC)
        TRY(get_uncorrected(o, c, err));
    if (MULTISTEPS >> m & 1)
        TRY(get_shift_type(o, c, err));
    if (m == METHOD_DPMPP || m == METHOD_DPMPP_SINGLE)
        TRY(get_clipped(o, c, err));
    if (m == METHOD_FLOW)
        TRY(get_flow(o, c, err));
    if (m != METHOD_DEIS && (MULTISTEPS | M(EDM_DPMPP)) >> m & 1)
        TRY(settle_solver(c, err));
    if (!isnan(c->sigma_min) && !isnan(c->sigma_max) &&
        c->sigma_min >= c->sigma_max)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "sigma_min %g is not below sigma_max %g", c->sigma_min,
                         c->sigma_max);
    return UNSTIR_OK;
}

enum unstir_status schedule_config_parse(struct schedule_config *c,
                                         const struct json *object,
                                         enum schedule_method m,
                                         struct unstir_error *err)
{
    schedule_config_defaults(c, m);
    if (!object)
        return UNSTIR_OK;
    enum unstir_status st = parse(c, object, err);
    if (st)
        schedule_config_fini(c);
    return st;
}

void schedule_config_fini(struct schedule_config *c)
{
    alloc_free(c->trained_betas);
    *c = (struct schedule_config){0};
}
