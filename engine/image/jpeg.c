/* jpeg.c - pictures to JPEG and back; the only file that sees turbojpeg.h.
 *
 * Writing.  Baseline, the accurate transform (the fast one is no faster where
 * SIMD is and worse where it is not), full colour resolution from quality 90
 * up, halved below.  Measured: 512 x 512 RGB in 1 ms.  The comment goes into
 * EXIF, XMP into a segment of its own; a segment holds 64 KiB, and a text that
 * has no room in it is left out.
 *
 * Reading.  The file is hostile.  Its head is walked here, segment by segment
 * up to the frame, before the library sees it: edges, components and the kind
 * of coding are checked, and pixels against what so many bytes can hold at
 * all.  Baseline and progressive Huffman coding are read; a progressive file
 * may have 500 scans.  What the library only warns of (a cut end) counts as
 * damage.  Inks are those of Adobe's files, the only ones there are: stored
 * upside down; they darken white as in Pillow.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <turbojpeg.h>

#include "base/alloc.h"
#include "image/codec.h"
#include "image/exif.h"
#include "image/image.h"

/* A block of 8 x 8 samples takes a bit at least; 512 pixels a byte. */
#define MAX_PIXELS_A_BYTE 512u
#define FULL_COLOUR_FROM  90
#define MAX_SEGMENT       65535u /* two bytes of length, which they count     */
#define MAX_SEGMENTS      1000u
#define INKS              4u /* cyan, magenta, yellow, black                 */

enum {
    SOI = 0xd8,
    SOF0 = 0xc0,
    SOF2 = 0xc2,
    DHT = 0xc4,
    JPG = 0xc8,
    DAC = 0xcc,
    SOS = 0xda,
    EOI = 0xd9,
    APP0 = 0xe0,
    APP1 = 0xe1
};

static const char exif_id[6] = "Exif\0";
static const char xmp_id[] = "http://ns.adobe.com/xap/1.0/";

static unsigned get16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* -- reading --------------------------------------------------------------- */

static bool is_jpeg(const unsigned char *bytes, size_t n)
{
    return n >= 3 && bytes[0] == 0xff && bytes[1] == SOI && bytes[2] == 0xff;
}

static bool is_frame(unsigned marker)
{
    return marker >= SOF0 && marker <= 0xcf && marker != DHT && marker != JPG &&
           marker != DAC;
}

static enum unstir_status damaged(struct unstir_error *err, const char *why)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "JPEG: the file is damaged: %s",
                     why);
}

static enum unstir_status read_frame(unsigned marker, const unsigned char *p,
                                     size_t n, size_t n_file, uint32_t max_edge,
                                     struct codec_head *head,
                                     struct unstir_error *err)
{
    if (marker > SOF2)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "JPEG: coding process %u; baseline and progressive "
                         "Huffman coding can be read",
                         marker - SOF0);
    if (n < 6)
        return damaged(err, "its frame is cut");
    if (p[0] != 8)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "JPEG: %u bits a sample, not 8", p[0]);
    head->height = get16(p + 1);
    head->width = get16(p + 3);
    head->channels = p[5];
    TRY(codec_check_edges("JPEG", head->width, head->height, max_edge, err));
    if (head->channels != 1 && head->channels != 3 && head->channels != INKS)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "JPEG: %u components; grey (1), colour (3) and inks "
                         "(4) can be read",
                         head->channels);
    head->channels = head->channels == 1 ? 1 : 3;
    if ((uint64_t)head->width * head->height / MAX_PIXELS_A_BYTE > n_file)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "JPEG: a file of %zu bytes cannot hold %u x %u pixels",
                         n_file, head->width, head->height);
    return UNSTIR_OK;
}

static enum unstir_status jpeg_probe(const unsigned char *bytes, size_t n,
                                     uint32_t max_edge, struct codec_head *head,
                                     struct unstir_error *err)
{
    size_t at = 2;

