/* png_decode.c - PNG in memory to 8-bit grey or RGB.
 *
 * All colour types, depths and interlacing; alpha is laid over white, 16 bits
 * are cut to 8, colour spaces are ignored.  The file is hostile: sizes are
 * checked against the caller's limit, and against what so many compressed
 * bytes can hold at all, before memory for pixels is taken; rows are inflated
 * one at a time, so a file that inflates to more than its header says costs
 * nothing.  No setjmp (see png_encode.c).
 *
 * Source: W3C PNG Specification (Third Edition), sections 5, 7, 8, 9, 11.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/alloc.h"
#include "base/size.h"
#include "image/image.h"

/* deflate cannot do better than 1032 : 1. */
#define MAX_DEFLATE_RATIO 1032u

enum colour {
    COLOUR_GREY = 0,
    COLOUR_RGB = 2,
    COLOUR_PALETTE = 3,
    COLOUR_GREY_ALPHA = 4,
    COLOUR_RGB_ALPHA = 6
};

struct chunk {
    const unsigned char *type, *data;
    size_t n;
};

struct decoder {
    const unsigned char *bytes;
    size_t n_bytes, at;
    /* IHDR */
    uint32_t width, height;
    unsigned depth, colour, samples; /* samples a pixel in the file          */
    bool is_interlaced;
    /* PLTE, tRNS */
    uint8_t palette[256][3], alpha[256];
    size_t n_palette;
    bool has_key; /* one colour is transparent: key[]                        */
    uint16_t key[3];
    /* IDAT */
    z_stream z;
    struct chunk idat; /* what is being inflated                             */
    bool is_last_idat;
    uint8_t *row, *above; /* filter byte first                               */
};

/* Adam7: where each of the seven passes starts and how it strides. */
struct pass {
    uint32_t x, y, dx, dy;
};
static const struct pass adam7[7] = {
    {0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
    {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2},
};
static const struct pass whole = {0, 0, 1, 1};

static enum unstir_status bad(const char *why, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "PNG: %s", why);
}

static uint32_t load_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static unsigned load_u16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* -- chunks ---------------------------------------------------------------- */

static enum unstir_status next_chunk(struct decoder *d, struct chunk *c,
                                     struct unstir_error *err)
{
    size_t left = d->n_bytes - d->at;
    const unsigned char *p = d->bytes + d->at;
    if (left < 12)
        return bad("the file ends before its IEND chunk", err);
    c->n = load_u32(p);
    c->type = p + 4;
    c->data = p + 8;
    if (c->n > left - 12)
        return bad("a chunk is longer than the file; the file is incomplete",
                   err);
    for (int i = 0; i < 4; i++)
        if ((c->type[i] | 0x20) < 'a' || (c->type[i] | 0x20) > 'z')
            return bad("a chunk's name is not four letters", err);
    if (crc32_z(0, c->type, c->n + 4) != load_u32(c->data + c->n))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "PNG: checksum of chunk %.4s is wrong; the file is "
                         "damaged",
                         (const char *)c->type);
    d->at += c->n + 12;
    return UNSTIR_OK;
}

static bool chunk_is(const struct chunk *c, const char *type)
{
    return memcmp(c->type, type, 4) == 0;
}

static unsigned samples_of(unsigned colour)
{
    switch (colour) {
    case COLOUR_GREY:
    case COLOUR_PALETTE:
        return 1;
    case COLOUR_GREY_ALPHA:
        return 2;
    case COLOUR_RGB:
        return 3;
    case COLOUR_RGB_ALPHA:
        return 4;
    default:
        return 0;
    }
}

static bool is_legal_depth(unsigned colour, unsigned depth)
{
    switch (depth) {
    case 1:
    case 2:
    case 4:
        return colour == COLOUR_GREY || colour == COLOUR_PALETTE;
    case 8:
        return true;
    case 16:
        return colour != COLOUR_PALETTE;
    default:
        return false;
    }
}

