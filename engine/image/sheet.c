/* sheet.c - many pictures of one size on one.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "image/image.h"

static enum unstir_status check_all(const struct unstir_image *images, size_t n,
                                    uint32_t *channels,
                                    struct unstir_error *err)
{
    *channels = 1;
    for (size_t i = 0; i < n; i++) {
        TRY(image_check(&images[i], err));
        if (images[i].width != images[0].width ||
            images[i].height != images[0].height)
            return error_set(err, UNSTIR_ERR_ARG,
                             "picture %zu of the sheet is %u x %u, the first "
                             "is %u x %u",
                             i, images[i].width, images[i].height,
                             images[0].width, images[0].height);
        if (images[i].channels == 3)
            *channels = 3;
    }
    return UNSTIR_OK;
}

/* One picture at (x0, y0), each pixel enlarged; grey fills all channels. */
static void place(struct unstir_image *sheet, const struct unstir_image *image,
                  size_t x0, size_t y0, uint32_t zoom)
{
    uint32_t n = sheet->channels;
    for (size_t y = 0; y < (size_t)image->height * zoom; y++) {
        const uint8_t *from = image->pixels + y / zoom * image_row_bytes(image);
        uint8_t *to =
            sheet->pixels + (y0 + y) * image_row_bytes(sheet) + x0 * n;
        for (size_t x = 0; x < (size_t)image->width * zoom; x++) {
            const uint8_t *pixel = from + x / zoom * image->channels;
            for (uint32_t c = 0; c < n; c++)
                *to++ = pixel[image->channels == 3 ? c : 0];
        }
    }
}

enum unstir_status unstir_image_sheet(const struct unstir_image *images,
                                      size_t n, uint32_t columns, uint32_t gap,
                                      uint32_t zoom, struct unstir_image *out,
                                      struct unstir_error *err)
{
    uint32_t channels;
    *out = (struct unstir_image){0};
    if (n == 0 || columns == 0 || zoom == 0 || gap > IMAGE_MAX_EDGE ||
        zoom > IMAGE_MAX_EDGE)
        return error_set(err, UNSTIR_ERR_ARG,
                         "a sheet needs pictures, columns, a zoom from 1 up");
    TRY(check_all(images, n, &channels, err));
    if (columns > n)
        columns = (uint32_t)n;
    uint64_t rows = (n + columns - 1) / columns;
    uint64_t cell_w = (uint64_t)images[0].width * zoom + gap;
    uint64_t cell_h = (uint64_t)images[0].height * zoom + gap;
    uint64_t width = cell_w * columns - gap;
    if (rows > IMAGE_MAX_EDGE || width > IMAGE_MAX_EDGE ||
        cell_h * rows - gap > IMAGE_MAX_EDGE)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "a sheet of %zu pictures in %u columns would be "
                         "larger than %u pixels; use other columns or fewer "
                         "pictures",
                         n, columns, IMAGE_MAX_EDGE);
    TRY(image_init(out, (uint32_t)width, (uint32_t)(cell_h * rows - gap),
                   channels, err));
    memset(out->pixels, 255, image_row_bytes(out) * out->height);
    for (size_t i = 0; i < n; i++)
        place(out, &images[i], i % columns * cell_w, i / columns * cell_h,
              zoom);
    return UNSTIR_OK;
}
