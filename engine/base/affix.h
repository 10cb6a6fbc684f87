/* affix.h - beginnings and ends of names.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_AFFIX_H
#define BASE_AFFIX_H

#include <stdbool.h>
#include <string.h>

/* Whether `text` begins with `prefix`; *rest is then what follows, else it is
 * left alone. */
static inline bool affix_strip(const char *text, const char *prefix,
                               const char **rest)
{
    size_t n = strlen(prefix);

    if (strncmp(text, prefix, n) != 0)
        return false;
    *rest = text + n;
    return true;
}

static inline bool affix_begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static inline bool affix_ends(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);

    return n >= m && strcmp(text + n - m, suffix) == 0;
}

#endif
