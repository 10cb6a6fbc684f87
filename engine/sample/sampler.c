/* sampler.c - a run: its tables, and what samplers share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sampler.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "sample/sigmas.h"

/* No noise level may be free of signal when the network predicts the noise:
 * the estimate would be divided by zero.  Where it is clipped afterwards, the
 * reference's infinities become the ends of the range, and so do ours. */
static enum unstir_status check_signal(const struct sampler_run *run,
                                       struct unstir_error *err)
{
    const struct schedule *s = run->schedule;
    bool is_bounded = s->config.is_clipping && !s->config.is_thresholding;
    uint32_t t = run->timesteps[run->first];

    if (s->config.prediction == PREDICTION_FLOW)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network predicts a flow, which %s cannot follow",
                         run->sampler->info->name);
    if (s->config.prediction != PREDICTION_EPSILON || is_bounded ||
        s->abar[t] > 0)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "timestep %u has no signal left (rescale_betas_zero_snr) "
                     "and the network predicts the noise, from which no "
                     "picture can be estimated there; such a schedule needs "
                     "v_prediction or sample, or a spacing that starts lower",
                     t);
}

/* -- schedules ------------------------------------------------------------- */

enum unstir_status sampler_schedule_init(const struct sampler *s,
                                         struct schedule *schedule,
                                         const struct json *config,
                                         struct unstir_error *err)
{
    const char *written_for = json_string(json_get(config, "_class_name"));
    bool is_own = strcmp(written_for, schedule_class_name(s->method)) == 0;
    struct schedule_config c;

    *schedule = (struct schedule){0};
    TRY(schedule_config_parse(&c, config, s->method, err));
    enum unstir_status st = s->adapt ? s->adapt(s, &c, is_own, err) : UNSTIR_OK;
    if (st)
        schedule_config_fini(&c);
    return st ? st : schedule_init(schedule, &c, err);
}

uint32_t sampler_max_steps(const struct sampler *s,
                           const struct schedule *schedule)
{
    return s->max_steps ? s->max_steps(schedule) : schedule_max_steps(schedule);
}

/* -- runs ------------------------------------------------------------------ */

static enum unstir_status take_memory(struct sampler_run *run,
                                      struct unstir_error *err)
{
    size_t n = run->n_steps;

    TRY(alloc_zero(&run->memory, 5 * n + 1, sizeof(float), err));
    run->timesteps = run->memory;
    run->times = (float *)run->memory + n;
    run->middle_times = run->times + n;
    run->middle_sigmas = run->middle_times + n;
    run->sigmas = run->middle_sigmas + n;
    return UNSTIR_OK;
}

static enum unstir_status choose_schedule(struct sampler_run *run,
                                          const struct sampler_schedule *asked,
                                          struct unstir_error *err)
{
    const struct sampler *s = run->sampler;

    if (!asked)
        return UNSTIR_OK;
    bool is_fine =
        asked->is_spacing ? s->has_spacings : s->sigma_kinds >> asked->kind & 1;
    if (!is_fine)
        return error_field(err, "schedule", "%s has no schedule \"%s\"",
                           s->info->name, asked->info->name);
    if (asked->is_spacing) {
        run->spacing = (enum spacing)asked->kind;
        run->sigma_kind = SIGMAS_SPACED;
    } else {
        run->sigma_kind = (enum sigma_kind)asked->kind;
    }
    return UNSTIR_OK;
}

static uint32_t count_steps(const struct sampler_run *run)
{
    const struct sampler *s = run->sampler;

    return s->count_steps ? s->count_steps(run) : run->n_asked;
}

uint32_t sampler_count_steps(const struct sampler *s,
                             const struct schedule *schedule,
                             const struct sampler_schedule *asked,
                             uint32_t n_asked)
{
    struct sampler_run run = {.sampler = s,
                              .schedule = schedule,
                              .spacing = schedule->config.spacing,
                              .sigma_kind = schedule->config.sigmas,
                              .n_asked = n_asked};

    (void)choose_schedule(&run, asked, NULL); /* refused when it is to run */
    return count_steps(&run);
}

