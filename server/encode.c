/* encode.c - pixels to a file on a helper thread, one picture or a sheet.
 *
 * SPDX-License-Identifier: MIT
 */
#include "encode.h"

#include <string.h>

#include "buf.h"

struct encode {
    struct loop_task task;
    struct budget *budget;
    size_t n_counted; /* in the budget                                        */
    struct unstir_image images[ENCODE_MAX_IMAGES]; /* pixels by mem_zero()   */
    size_t n;
    uint32_t width, height, channels;
    struct encode_options options;
    encode_fn done; /* NULL: abandoned                                        */
    void *user;
    unsigned char *bytes;
    size_t n_bytes;
};

static bool has_room(const struct encode_sheet *s, uint64_t columns,
                     uint32_t zoom)
{
    uint64_t rows = (s->n + columns - 1) / columns;
    uint64_t width = ((uint64_t)s->width * zoom + s->gap) * columns - s->gap;
    uint64_t height = ((uint64_t)s->height * zoom + s->gap) * rows - s->gap;

    return width <= ENCODE_MAX_EDGE && height <= ENCODE_MAX_EDGE &&
           (zoom == 1 || width * height <= ENCODE_MAX_ENLARGED);
}

/* The most columns, or those asked for, that have room; else 0. */
static uint32_t columns_at(const struct encode_sheet *s, uint32_t zoom)
{
    uint32_t columns = (uint32_t)s->n;

    if (s->columns > 0) {
        if (s->columns < columns)
            columns = s->columns;
        return has_room(s, columns, zoom) ? columns : 0;
    }
    while (columns > 0 && !has_room(s, columns, zoom))
        columns--;
    return columns;
}

bool encode_fits(struct encode_sheet *sheet)
{
    uint32_t columns = columns_at(sheet, sheet->zoom);

    if (columns > 0) {
        sheet->columns = columns;
        return true;
    }
    while (sheet->zoom > 0 && columns_at(sheet, sheet->zoom) == 0)
        sheet->zoom--;
    return false;
}

static bool count(struct encode *encode, size_t n_bytes)
{
    return budget_hold(encode->budget, &encode->n_counted,
                       encode->n_counted + n_bytes);
}

struct encode *encode_new(struct budget *budget, uint32_t width,
                          uint32_t height, uint32_t channels)
{
    struct encode *encode = mem_zero(1, sizeof *encode);

    if (encode == NULL)
        return NULL;
    encode->budget = budget;
    encode->width = width;
    encode->height = height;
    encode->channels = channels;
    return encode;
}

bool encode_add(struct encode *encode, const uint8_t *pixels)
{
    size_t n_bytes = (size_t)encode->width * encode->height * encode->channels;
    uint8_t *copy;

    if (encode->n == ENCODE_MAX_IMAGES || !count(encode, n_bytes))
        return false;
    copy = mem_zero(n_bytes, 1);
    if (copy == NULL)
        return false;
    memcpy(copy, pixels, n_bytes);
    encode->images[encode->n++] =
        (struct unstir_image){.width = encode->width,
                              .height = encode->height,
                              .channels = encode->channels,
                              .pixels = copy};
    return true;
}

size_t encode_len(const struct encode *encode)
{
    return encode->n;
}

void encode_free(struct encode *encode)
{
    if (encode == NULL)
        return;
    for (size_t i = 0; i < encode->n; i++)
        mem_free(encode->images[i].pixels);
    (void)budget_hold(encode->budget, &encode->n_counted, 0); /* less fits */
    unstir_free(encode->bytes);
    mem_free(encode);
}

static uint32_t scaled(uint32_t edge, uint32_t longest, uint32_t max_edge)
{
    uint32_t to = (uint32_t)((uint64_t)edge * max_edge / longest);

    return to > 0 ? to : 1;
}

/* The first picture no larger than max_edge; out->pixels is NULL when it may
 * stay as it is. */
static enum unstir_status shrink(const struct encode *encode,
                                 const struct unstir_image *image,
                                 struct unstir_image *out)
{
    uint32_t longest =
        image->width > image->height ? image->width : image->height;
    uint32_t max_edge = encode->options.max_edge;

    out->pixels = NULL;
    if (max_edge == 0 || longest <= max_edge)
        return UNSTIR_OK;
    return unstir_image_resize(image, scaled(image->width, longest, max_edge),
                               scaled(image->height, longest, max_edge), out,
                               NULL);
}

static void run(struct loop_task *task)
{
    struct encode *encode = (struct encode *)task;
    const struct encode_options *o = &encode->options;
    const struct unstir_image *image = &encode->images[0];
    const struct unstir_encode_options file = {o->format, -1, o->quality};
    struct unstir_image sheet = {0, 0, 0, NULL}, small = {0, 0, 0, NULL};

    if (encode->n > 1 || o->zoom > 1) {
        if (unstir_image_sheet(encode->images, encode->n,
                               o->columns > 0 ? o->columns
                                              : (uint32_t)encode->n,
                               o->gap, o->zoom, &sheet, NULL) != UNSTIR_OK)
            return;
        image = &sheet;
    }
    if (shrink(encode, image, &small) == UNSTIR_OK)
        (void)unstir_image_encode(small.pixels != NULL ? &small : image, &file,
                                  NULL, 0, &encode->bytes, &encode->n_bytes,
                                  NULL); /* told by bytes == NULL */
    unstir_image_fini(&small);
    unstir_image_fini(&sheet);
}

static void finished(struct loop_task *task)
{
    struct encode *encode = (struct encode *)task;

    if (encode->done != NULL) {
        unsigned char *bytes = encode->bytes;

        encode->bytes = NULL;
        encode->done(encode->user, bytes, encode->n_bytes);
    }
    encode_free(encode);
}

/* About: the gaps are left out. */
static size_t sheet_bytes(const struct encode *encode)
{
    size_t zoom = encode->options.zoom;

    return encode->n > 1 || zoom > 1 ? encode->n_counted * zoom * zoom : 0;
}

bool encode_start(struct encode *encode, struct loop *loop,
                  const struct encode_options *options, encode_fn done,
                  void *user)
{
    encode->task = (struct loop_task){.run = run, .done = finished};
    encode->options = *options;
    encode->done = done;
    encode->user = user;
    if (encode->n > 0 && count(encode, sheet_bytes(encode)) &&
        loop_offload(loop, &encode->task))
        return true;
    encode_free(encode);
    return false;
}

void encode_abandon(struct encode *encode)
{
    if (encode != NULL)
        encode->done = NULL;
}
