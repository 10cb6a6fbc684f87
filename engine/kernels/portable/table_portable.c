/* table_portable.c - what the portable rung puts into the table: products by
 * the BLAS library of the system, which knows the CPUs that we do not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/kernels.h"

void kernels_fill_portable(struct kernel_table *table)
{
    table->gemm.is_blas = true;
}
