/* gemm_blas.c - the products of the portable rung by BLAS, one thread a call.
 *
 * The only file that sees cblas.h.  The serial build of OpenBLAS may be called
 * by several threads at once.
 *
 * SPDX-License-Identifier: MIT
 */
#include <cblas.h>

#include "ops/conv2d_parts.h"

void gemm_blas(float *c, const float *a, const float *b, size_t m, size_t n,
               size_t k)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m,
                (blasint)n, (blasint)k, 1.0f, a, (blasint)k, b, (blasint)n,
                0.0f, c, (blasint)n);
}

void gemm_blas_outer(float *c, const float *a, const float *b, size_t m,
                     size_t n, size_t k)
{
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)m, (blasint)n,
                (blasint)k, 1.0f, a, (blasint)m, b, (blasint)n, 1.0f, c,
                (blasint)n);
}
