/* fit.h - a picture made to the size and colours that a model works on.
 *
 * Sizes change by Lanczos' filter over three lobes, in the fixed point numbers
 * of Pillow, through which the reference's pipelines read pictures: rows, then
 * columns, each rounded to bytes, so that the bytes are theirs.  Proportions
 * are the caller's affair.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef IMAGE_FIT_H
#define IMAGE_FIT_H

#include "base/error.h"

/* Resized, then made grey (1) or RGB (3).  *out: unstir_image_fini(). */
enum unstir_status image_fit(const struct unstir_image *image, uint32_t width,
                             uint32_t height, uint32_t channels,
                             struct unstir_image *out,
                             struct unstir_error *err);

#endif
