/* gemm_scalar.c - the product kernels of the scalar rung.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/gemm_kernels.h"

void gemm_kernels_scalar(struct gemm_kernels *g)
{
    (void)g;
}
