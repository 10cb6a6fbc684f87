/* binomial.c - drawing pictures of bits by the chain of binomial.h.
 *
 * Bits are -1 and 1.  The network says the log-odds that the rest of the
 * picture gives each bit for being 1; every step keeps or turns each bit by the
 * exact posterior, mixed by that chance.  Any number of steps up to T will do:
 * the chain is walked in strides.
 *
 * A bit of a fair coin is the sign of a normal draw, which is how a run
 * begins; and a picture x_0 on its way to noise is the sign of a x_0 + s z,
 * which keeps a bit with chance Phi(a / s) = (1 + abar_t) / 2: so the mixture
 * of the house starts from a picture as the chain itself would.
 *
 * Source.  Sohl-Dickstein et al., arXiv:1503.03585.  The reference
 * implementation has no such scheduler: goldens are of
 * tools/goldens/make_own_samplers.py.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/binomial.h"

#include <math.h>

#include "sample/sampler.h"

double binomial_kept(uint32_t n_timesteps, int64_t t)
{
    return (double)(n_timesteps - 1 - t) / n_timesteps;
}

double binomial_evidence(uint32_t n_timesteps, int64_t t)
{
    double kept = binomial_kept(n_timesteps, t);

    return log((1 + kept) / (1 - kept));
}

struct binomial_back binomial_back(uint32_t n_timesteps, int64_t t, int64_t to)
{
    double now = binomial_kept(n_timesteps, t);
    double then = binomial_kept(n_timesteps, to);
    double half = 0.5 * (1 + now / then);

    return (struct binomial_back){half * (1 + then) / (1 + now),
                                  half * (1 - then) / (1 - now)};
}

/* Strides of equal length, the first from the last step of the chain. */
static enum unstir_status prepare(struct sampler_run *run,
                                  struct unstir_error *err)
{
    uint64_t all = run->schedule->config.n_timesteps, n = run->n_steps;

    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        run->timesteps[i] = (uint32_t)(all * (n - i) / n - 1);
        run->times[i] = (float)run->timesteps[i];
    }
    return UNSTIR_OK;
}

static uint32_t max_steps(const struct schedule *s)
{
    return s->config.n_timesteps;
}

static float bit_of(float x)
{
    return x > 0 ? 1 : -1;
}

static void to_bits(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    const float *sample, float *out)
{
    (void)step;
    (void)eval;
    for (size_t i = 0; i < run->n; i++)
        out[i] = bit_of(sample[i]);
}

static void advance(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    const struct sampler_io *io, struct sampler_state *state)
{
    int64_t t = run->timesteps[step];
    int64_t to =
        step + 1 < run->n_steps ? (int64_t)run->timesteps[step + 1] : -1;
    struct binomial_back back =
        binomial_back(run->schedule->config.n_timesteps, t, to);
    float same = (float)back.same, other = (float)back.other;
    float own = (float)binomial_evidence(run->schedule->config.n_timesteps, t);
    float *x = state->sample;

    (void)eval;
    rng_fill_uniform_f32(&state->rng, io->noise, run->n);
    for (size_t i = 0; i < run->n; i++) {
        float bit = bit_of(x[i]), odds = own + bit * io->output[i];
        float is_same = 1 / (1 + expf(-odds));
        float keep = other + (same - other) * is_same;
        state->estimate[i] = bit * tanhf(odds / 2);
        x[i] = io->noise[i] < keep ? bit : -bit;
    }
}

/* a / s of the head, by halving: erf(a / (s sqrt 2)) = abar. */
static void mixture(const struct sampler_run *run, uint32_t step, uint32_t eval,
                    float *signal, float *noise)
{
    double kept =
        binomial_kept(run->schedule->config.n_timesteps, run->timesteps[step]);
    double low = 0, high = 8;

    (void)eval;

    for (int i = 0; i < 50; i++) {
        double middle = (low + high) / 2;
        if (erf(middle / sqrt(2)) < kept)
            low = middle;
        else
            high = middle;
    }
    *noise = (float)(1 / sqrt(1 + low * low));
    *signal = (float)(low / sqrt(1 + low * low));
}

const struct sampler sampler_binomial = {
    .info = &sampler_infos[SAMPLER_BINOMIAL],
    .method = METHOD_BINOMIAL,
    .default_steps = 100,
    .prepare = prepare,
    .max_steps = max_steps,
    .scale_input = to_bits,
    .mixture = mixture,
    .advance = advance,
};