static enum unstir_status read_header(struct decoder *d, uint32_t max_edge,
                                      struct unstir_error *err)
{
    struct chunk c;
    if (d->n_bytes < 8 || memcmp(d->bytes, "\x89PNG\r\n\x1a\n", 8) != 0)
        return bad("the file does not begin with a PNG signature", err);
    d->at = 8;
    TRY(next_chunk(d, &c, err));
    if (!chunk_is(&c, "IHDR") || c.n != 13)
        return bad("the first chunk must be IHDR of 13 bytes", err);
    d->width = load_u32(c.data);
    d->height = load_u32(c.data + 4);
    d->depth = c.data[8];
    d->colour = c.data[9];
    d->samples = samples_of(d->colour);
    d->is_interlaced = c.data[12] == 1;
    if (d->width == 0 || d->height == 0)
        return bad("a picture of no pixels", err);
    if (d->width > max_edge || d->height > max_edge)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "PNG: %u x %u pixels, edges may have at most %u",
                         d->width, d->height, max_edge);
    if (d->samples == 0 || !is_legal_depth(d->colour, d->depth))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "PNG: colour type %u with %u bits does not exist",
                         d->colour, d->depth);
    if (c.data[10] != 0 || c.data[11] != 0 || c.data[12] > 1)
        return bad("unknown compression, filter or interlace method", err);
    return UNSTIR_OK;
}

static enum unstir_status read_palette(struct decoder *d, const struct chunk *c,
                                       struct unstir_error *err)
{
    if (c->n == 0 || c->n % 3 != 0 || c->n > sizeof(d->palette) ||
        d->n_palette > 0)
        return bad("a palette must stand once and have 1..256 colours", err);
    d->n_palette = c->n / 3;
    memcpy(d->palette, c->data, c->n);
    return UNSTIR_OK;
}

static enum unstir_status read_transparency(struct decoder *d,
                                            const struct chunk *c,
                                            struct unstir_error *err)
{
    if (d->colour == COLOUR_PALETTE) {
        if (c->n > d->n_palette)
            return bad("tRNS has more entries than the palette", err);
        memcpy(d->alpha, c->data, c->n);
        return UNSTIR_OK;
    }
    if ((d->colour != COLOUR_GREY && d->colour != COLOUR_RGB) ||
        c->n != 2 * d->samples)
        return bad("tRNS does not fit the colour type", err);
    d->has_key = true;
    for (unsigned i = 0; i < d->samples; i++)
        d->key[i] = (uint16_t)load_u16(c->data + 2 * i);
    return UNSTIR_OK;
}

/* Everything up to the first IDAT, which is left in d->idat. */
static enum unstir_status read_front(struct decoder *d,
                                     struct unstir_error *err)
{
    memset(d->alpha, 255, sizeof(d->alpha));
    for (;;) {
        struct chunk c;
        TRY(next_chunk(d, &c, err));
        if (chunk_is(&c, "IDAT")) {
            d->idat = c;
            break;
        }
        if (chunk_is(&c, "PLTE"))
            TRY(read_palette(d, &c, err));
        else if (chunk_is(&c, "tRNS"))
            TRY(read_transparency(d, &c, err));
        else if (chunk_is(&c, "IEND"))
            return bad("no pixels before IEND", err);
        else if (!(c.type[0] & 0x20))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "PNG: unknown critical chunk %.4s",
                             (const char *)c.type);
    }
    if (d->colour == COLOUR_PALETTE && d->n_palette == 0)
        return bad("no palette before the pixels", err);
    return UNSTIR_OK;
}

/* -- rows ------------------------------------------------------------------ */

static size_t row_bytes(const struct decoder *d, uint32_t width)
{
    return ((size_t)width * d->samples * d->depth + 7) / 8;
}

static uint32_t pass_edge(uint32_t edge, uint32_t start, uint32_t stride)
{
    return edge > start ? (edge - start + stride - 1) / stride : 0;
}

/* Bytes that all rows inflate to. */
static uint64_t inflated_bytes(const struct decoder *d)
{
    const struct pass *passes = d->is_interlaced ? adam7 : &whole;
    uint64_t n = 0;
    for (int p = 0; p < (d->is_interlaced ? 7 : 1); p++) {
        uint32_t w = pass_edge(d->width, passes[p].x, passes[p].dx);
        uint32_t h = pass_edge(d->height, passes[p].y, passes[p].dy);
        if (w > 0)
            n += (uint64_t)h * (row_bytes(d, w) + 1);
    }
    return n;
}

