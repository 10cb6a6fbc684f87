/* tcd.c - trajectory consistency distillation, with eta (the paper's gamma).
 *
 * A step goes along the trajectory to s = (1 - eta) p, beyond the next timestep
 * p, and comes back to p by noise.  Timesteps as in lcm.c.  Estimates are
 * neither clipped nor thresholded, as in the reference.
 *
 * Sources.  Zheng et al., arXiv:2402.19159, algorithm 4; diffusers 0.42.1,
 * TCDScheduler (order of operations).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "sample/sampler.h"

static void tcd_advance(const struct sampler_run *run, uint32_t step,
                        uint32_t eval, const struct sampler_io *io,
                        struct sampler_state *state)
{
    const struct schedule *s = run->schedule;
    bool is_last = step + 1 == run->n_steps;
    uint32_t t = run->timesteps[step];
    uint32_t p = is_last ? 0 : run->timesteps[step + 1];
    float abar = s->abar[t], abar_p = s->abar[p];
    float abar_s = s->abar[(uint32_t)floorf((float)(1 - run->eta) * (float)p)];
    float signal = sqrtf(abar), noise = sqrtf(1 - abar);
    float signal_s = sqrtf(abar_s), noise_s = sqrtf(1 - abar_s);
    float *x = state->sample;

    (void)eval;
    sampler_estimate_free(run, abar, io->output, x, state->estimate);
    for (size_t i = 0; i < run->n; i++)
        x[i] =
            signal_s * state->estimate[i] +
            noise_s * sampler_noise_of(run, signal, noise, io->output[i], x[i]);
    if (!(run->eta > 0) || is_last)
        return;
    float keep = sqrtf(abar_p / abar_s), add = sqrtf(1 - abar_p / abar_s);
    rng_normal_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++)
        x[i] = keep * x[i] + add * io->noise[i];
}

/* Limits that a folder states do not bind this method. */
static enum unstir_status tcd_adapt(const struct sampler *self,
                                    struct schedule_config *c, bool is_own,
                                    struct unstir_error *err)
{
    (void)self;
    (void)is_own;
    (void)err;
    c->is_clipping = c->is_thresholding = false;
    return UNSTIR_OK;
}

const struct sampler sampler_tcd = {
    .info = &sampler_infos[SAMPLER_TCD],
    .method = METHOD_TCD,
    .has_eta = true,
    .default_eta = 0.3,
    .default_steps = 4,
    .adapt = tcd_adapt,
    .prepare = sampler_prepare_distilled,
    .max_steps = sampler_max_steps_distilled,
    .advance = tcd_advance,
};
