/* schedule.c - beta tables, their products, timestep spacings.
 *
 * Every expression keeps the reference's order and width: what it computes in
 * f32 is f32 here, operation by operation, what it computes in double is
 * double.  t_schedule.c compares with its tables.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/schedule.h"

#include <math.h>

#include "base/alloc.h"

#define PI 3.14159265358979323846

/* The two-sided formula of torch.linspace in f32: the first half counts up
 * from the start, the second half down from the end, each element one fused
 * multiply-add. */
void schedule_linspace_f32(float *out, double start, double end, uint32_t n)
{
    float a = (float)start, b = (float)end;

    if (n == 1) {
        out[0] = a;
        return;
    }
    float step = (b - a) / (float)(n - 1);
    for (uint32_t i = 0; i < n; i++)
        out[i] = i < n / 2 ? fmaf(step, (float)i, a)
                           : fmaf(-step, (float)(n - 1 - i), b);
}

/* Cumulative signal level at time u in [0, 1]. */
static double abar_cosine(double u)
{
    double c = cos((u + 0.008) / 1.008 * PI / 2);
    return c * c;
}

static double abar_laplace(double u)
{
    double sign = copysign(1.0, 0.5 - u);
    double lambda = -0.5 * sign * log(1 - 2 * fabs(0.5 - u) + 1e-6);
    double snr = exp(lambda);
    return sqrt(snr / (1 + snr));
}

static double abar_exp(double u)
{
    return exp(-12 * u);
}

static void betas_from_abar(float *beta, uint32_t n, double (*abar)(double))
{
    for (uint32_t i = 0; i < n; i++) {
        double b = 1 - abar((i + 1.0) / n) / abar((double)i / n);
        beta[i] = (float)(b < 0.999 ? b : 0.999);
    }
}

static void betas_fill(float *beta, const struct schedule_config *c)
{
    uint32_t n = c->n_timesteps;

    if (c->trained_betas) {
        for (uint32_t i = 0; i < n; i++)
            beta[i] = c->trained_betas[i];
        return;
    }
    switch (c->beta_schedule) {
    case BETA_LINEAR:
        schedule_linspace_f32(beta, c->beta_start, c->beta_end, n);
        break;
    case BETA_SCALED_LINEAR:
        schedule_linspace_f32(beta, sqrt(c->beta_start), sqrt(c->beta_end), n);
        for (uint32_t i = 0; i < n; i++)
            beta[i] *= beta[i];
        break;
    case BETA_COSINE:
        betas_from_abar(beta, n, abar_cosine);
        break;
    case BETA_LAPLACE:
        betas_from_abar(beta, n, abar_laplace);
        break;
    case BETA_EXP:
        betas_from_abar(beta, n, abar_exp);
        break;
    case BETA_SIGMOID:
    case BETA_COUNT:
        schedule_linspace_f32(beta, -6, 6, n);
        for (uint32_t i = 0; i < n; i++) {
            float s = (float)(1 / (1 + exp(-(double)beta[i])));
            beta[i] =
                s * (float)(c->beta_end - c->beta_start) + (float)c->beta_start;
        }
        break;
    }
}

static void abar_fill(float *abar, const float *beta, uint32_t n)
{
    double product = 1;
    for (uint32_t i = 0; i < n; i++) {
        product *= (double)(1 - beta[i]);
        abar[i] = (float)product;
    }
}

/* Shift and scale sqrt(abar) so that the last entry is 0 and the first stays
 * [3, algorithm 1]; `work` has n floats. */
static void betas_rescale(float *beta, float *work, uint32_t n)
{
    abar_fill(work, beta, n);
    for (uint32_t i = 0; i < n; i++)
        work[i] = sqrtf(work[i]);
    float first = work[0], last = work[n - 1];
    float gain = first / (first - last);
    for (uint32_t i = 0; i < n; i++) {
        float r = (work[i] - last) * gain;
        work[i] = r * r;
    }
    beta[0] = 1 - work[0];
    for (uint32_t i = 1; i < n; i++)
        beta[i] = 1 - work[i] / work[i - 1];
}

/* Methods that divide by the signal keep a last trace of it, as the reference
 * does. */
static bool has_floor(enum schedule_method m)
{
    return m == METHOD_EULER || m == METHOD_EULER_A || m == METHOD_DPMPP ||
           m == METHOD_UNIPC;
}

/* Tables that no sampler could use: a step that adds no noise at the start
 * divides by zero, a signal that is gone before the last step too. */
static enum unstir_status tables_check(const struct schedule *s,
                                       struct unstir_error *err)
{
    uint32_t n = s->config.n_timesteps;

    for (uint32_t i = 0; i < n; i++) {
        float b = s->beta[i];
        if (!(b >= 0 && b <= 1))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "beta %u is %g, allowed is 0 to 1", i, (double)b);
        if (!(s->abar[i] < 1) || !(s->abar[i] > 0 || i == n - 1))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "the share of signal after beta %u is %g, but "
                             "must lie between 0 and 1 (0 only at the end)",
                             i, (double)s->abar[i]);
    }
    return UNSTIR_OK;
}

enum unstir_status schedule_init(struct schedule *s,
                                 struct schedule_config *config,
                                 struct unstir_error *err)
{
    enum unstir_status st;
    void *beta = NULL, *abar = NULL;

