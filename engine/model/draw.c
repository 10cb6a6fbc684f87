/* draw.c - parameters drawn by the stated rule of network_draw().
 *
 * tools/goldens/make_unet2d.py draws the same ones with the reference's
 * generator, so that a golden needs no weights.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/network.h"
#include "ops/graph.h"

static int by_name(const void *a, const void *b)
{
    const struct graph_param *x = *(const struct graph_param *const *)a;
    const struct graph_param *y = *(const struct graph_param *const *)b;

    return strcmp(x->name, y->name);
}

static void shape_values(const struct graph_param *p, float *x)
{
    float divisor = sqrtf((float)p->fan_in);

    for (size_t i = 0; i < p->n; i++) {
        switch (p->role) {
        case PARAM_CONV_WEIGHT:
        case PARAM_LINEAR_WEIGHT:
            x[i] = x[i] / divisor;
            break;
        case PARAM_TABLE:
            break;
        case PARAM_NORM_WEIGHT:
            x[i] = 1 + 0.1F * x[i];
            break;
        case PARAM_BIAS:
        case PARAM_NORM_BIAS:
            x[i] = 0.1F * x[i];
            break;
        case PARAM_FOURIER:
            x[i] = 16 * x[i];
            break;
        }
    }
}

enum unstir_status network_draw(const struct graph *g, uint64_t seed,
                                float *const *params, struct unstir_error *err)
{
    const struct graph_param **order;
    size_t n = graph_n_params(g);
    struct rng rng;

    TRY(alloc_zero(&order, n, sizeof *order, err));
    for (size_t i = 0; i < n; i++)
        order[i] = graph_param_at(g, (param_id)i);
    qsort(order, n, sizeof *order, by_name);
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        float *x = params[order[i] - graph_param_at(g, 0)];

        rng_normal_f32(&rng, x, order[i]->n);
        shape_values(order[i], x);
    }
    alloc_free(order);
    return UNSTIR_OK;
}
