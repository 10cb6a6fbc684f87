/* picture.h - between the network's range and bytes.
 *
 *   byte = round(255 clamp(x / 2 + 1/2, 0, 1)), halves to even
 *   x    = 2 byte / 255 - 1
 *
 * Planes f32 [channels][height][width]; pictures as struct unstir_image.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_PICTURE_H
#define PIPELINE_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* *image is ended by unstir_image_fini(). */
enum unstir_status picture_from_planes(struct unstir_image *image,
                                       const float *planes, uint32_t width,
                                       uint32_t height, uint32_t channels,
                                       struct unstir_error *err);

/* planes has width * height * channels floats. */
void picture_to_planes(float *planes, const struct unstir_image *image);

#endif
