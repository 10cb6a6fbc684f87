/* table_avx512bf16.c - what the avx512bf16 rung puts into the table.
 *
 * Most streaming kernels, the adjoints' outer products and sums of rows stay
 * those of avx2.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/kernels.h"

void kernels_fill_avx512bf16(struct kernel_table *table)
{
    table->gemm_f32 = table->gemm;
    gemm_kernels_avx512bf16(&table->gemm);
    vector_kernels_avx512bf16(&table->vec);
    attention_kernels_avx512bf16(&table->attn);
    winograd_kernels_f2_avx512bf16(&table->wino);
    table->wino_f2 = table->wino;
}
