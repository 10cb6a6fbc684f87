/* sampler.c - the table of samplers and what they share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sampler.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"

const struct sampler *const samplers[SAMPLER_COUNT] = {
    [SAMPLER_DDIM] = &sampler_ddim,
    [SAMPLER_DDPM] = &sampler_ddpm,
};

/* name, title, other spellings, draws noise after the first */
const struct unstir_sampler_info sampler_infos[SAMPLER_COUNT] = {
    [SAMPLER_DDIM] = {"ddim", "DDIM", "", false},
    [SAMPLER_DDPM] = {"ddpm", "DDPM", "ancestral", true},
};

/* Does `text` (to its end or a comma) spell `name`?  Case, blanks, '-' and '_'
 * do not count: "Euler a" is "euler_a". */
static bool is_spelling(const char *text, const char *name)
{
    for (;;) {
        while (*text && strchr(" -_\t", *text))
            text++;
        while (*name && strchr(" -_\t", *name))
            name++;
        bool text_ends = *text == '\0' || *text == ',';
        if (text_ends || *name == '\0')
            return text_ends && *name == '\0';
        if (tolower((unsigned char)*text) != tolower((unsigned char)*name))
            return false;
        text++;
        name++;
    }
}

static bool is_alias(const char *aliases, const char *name)
{
    for (const char *p = aliases; p && *p; p = strchr(p, ',')) {
        p += *p == ',';
        if (is_spelling(p, name))
            return true;
    }
    return false;
}

const struct sampler *sampler_find(const char *name)
{
    for (size_t i = 0; i < SAMPLER_COUNT; i++)
        if (is_spelling(samplers[i]->info->name, name) ||
            is_alias(samplers[i]->info->alias, name))
            return samplers[i];
    return NULL;
}

const struct sampler *sampler_of_class(const char *class_name)
{
    for (size_t i = 0; i < SAMPLER_COUNT; i++)
        if (strcmp(samplers[i]->class_name, class_name) == 0)
            return samplers[i];
    return NULL;
}

size_t sampler_index(const struct sampler *s)
{
    size_t i = 0;
    while (i < SAMPLER_COUNT && samplers[i] != s)
        i++;
    return i;
}

/* No noise level may be free of signal when the network predicts the noise:
 * the estimate would be divided by zero. */
static enum unstir_status check_signal(const struct sampler_run *run,
                                       struct unstir_error *err)
{
    const struct schedule *s = run->schedule;

    if (s->config.prediction != PREDICTION_EPSILON)
        return UNSTIR_OK;
    if (s->abar[run->timesteps[0]] > 0)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "timestep %u has no signal left (rescale_betas_zero_snr) "
                     "and the network predicts the noise, from which no "
                     "picture can be estimated there; such a schedule needs "
                     "v_prediction or sample, or a spacing that starts lower",
                     run->timesteps[0]);
}

enum unstir_status sampler_run_init(struct sampler_run *run,
                                    const struct sampler *sampler,
                                    const struct schedule *schedule,
                                    const struct sampler_run_options *options,
                                    struct unstir_error *err)
{
    void *timesteps;

    *run = (struct sampler_run){
        .sampler = sampler,
        .schedule = schedule,
        .n_steps = options->n_steps,
        .n = options->n,
        .eta = (float)options->eta,
        .has_clipped_output = options->has_clipped_output,
        .has_learned_variance = options->has_learned_variance,
    };
    if (run->n_steps == 0 || run->n_steps > schedule->config.n_timesteps)
        return error_field(err, "steps", "steps must be 1 to %u, not %u",
                           schedule_max_steps(schedule), run->n_steps);
    if (!(options->eta >= 0 && options->eta <= 1))
        return error_field(err, "eta", "eta must be 0 to 1, not %g",
                           options->eta);
    TRY(alloc_zero(&timesteps, run->n_steps, sizeof(uint32_t), err));
    run->timesteps = timesteps;
    TRY(schedule_timesteps(schedule, run->n_steps, run->timesteps, err));
    TRY(check_signal(run, err));
    return sampler->check ? sampler->check(run, err) : UNSTIR_OK;
}