static enum unstir_status prepare_spaced(struct sampler_run *run,
                                         struct unstir_error *err)
{
    TRY(schedule_timesteps_as(run->schedule, run->spacing, run->n_steps,
                              run->timesteps, err));
    for (uint32_t i = 0; i < run->n_steps; i++)
        run->times[i] = (float)run->timesteps[i];
    return check_signal(run, err);
}

enum unstir_status sampler_run_init(struct sampler_run *run,
                                    const struct sampler *sampler,
                                    const struct schedule *schedule,
                                    const struct sampler_run_options *options,
                                    struct unstir_error *err)
{
    *run = (struct sampler_run){
        .sampler = sampler,
        .schedule = schedule,
        .spacing = schedule->config.spacing,
        .sigma_kind = schedule->config.sigmas,
        .n_steps = options->n_steps,
        .n_asked = options->n_steps,
        .first = options->first,
        .n = options->n,
        .first_scale = 1,
        .eta = options->eta,
        .custom = options->timesteps,
        .mu = options->mu,
        .share = options->share,
        .has_clipped_output = options->has_clipped_output,
        .has_learned_variance = options->has_learned_variance,
    };
    if (run->n_steps == 0 || run->n_steps > schedule->config.n_timesteps)
        return error_field(err, "steps", "steps must be 1 to %u, not %u",
                           sampler_max_steps(sampler, schedule), run->n_steps);
    if (!(options->eta >= 0 && options->eta <= 1))
        return error_field(err, "eta", "eta must be 0 to 1, not %g",
                           options->eta);
    TRY(choose_schedule(run, options->schedule, err));
    run->n_steps = count_steps(run);
    if (run->first >= run->n_steps)
        return error_field(err, "strength", "no step of %u is left to run",
                           run->n_steps);
    TRY(take_memory(run, err));
    TRY(sampler->prepare ? sampler->prepare(run, err)
                         : prepare_spaced(run, err));
    return sampler->check ? sampler->check(run, err) : UNSTIR_OK;
}

