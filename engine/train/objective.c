/* objective.c - targets and weights of the training objectives.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/objective.h"

#include <math.h>
#include <string.h>

#include "sample/binomial.h"
#include "sample/schedule.h"

const char *const objective_names[OBJECTIVE_COUNT] = {
    [OBJECTIVE_EPSILON] = "epsilon",
    [OBJECTIVE_X0] = "x0",
    [OBJECTIVE_V] = "v",
    [OBJECTIVE_ORIGIN] = "origin",
    [OBJECTIVE_ORIGIN_X0] = "origin-x0",
    [OBJECTIVE_SCORE] = "score",
    [OBJECTIVE_ORIGIN_BITS] = "origin-bits",
};

bool objective_parse(enum objective *out, const char *name)
{
    for (int i = 0; i < OBJECTIVE_COUNT; i++)
        if (strcmp(objective_names[i], name) == 0) {
            *out = (enum objective)i;
            return true;
        }
    return false;
}

const char *objective_prediction(enum objective o)
{
    switch (o) {
    case OBJECTIVE_V:
        return "v_prediction";
    case OBJECTIVE_X0:
    case OBJECTIVE_ORIGIN_X0:
        return "sample";
    default:
        return "epsilon";
    }
}

double objective_mean_coefficient(const struct schedule *s, uint32_t t)
{
    double before = t > 0 ? (double)s->abar[t - 1] : 1.0;
    return sqrt(before) * (double)s->beta[t] / (1.0 - (double)s->abar[t]);
}

float objective_weight(enum objective o, const struct schedule *s, uint32_t t)
{
    if (o != OBJECTIVE_ORIGIN && o != OBJECTIVE_ORIGIN_X0)
        return 1;
    double c0 = objective_mean_coefficient(s, t);
    double w = c0 * c0 / (2.0 * (double)s->beta[t]);
    if (o == OBJECTIVE_ORIGIN)
        w *= (1.0 - (double)s->abar[t]) / (double)s->abar[t];
    return (float)w;
}

void objective_apply(enum objective o, const struct schedule *s, uint32_t t,
                     const float *x0, const float *noise, size_t m,
                     float *sample, float *target)
{
    float a = (float)sqrt((double)s->abar[t]);
    float sd = (float)sqrt(1.0 - (double)s->abar[t]);
    const char *says = objective_prediction(o);
    bool is_v = says[0] == 'v', is_x0 = says[0] == 's';
    for (size_t i = 0; i < m; i++) {
        float x = x0[i], e = noise[i];
        sample[i] = a * x + sd * e;
        target[i] = is_v ? a * e - sd * x : is_x0 ? x : e;
    }
}

double objective_sigma(double sigma_min, double sigma_max, uint32_t n,
                       uint32_t t)
{
    return sigma_min * pow(sigma_max / sigma_min, (double)t / (n - 1));
}

void objective_apply_score(double sigma, const float *x0, const float *noise,
                           size_t m, float *sample, float *target)
{
    float s = (float)sigma, down = (float)(-1 / sigma);
    for (size_t i = 0; i < m; i++) {
        float e = noise[i];
        sample[i] = 0.5f * (x0[i] + 1) + s * e;
        target[i] = down * e;
    }
}

void objective_apply_bits(uint32_t n_timesteps, uint32_t t, const float *x0,
                          const float *uniform, size_t m, float *sample,
                          float *target)
{
    float kept = (float)(0.5 * (1 + binomial_kept(n_timesteps, t)));
    for (size_t i = 0; i < m; i++) {
        float bit = x0[i], u = uniform[i];
        sample[i] = u < kept ? bit : -bit;
        target[i] = bit;
    }
}

void objective_bit_weights(uint32_t n_timesteps, uint32_t t, float *weights)
{
    struct binomial_back back = binomial_back(n_timesteps, t, (int64_t)t - 1);
    weights[0] = (float)back.same;
    weights[1] = (float)back.other;
    weights[2] = (float)binomial_evidence(n_timesteps, t);
    weights[3] = (float)n_timesteps;
}
