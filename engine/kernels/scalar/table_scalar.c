/* table_scalar.c - what the scalar rung puts into the table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/kernels.h"

void kernels_fill_scalar(struct kernel_table *table)
{
    gemm_kernels_scalar(&table->gemm);
    vector_kernels_scalar(&table->vec);
    attention_kernels_scalar(&table->attn);
    winograd_kernels_scalar(&table->wino);
    winograd_kernels_f2_scalar(&table->wino_f2);
    int8_kernels_scalar(&table->i8);
    weight_kernels_scalar(&table->weights);
}
