/* sigmas.c - lists of noise levels.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sample/sigmas.h"

#include <math.h>

#include "base/compiler.h"

double sigmas_linspace(double start, double end, uint32_t n, uint32_t i)
{
    if (n > 1 && i == n - 1)
        return end;
    return n > 1 ? i * ((end - start) / (n - 1)) + start : start;
}

float sigmas_of_table(const struct schedule *s, uint32_t t)
{
    return sqrtf((1 - s->abar[t]) / s->abar[t]);
}

double sigmas_interpolate(const struct schedule *s, double t)
{
    uint32_t last = s->config.n_timesteps - 1;

    if (!(t > 0))
        return (double)sigmas_of_table(s, 0);
    if (t >= last)
        return (double)sigmas_of_table(s, last);
    uint32_t low = (uint32_t)t;
    double a = (double)sigmas_of_table(s, low);
    double b = (double)sigmas_of_table(s, low + 1);
    return (b - a) * (t - low) + a;
}

/* The table rises, so the last level that is not above sigma is searched by
 * halving. */
double sigmas_to_timestep(const struct schedule *s, double sigma)
{
    double log_sigma = log(fmax(sigma, 1e-10));
    uint32_t n = s->config.n_timesteps, low = 0, high = n;

    if (n == 1)
        return 0;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if ((double)logf(sigmas_of_table(s, middle)) <= log_sigma)
            low = middle;
        else
            high = middle;
    }
    if (low > n - 2)
        low = n - 2;
    float below = logf(sigmas_of_table(s, low));
    float above = logf(sigmas_of_table(s, low + 1));
    double w = ((double)below - log_sigma) / (double)(below - above);
    w = fmin(fmax(w, 0), 1);
    return (1 - w) * low + w * (low + 1);
}

void sigmas_karras(double *out, uint32_t n, double most, double least,
                   double rho)
{
    double start = pow(most, 1 / rho), end = pow(least, 1 / rho);

    for (uint32_t i = 0; i < n; i++)
        out[i] = pow(start + sigmas_linspace(0, 1, n, i) * (end - start), rho);
}

void sigmas_exponential(double *out, uint32_t n, double most, double least)
{
    double start = log(most), end = log(least);

    for (uint32_t i = 0; i < n; i++)
        out[i] = exp(sigmas_linspace(start, end, n, i));
}

/* -- the quantiles of a beta distribution ---------------------------------- */

/* The continued fraction of the incomplete beta function, by Lentz's method. */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);

    d = 1 / (fabs(d) < tiny ? tiny : d);
    double f = d;
    for (int m = 1; m <= 500; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd =
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step = 1;
        for (int k = 0; k < 2; k++) {
            double term = k ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            step = c * d;
            f *= step;
        }
        if (fabs(step - 1) < 1e-16)
            break;
    }
    return f;
}

/* The share of the distribution (a, a) below x. */
static double beta_share(double x, double a)
{
    if (x <= 0 || x >= 1)
        return x >= 1;
    double front =
        pow(x, a) * pow(1 - x, a) * tgamma(2 * a) / (tgamma(a) * tgamma(a));
    return x < 0.5 ? front * beta_fraction(x, a, a) / a
                   : 1 - front * beta_fraction(1 - x, a, a) / a;
}

/* The share below x is symmetric, so only the lower half is searched; halving
 * 200 times ends at the neighbouring doubles whatever the size of x. */
static double beta_quantile(double q, double a)
{
    double low = 0, high = 0.5;

    if (q <= 0 || q >= 1)
        return q >= 1;
    if (q > 0.5)
        return 1 - beta_quantile(1 - q, a);
    for (int i = 0; i < 200; i++) {
        double middle = low + (high - low) / 2;
        if (beta_share(middle, a) < q)
            low = middle;
        else
            high = middle;
    }
    return high;
}

void sigmas_beta(double *out, uint32_t n, double most, double least)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = least + beta_quantile(1 - sigmas_linspace(0, 1, n, i), 0.6) *
                             (most - least);
}

/* -- align your steps ------------------------------------------------------ */

void sigmas_align_your_steps(double *out, uint32_t n, bool is_xl)
{
    static const double known[2][11] = {
        {14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152,
         0.029},
        {14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113,
         0.029},
    };
    const double *table = known[is_xl];
    uint32_t last = ARRAY_LEN(known[0]) - 1;

    for (uint32_t i = 0; i < n; i++) {
        double place = (double)i * last / n;
        uint32_t low = (uint32_t)place;
        double w = place - low, a = log(table[low]), b = log(table[low + 1]);
        out[i] = exp(a + w * (b - a));
    }
}
