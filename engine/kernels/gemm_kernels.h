/* gemm_kernels.h - the product kernels of a rung.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_GEMM_KERNELS_H
#define KERNELS_GEMM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

struct gemm_kernels {
    enum dtype operand; /* of packed rows and panels: F32, or BF16           */
    unsigned mr, nr;    /* tile rows and columns                             */
};

/* Each rung's part of the table; called by the rungs' table files. */
void gemm_kernels_scalar(struct gemm_kernels *g);
void gemm_kernels_avx2(struct gemm_kernels *g);

#endif
