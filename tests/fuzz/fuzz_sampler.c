/* fuzz_sampler.c - scheduler_config.json under every sampler, and runs of it.
 *
 * Two bytes choose the sampler and the number of steps, the rest is the file.
 * What is taken is run to its end: timesteps are numbers that a network can be
 * told.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "sample/sampler.h"

#define N         4
#define MOST_WORK 300 /* steps: those of walks within a level included       */

static void run_to_end(const struct sampler_run *run)
{
    float sample[N] = {1, -1, 0.5f, 2}, estimate[N], noise[N];
    float history[SAMPLER_MAX_HISTORY * N], input[N], variance[N];
    struct sampler_state state = {
        .sample = sample, .estimate = estimate, .history = history};
    struct sampler_io io = {NULL, variance, noise};
    uint32_t work = 0;

    rng_seed(&state.rng, 1);
    for (uint32_t k = 0; k < run->n_steps; k++)
        for (uint32_t e = 0; e < sampler_n_evals(run, k); e++) {
            double t = sampler_timestep(run, k, e);
            const float *x = sampler_scale_input(run, k, e, sample, input);
            float output[N];
            if (!isfinite(t))
                abort();
            if (++work > MOST_WORK)
                return;
            for (size_t i = 0; i < N; i++) {
                output[i] = 0.5f * x[i];
                variance[i] = 0.5f;
            }
            io.output = output;
            sampler_advance(run, k, e, &io, &state);
        }
}

void fuzz_sampler(const uint8_t *bytes, size_t n)
{
    struct sampler_run_options o = {.n = N, .has_learned_variance = true};
    struct unstir_error err = {0};
    struct schedule schedule;
    struct sampler_run run;
    struct json *config;

    if (n < 2 || json_parse(&config, (const char *)bytes + 2, n - 2, NULL))
        return;
    const struct sampler *s = samplers[bytes[0] % SAMPLER_COUNT];
    o.n_steps = 1 + bytes[1];
    o.eta = s->default_eta;
    (void)sampler_of_config(config);
    if (sampler_schedule_init(s, &schedule, config, &err) == UNSTIR_OK) {
        if (sampler_run_init(&run, s, &schedule, &o, &err) == UNSTIR_OK)
            run_to_end(&run);
        else if (!*err.detail)
            abort();
        sampler_run_fini(&run);
        schedule_fini(&schedule);
    } else if (!*err.detail) {
        abort();
    }
    json_free(config);
}

FUZZ_ENTRY(fuzz_sampler)
