/* codec_parts.c - what the formats of picture files share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/codec.h"

#include <string.h>

#include "base/alloc.h"

enum unstir_status codec_check_edges(const char *format, uint32_t width,
                                     uint32_t height, uint32_t max_edge,
                                     struct unstir_error *err)
{
    if (width == 0 || height == 0)
        return error_set(err, UNSTIR_ERR_FORMAT, "%s: a picture of no pixels",
                         format);
    if (width > max_edge || height > max_edge)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "%s: %u x %u pixels, edges may have at most %u",
                         format, width, height, max_edge);
    return UNSTIR_OK;
}

const char *codec_text(const struct unstir_text *texts, size_t n,
                       const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(texts[i].key, key) == 0)
            return texts[i].value;
    return NULL;
}

static uint8_t over_white(unsigned value, unsigned alpha)
{
    return (uint8_t)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

void codec_lay_over_white(const uint8_t *pixels, uint32_t channels,
                          struct unstir_image *image)
{
    size_t n = (size_t)image->width * image->height;
    uint32_t colours = image->channels;

    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = pixels + i * channels;
        unsigned alpha = channels > colours ? from[colours] : 255;
        for (uint32_t c = 0; c < colours; c++)
            image->pixels[i * colours + c] = over_white(from[c], alpha);
    }
}

enum unstir_status codec_copy(const void *from, size_t n, unsigned char **bytes,
                              size_t *n_bytes, struct unstir_error *err)
{
    TRY(alloc_zero(bytes, n, 1, err));
    memcpy(*bytes, from, n);
    *n_bytes = n;
    return UNSTIR_OK;
}
