/* weight_scalar.c - the specification of spreading and transforming weights.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/weight_kernels.h"

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

void weight_kernels_scalar(struct weight_kernels *k)
{
    *k = (struct weight_kernels){
        .spread = spread,
        .filters_f4 = loops_filters_f4,
        .filters_f2 = loops_filters_f2,
        .phase = loops_phase,
    };
}