    for (unsigned i = 0; i < MAX_SEGMENTS; i++) {
        while (at < n && bytes[at] == 0xff)
            at++;
        if (n - at < 3 || bytes[at - 1] != 0xff)
            return damaged(err, "it has no frame");
        unsigned marker = bytes[at++];
        size_t length = get16(bytes + at);
        if (marker == SOS || marker == EOI || length < 2 || length > n - at)
            return damaged(err, "it has no frame");
        const unsigned char *p = bytes + at + 2;
        if (is_frame(marker))
            return read_frame(marker, p, length - 2, n, max_edge, head, err);
        if (marker == APP1 && length >= 2 + sizeof exif_id &&
            memcmp(p, exif_id, sizeof exif_id) == 0)
            head->orientation = exif_orientation(p + sizeof exif_id,
                                                 length - 2 - sizeof exif_id);
        at += length;
    }
    return damaged(err, "too many segments before its frame");
}

static enum unstir_status fail(tjhandle handle, struct unstir_error *err)
{
    return damaged(err, tjGetErrorStr2(handle));
}

/* 255 - ink over what black leaves: v and left as shares of 255. */
static uint8_t darken(unsigned v, unsigned left)
{
    unsigned product = (255 - v) * left + 128;
    unsigned ink = (product + (product >> 8)) >> 8;

    return (uint8_t)(left > ink ? left - ink : 0);
}

/* `cmyk` as stored: 255 is no ink. */
static void colour_inks(const uint8_t *cmyk, struct unstir_image *image)
{
    size_t n = (size_t)image->width * image->height;

    for (size_t i = 0; i < n; i++, cmyk += INKS)
        for (unsigned c = 0; c < 3; c++)
            image->pixels[3 * i + c] = darken(cmyk[c], cmyk[3]);
}

static enum unstir_status decode_pixels(tjhandle handle,
                                        const unsigned char *bytes, size_t n,
                                        int format, uint8_t *pixels,
                                        const struct unstir_image *image,
                                        struct unstir_error *err)
{
    int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
    int width = (int)image->width;

    if (tjDecompress2(handle, bytes, (unsigned long)n, pixels, width,
                      width * tjPixelSize[format], (int)image->height, format,
                      flags))
        return fail(handle, err);
    return UNSTIR_OK;
}

static enum unstir_status decode_inks(tjhandle handle,
                                      const unsigned char *bytes, size_t n,
                                      struct unstir_image *image,
                                      struct unstir_error *err)
{
    void *cmyk;

    TRY(alloc_zero(&cmyk, (size_t)image->width * INKS, image->height, err));
    enum unstir_status st =
        decode_pixels(handle, bytes, n, TJPF_CMYK, cmyk, image, err);
    if (!st)
        colour_inks(cmyk, image);
    alloc_free(cmyk);
    return st;
}

static enum unstir_status decode(tjhandle handle, const unsigned char *bytes,
                                 size_t n, const struct codec_head *head,
                                 struct unstir_image *image,
                                 struct unstir_error *err)
{
    int width = 0, height = 0, subsampling, space = -1;

    /* It also fails for want of a name for the subsampling, which decoding
     * does not need: the rest is told then. */
    if (tjDecompressHeader3(handle, bytes, (unsigned long)n, &width, &height,
                            &subsampling, &space) &&
        (width == 0 || space < 0))
        return fail(handle, err);
    if (width != (int)head->width || height != (int)head->height)
        return damaged(err, "it has two frames");
    TRY(image_init(image, head->width, head->height, head->channels, err));
    if (space == TJCS_CMYK || space == TJCS_YCCK)
        return decode_inks(handle, bytes, n, image, err);
    return decode_pixels(handle, bytes, n,
                         head->channels == 1 ? TJPF_GRAY : TJPF_RGB,
                         image->pixels, image, err);
}

static enum unstir_status jpeg_decode(const unsigned char *bytes, size_t n,
                                      const struct codec_head *head,
                                      struct unstir_image *image,
                                      struct unstir_error *err)
{
    tjhandle handle = tjInitDecompress();
    enum unstir_status st;

    if (!handle)
        return error_set(err, UNSTIR_ERR_NOMEM, "no memory to read a JPEG");
    st = decode(handle, bytes, n, head, image, err);
    (void)tjDestroy(handle); /* nothing is left to fail */
    return st;
}