/* A claim of many pixels in few bytes is refused before memory is taken. */
static enum unstir_status check_plausible(const struct decoder *d,
                                          struct unstir_error *err)
{
    uint64_t wanted = inflated_bytes(d), file = d->n_bytes;
    if (wanted / MAX_DEFLATE_RATIO > file)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "PNG: a file of %zu bytes cannot hold %u x %u pixels",
                         d->n_bytes, d->width, d->height);
    return UNSTIR_OK;
}

static enum unstir_status next_idat(struct decoder *d, struct unstir_error *err)
{
    struct chunk c;
    TRY(next_chunk(d, &c, err));
    if (!chunk_is(&c, "IDAT"))
        return bad("the pixels end too early", err);
    d->idat = c;
    return UNSTIR_OK;
}

/* Inflate exactly n bytes to `to`, across IDAT chunks. */
static enum unstir_status inflate_bytes(struct decoder *d, uint8_t *to,
                                        size_t n, struct unstir_error *err)
{
    d->z.next_out = to;
    d->z.avail_out = (uInt)n;
    while (d->z.avail_out > 0) {
        if (d->z.avail_in == 0) {
            if (d->idat.n == 0) {
                TRY(next_idat(d, err));
                continue;
            }
            d->z.next_in = (z_const Bytef *)d->idat.data;
            d->z.avail_in = (uInt)d->idat.n;
            d->idat.n = 0;
        }
        int rc = inflate(&d->z, Z_NO_FLUSH);
        if (rc == Z_STREAM_END && d->z.avail_out > 0)
            return bad("the pixels end too early", err);
        if (rc == Z_MEM_ERROR)
            return error_set(err, UNSTIR_ERR_NOMEM, "no memory to inflate");
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return bad("the compressed pixels are damaged", err);
    }
    return UNSTIR_OK;
}

static uint8_t paeth(int a, int b, int c)
{
    int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
    if (pa <= pb && pa <= pc)
        return (uint8_t)a;
    return (uint8_t)(pb <= pc ? b : c);
}

static enum unstir_status unfilter(uint8_t *row, const uint8_t *above, size_t n,
                                   size_t step, unsigned filter,
                                   struct unstir_error *err)
{
    if (filter > 4)
        return bad("unknown row filter", err);
    for (size_t i = 0; i < n; i++) {
        uint8_t a = i < step ? 0 : row[i - step];
        uint8_t b = above[i];
        uint8_t c = i < step ? 0 : above[i - step];
        uint8_t guess = 0;
        if (filter == 1)
            guess = a;
        else if (filter == 2)
            guess = b;
        else if (filter == 3)
            guess = (uint8_t)((a + b) / 2);
        else if (filter == 4)
            guess = paeth(a, b, c);
        row[i] = (uint8_t)(row[i] + guess);
    }
    return UNSTIR_OK;
}

/* -- pixels ---------------------------------------------------------------- */

/* Sample i of a row, in the file's own depth. */
static unsigned sample_at(const uint8_t *row, size_t i, unsigned depth)
{
    if (depth == 8)
        return row[i];
    if (depth == 16)
        return load_u16(row + 2 * i);
    size_t bit = i * depth;
    return row[bit / 8] >> (8 - depth - bit % 8) & ((1u << depth) - 1);
}

static uint8_t to_byte(unsigned sample, unsigned depth)
{
    if (depth == 16)
        return (uint8_t)(sample >> 8);
    return (uint8_t)(sample * 255 / ((1u << depth) - 1));
}

