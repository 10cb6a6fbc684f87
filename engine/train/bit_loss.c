/* bit_loss.c - see bit_loss.h; in double, since chances near 1 are the rule.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/bit_loss.h"

#include <math.h>

#include "base/pool.h"
#include "ops/op.h"

/* Log-odds beyond this are as good as certain, and exp stays a number. */
#define MOST_ODDS 80.0

struct bit {
    double loss, slope; /* slope over the log-odds of x_0 = x_t              */
};

/* u* log(u* / u), nothing where u* is. */
static double part(double wanted, double got)
{
    return wanted > 0 ? wanted * log(wanted / got) : 0;
}

static double ratio(double wanted, double got)
{
    return wanted > 0 ? wanted / got : 0;
}

static struct bit bit_of(double odds, double same, double other, double wanted)
{
    odds = fmin(fmax(odds, -MOST_ODDS), MOST_ODDS);
    double r = 1 / (1 + exp(-odds)), not_r = 1 / (1 + exp(odds));
    double keep = same * r + other * not_r;
    double turn = (1 - same) * r + (1 - other) * not_r;
    struct bit b;
    b.loss = part(wanted, keep) + part(1 - wanted, turn);
    b.slope = (same - other) * r * not_r *
              (ratio(1 - wanted, turn) - ratio(wanted, keep));
    return b;
}

static void bit_loss_image(void *arg, size_t i, unsigned worker)
{
    const struct bit_loss_args *a = arg;
    const float *w = a->weight + i * BIT_WEIGHTS;
    double same = (double)w[0], other = (double)w[1];
    double own = (double)w[2], scale = (double)w[3] / (double)a->m, sum = 0;
    (void)worker;
    for (size_t k = i * a->m; k < (i + 1) * a->m; k++) {
        double x = (double)a->sample[k];
        double wanted = a->sample[k] * a->target[k] > 0 ? same : other;
        struct bit b = bit_of(own + x * (double)a->y[k], same, other, wanted);
        sum += b.loss;
        a->dy[k] = (float)(scale * x * b.slope / a->n);
    }
    a->loss[i] = (float)(scale * sum);
}

void bit_loss(const struct op_ctx *ctx, const void *args)
{
    struct bit_loss_args a = *(const struct bit_loss_args *)args;
    pool_run(ctx->pool, a.n, bit_loss_image, &a);
}
