/* image.c - pictures in memory: making, checking, ending.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/image.h"

#include "base/alloc.h"

static enum unstir_status check_size(uint32_t width, uint32_t height,
                                     uint32_t channels,
                                     struct unstir_error *err)
{
    if (width == 0 || height == 0 || width > IMAGE_MAX_EDGE ||
        height > IMAGE_MAX_EDGE)
        return error_set(err, UNSTIR_ERR_ARG,
                         "picture of %u x %u pixels: edges must be 1..%u",
                         width, height, IMAGE_MAX_EDGE);
    if (channels != 1 && channels != 3)
        return error_set(err, UNSTIR_ERR_ARG,
                         "picture of %u channels: must be 1 or 3", channels);
    return UNSTIR_OK;
}

enum unstir_status image_init(struct unstir_image *image, uint32_t width,
                              uint32_t height, uint32_t channels,
                              struct unstir_error *err)
{
    uint8_t *pixels;
    *image = (struct unstir_image){0};
    TRY(check_size(width, height, channels, err));
    TRY(alloc_zero(&pixels, (size_t)width * height, channels, err));
    *image = (struct unstir_image){width, height, channels, pixels};
    return UNSTIR_OK;
}

enum unstir_status image_check(const struct unstir_image *image,
                               struct unstir_error *err)
{
    if (!image || !image->pixels)
        return error_set(err, UNSTIR_ERR_ARG, "no picture was given");
    return check_size(image->width, image->height, image->channels, err);
}

void unstir_image_fini(struct unstir_image *image)
{
    if (!image)
        return;
    alloc_free(image->pixels);
    *image = (struct unstir_image){0};
}
