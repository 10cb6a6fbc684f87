/* utf8.h - the code points of a text.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef IMAGE_UTF8_H
#define IMAGE_UTF8_H

#include <stdbool.h>
#include <stdint.h>

/* Next code point of UTF-8 text, or -1 (cut, overlong, surrogate ...); *p is
 * not at its end. */
static inline int32_t utf8_next(const unsigned char **p)
{
    static const int32_t smallest[4] = {0, 0x80, 0x800, 0x10000};
    int32_t c = *(*p)++;
    int n = c < 0x80 ? 0 : c < 0xc0 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    if (n < 0 || c > 0xf4)
        return -1;
    c = n == 0 ? c : c & (0x3f >> n);
    for (int i = 0; i < n; i++) {
        if ((**p & 0xc0) != 0x80)
            return -1;
        c = c << 6 | (*(*p)++ & 0x3f);
    }
    bool is_surrogate = c >= 0xd800 && c < 0xe000;
    return c < smallest[n] || is_surrogate || c > 0x10ffff ? -1 : c;
}

#endif
