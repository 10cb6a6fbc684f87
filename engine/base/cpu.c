/* cpu.c - asks the compiler's run-time library, which checks both the
 * instruction (CPUID) and the system's register saving (XGETBV).
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/cpu.h"

struct cpu cpu_detect(void)
{
    struct cpu cpu = {0};
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    cpu.has_avx2_fma = __builtin_cpu_supports("avx2") != 0 &&
                       __builtin_cpu_supports("fma") != 0;
    cpu.has_avx512 = __builtin_cpu_supports("avx512f") != 0 &&
                     __builtin_cpu_supports("avx512bw") != 0 &&
                     __builtin_cpu_supports("avx512dq") != 0 &&
                     __builtin_cpu_supports("avx512vl") != 0;
    cpu.has_avx512_bf16 =
        cpu.has_avx512 && __builtin_cpu_supports("avx512bf16") != 0;
    cpu.has_avx512_vnni =
        cpu.has_avx512 && __builtin_cpu_supports("avx512vnni") != 0;
#endif
    return cpu;
}
