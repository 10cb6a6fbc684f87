/* ddpm.c - ancestral sampling of Ho et al.
 *
 * One step from t to the next timestep p of the run (after the last: the
 * picture, abar 1), with a = abar_t / abar_p and b = 1 - a:
 *
 *   mean = sqrt(abar_p) b / (1 - abar_t) x0
 *        + sqrt(a) (1 - abar_p) / (1 - abar_t) x
 *
 * plus noise unless t = 0.  Its variance is the posterior's, at least 1e-20
 * (fixed_small, fixed_small_log), b (fixed_large), or the network's: as it is
 * (learned), or interpolated between the logarithms of those two
 * (learned_range).
 *
 * Sources.  arXiv:2006.11239, eqs. 7 and 11; arXiv:2102.09672, eq. 15 (learned
 * variances); diffusers 0.42.1, DDPMScheduler.step (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sampler.h"

#include <math.h>

static bool is_learned(enum variance_type v)
{
    return v == VARIANCE_LEARNED || v == VARIANCE_LEARNED_RANGE;
}

static enum unstir_status ddpm_check(const struct sampler_run *run,
                                     struct unstir_error *err)
{
    if (is_learned(run->schedule->config.variance) &&
        !run->has_learned_variance)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the scheduler wants a learned variance, but the "
                         "network has no output channels for it");
    return UNSTIR_OK;
}

/* x += the noise of one step.  `small` and `large` are the two variances. */
static void add_noise(const struct sampler_run *run, float small, float large,
                      const struct sampler_io *io, float *x)
{
    const float *z = io->noise;
    float std;

    switch (run->schedule->config.variance) {
    case VARIANCE_LEARNED:
        for (size_t i = 0; i < run->n; i++)
            x[i] += sqrtf(io->variance[i]) * z[i];
        return;
    case VARIANCE_LEARNED_RANGE:
        for (size_t i = 0; i < run->n; i++) {
            float share = (io->variance[i] + 1) / 2;
            float log_variance =
                share * logf(large) + (1 - share) * logf(small);
            x[i] += expf(0.5f * log_variance) * z[i];
        }
        return;
    case VARIANCE_FIXED_SMALL_LOG:
        std = expf(0.5f * logf(small));
        break;
    case VARIANCE_FIXED_LARGE:
        std = sqrtf(large);
        break;
    case VARIANCE_FIXED_SMALL:
    case VARIANCE_COUNT:
    default:
        std = sqrtf(small);
        break;
    }
    for (size_t i = 0; i < run->n; i++)
        x[i] += std * z[i];
}

static void ddpm_advance(const struct sampler_run *run, uint32_t step,
                         uint32_t eval, const struct sampler_io *io,
                         struct sampler_state *state)
{
    const struct schedule *s = run->schedule;
    bool is_last = step + 1 == run->n_steps;
    uint32_t t = run->timesteps[step];
    float abar = s->abar[t];
    float abar_next = is_last ? 1 : s->abar[run->timesteps[step + 1]];
    float noise = 1 - abar, noise_next = 1 - abar_next;
    float alpha = abar / abar_next, beta = 1 - alpha;
    float estimate_share = sqrtf(abar_next) * beta / noise;
    float sample_share = sqrtf(alpha) * noise_next / noise;
    float *x = state->sample;

    sampler_estimate(run, abar, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++)
        x[i] = estimate_share * state->estimate[i] + sample_share * x[i];
    if (t == 0)
        return;
    rng_normal_f32(&state->rng, io->noise, run->n);
    add_noise(run, fmaxf(noise_next / noise * beta, 1e-20f), beta, io, x);
}

const struct sampler sampler_ddpm = {
    .info = &sampler_infos[SAMPLER_DDPM],
    .method = METHOD_DDPM,
    .has_spacings = true,
    .default_steps = 1000,
    .check = ddpm_check,
    .advance = ddpm_advance,
};
