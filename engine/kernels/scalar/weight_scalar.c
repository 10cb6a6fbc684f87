/* weight_scalar.c - the specification of spreading and transforming weights.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/weight_kernels.h"

#include <math.h>

#include "kernels/weight_loops.h"

static void spread(const struct weight_spread *s)
{
    size_t size = dtype_size(s->type);

    for (size_t i = 0; i < s->channels * s->taps; i++) {
        float *line = s->dst + i % s->taps * s->tap_step + i / s->taps * s->nr;

        for (unsigned j = 0; j < s->nr; j++) {
            line[j] = 0.0F;
            if (j < s->n)
                dtype_load(&line[j], (const char *)s->rows[j] + i * size,
                           s->type, 1);
        }
    }
}

/* One line of G of F(4x4): x[0..2] at stride s to o[0..5] at stride t. */
static void line_filter(const float *x, size_t s, float *o, size_t t)
{
    float x0 = x[0], x1 = x[s], x2 = x[2 * s];
    float p = (x0 + x2) * (-1.0F / 6);
    float q = fmaf(x0, 1.0F / 24, x2 * (1.0F / 6));

    o[0] = x0 * (1.0F / 4);
    o[t] = fmaf(x1, -1.0F / 6, p);
    o[2 * t] = fmaf(x1, 1.0F / 6, p);
    o[3 * t] = fmaf(x1, 1.0F / 12, q);
    o[4 * t] = fmaf(x1, -1.0F / 12, q);
    o[5 * t] = x2;
}

static void filters_f4(float *u, size_t plane, const float *w, size_t tap_step,
                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float t[18]; /* 6 rows of 3 */

        for (size_t s = 0; s < 3; s++)
            line_filter(w + s * tap_step + i, 3 * tap_step, t + s, 3);
        for (size_t r = 0; r < 6; r++)
            line_filter(t + 3 * r, 1, u + 6 * r * plane + i, plane);
    }
}

void weight_kernels_scalar(struct weight_kernels *k)
{
    *k = (struct weight_kernels){
        .spread = spread,
        .filters_f4 = filters_f4,
        .filters_f2 = loops_filters_f2,
        .phase = loops_phase,
    };
}
