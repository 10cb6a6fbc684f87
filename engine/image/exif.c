/* exif.c - the little of EXIF that pictures need.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/exif.h"

#include <string.h>

#include "base/alloc.h"
#include "image/image.h"
#include "image/utf8.h"

enum { TAG_ORIENTATION = 0x0112, TAG_EXIF_IFD = 0x8769, TAG_COMMENT = 0x9286 };
enum { TYPE_SHORT = 3, TYPE_LONG = 4, TYPE_UNDEFINED = 7 };

/* -- reading --------------------------------------------------------------- */

struct reader {
    const unsigned char *bytes;
    size_t n;
    bool is_big; /* byte order */
};

/* 0 outside of the block. */
static uint32_t get(const struct reader *r, size_t at, unsigned n)
{
    uint32_t v = 0;

    if (at > r->n || n > r->n - at)
        return 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | r->bytes[at + (r->is_big ? i : n - 1 - i)];
    return v;
}

unsigned exif_orientation(const unsigned char *block, size_t n)
{
    struct reader r = {block, n, n > 0 && block[0] == 'M'};
    size_t ifd = get(&r, 4, 4);
    uint32_t entries = get(&r, ifd, 2);

    if (get(&r, 2, 2) != 42)
        return 1;
    for (uint32_t i = 0; i < entries; i++) {
        size_t entry = ifd + 2 + 12 * (size_t)i;
        uint32_t value = get(&r, entry + 8, 2);
        if (get(&r, entry, 2) == TAG_ORIENTATION &&
            get(&r, entry + 2, 2) == TYPE_SHORT)
            return value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

/* Where the pixel (x, y) of the upright picture stands in the stored one of
 * w x h. */
static size_t source_of(unsigned orientation, uint32_t x, uint32_t y,
                        uint32_t w, uint32_t h)
{
    bool is_lying = orientation > 4;
    uint32_t sx = is_lying ? y : x, sy = is_lying ? x : y;
    /* 1 as it is, 2 mirrored, 3 upside down, 4 both; 5 to 8 the same lying */
    bool flips_x = orientation == 2 || orientation == 3 || orientation == 7 ||
                   orientation == 8;
    bool flips_y = orientation == 3 || orientation == 4 || orientation == 6 ||
                   orientation == 7;

    if (flips_x)
        sx = w - 1 - sx;
    if (flips_y)
        sy = h - 1 - sy;
    return (size_t)sy * w + sx;
}

enum unstir_status exif_turn(struct unstir_image *image, unsigned orientation,
                             struct unstir_error *err)
{
    struct unstir_image out;
    uint32_t w = image->width, h = image->height, c = image->channels;

    if (orientation < 2 || orientation > 8)
        return UNSTIR_OK;
    TRY(image_init(&out, orientation > 4 ? h : w, orientation > 4 ? w : h, c,
                   err));
    uint8_t *to = out.pixels;
    for (uint32_t y = 0; y < out.height; y++)
        for (uint32_t x = 0; x < out.width; x++, to += c)
            memcpy(to, image->pixels + c * source_of(orientation, x, y, w, h),
                   c);
    unstir_image_fini(image);
    *image = out;
    return UNSTIR_OK;
}

/* -- writing --------------------------------------------------------------- */

static unsigned char *put(unsigned char *to, uint32_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        *to++ = (unsigned char)(v >> 8 * (n - 1 - i));
    return to;
}

static unsigned char *put_entry(unsigned char *to, unsigned tag, unsigned type,
                                uint32_t count, uint32_t value)
{
    to = put(put(to, tag, 2), type, 2);
    return put(put(to, count, 4), value, 4);
}

/* UTF-16 units of a text; false if it is not UTF-8. */
static bool count_units(const char *text, size_t *n)
{
    const unsigned char *p = (const unsigned char *)text;

    *n = 0;
    while (*p) {
        int32_t c = utf8_next(&p);
        if (c < 0)
            return false;
        *n += c < 0x10000 ? 1 : 2;
    }
    return true;
}

static unsigned char *put_utf16(unsigned char *to, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    while (*p) {
        uint32_t c = (uint32_t)utf8_next(&p);
        if (c >= 0x10000) {
            to = put(to, 0xd800 + ((c - 0x10000) >> 10), 2);
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        to = put(to, c, 2);
    }
    return to;
}

/* One directory that points to a second one, whose one entry is the comment.
 * Byte order "MM": that of UTF-16 in such comments. */
enum unstir_status exif_comment(const char *text, unsigned char **block,
                                size_t *n, struct unstir_error *err)
{
    enum { IFD0 = 8, EXIF_IFD = IFD0 + 18, COMMENT = EXIF_IFD + 18 };
    unsigned char *to;
    size_t units;

    *block = NULL;
    *n = 0;
    if (!count_units(text, &units) || units > UINT32_MAX / 4)
        return error_set(err, UNSTIR_ERR_ARG, "the comment is not UTF-8");
    TRY(alloc_zero(block, COMMENT + 8 + 2 * units, 1, err));
    to = *block;
    memcpy(to, "MM\0*", 4);
    to = put(put(to + 4, IFD0, 4), 1, 2);
    to = put_entry(to, TAG_EXIF_IFD, TYPE_LONG, 1, EXIF_IFD);
    to = put(put(to, 0, 4), 1, 2);
    to = put_entry(to, TAG_COMMENT, TYPE_UNDEFINED, (uint32_t)(8 + 2 * units),
                   COMMENT);
    to = put(to, 0, 4);
    memcpy(to, "UNICODE", 8);
    to = put_utf16(to + 8, text);
    *n = (size_t)(to - *block);
    return UNSTIR_OK;
}