    *s = (struct schedule){.config = *config};
    *config = (struct schedule_config){0};
    uint32_t n = s->config.n_timesteps;
    if (n == 0 || n > SCHEDULE_MAX_TIMESTEPS) {
        st = error_set(err, UNSTIR_ERR_FORMAT,
                       "num_train_timesteps is %u, allowed is 1 to %d", n,
                       SCHEDULE_MAX_TIMESTEPS);
        goto out;
    }
    if (!schedule_has_betas(s->config.method))
        return UNSTIR_OK;
    st = alloc_zero(&beta, n, sizeof(float), err);
    if (!st)
        st = alloc_zero(&abar, n, sizeof(float), err);
    s->beta = beta;
    s->abar = abar;
    if (st)
        goto out;
    betas_fill(s->beta, &s->config);
    if (s->config.is_zero_snr && n > 1)
        betas_rescale(s->beta, s->abar, n);
    abar_fill(s->abar, s->beta, n);
    if (s->config.is_zero_snr && has_floor(s->config.method))
        s->abar[n - 1] = 0x1p-24f;
    st = tables_check(s, err);
out:
    if (st)
        schedule_fini(s);
    return st;
}

void schedule_fini(struct schedule *s)
{
    schedule_config_fini(&s->config);
    alloc_free(s->beta);
    alloc_free(s->abar);
    *s = (struct schedule){0};
}

uint32_t schedule_max_steps(const struct schedule *s)
{
    const struct schedule_config *c = &s->config;
    uint32_t n = c->n_timesteps;

    if (c->spacing != SPACING_LEADING)
        return n;
    while (n > 1 &&
           (uint64_t)(n - 1) * (c->n_timesteps / n) + c->steps_offset >=
               c->n_timesteps)
        n--;
    return n;
}

static void timesteps_linspace(uint32_t *out, uint32_t n, uint32_t n_train)
{
    double step = n > 1 ? (double)(n_train - 1) / (n - 1) : 0;

    for (uint32_t i = 0; i < n; i++)
        out[n - 1 - i] = (uint32_t)rint(i * step);
    if (n > 1)
        out[0] = n_train - 1;
}

uint32_t schedule_trailing_count(uint32_t n_train, uint32_t n, uint32_t last)
{
    return (uint32_t)ceil(last / ((double)n_train / n));
}

/* A floating-point range from T down to 0: its increment is the difference of
 * its first two values, which is not quite T / n. */
static void timesteps_trailing(uint32_t *out, uint32_t n, uint32_t n_train,
                               uint32_t last)
{
    double ratio = (double)n_train / n;
    double delta = (last - ratio) - last;
    uint32_t count = schedule_trailing_count(n_train, n, last);

    for (uint32_t i = 0; i < n && i < count; i++) {
        double t = rint(last + i * delta) - 1;
        out[i] = t > 0 ? (uint32_t)t : 0;
    }
}

static enum unstir_status check_first(const struct schedule *s,
                                      uint32_t n_steps, uint32_t first,
                                      struct unstir_error *err)
{
    const struct schedule_config *c = &s->config;

    if (first < c->n_timesteps)
        return UNSTIR_OK;
    return error_field(err, "steps",
                       "%u steps with an offset of %u reach timestep %u, "
                       "the last is %u; at most %u steps",
                       n_steps, c->steps_offset, first, c->n_timesteps - 1,
                       schedule_max_steps(s));
}

enum unstir_status schedule_timesteps_as(const struct schedule *s,
                                         enum spacing spacing, uint32_t n_steps,
                                         uint32_t *timesteps,
                                         struct unstir_error *err)
{
    const struct schedule_config *c = &s->config;

    if (n_steps == 0 || n_steps > c->n_timesteps)
        return error_field(err, "steps", "steps must be 1 to %u, not %u",
                           schedule_max_steps(s), n_steps);
    switch (spacing) {
    case SPACING_LINSPACE:
        timesteps_linspace(timesteps, n_steps, c->n_timesteps);
        break;
    case SPACING_TRAILING:
        timesteps_trailing(timesteps, n_steps, c->n_timesteps, c->n_timesteps);
        break;
    case SPACING_LEADING:
    case SPACING_COUNT:
        for (uint32_t i = 0; i < n_steps; i++)
            timesteps[n_steps - 1 - i] =
                i * (c->n_timesteps / n_steps) + c->steps_offset;
        break;
    }
    return check_first(s, n_steps, timesteps[0], err);
}

enum unstir_status schedule_timesteps(const struct schedule *s,
                                      uint32_t n_steps, uint32_t *timesteps,
                                      struct unstir_error *err)
{
    return schedule_timesteps_as(s, s->config.spacing, n_steps, timesteps, err);
}

enum unstir_status schedule_timesteps_solver(const struct schedule *s,
                                             enum spacing spacing,
                                             uint32_t n_steps, uint32_t last,
                                             uint32_t *timesteps,
                                             struct unstir_error *err)
{
    const struct schedule_config *c = &s->config;

    if (n_steps == 0 || n_steps > c->n_timesteps)
        return error_field(err, "steps", "steps must be 1 to %u, not %u",
                           c->n_timesteps, n_steps);
    switch (spacing) {
    case SPACING_LINSPACE:
        for (uint32_t i = 0; i < n_steps; i++)
            timesteps[n_steps - 1 - i] =
                (uint32_t)rint((i + 1) * ((double)(last - 1) / n_steps));
        timesteps[0] = last - 1;
        break;
    case SPACING_TRAILING:
        timesteps_trailing(timesteps, n_steps, c->n_timesteps, last);
        break;
    case SPACING_LEADING:
    case SPACING_COUNT:
        for (uint32_t i = 0; i < n_steps; i++)
            timesteps[n_steps - 1 - i] =
                (i + 1) * (last / (n_steps + 1)) + c->steps_offset;
        break;
    }
    return check_first(s, n_steps, timesteps[0], err);
}

float schedule_abar(const struct schedule *s, int64_t t, float before)
{
    return t >= 0 ? s->abar[t] : before;
}