/* -- writing --------------------------------------------------------------- */

/* A segment of an id and a body, or nothing when it has no room. */
static unsigned char *put_segment(unsigned char *to, const char *id,
                                  size_t n_id, const void *body, size_t n)
{
    size_t length = 2 + n_id + n;

    if (n == 0 || length > MAX_SEGMENT)
        return to;
    *to++ = 0xff;
    *to++ = APP1;
    *to++ = (unsigned char)(length >> 8);
    *to++ = (unsigned char)length;
    memcpy(to, id, n_id);
    memcpy(to + n_id, body, n);
    return to + n_id + n;
}

/* The library's file with our segments behind the first two, as EXIF wants
 * them: SOI, APP0. */
static enum unstir_status add_segments(const unsigned char *jpeg, size_t n_jpeg,
                                       const unsigned char *exif, size_t n_exif,
                                       const char *xmp, unsigned char **bytes,
                                       size_t *n_bytes,
                                       struct unstir_error *err)
{
    size_t n_xmp = xmp ? strlen(xmp) : 0;
    size_t head = jpeg[3] == APP0 ? 4 + get16(jpeg + 4) : 2;
    unsigned char *to;

    TRY(alloc_zero(bytes,
                   n_jpeg + n_exif + n_xmp + sizeof exif_id + sizeof xmp_id + 8,
                   1, err));
    to = *bytes;
    memcpy(to, jpeg, head);
    to = put_segment(to + head, exif_id, sizeof exif_id, exif, n_exif);
    to = put_segment(to, xmp_id, sizeof xmp_id, xmp, n_xmp);
    memcpy(to, jpeg + head, n_jpeg - head);
    *n_bytes = (size_t)(to - *bytes) + n_jpeg - head;
    return UNSTIR_OK;
}

static enum unstir_status encode(tjhandle handle,
                                 const struct unstir_image *image, int quality,
                                 unsigned char **jpeg, unsigned long *n,
                                 struct unstir_error *err)
{
    bool is_grey = image->channels == 1;
    int subsampling = is_grey                       ? TJSAMP_GRAY
                      : quality >= FULL_COLOUR_FROM ? TJSAMP_444
                                                    : TJSAMP_420;

    if (tjCompress2(handle, image->pixels, (int)image->width,
                    (int)image_row_bytes(image), (int)image->height,
                    is_grey ? TJPF_GRAY : TJPF_RGB, jpeg, n, subsampling,
                    quality, TJFLAG_ACCURATEDCT))
        return error_set(err, UNSTIR_ERR_NOMEM, "JPEG: %s",
                         tjGetErrorStr2(handle));
    return UNSTIR_OK;
}

static enum unstir_status
jpeg_encode(const struct unstir_image *image,
            const struct unstir_encode_options *options,
            const struct unstir_text *texts, size_t n_texts,
            unsigned char **bytes, size_t *n_bytes, struct unstir_error *err)
{
    const char *comment = codec_text(texts, n_texts, CODEC_KEY_PARAMETERS);
    unsigned char *exif = NULL, *jpeg = NULL;
    unsigned long n = 0;
    size_t n_exif = 0;
    enum unstir_status st = UNSTIR_OK;
    tjhandle handle = tjInitCompress();

    if (!handle)
        return error_set(err, UNSTIR_ERR_NOMEM, "no memory to write a JPEG");
    if (comment)
        st = exif_comment(comment, &exif, &n_exif, err);
    if (!st)
        st = encode(handle, image, options->quality, &jpeg, &n, err);
    if (!st)
        st = add_segments(jpeg, n, exif, n_exif,
                          codec_text(texts, n_texts, CODEC_KEY_XMP), bytes,
                          n_bytes, err);
    tjFree(jpeg);
    (void)tjDestroy(handle); /* nothing is left to fail */
    alloc_free(exif);
    return st;
}

const struct codec codec_jpeg = {
    .info = {"jpeg", "image/jpeg", ".jpg,.jpeg", true},
    .is_mine = is_jpeg,
    .probe = jpeg_probe,
    .decode = jpeg_decode,
    .encode = jpeg_encode,
};