static uint8_t over_white(unsigned value, unsigned alpha)
{
    return (uint8_t)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

static enum unstir_status expand_pixel(const struct decoder *d, uint8_t *out,
                                       size_t x, struct unstir_error *err)
{
    unsigned s[4], alpha = 255;
    bool is_key = d->has_key;
    for (unsigned i = 0; i < d->samples; i++) {
        s[i] = sample_at(d->row + 1, x * d->samples + i, d->depth);
        is_key = is_key && i < 3 && s[i] == d->key[i];
    }
    if (d->colour == COLOUR_PALETTE) {
        if (s[0] >= d->n_palette)
            return bad("a pixel's colour is not in the palette", err);
        for (int i = 0; i < 3; i++)
            out[i] = over_white(d->palette[s[0]][i], d->alpha[s[0]]);
        return UNSTIR_OK;
    }
    unsigned n_colours = d->samples >= 3 ? 3 : 1;
    if (d->samples > n_colours)
        alpha = to_byte(s[n_colours], d->depth);
    else if (is_key)
        alpha = 0;
    for (unsigned i = 0; i < n_colours; i++)
        out[i] = over_white(to_byte(s[i], d->depth), alpha);
    return UNSTIR_OK;
}

static enum unstir_status decode_pass(struct decoder *d, const struct pass *p,
                                      struct unstir_image *image,
                                      struct unstir_error *err)
{
    uint32_t w = pass_edge(d->width, p->x, p->dx);
    uint32_t h = pass_edge(d->height, p->y, p->dy);
    size_t n = row_bytes(d, w);
    size_t step = (size_t)d->samples * d->depth / 8;
    if (w == 0)
        return UNSTIR_OK;
    memset(d->above, 0, n + 1);
    for (uint32_t y = 0; y < h; y++) {
        TRY(inflate_bytes(d, d->row, n + 1, err));
        TRY(unfilter(d->row + 1, d->above + 1, n, step > 0 ? step : 1,
                     d->row[0], err));
        uint8_t *line =
            image->pixels + (p->y + (size_t)y * p->dy) * image_row_bytes(image);
        for (uint32_t x = 0; x < w; x++) {
            size_t at = p->x + (size_t)x * p->dx;
            TRY(expand_pixel(d, line + at * image->channels, x, err));
        }
        uint8_t *swap = d->row;
        d->row = d->above;
        d->above = swap;
    }
    return UNSTIR_OK;
}

static enum unstir_status decode_pixels(struct decoder *d,
                                        struct unstir_image *image,
                                        struct unstir_error *err)
{
    size_t n = row_bytes(d, d->width) + 1;
    void *rows;
    enum unstir_status status = UNSTIR_OK;
    TRY(alloc_zero(&rows, 2, n, err));
    d->row = rows;
    d->above = d->row + n;
    if (inflateInit(&d->z) != Z_OK) {
        alloc_free(rows);
        return error_set(err, UNSTIR_ERR_NOMEM, "no memory to inflate");
    }
    if (!d->is_interlaced)
        status = decode_pass(d, &whole, image, err);
    for (int p = 0; d->is_interlaced && status == UNSTIR_OK && p < 7; p++)
        status = decode_pass(d, &adam7[p], image, err);
    (void)inflateEnd(&d->z); /* fails only on a stream never begun */
    alloc_free(rows);
    return status;
}

/* The file must be whole: its rest, up to IEND. */
static enum unstir_status read_back(struct decoder *d, struct unstir_error *err)
{
    struct chunk c;
    do
        TRY(next_chunk(d, &c, err));
    while (!chunk_is(&c, "IEND"));
    return UNSTIR_OK;
}

enum unstir_status unstir_png_decode(const unsigned char *bytes, size_t n_bytes,
                                     uint32_t max_edge,
                                     struct unstir_image *image,
                                     struct unstir_error *err)
{
    struct decoder d = {.bytes = bytes, .n_bytes = n_bytes};
    enum unstir_status status;
    *image = (struct unstir_image){0};
    if (max_edge == 0 || max_edge > IMAGE_MAX_EDGE)
        max_edge = IMAGE_MAX_EDGE;
    TRY(read_header(&d, max_edge, err));
    TRY(check_plausible(&d, err));
    TRY(read_front(&d, err));
    bool is_grey = d.colour == COLOUR_GREY || d.colour == COLOUR_GREY_ALPHA;
    TRY(image_init(image, d.width, d.height, is_grey ? 1 : 3, err));
    status = decode_pixels(&d, image, err);
    if (status == UNSTIR_OK)
        status = read_back(&d, err);
    if (status != UNSTIR_OK)
        unstir_image_fini(image);
    return status;
}
