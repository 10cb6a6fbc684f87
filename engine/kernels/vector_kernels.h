/* vector_kernels.h - the streaming kernels of a rung: activations, norms,
 * softmax, sums, the optimiser.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_VECTOR_KERNELS_H
#define KERNELS_VECTOR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

struct vector_kernels {
    int unused;
};

/* Each rung's part of the table; called by the rungs' table files. */
void vector_kernels_scalar(struct vector_kernels *v);
void vector_kernels_avx2(struct vector_kernels *v);

#endif
