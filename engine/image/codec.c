/* codec.c - picture files: which format reads or writes one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/codec.h"

#include <string.h>

#include "base/alloc.h"
#include "image/exif.h"
#include "image/image.h"

static const struct codec *const codecs[UNSTIR_N_FORMATS] = {
    [UNSTIR_FORMAT_PNG] = &codec_png,
    [UNSTIR_FORMAT_JPEG] = &codec_jpeg,
    [UNSTIR_FORMAT_WEBP] = &codec_webp,
};

const struct unstir_format_info *unstir_format_info(enum unstir_format format)
{
    return &codecs[format]->info;
}

/* -- reading --------------------------------------------------------------- */

static enum unstir_status look(const unsigned char *bytes, size_t n,
                               uint32_t max_edge, enum unstir_format *format,
                               struct codec_head *head,
                               struct unstir_error *err)
{
    if (max_edge == 0 || max_edge > IMAGE_MAX_EDGE)
        max_edge = IMAGE_MAX_EDGE;
    for (int i = 0; i < UNSTIR_N_FORMATS; i++) {
        if (!codecs[i]->is_mine(bytes, n))
            continue;
        *format = (enum unstir_format)i;
        *head = (struct codec_head){.orientation = 1};
        return codecs[i]->probe(bytes, n, max_edge, head, err);
    }
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "not a picture that can be read: it begins neither like "
                     "PNG nor JPEG nor WebP");
}

enum unstir_status unstir_image_probe(const unsigned char *bytes,
                                      size_t n_bytes, uint32_t max_edge,
                                      enum unstir_format *format,
                                      struct unstir_image *shape,
                                      struct unstir_error *err)
{
    enum unstir_format found;
    struct codec_head head;

    *shape = (struct unstir_image){0};
    TRY(look(bytes, n_bytes, max_edge, &found, &head, err));
    bool is_lying = head.orientation > 4;
    *shape = (struct unstir_image){
        .width = is_lying ? head.height : head.width,
        .height = is_lying ? head.width : head.height,
        .channels = head.channels,
    };
    if (format)
        *format = found;
    return UNSTIR_OK;
}

enum unstir_status unstir_image_decode(const unsigned char *bytes,
                                       size_t n_bytes, uint32_t max_edge,
                                       struct unstir_image *image,
                                       struct unstir_error *err)
{
    enum unstir_format format;
    struct codec_head head;

    *image = (struct unstir_image){0};
    TRY(look(bytes, n_bytes, max_edge, &format, &head, err));
    enum unstir_status st =
        codecs[format]->decode(bytes, n_bytes, &head, image, err);
    if (!st)
        st = exif_turn(image, head.orientation, err);
    if (st)
        unstir_image_fini(image);
    return st;
}

/* -- writing --------------------------------------------------------------- */

enum unstir_status
unstir_image_encode(const struct unstir_image *image,
                    const struct unstir_encode_options *options,
                    const struct unstir_text *texts, size_t n_texts,
                    unsigned char **bytes, size_t *n_bytes,
                    struct unstir_error *err)
{
    struct unstir_encode_options o = UNSTIR_ENCODE_INIT;

    *bytes = NULL;
    *n_bytes = 0;
    TRY(image_check(image, err));
    if (options)
        o = *options;
    if ((unsigned)o.format >= UNSTIR_N_FORMATS)
        return error_set(err, UNSTIR_ERR_ARG, "there is no format %d",
                         (int)o.format);
    if (o.quality == 0)
        o.quality = CODEC_DEFAULT_QUALITY;
    if (o.quality < 1 || o.quality > 100)
        return error_field(err, "quality", "quality must be 1 to 100, not %d",
                           o.quality);
    return codecs[o.format]->encode(image, &o, texts, n_texts, bytes, n_bytes,
                                    err);
}
