/* name.c - names of parameters, put together from prefixes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nn/name.h"

#include <stdarg.h>
#include <stdio.h>

struct name name_of(const char *format, ...)
{
    struct name name;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(name.text, sizeof name.text, format, args);
    va_end(args);
    return name;
}
