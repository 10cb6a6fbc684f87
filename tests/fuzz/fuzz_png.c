/* fuzz_png.c - PNG: an accepted picture survives encoding and decoding.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "unstir.h"

void fuzz_png(const uint8_t *bytes, size_t n)
{
    struct unstir_image image, back;
    struct unstir_error err;
    unsigned char *png;
    size_t n_png;
    if (unstir_png_decode(bytes, n, 512, &image, &err) != UNSTIR_OK)
        return;
    size_t n_pixels = (size_t)image.width * image.height * image.channels;
    if (unstir_png_encode(&image, -1, NULL, 0, &png, &n_png, &err) !=
            UNSTIR_OK ||
        unstir_png_decode(png, n_png, 512, &back, &err) != UNSTIR_OK ||
        back.channels != image.channels ||
        memcmp(back.pixels, image.pixels, n_pixels) != 0)
        abort();
    unstir_free(png);
    unstir_image_fini(&back);
    unstir_image_fini(&image);
}

FUZZ_ENTRY(fuzz_png)
