/* compiler.h - the only place for compiler extensions outside kernels/<isa>.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#define PRINTF_LIKE(format, first)                                             \
    __attribute__((__format__(__printf__, format, first)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
