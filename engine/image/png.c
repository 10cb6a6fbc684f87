/* png.c - pictures to PNG and back; the only file that sees png.h.
 *
 * libpng reports errors by longjmp, which this project uses nowhere else: each
 * direction has one function with a setjmp, whose state lives in a struct of
 * its caller, so that no local variable is at stake.
 *
 * Writing.  Measured on 512 x 512 RGB, median of 9: libpng's default (level 6,
 * all filters) takes 73 to 127 ms, level 1 with filter SUB and strategy Z_RLE
 * 7 to 8 ms for 4 to 16 % more bytes.  That is our default; a level asked for
 * by number takes libpng's own strategy.  Same picture and texts, same bytes:
 * there is no time chunk.
 *
 * Reading.  The file is hostile: edges are checked against the caller's limit,
 * and pixels against what so many compressed bytes can hold at all, before
 * memory for pixels is taken; chunk memory has a ceiling; checksums count.
 * Alpha is laid over white, 16 bits are cut to 8, colour spaces are ignored;
 * an eXIf chunk may say that it is to be turned.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <png.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/size.h"
#include "image/codec.h"
#include "image/exif.h"
#include "image/image.h"
#include "image/png_text.h"

/* deflate cannot do better than 1032 : 1. */
#define MAX_DEFLATE_RATIO 1032u
#define MAX_CHUNK_BYTES   (8u << 20)
#define MAX_CHUNKS        1000u
#define FAST_LEVEL        1
#define CHUNK_FRAME       12u /* length, name and checksum of a chunk         */

/* -- what both directions share ------------------------------------------- */

struct failure {
    struct unstir_error *err;
    enum unstir_status status; /* UNSTIR_OK until something said otherwise   */
    bool is_out_of_memory;     /* libpng may then complain of other things   */
    const char *verb;          /* "PNG" or "PNG encoder"                     */
};

static void *png_alloc(png_structp png, png_alloc_size_t n)
{
    struct failure *f = png_get_mem_ptr(png);
    void *p;

    if (alloc_zero(&p, n, 1, NULL) == UNSTIR_OK)
        return p;
    f->is_out_of_memory = true;
    return NULL;
}

static void png_release(png_structp png, void *p)
{
    (void)png;
    alloc_free(p);
}