void sampler_run_fini(struct sampler_run *run)
{
    alloc_free(run->timesteps);
    *run = (struct sampler_run){0};
}

uint32_t sampler_n_evals(const struct sampler_run *run, uint32_t step)
{
    return run->sampler->n_evals ? run->sampler->n_evals(run, step) : 1;
}

double sampler_timestep(const struct sampler_run *run, uint32_t step,
                        uint32_t eval)
{
    return run->sampler->timestep ? run->sampler->timestep(run, step, eval)
                                  : run->timesteps[step];
}

const float *sampler_scale_input(const struct sampler_run *run, uint32_t step,
                                 uint32_t eval, const float *sample,
                                 float *buffer)
{
    if (!run->sampler->scale_input)
        return sample;
    run->sampler->scale_input(run, step, eval, sample, buffer);
    return buffer;
}

void sampler_advance(const struct sampler_run *run, uint32_t step,
                     uint32_t eval, const struct sampler_io *io,
                     struct sampler_state *state)
{
    run->sampler->advance(run, step, eval, io, state);
}

/* Bits of |x|: they order as the numbers do. */
static uint32_t magnitude_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffffu;
}

/* The k-th smallest (0-based) of |x|, by one histogram a byte from the top:
 * no copy of the data, no bad cases. */
static float select_abs(const float *x, size_t n, size_t k)
{
    uint32_t prefix = 0, mask = 0;

    for (int shift = 24; shift >= 0; shift -= 8) {
        size_t count[256] = {0};
        for (size_t i = 0; i < n; i++) {
            uint32_t bits = magnitude_bits(x[i]);
            if ((bits & mask) == prefix)
                count[bits >> shift & 0xff]++;
        }
        uint32_t digit = 0;
        while (k >= count[digit])
            k -= count[digit++];
        prefix |= digit << shift;
        mask |= 0xffu << shift;
    }
    float value;
    memcpy(&value, &prefix, sizeof value);
    return value;
}

float sampler_quantile_abs(const float *x, size_t n, double q)
{
    float rank = (float)q * (float)(n - 1);
    size_t below = (size_t)rank, above = (size_t)ceilf(rank);

    if (below > n - 1)
        below = n - 1;
    if (above > n - 1)
        above = n - 1;
    float weight = rank - (float)below;
    float low = select_abs(x, n, below);
    if (above == below)
        return low;
    float high = select_abs(x, n, above);
    return weight < 0.5f ? low + weight * (high - low)
                         : high - (high - low) * (1 - weight);
}

static void clamp(float *x, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fminf(fmaxf(x[i], -limit), limit);
}

static void threshold(const struct schedule_config *c, float *x, size_t n)
{
    float s = sampler_quantile_abs(x, n, c->threshold_ratio);

    s = fminf(fmaxf(s, 1), (float)c->threshold_max);
    for (size_t i = 0; i < n; i++)
        x[i] = fminf(fmaxf(x[i], -s), s) / s;
}

void sampler_estimate(const struct sampler_run *run, float abar,
                      const float *output, const float *sample, float *estimate)
{
    const struct schedule_config *c = &run->schedule->config;
    float signal = sqrtf(abar), noise = sqrtf(1 - abar);
    size_t n = run->n;

    switch (c->prediction) {
    case PREDICTION_EPSILON:
    case PREDICTION_COUNT:
        for (size_t i = 0; i < n; i++)
            estimate[i] = (sample[i] - noise * output[i]) / signal;
        break;
    case PREDICTION_SAMPLE:
        memcpy(estimate, output, n * sizeof *output);
        break;
    case PREDICTION_V:
        for (size_t i = 0; i < n; i++)
            estimate[i] = signal * sample[i] - noise * output[i];
        break;
    }
    if (c->is_thresholding)
        threshold(c, estimate, n);
    else if (c->is_clipping)
        clamp(estimate, n, (float)c->clip_range);
}
