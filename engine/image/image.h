/* image.h - pictures in memory: 8 bits a sample, grey or RGB.
 *
 * The operations on them are public: see unstir.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include "base/error.h"

/* Longest edge of any picture we make or read; 16384^2 RGB is 768 MiB. */
#define IMAGE_MAX_EDGE 16384u

/* A black picture; unstir_image_fini().  `channels` is 1 or 3. */
enum unstir_status image_init(struct unstir_image *image, uint32_t width,
                              uint32_t height, uint32_t channels,
                              struct unstir_error *err);

/* UNSTIR_ERR_ARG unless it is a picture: pixels, sizes in range. */
enum unstir_status image_check(const struct unstir_image *image,
                               struct unstir_error *err);

static inline size_t image_row_bytes(const struct unstir_image *image)
{
    return (size_t)image->width * image->channels;
}

#endif
