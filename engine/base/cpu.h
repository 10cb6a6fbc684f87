/* cpu.h - what this CPU can do, asked once.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_CPU_H
#define BASE_CPU_H

#include <stdbool.h>

struct cpu {
    bool has_avx2_fma; /* avx2 and fma, and the system saves the registers */
    bool has_avx512;   /* f, bw, dq, vl                                    */
    bool has_avx512_bf16;
    bool has_avx512_vnni;
};

struct cpu cpu_detect(void);

#endif
