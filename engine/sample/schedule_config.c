/* schedule_config.c - scheduler_config.json for one method.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/schedule.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"

static const char *const beta_names[BETA_COUNT] = {
    [BETA_LINEAR] = "linear",
    [BETA_SCALED_LINEAR] = "scaled_linear",
    [BETA_COSINE] = "squaredcos_cap_v2",
    [BETA_SIGMOID] = "sigmoid",
    [BETA_LAPLACE] = "laplace",
};

static const char *const prediction_names[PREDICTION_COUNT] = {
    [PREDICTION_EPSILON] = "epsilon",
    [PREDICTION_SAMPLE] = "sample",
    [PREDICTION_V] = "v_prediction",
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

void schedule_config_defaults(struct schedule_config *c, enum schedule_method m)
{
    (void)m; /* the two methods differ in fields, not in shared defaults */
    *c = (struct schedule_config){
        .n_timesteps = 1000,
        .beta_start = 0.0001,
        .beta_end = 0.02,
        .is_clipping = true,
        .clip_range = 1,
        .threshold_ratio = 0.995,
        .threshold_max = 1,
        .is_last_alpha_one = true,
    };
}

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
    int near = unstir_nearest(text, names, n);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%s \"%.40s\" is not known%s%s%s", key, text,
                     near >= 0 ? "; did you mean \"" : "",
                     near >= 0 ? names[near] : "", near >= 0 ? "\"?" : "");
}

static enum unstir_status get_real(const struct json *object, const char *key,
                                   double min, double max, double *out,
                                   struct unstir_error *err)
{
    TRY(json_get_real(object, key, *out, out, err));
    if (!(*out >= min && *out <= max))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s is %g, allowed is %g to %g", key, *out, min, max);
    return UNSTIR_OK;
}

static enum unstir_status get_betas(const struct json *object,
                                    struct schedule_config *c,
                                    struct unstir_error *err)
{
    const struct json *list = json_get(object, "trained_betas");
    void *betas;

    if (!list || json_type(list) == JSON_NULL)
        return UNSTIR_OK;
    if (json_type(list) != JSON_ARRAY)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "trained_betas is not a list of numbers");
    if (json_len(list) != c->n_timesteps)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "trained_betas has %zu entries, num_train_timesteps "
                         "says %u",
                         json_len(list), c->n_timesteps);
    TRY(alloc_zero(&betas, c->n_timesteps, sizeof(float), err));
    c->trained_betas = betas;
    for (uint32_t i = 0; i < c->n_timesteps; i++) {
        const struct json *v = json_at(list, i);
        if (json_type(v) != JSON_INT && json_type(v) != JSON_REAL)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "trained_betas[%u] is not a number", i);
        c->trained_betas[i] = (float)json_real(v);
    }
    return UNSTIR_OK;
}

/* The fields that all methods have. */
static enum unstir_status parse_shared(struct schedule_config *c,
                                       const struct json *o,
                                       struct unstir_error *err)
{
    unsigned beta = c->beta_schedule, prediction = c->prediction;
    unsigned spacing = c->spacing;
    int64_t n, offset;

    TRY(json_get_int(o, "num_train_timesteps", c->n_timesteps, 1,
                     SCHEDULE_MAX_TIMESTEPS, &n, err));
    c->n_timesteps = (uint32_t)n;
    TRY(get_real(o, "beta_start", 0, 1, &c->beta_start, err));
    TRY(get_real(o, "beta_end", 0, 1, &c->beta_end, err));
    TRY(get_betas(o, c, err));
    if (!c->trained_betas)
        TRY(get_name(o, "beta_schedule", beta_names, BETA_COUNT, &beta, err));
    TRY(get_name(o, "prediction_type", prediction_names, PREDICTION_COUNT,
                 &prediction, err));
    TRY(get_name(o, "timestep_spacing", spacing_names, SPACING_COUNT, &spacing,
                 err));
    TRY(json_get_int(o, "steps_offset", c->steps_offset, 0, n - 1, &offset,
                     err));
    c->steps_offset = (uint32_t)offset;
    c->beta_schedule = (enum beta_schedule)beta;
    c->prediction = (enum prediction)prediction;
    c->spacing = (enum spacing)spacing;
    TRY(json_get_bool(o, "clip_sample", c->is_clipping, &c->is_clipping, err));
    TRY(get_real(o, "clip_sample_range", 1e-6, 1e6, &c->clip_range, err));
    TRY(json_get_bool(o, "thresholding", c->is_thresholding,
                      &c->is_thresholding, err));
    TRY(get_real(o, "dynamic_thresholding_ratio", 0, 1, &c->threshold_ratio,
                 err));
    TRY(get_real(o, "sample_max_value", 1e-6, 1e6, &c->threshold_max, err));
    return json_get_bool(o, "rescale_betas_zero_snr", c->is_zero_snr,
                         &c->is_zero_snr, err);
}

static enum unstir_status parse_variance(struct schedule_config *c,
                                         const struct json *o,
                                         struct unstir_error *err)
{
    unsigned variance = c->variance;
    const char *text;

    TRY(json_get_string(o, "variance_type", variance_names[variance], &text,
                        err));
    if (strcmp(text, "fixed_large_log") == 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "variance_type \"fixed_large_log\" takes the root of "
                         "a negative number in the reference; use "
                         "\"fixed_large\"");
    TRY(get_name(o, "variance_type", variance_names, VARIANCE_COUNT, &variance,
                 err));
    c->variance = (enum variance_type)variance;
    return UNSTIR_OK;
}

enum unstir_status schedule_config_parse(struct schedule_config *c,
                                         const struct json *object,
                                         enum schedule_method m,
                                         struct unstir_error *err)
{
    enum unstir_status st;

    schedule_config_defaults(c, m);
    if (!object)
        return UNSTIR_OK;
    st = parse_shared(c, object, err);
    if (!st && m == METHOD_DDPM)
        st = parse_variance(c, object, err);
    if (!st && m == METHOD_DDIM)
        st = json_get_bool(object, "set_alpha_to_one", c->is_last_alpha_one,
                           &c->is_last_alpha_one, err);
    if (st) {
        error_prefix(err, "scheduler_config.json");
        schedule_config_fini(c);
    }
    return st;
}

void schedule_config_fini(struct schedule_config *c)
{
    alloc_free(c->trained_betas);
    *c = (struct schedule_config){0};
}
