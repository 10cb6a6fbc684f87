/* fuzz_image.c - JPEG and WebP: the head tells the truth, and an accepted
 * picture survives the lossless way.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "unstir.h"

void fuzz_image(const uint8_t *bytes, size_t n)
{
    const struct unstir_encode_options lossless = {UNSTIR_FORMAT_WEBP, -1, 100};
    struct unstir_image shape, image, back;
    struct unstir_error err;
    unsigned char *webp;
    size_t n_webp;
    bool is_promised =
        unstir_image_probe(bytes, n, 256, NULL, &shape, &err) == UNSTIR_OK;
    if (unstir_image_decode(bytes, n, 256, &image, &err) != UNSTIR_OK)
        return;
    if (!is_promised || shape.width != image.width ||
        shape.height != image.height)
        abort();
    if (unstir_image_encode(&image, &lossless, NULL, 0, &webp, &n_webp, &err) !=
            UNSTIR_OK ||
        unstir_image_decode(webp, n_webp, 256, &back, &err) != UNSTIR_OK)
        abort();
    for (size_t i = 0; i < (size_t)back.width * back.height * 3; i++)
        if (back.pixels[i] != image.pixels[image.channels == 3 ? i : i / 3])
            abort();
    unstir_free(webp);
    unstir_image_fini(&back);
    unstir_image_fini(&image);
}

FUZZ_ENTRY(fuzz_image)