static void on_error(png_structp png, png_const_charp text)
{
    struct failure *f = png_get_error_ptr(png);

    if (f->status == UNSTIR_OK) {
        bool is_memory = f->is_out_of_memory || strstr(text, "emory");
        f->status =
            error_set(f->err, is_memory ? UNSTIR_ERR_NOMEM : UNSTIR_ERR_FORMAT,
                      "PNG: the file is damaged: %s", text);
    }
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

/* -- writing -------------------------------------------------------------- */

struct encoder {
    struct failure failure;
    const struct unstir_image *image;
    int level;
    png_textp texts;
    size_t n_texts;
    png_structp png;
    png_infop info;
    unsigned char *bytes;
    size_t n, capacity;
};

static void write_bytes(png_structp png, png_bytep data, png_size_t n)
{
    struct encoder *e = png_get_io_ptr(png);

    e->failure.status =
        alloc_grow(&e->bytes, &e->capacity, e->n + n, 1, e->failure.err);
    if (e->failure.status != UNSTIR_OK)
        png_error(png, "out of memory");
    memcpy(e->bytes + e->n, data, n);
    e->n += n;
}

static void flush_bytes(png_structp png)
{
    (void)png;
}

static void set_compression(struct encoder *e)
{
    bool is_fast = e->level < 0;

    png_set_compression_level(e->png, is_fast ? FAST_LEVEL : e->level);
    png_set_compression_buffer_size(e->png, 1u << 16);
    if (!is_fast)
        return;
    png_set_filter(e->png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
    png_set_compression_strategy(e->png, Z_RLE);
}

/* false after a longjmp. */
static bool encode(struct encoder *e)
{
    const struct unstir_image *image = e->image;

    if (setjmp(png_jmpbuf(e->png)))
        return false;
    png_set_write_fn(e->png, e, write_bytes, flush_bytes);
    png_set_IHDR(e->png, e->info, image->width, image->height, 8,
                 image->channels == 3 ? PNG_COLOR_TYPE_RGB
                                      : PNG_COLOR_TYPE_GRAY,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    set_compression(e);
    if (e->n_texts > 0)
        png_set_text(e->png, e->info, e->texts, (int)e->n_texts);
    png_write_info(e->png, e->info);
    for (uint32_t y = 0; y < image->height; y++)
        png_write_row(e->png, image->pixels + y * image_row_bytes(image));
    png_write_end(e->png, NULL);
    return true;
}

static enum unstir_status make_encoder(struct encoder *e)
{
    e->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &e->failure,
                                       on_error, on_warning, &e->failure,
                                       png_alloc, png_release);
    if (e->png)
        e->info = png_create_info_struct(e->png);
    if (!e->info)
        return error_set(e->failure.err, UNSTIR_ERR_NOMEM,
                         "no memory to write a PNG");
    return UNSTIR_OK;
}

enum unstir_status unstir_png_encode(const struct unstir_image *image,
                                     int level, const struct unstir_text *texts,
                                     size_t n_texts, unsigned char **bytes,
                                     size_t *n_bytes, struct unstir_error *err)
{
    struct encoder e = {
        .failure = {.err = err}, .image = image, .level = level};
    struct png_texts made;
    enum unstir_status status;

    *bytes = NULL;
    *n_bytes = 0;
    TRY(image_check(image, err));
    if (level < -1 || level > 9)
        return error_field(err, "png_level",
                           "PNG level %d: must be 0..9, or -1 for fast", level);
    TRY(png_texts_make(&made, texts, n_texts, err));
    e.texts = made.rows;
    e.n_texts = n_texts;
    status = make_encoder(&e);
    if (status == UNSTIR_OK && !encode(&e))
        status = e.failure.status;
    png_destroy_write_struct(&e.png, &e.info);
    png_texts_free(&made);
    if (status != UNSTIR_OK) {
        alloc_free(e.bytes);
        return status;
    }
    *bytes = e.bytes;
    *n_bytes = e.n;
    return UNSTIR_OK;
}

/* -- reading -------------------------------------------------------------- */

struct decoder {
    struct failure failure;
    const unsigned char *bytes;
    size_t n, at;
    uint32_t max_edge;
    png_structp png;
    png_infop info;
    uint32_t width, height, channels; /* after expansion: 1..4               */
    uint8_t *pixels;
};

static void read_bytes(png_structp png, png_bytep to, png_size_t n)
{
    struct decoder *d = png_get_io_ptr(png);

    if (n > d->n - d->at)
        png_error(png, "it ends too early");
    memcpy(to, d->bytes + d->at, n);
    d->at += n;
}

/* Stop with an error of our own. */
static void refuse(struct decoder *d, enum unstir_status status)
{
    d->failure.status = status;
    png_error(d->png, "refused");
}

static void check_header(struct decoder *d)
{
    struct unstir_error *err = d->failure.err;
    uint64_t wanted;

    d->width = png_get_image_width(d->png, d->info);
    d->height = png_get_image_height(d->png, d->info);
    if (d->width > d->max_edge || d->height > d->max_edge)
        refuse(d, error_set(err, UNSTIR_ERR_LIMIT,
                            "PNG: %u x %u pixels, edges may have at most %u",
                            d->width, d->height, d->max_edge));
    wanted = (uint64_t)png_get_rowbytes(d->png, d->info) * d->height;
    if (wanted / MAX_DEFLATE_RATIO > d->n)
        refuse(d, error_set(err, UNSTIR_ERR_FORMAT,
                            "PNG: a file of %zu bytes cannot hold %u x %u "
                            "pixels",
                            d->n, d->width, d->height));
}

/* Everything becomes 8 bits of grey, grey-alpha, RGB or RGB-alpha. */
static void set_transforms(struct decoder *d)
{
    png_set_expand(d->png);
    png_set_strip_16(d->png);
    (void)png_set_interlace_handling(d->png); /* all passes are read below   */
    png_read_update_info(d->png, d->info);
    d->channels = png_get_channels(d->png, d->info);
}

static bool decode(struct decoder *d)
{
    size_t row;
    int passes;

    if (setjmp(png_jmpbuf(d->png)))
        return false;
    png_set_read_fn(d->png, d, read_bytes);
    png_set_user_limits(d->png, d->max_edge, d->max_edge);
    png_set_chunk_malloc_max(d->png, MAX_CHUNK_BYTES);
    png_set_chunk_cache_max(d->png, MAX_CHUNKS);
    png_set_crc_action(d->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_benign_errors(d->png, 0);
    /* No chunk but tRNS changes pixels: one that breaks its rules (a colour
     * profile of an old editor) does no harm unread. */
    png_set_keep_unknown_chunks(d->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(d->png, d->info);
    check_header(d);
    passes =
        png_get_interlace_type(d->png, d->info) == PNG_INTERLACE_NONE ? 1 : 7;
    set_transforms(d);
    row = (size_t)d->width * d->channels;
    d->failure.status = alloc_zero(&d->pixels, d->height, row, d->failure.err);
    if (d->failure.status != UNSTIR_OK)
        png_error(d->png, "no memory");
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < d->height; y++)
            png_read_row(d->png, d->pixels + y * row, NULL);
    png_read_end(d->png, NULL);
    return true;
}

static enum unstir_status make_decoder(struct decoder *d)
{
    d->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &d->failure,
                                      on_error, on_warning, &d->failure,
                                      png_alloc, png_release);
    if (d->png)
        d->info = png_create_info_struct(d->png);
    if (!d->info)
        return error_set(d->failure.err, UNSTIR_ERR_NOMEM,
                         "no memory to read a PNG");
    return UNSTIR_OK;
}

/* The orientation of the file's eXIf chunk. */
static unsigned find_orientation(const unsigned char *bytes, size_t n)
{
    size_t at = 8;

    while (n - at >= CHUNK_FRAME) {
        size_t length = png_get_uint_32(bytes + at);

        if (length > n - at - CHUNK_FRAME)
            return 1;
        if (memcmp(bytes + at + 4, "eXIf", 4) == 0)
            return exif_orientation(bytes + at + 8, length);
        at += CHUNK_FRAME + length;
    }
    return 1;
}

/* The header is looked at before libpng is: a limit is then a limit, not a
 * damaged file. */
static enum unstir_status png_probe(const unsigned char *bytes, size_t n,
                                    uint32_t max_edge, struct codec_head *head,
                                    struct unstir_error *err)
{
    if (n < 8 || png_sig_cmp(bytes, 0, 8) != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "PNG: the file does not begin with a PNG signature");
    if (n < 26 || memcmp(bytes + 12, "IHDR", 4) != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "PNG: the first chunk is not a whole IHDR");
    head->width = png_get_uint_32(bytes + 16);
    head->height = png_get_uint_32(bytes + 20);
    head->channels = bytes[25] & PNG_COLOR_MASK_COLOR ? 3 : 1;
    head->orientation = find_orientation(bytes, n);
    return codec_check_edges("PNG", head->width, head->height, max_edge, err);
}

static enum unstir_status png_decode(const unsigned char *bytes, size_t n_bytes,
                                     const struct codec_head *head,
                                     struct unstir_image *image,
                                     struct unstir_error *err)
{
    struct decoder d = {.failure = {.err = err}, .bytes = bytes, .n = n_bytes};
    enum unstir_status status;

    d.max_edge = head->width > head->height ? head->width : head->height;
    status = make_decoder(&d);
    if (status == UNSTIR_OK && !decode(&d))
        status = d.failure.status;
    png_destroy_read_struct(&d.png, &d.info, NULL);
    if (status == UNSTIR_OK)
        status =
            image_init(image, d.width, d.height, d.channels >= 3 ? 3 : 1, err);
    if (status == UNSTIR_OK)
        codec_lay_over_white(d.pixels, d.channels, image);
    alloc_free(d.pixels);
    return status;
}

enum unstir_status unstir_png_decode(const unsigned char *bytes, size_t n_bytes,
                                     uint32_t max_edge,
                                     struct unstir_image *image,
                                     struct unstir_error *err)
{
    struct codec_head head = {0};

    *image = (struct unstir_image){0};
    if (max_edge == 0 || max_edge > IMAGE_MAX_EDGE)
        max_edge = IMAGE_MAX_EDGE;
    TRY(png_probe(bytes, n_bytes, max_edge, &head, err));
    enum unstir_status status = png_decode(bytes, n_bytes, &head, image, err);
    if (status == UNSTIR_OK)
        status = exif_turn(image, head.orientation, err);
    if (status != UNSTIR_OK)
        unstir_image_fini(image);
    return status;
}

static bool is_png(const unsigned char *bytes, size_t n)
{
    return n >= 8 && png_sig_cmp(bytes, 0, 8) == 0;
}

static enum unstir_status
png_encode_as(const struct unstir_image *image,
              const struct unstir_encode_options *options,
              const struct unstir_text *texts, size_t n_texts,
              unsigned char **bytes, size_t *n_bytes, struct unstir_error *err)
{
    return unstir_png_encode(image, options->png_level, texts, n_texts, bytes,
                             n_bytes, err);
}

const struct codec codec_png = {
    .info = {"png", "image/png", ".png", false},
    .is_mine = is_png,
    .probe = png_probe,
    .decode = png_decode,
    .encode = png_encode_as,
};
