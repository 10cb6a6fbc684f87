/* webp.c - pictures to WebP and back, and films; the only file that sees
 * webp/.
 *
 * Writing.  Lossy at the quality asked for, lossless at 100: who asks for
 * that wants nothing lost.  Grey pictures become RGB, which WebP has alone.
 * The comment goes into an EXIF chunk, XMP into its own.  A film is lossy at
 * the library's fastest effort: measured on 20 frames of denoising at 256
 * pixels, 45 ms and 279 KB against 131 ms and 277 KB at the usual effort.
 *
 * Reading.  The file is hostile; the head is read by the library's own
 * parser, which allocates nothing, and checked before pixels are.  A film is
 * not a picture and refused.  Alpha is laid over white.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <webp/decode.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include "base/alloc.h"
#include "image/codec.h"
#include "image/exif.h"
#include "image/image.h"

#define USUAL_EFFORT 4
#define FILM_EFFORT  0
#define FILM_LOOPS   0 /* for ever                                           */

static enum unstir_status no_memory(struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_NOMEM, "WebP: out of memory");
}

/* -- reading --------------------------------------------------------------- */

static bool is_webp(const unsigned char *bytes, size_t n)
{
    return n >= 12 && memcmp(bytes, "RIFF", 4) == 0 &&
           memcmp(bytes + 8, "WEBP", 4) == 0;
}

static size_t get32(const unsigned char *p)
{
    return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 |
           (size_t)p[3] << 24;
}

/* The orientation of the file's EXIF chunk. */
static unsigned find_orientation(const unsigned char *bytes, size_t n)
{
    size_t at = 12;

    while (n - at >= 8) {
        size_t length = get32(bytes + at + 4);
        const unsigned char *body = bytes + at + 8;
        size_t skip = (memcmp(bytes + at, "EXIF", 4) == 0 && length >= 6 &&
                       length <= n - at - 8 && memcmp(body, "Exif\0", 6) == 0)
                          ? 6 /* some writers keep JPEG's mark */
                          : 0;
        if (length > n - at - 8)
            return 1;
        if (memcmp(bytes + at, "EXIF", 4) == 0)
            return exif_orientation(body + skip, length - skip);
        at += 8 + length;
        at += length % 2 && at < n;
    }
    return 1;
}

static enum unstir_status webp_probe(const unsigned char *bytes, size_t n,
                                     uint32_t max_edge, struct codec_head *head,
                                     struct unstir_error *err)
{
    WebPBitstreamFeatures features;

    if (WebPGetFeatures(bytes, n, &features) != VP8_STATUS_OK)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "WebP: the file is damaged or cut");
    head->width = (uint32_t)features.width;
    head->height = (uint32_t)features.height;
    head->channels = 3;
    TRY(codec_check_edges("WebP", head->width, head->height, max_edge, err));
    if (features.has_animation)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "WebP: a film, not one picture");
    head->orientation = find_orientation(bytes, n);
    return UNSTIR_OK;
}

static enum unstir_status webp_decode(const unsigned char *bytes, size_t n,
                                      const struct codec_head *head,
                                      struct unstir_image *image,
                                      struct unstir_error *err)
{
    size_t row = (size_t)head->width * 4;
    enum unstir_status st = UNSTIR_OK;
    void *pixels;

    TRY(alloc_zero(&pixels, row, head->height, err));
    if (!WebPDecodeRGBAInto(bytes, n, pixels, row * head->height, (int)row))
        st = error_set(err, UNSTIR_ERR_FORMAT,
                       "WebP: the file is damaged or cut");
    if (!st)
        st = image_init(image, head->width, head->height, 3, err);
    if (!st)
        codec_lay_over_white(pixels, 4, image);
    alloc_free(pixels);
    return st;
}

/* -- writing --------------------------------------------------------------- */

static enum unstir_status configure(WebPConfig *config, int quality, int effort,
                                    struct unstir_error *err)
{
    if (!WebPConfigInit(config))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "WebP: the library is of another version");
    config->quality = (float)quality;
    config->method = effort;
    config->lossless = quality == 100;
    config->exact = config->lossless;
    return UNSTIR_OK;
}

/* WebPPictureFree() in every case. */
static enum unstir_status import(WebPPicture *picture,
                                 const struct unstir_image *image,
                                 struct unstir_error *err)
{
    const uint8_t *from = image->pixels;
    uint32_t n = image->channels;

    if (!WebPPictureInit(picture))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "WebP: the library is of another version");
    if (image->width > WEBP_MAX_DIMENSION || image->height > WEBP_MAX_DIMENSION)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "WebP: %u x %u pixels, edges may have at most %d",
                         image->width, image->height, WEBP_MAX_DIMENSION);
    picture->width = (int)image->width;
    picture->height = (int)image->height;
    picture->use_argb = 1;
    if (!WebPPictureAlloc(picture))
        return no_memory(err);
    for (uint32_t y = 0; y < image->height; y++) {
        uint32_t *to = picture->argb + (size_t)y * (size_t)picture->argb_stride;
        for (uint32_t x = 0; x < image->width; x++, from += n)
            to[x] = 0xff000000u | (uint32_t)from[0] << 16 |
                    (uint32_t)from[n == 3 ? 1 : 0] << 8 | from[n == 3 ? 2 : 0];
    }
    return UNSTIR_OK;
}

static bool set_chunk(WebPMux *mux, const char *fourcc, const void *bytes,
                      size_t n)
{
    const WebPData data = {bytes, n};

    return n == 0 || WebPMuxSetChunk(mux, fourcc, &data, 1) == WEBP_MUX_OK;
}

