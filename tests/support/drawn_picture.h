/* drawn_picture.h - the picture and the mask that the reference's pipelines
 * were given, by the rule of tools/goldens/make_img2img_pipelines.py.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_DRAWN_PICTURE_H
#define SUPPORT_DRAWN_PICTURE_H

#include <stdint.h>

/* rgb: height x width x 3; mask: height x width, 0 or 255. */
void drawn_picture(uint32_t width, uint32_t height, uint8_t *rgb,
                   uint8_t *mask);

#endif