void sampler_run_fini(struct sampler_run *run)
{
    alloc_free(run->memory);
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
                                  : (double)run->times[step];
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

static void mixture_at(const struct sampler_run *run, uint32_t step,
                       uint32_t eval, float *signal, float *noise)
{
    if (run->sampler->mixture) {
        run->sampler->mixture(run, step, eval, signal, noise);
        return;
    }
    float abar = run->schedule->abar[run->timesteps[step]];
    *signal = sqrtf(abar);
    *noise = sqrtf(1 - abar);
}

static void add_noise(const struct sampler_run *run, uint32_t step,
                      uint32_t eval, const float *picture, const float *noise,
                      float *out)
{
    float a, s;

    mixture_at(run, step, eval, &a, &s);
    for (size_t i = 0; i < run->n; i++)
        out[i] = a * picture[i] + s * noise[i];
}

void sampler_add_noise(const struct sampler_run *run, uint32_t step,
                       const float *picture, const float *noise, float *out)
{
    add_noise(run, step, 0, picture, noise, out);
}

void sampler_add_noise_after(const struct sampler_run *run, uint32_t step,
                             uint32_t eval, const float *picture,
                             const float *noise, float *out)
{
    if (eval + 1 < sampler_n_evals(run, step))
        add_noise(run, step, eval + 1, picture, noise, out);
    else if (step + 1 < run->n_steps)
        add_noise(run, step + 1, 0, picture, noise, out);
    else
        memcpy(out, picture, run->n * sizeof *out);
}

/* Only the variance-exploding form keeps the whole signal. */
float sampler_view_scale(const struct sampler_run *run, uint32_t step)
{
    float a, s;

    if (step >= run->n_steps)
        return 1;
    mixture_at(run, step, 0, &a, &s);
    return a == 1 ? 1 / sqrtf(s * s + 1) : 1;
}

/* -- history --------------------------------------------------------------- */

float *sampler_history(const struct sampler_run *run,
                       const struct sampler_state *state, size_t i)
{
    return state->history + i * run->n;
}

float *sampler_push(const struct sampler_run *run, struct sampler_state *state,
                    size_t first, size_t most)
{
    float *front = sampler_history(run, state, first);
    size_t held = state->n_held > first ? state->n_held - first : 0;
    size_t kept = held < most ? held : most - 1;

    memmove(front + run->n, front, kept * run->n * sizeof *front);
    state->n_held = (uint32_t)(first + kept + 1);
    return front;
}

/* -- estimates ------------------------------------------------------------- */

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

void sampler_limit(const struct sampler_run *run, float *estimate)
{
    const struct schedule_config *c = &run->schedule->config;

    if (c->is_thresholding)
        threshold(c, estimate, run->n);
    else if (c->is_clipping)
        clamp(estimate, run->n, (float)c->clip_range);
}

void sampler_estimate_free(const struct sampler_run *run, float abar,
                           const float *output, const float *sample,
                           float *estimate)
{
    float signal = sqrtf(abar), noise = sqrtf(1 - abar);
    size_t n = run->n;

    switch (run->schedule->config.prediction) {
    case PREDICTION_EPSILON:
    case PREDICTION_FLOW:
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
}

void sampler_estimate(const struct sampler_run *run, float abar,
                      const float *output, const float *sample, float *estimate)
{
    sampler_estimate_free(run, abar, output, sample, estimate);
    sampler_limit(run, estimate);
}

float sampler_noise_of(const struct sampler_run *run, float signal, float noise,
                       float output, float sample)
{
    switch (run->schedule->config.prediction) {
    case PREDICTION_SAMPLE:
        return (sample - signal * output) / noise;
    case PREDICTION_V:
        return signal * output + noise * sample;
    case PREDICTION_EPSILON:
    case PREDICTION_FLOW:
    case PREDICTION_COUNT:
        break;
    }
    return output;
}

struct sampler_ancestral sampler_ancestral_split(float sigma, float next)
{
    float from = sigma * sigma, to = next * next;
    float up = sqrtf(to * (from - to) / from), left = to - up * up;

    /* The root of what is left is next^2 / sigma, but cancels: 1.5 % off after
     * a fall from 14 to 0.03, and so are the reference's pictures, whose
     * roundings are wanted here.  After a fall from 20,000 to 10 nothing is
     * left, or less than nothing, where the reference has NaN. */
    float down = left > 0 ? sqrtf(left) : to / sigma;
    return (struct sampler_ancestral){up < next ? up : next, down};
}

/* -- distilled models ------------------------------------------------------ */

enum unstir_status sampler_prepare_distilled(struct sampler_run *run,
                                             struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;
    uint32_t grid = c->original_steps;

    if (grid > c->n_timesteps)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "original_inference_steps %u is more than "
                         "num_train_timesteps %u",
                         grid, c->n_timesteps);
    if (run->n_steps > grid)
        return error_field(err, "steps", "steps must be 1 to %u, not %u", grid,
                           run->n_steps);
    uint32_t used = run->share > 0 ? (uint32_t)(grid * run->share) : grid;
    if (run->n_steps > used)
        return error_field(err, "strength",
                           "strength %g leaves %u places for %u steps; at "
                           "least %g",
                           run->share, used, run->n_steps,
                           (double)run->n_steps / grid);
    for (uint32_t i = 0; i < run->n_steps; i++) {
        double place = i * ((double)used / run->n_steps);
        run->timesteps[i] =
            (used - (uint32_t)place) * (c->n_timesteps / grid) - 1;
        run->times[i] = (float)run->timesteps[i];
    }
    return check_signal(run, err);
}

uint32_t sampler_max_steps_distilled(const struct schedule *s)
{
    return s->config.original_steps < s->config.n_timesteps
               ? s->config.original_steps
               : s->config.n_timesteps;
}