static enum unstir_status add_chunks(const WebPMemoryWriter *coded,
                                     const unsigned char *exif, size_t n_exif,
                                     const char *xmp, unsigned char **bytes,
                                     size_t *n_bytes, struct unstir_error *err)
{
    WebPMux *mux = WebPMuxNew();
    const WebPData picture = {coded->mem, coded->size};
    WebPData whole = {NULL, 0};
    bool is_good = mux && WebPMuxSetImage(mux, &picture, 0) == WEBP_MUX_OK &&
                   set_chunk(mux, "EXIF", exif, n_exif) &&
                   set_chunk(mux, "XMP ", xmp, xmp ? strlen(xmp) : 0) &&
                   WebPMuxAssemble(mux, &whole) == WEBP_MUX_OK;
    enum unstir_status st =
        is_good ? codec_copy(whole.bytes, whole.size, bytes, n_bytes, err)
                : no_memory(err);

    WebPDataClear(&whole);
    WebPMuxDelete(mux);
    return st;
}

static enum unstir_status encode(const struct unstir_image *image, int quality,
                                 WebPMemoryWriter *coded,
                                 struct unstir_error *err)
{
    WebPConfig config;
    WebPPicture picture;

    TRY(configure(&config, quality, USUAL_EFFORT, err));
    enum unstir_status st = import(&picture, image, err);
    picture.writer = WebPMemoryWrite;
    picture.custom_ptr = coded;
    if (!st && !WebPEncode(&config, &picture))
        st = no_memory(err);
    WebPPictureFree(&picture);
    return st;
}

static enum unstir_status
webp_encode(const struct unstir_image *image,
            const struct unstir_encode_options *options,
            const struct unstir_text *texts, size_t n_texts,
            unsigned char **bytes, size_t *n_bytes, struct unstir_error *err)
{
    const char *comment = codec_text(texts, n_texts, CODEC_KEY_PARAMETERS);
    WebPMemoryWriter coded;
    unsigned char *exif = NULL;
    size_t n_exif = 0;
    enum unstir_status st = UNSTIR_OK;

    WebPMemoryWriterInit(&coded);
    if (comment)
        st = exif_comment(comment, &exif, &n_exif, err);
    if (!st)
        st = encode(image, options->quality, &coded, err);
    if (!st)
        st = add_chunks(&coded, exif, n_exif,
                        codec_text(texts, n_texts, CODEC_KEY_XMP), bytes,
                        n_bytes, err);
    WebPMemoryWriterClear(&coded);
    alloc_free(exif);
    return st;
}

const struct codec codec_webp = {
    .info = {"webp", "image/webp", ".webp", true},
    .is_mine = is_webp,
    .probe = webp_probe,
    .decode = webp_decode,
    .encode = webp_encode,
};

/* -- films ----------------------------------------------------------------- */

static enum unstir_status add_frames(WebPAnimEncoder *encoder,
                                     const struct unstir_image *images,
                                     size_t n,
                                     const struct unstir_film_options *options,
                                     struct unstir_error *err)
{
    WebPConfig config;
    int64_t end = (int64_t)(n - 1) * options->frame_ms + options->last_ms;

    if (end > INT32_MAX)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "WebP: a film of %zu frames would take too long", n);
    TRY(configure(&config,
                  options->quality ? options->quality : CODEC_DEFAULT_QUALITY,
                  FILM_EFFORT, err));
    for (size_t i = 0; i < n; i++) {
        WebPPicture frame;
        enum unstir_status st = import(&frame, &images[i], err);
        if (!st && !WebPAnimEncoderAdd(encoder, &frame,
                                       (int)(i * options->frame_ms), &config))
            st = no_memory(err);
        WebPPictureFree(&frame);
        TRY(st);
    }
    return WebPAnimEncoderAdd(encoder, NULL, (int)end, NULL) ? UNSTIR_OK
                                                             : no_memory(err);
}

enum unstir_status unstir_film_encode(const struct unstir_image *images,
                                      size_t n,
                                      const struct unstir_film_options *options,
                                      unsigned char **bytes, size_t *n_bytes,
                                      struct unstir_error *err)
{
    WebPAnimEncoderOptions o;
    WebPData whole = {NULL, 0};

    *bytes = NULL;
    *n_bytes = 0;
    if (n == 0 || options->quality < 0 || options->quality > 100)
        return error_set(err, UNSTIR_ERR_ARG,
                         "a film needs pictures and a quality of 0 to 100");
    for (size_t i = 0; i < n; i++) {
        TRY(image_check(&images[i], err));
        if (images[i].width != images[0].width ||
            images[i].height != images[0].height)
            return error_set(err, UNSTIR_ERR_ARG,
                             "picture %zu of the film is %u x %u, the first is "
                             "%u x %u",
                             i, images[i].width, images[i].height,
                             images[0].width, images[0].height);
    }
    if (!WebPAnimEncoderOptionsInit(&o))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "WebP: the library is of another version");
    o.anim_params.loop_count = FILM_LOOPS;
    WebPAnimEncoder *encoder =
        WebPAnimEncoderNew((int)images[0].width, (int)images[0].height, &o);
    if (!encoder)
        return no_memory(err);
    enum unstir_status st = add_frames(encoder, images, n, options, err);
    if (!st && !WebPAnimEncoderAssemble(encoder, &whole))
        st = no_memory(err);
    if (!st)
        st = codec_copy(whole.bytes, whole.size, bytes, n_bytes, err);
    WebPDataClear(&whole);
    WebPAnimEncoderDelete(encoder);
    return st;
}
