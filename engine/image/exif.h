/* exif.h - the little of EXIF that pictures need: which way is up, and a
 * comment.
 *
 * Blocks are TIFF structures as they stand in a JPEG's APP1 segment behind
 * "Exif\0\0", in a WebP's EXIF chunk and in a PNG's eXIf chunk.
 *
 * Source.  CIPA DC-008 (EXIF 2.3), sections 4.5 and 4.6; the webui keeps its
 * "parameters" in UserComment (tag 0x9286).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef IMAGE_EXIF_H
#define IMAGE_EXIF_H

#include <stddef.h>

#include "base/error.h"

/* 1..8; 1 for a block that has none or is damaged: the pixels are good. */
unsigned exif_orientation(const unsigned char *block, size_t n);

/* Turn and mirror in place so that the picture stands upright. */
enum unstir_status exif_turn(struct unstir_image *image, unsigned orientation,
                             struct unstir_error *err);

/* A block whose UserComment is the UTF-8 text; ended by alloc_free().
 * UNSTIR_ERR_ARG: not UTF-8. */
enum unstir_status exif_comment(const char *text, unsigned char **block,
                                size_t *n, struct unstir_error *err);

#endif
