/* table_avx2.c - what the avx2 rung puts into the table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/kernels.h"

void kernels_fill_avx2(struct kernel_table *table)
{
    gemm_kernels_avx2(&table->gemm);
    vector_kernels_avx2(&table->vec);
    winograd_kernels_avx2(&table->wino);
    winograd_kernels_f2_avx2(&table->wino_f2);
    int8_kernels_avx2(&table->i8);
    weight_kernels_avx2(&table->weights);
}
