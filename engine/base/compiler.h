/* compiler.h - the only place for compiler extensions outside kernels/<isa>.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#define PRINTF_LIKE(format, first) \
    __attribute__((__format__(__printf__, format, first)))

/* Tell the core that this is a waiting loop. */
#if defined(__x86_64__)
#define CPU_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CPU_RELAX() __asm__ __volatile__("yield")
#else
#define CPU_RELAX() ((void)0)
#endif

/* Fetch the line at p into a cache beside the core, if it can be read. */
#define PREFETCH(p) __builtin_prefetch((p), 0, 2)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
