/* table_avx512vnni.c - what CPUs with byte products put into the table of
 * avx2: 8-bit products, which are exact, so that no bit changes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/kernels.h"

void kernels_fill_avx512vnni(struct kernel_table *table)
{
    int8_kernels_avx512vnni(&table->i8);
}
