/* unclip.c - ancestral sampling as unCLIP spaces and rounds it.
 *
 * ddpm.c with timesteps from T - 1 to 0 at even distances, and with betas from
 * the table itself where a step goes back by one: 1 - abar_t / abar_p differs
 * from them by 5e-4 in f32.
 *
 * Sources.  Ramesh et al., arXiv:2204.06125 (unCLIP; its decoder samples as
 * arXiv:2006.11239, eqs. 7 and 15); diffusers 0.42.1, UnCLIPScheduler (order of
 * operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "sample/sampler.h"

static enum unstir_status unclip_prepare(struct sampler_run *run,
                                         struct unstir_error *err)
{
    uint32_t n = run->n_steps;

    if (n < 2)
        return error_field(err, "steps", "unclip needs at least 2 steps");
    double ratio = (double)(run->schedule->config.n_timesteps - 1) / (n - 1);
    for (uint32_t i = 0; i < n; i++) {
        run->timesteps[i] = (uint32_t)rint((n - 1 - i) * ratio);
        run->times[i] = (float)run->timesteps[i];
    }
    return UNSTIR_OK;
}

static uint32_t unclip_max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

static enum unstir_status unclip_check(const struct sampler_run *run,
                                       struct unstir_error *err)
{
    const struct schedule_config *c = &run->schedule->config;

    if (c->prediction == PREDICTION_V || c->prediction == PREDICTION_FLOW)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "unclip takes networks that predict the noise or the "
                         "sample");
    if (c->variance != VARIANCE_FIXED_SMALL_LOG &&
        c->variance != VARIANCE_LEARNED_RANGE)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "unclip's variance_type is fixed_small_log or "
                         "learned_range");
    if (c->variance == VARIANCE_LEARNED_RANGE && !run->has_learned_variance)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the scheduler wants a learned variance, but the "
                         "network has no output channels for it");
    return UNSTIR_OK;
}

static void add_noise(const struct sampler_run *run, float variance, float beta,
                      const struct sampler_io *io, float *x)
{
    float std = expf(0.5f * logf(fmaxf(variance, 1e-20f)));
    bool is_learned = run->schedule->config.variance == VARIANCE_LEARNED_RANGE;

    for (size_t i = 0; i < run->n; i++) {
        if (is_learned) {
            float share = (io->variance[i] + 1) / 2;
            std = expf(0.5f *
                       (share * logf(beta) + (1 - share) * logf(variance)));
        }
        x[i] += std * io->noise[i];
    }
}

static void unclip_advance(const struct sampler_run *run, uint32_t step,
                           uint32_t eval, const struct sampler_io *io,
                           struct sampler_state *state)
{
    const struct schedule *s = run->schedule;
    uint32_t t = run->timesteps[step];
    int64_t p =
        step + 1 < run->n_steps ? (int64_t)run->timesteps[step + 1] : -1;
    float abar = s->abar[t], abar_p = schedule_abar(s, p, 1);
    float beta = p == (int64_t)t - 1 ? s->beta[t] : 1 - abar / abar_p;
    float noise = 1 - abar, noise_p = 1 - abar_p;
    float to_picture = sqrtf(abar_p) * beta / noise;
    float to_sample = sqrtf(1 - beta) * noise_p / noise;
    float *x = state->sample;

    (void)eval;
    sampler_estimate(run, abar, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++)
        x[i] = to_picture * state->estimate[i] + to_sample * x[i];
    if (t == 0)
        return;
    rng_normal_f32(&state->rng, io->noise, run->n);
    add_noise(run, noise_p / noise * beta, beta, io, x);
}

const struct sampler sampler_unclip = {
    .info = &sampler_infos[SAMPLER_UNCLIP],
    .method = METHOD_UNCLIP,
    .prepare = unclip_prepare,
    .check = unclip_check,
    .max_steps = unclip_max_steps,
    .advance = unclip_advance,
};
