/* gemm_blas.c - the products of the portable rung by BLAS, one at a time.
 *
 * The only file that sees cblas.h.  The serial build of OpenBLAS as Debian
 * ships it (0.3.21) has no locks at all: two calls at once can be given the
 * same packing buffer, and then now and then a product is wrong in its last
 * digits or altogether (seen in tests/golden/t_unet2d.c, 2 of 84 runs).  So
 * calls take turns, in the whole process, since that buffer is process-wide.
 *
 * SPDX-License-Identifier: MIT
 */
#include <cblas.h>
#include <pthread.h>

#include "kernels/kernels.h"
#include "ops/conv2d.h"
#include "ops/conv2d_parts.h"

/* Guards the buffers inside OpenBLAS; no other lock is taken under it. */
static pthread_mutex_t blas_lock = PTHREAD_MUTEX_INITIALIZER;

void gemm_blas(float *c, const float *a, const float *b, size_t m, size_t n,
               size_t k)
{
    pthread_mutex_lock(&blas_lock);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m,
                (blasint)n, (blasint)k, 1.0f, a, (blasint)k, b, (blasint)n,
                0.0f, c, (blasint)n);
    pthread_mutex_unlock(&blas_lock);
}

void gemm_blas_outer(float *c, const float *a, const float *b, size_t m,
                     size_t n, size_t k)
{
    pthread_mutex_lock(&blas_lock);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)m, (blasint)n,
                (blasint)k, 1.0f, a, (blasint)m, b, (blasint)n, 1.0f, c,
                (blasint)n);
    pthread_mutex_unlock(&blas_lock);
}

const char *conv2d_library(const struct kernel_table *k)
{
    return k->gemm.is_blas ? openblas_get_corename() : "";
}
