/* vector_scalar.c - the streaming kernels of the scalar rung.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/vector_kernels.h"

void vector_kernels_scalar(struct vector_kernels *v)
{
    (void)v;
}
