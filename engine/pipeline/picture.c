/* picture.c - between the network's range and bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/picture.h"

#include <math.h>

#include "base/alloc.h"
#include "base/size.h"

static uint8_t byte_of(float x)
{
    float v = x / 2 + 0.5f;
    return (uint8_t)rintf(fminf(fmaxf(v, 0), 1) * 255);
}

enum unstir_status picture_from_planes(struct unstir_image *image,
                                       const float *planes, uint32_t width,
                                       uint32_t height, uint32_t channels,
                                       struct unstir_error *err)
{
    size_t hw, n;
    void *pixels;

    *image = (struct unstir_image){0};
    if (!size_mul(width, height, &hw) || !size_mul(hw, channels, &n))
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "a picture of %u x %u x %u does not fit in memory",
                         width, height, channels);
    TRY(alloc_zero(&pixels, n, 1, err));
    *image = (struct unstir_image){width, height, channels, pixels};
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < hw; i++)
            image->pixels[i * channels + c] = byte_of(planes[c * hw + i]);
    return UNSTIR_OK;
}

void picture_to_planes(float *planes, const struct unstir_image *image)
{
    size_t hw = (size_t)image->width * image->height;

    for (size_t c = 0; c < image->channels; c++)
        for (size_t i = 0; i < hw; i++)
            planes[c * hw + i] =
                2 * (image->pixels[i * image->channels + c] / 255.0f) - 1;
}
