/* fit.c - a picture made to the size and colours that a model works on.
 *
 * Source.  Pillow, src/libImaging/Resample.c and Convert.c: the widths of
 * filters, the rounding of weights to 22 bits, the weights of grey (ITU-R
 * 601-2 in 16 bits).  Which axis comes first is Pillow 13's choice (12 always
 * began with the rows), found by what it does with 6,000 pairs of sizes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/fit.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "image/image.h"

#define LOBES       3
#define WEIGHT_BITS 22
#define PI          3.14159265358979323846

/* Output i is the sum of weight[i * width + k] times input first[i] + k, of
 * n[i] inputs. */
struct filter {
    uint32_t width;
    uint32_t *first, *n;
    int32_t *weight;
};

static double sinc(double x)
{
    return x == 0 ? 1 : sin(x * PI) / (x * PI);
}

static double lanczos(double x)
{
    return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

static int32_t to_fixed(double w)
{
    return (int32_t)((w < 0 ? -0.5 : 0.5) + w * (1 << WEIGHT_BITS));
}

static void fill_row(struct filter *f, uint32_t i, uint32_t from, double scale,
                     double *raw)
{
    double stretch = scale > 1 ? scale : 1, support = LOBES * stretch;
    double centre = (i + 0.5) * scale, sum = 0;
    double low = centre - support + 0.5, high = centre + support + 0.5;
    uint32_t first = low > 0 ? (uint32_t)low : 0;
    uint32_t end = high < from ? (uint32_t)high : from;

    f->first[i] = first;
    f->n[i] = end - first;
    for (uint32_t k = 0; k < f->n[i]; k++) {
        raw[k] = lanczos((k + first - centre + 0.5) * (1 / stretch));
        sum += raw[k];
    }
    for (uint32_t k = 0; k < f->n[i]; k++)
        f->weight[(size_t)i * f->width + k] =
            to_fixed(sum != 0 ? raw[k] / sum : raw[k]);
}

static void filter_fini(struct filter *f)
{
    alloc_free(f->first);
    alloc_free(f->weight);
}

static enum unstir_status filter_init(struct filter *f, uint32_t from,
                                      uint32_t to, struct unstir_error *err)
{
    double scale = (double)from / to;
    double *raw;

    *f = (struct filter){0};
    f->width = (uint32_t)ceil(LOBES * (scale > 1 ? scale : 1)) * 2 + 1;
    TRY(alloc_zero(&f->first, to, 2 * sizeof(uint32_t), err));
    f->n = f->first + to;
    enum unstir_status st =
        alloc_zero(&f->weight, (size_t)to * f->width, sizeof *f->weight, err);
    if (!st)
        st = alloc_zero(&raw, f->width, sizeof *raw, err);
    if (st) {
        filter_fini(f);
        return st;
    }
    for (uint32_t i = 0; i < to; i++)
        fill_row(f, i, from, scale, raw);
    alloc_free(raw);
    return UNSTIR_OK;
}

/* One sample: inputs `stride` bytes apart. */
static uint8_t apply(const struct filter *f, uint32_t i, const uint8_t *from,
                     size_t stride)
{
    const int32_t *weight = f->weight + (size_t)i * f->width;
    int32_t sum = 1 << (WEIGHT_BITS - 1);

    from += f->first[i] * stride;
    for (uint32_t k = 0; k < f->n[i]; k++, from += stride)
        sum += weight[k] * *from;
    sum = sum < 0 ? 0 : sum >> WEIGHT_BITS;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

static enum unstir_status resize_rows(const struct unstir_image *in,
                                      uint32_t width, struct unstir_image *out,
                                      struct unstir_error *err)
{
    struct filter f;
    uint32_t c = in->channels;

    TRY(filter_init(&f, in->width, width, err));
    enum unstir_status st = image_init(out, width, in->height, c, err);
    uint8_t *to = out->pixels;
    for (uint32_t y = 0; y < in->height && !st; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t k = 0; k < c; k++)
                *to++ =
                    apply(&f, x, in->pixels + y * image_row_bytes(in) + k, c);
    filter_fini(&f);
    return st;
}

static enum unstir_status resize_columns(const struct unstir_image *in,
                                         uint32_t height,
                                         struct unstir_image *out,
                                         struct unstir_error *err)
{
    struct filter f;
    size_t row = image_row_bytes(in);

    TRY(filter_init(&f, in->height, height, err));
    enum unstir_status st =
        image_init(out, in->width, height, in->channels, err);
    uint8_t *to = out->pixels;
    for (uint32_t y = 0; y < height && !st; y++)
        for (size_t x = 0; x < row; x++)
            *to++ = apply(&f, y, in->pixels + x, row);
    filter_fini(&f);
    return st;
}

static uint8_t grey_of(const uint8_t *rgb)
{
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u +
                      0x8000u) >>
                     16);
}

static enum unstir_status colour(const struct unstir_image *in,
                                 uint32_t channels, struct unstir_image *out,
                                 struct unstir_error *err)
{
    size_t n = (size_t)in->width * in->height;

    TRY(image_init(out, in->width, in->height, channels, err));
    if (channels == in->channels)
        memcpy(out->pixels, in->pixels, n * channels);
    else if (channels == 1)
        for (size_t i = 0; i < n; i++)
            out->pixels[i] = grey_of(in->pixels + 3 * i);
    else
        for (size_t i = 0; i < 3 * n; i++)
            out->pixels[i] = in->pixels[i / 3];
    return UNSTIR_OK;
}

typedef enum unstir_status (*resize_fn)(const struct unstir_image *in,
                                        uint32_t to, struct unstir_image *out,
                                        struct unstir_error *err);

/* Each pass rounds to bytes, so their order shows. */
static bool is_columns_first(const struct unstir_image *in, uint32_t width,
                             uint32_t height)
{
    int64_t less_high = (int64_t)in->height - height;
    int64_t less_wide = (int64_t)in->width - width;

    return less_high > 0 && less_high > 2 * less_wide;
}

enum unstir_status image_fit(const struct unstir_image *image, uint32_t width,
                             uint32_t height, uint32_t channels,
                             struct unstir_image *out, struct unstir_error *err)
{
    struct unstir_image passed[2] = {{0}};
    const struct unstir_image *at = image;
    enum unstir_status st = UNSTIR_OK;

    *out = (struct unstir_image){0};
    TRY(image_check(image, err));
    bool is_turned = is_columns_first(image, width, height);
    for (int i = 0; i < 2 && !st; i++) {
        bool is_columns = (i == 1) != is_turned;
        resize_fn resize = is_columns ? resize_columns : resize_rows;
        uint32_t to = is_columns ? height : width;

        if (to == (is_columns ? at->height : at->width))
            continue;
        st = resize(at, to, &passed[i], err);
        at = &passed[i];
    }
    if (!st)
        st = colour(at, channels, out, err);
    unstir_image_fini(&passed[1]);
    unstir_image_fini(&passed[0]);
    return st;
}
