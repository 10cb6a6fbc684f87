/* drawn_picture.c - the picture and the mask of the reference's pipelines.
 *
 * SPDX-License-Identifier: MIT
 */
#include "drawn_picture.h"

void drawn_picture(uint32_t width, uint32_t height, uint8_t *rgb, uint8_t *mask)
{
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < 3; c++)
                *rgb++ = (uint8_t)(7 * x + 13 * y + 50 * c + x * y % 32);
            *mask++ = (x + 2 * y) % 40 < 18 ? 255 : 0;
        }
}
