/* pictures.h - picture files on the command line: any format in, out by suffix.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PICTURES_H
#define PICTURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "unstir.h"

/* PNG, JPEG or WebP, found out by content; "-" is stdin.  0 or the exit code,
 * with the error printed; *image is ended by unstir_image_fini(). */
int picture_read(struct unstir_image *image, const char *path);

/* The same, or of a safetensors file latents, ended by unstir_latents_fini(). */
int picture_or_latents_read(struct unstir_image *image,
                            struct unstir_latents *latents, const char *path);

/* The format that a name asks for, PNG for "-"; without a suffix of one the
 * error is printed and the exit code returned. */
int picture_format(const char *path, enum unstir_format *format);

/* Whether a name is that of a film. */
bool picture_is_film(const char *path);

/* Pictures of one size on a sheet, those below `cell` pixels enlarged; format
 * by suffix, quality 0: the default. */
int picture_write_sheet(const char *path, const struct unstir_image *images,
                        size_t n, uint32_t columns, uint32_t gap, uint32_t cell,
                        uint32_t quality);

/* As a film, small ones enlarged. */
int picture_write_film(const char *path, const struct unstir_image *images,
                       size_t n, uint32_t quality);

#endif
