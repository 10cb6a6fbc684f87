/* vector_avx2.c - the streaming kernels of the avx2 rung.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/vector_kernels.h"

void vector_kernels_avx2(struct vector_kernels *v)
{
    (void)v;
}
