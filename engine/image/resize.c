/* resize.c - pictures to another size by a triangle filter.
 *
 * Growing is bilinear interpolation; shrinking widens the triangle to the
 * size of a new pixel, so that every old pixel counts (no aliasing).  First
 * rows, then columns, in f32; pixel centres are at half integers; weights are
 * normalised at the borders.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "image/image.h"

/* For one axis: output i is the sum of weight[i * width + k] times input
 * first[i] + k. */
struct taps {
    uint32_t width;
    uint32_t *first;
    float *weight;
};

static void taps_fini(struct taps *t)
{
    alloc_free(t->first);
    alloc_free(t->weight);
}

static void fill_taps(struct taps *t, uint32_t from, uint32_t to)
{
    double scale = (double)from / to;
    double radius = scale > 1.0 ? scale : 1.0;
    for (uint32_t i = 0; i < to; i++) {
        double centre = (i + 0.5) * scale - 0.5, sum = 0.0;
        double lowest = ceil(centre - radius);
        uint32_t first = lowest > 0.0 ? (uint32_t)lowest : 0;
        float *weight = t->weight + (size_t)i * t->width;
        if (first > from - 1)
            first = from - 1;
        t->first[i] = first;
        for (uint32_t k = 0; k < t->width && first + k < from; k++) {
            double w = 1.0 - fabs(first + k - centre) / radius;
            weight[k] = w > 0.0 ? (float)w : 0.0f;
            sum += weight[k];
        }
        for (uint32_t k = 0; k < t->width; k++)
            weight[k] = (float)(weight[k] / sum);
    }
}

static enum unstir_status taps_init(struct taps *t, uint32_t from, uint32_t to,
                                    struct unstir_error *err)
{
    double scale = (double)from / to;
    *t = (struct taps){0};
    t->width = (uint32_t)ceil(2.0 * (scale > 1.0 ? scale : 1.0)) + 1;
    TRY(alloc_zero(&t->first, to, sizeof(*t->first), err));
    enum unstir_status status =
        alloc_zero(&t->weight, (size_t)to * t->width, sizeof(*t->weight), err);
    if (status != UNSTIR_OK) {
        taps_fini(t);
        return status;
    }
    fill_taps(t, from, to);
    return UNSTIR_OK;
}

static void resize_rows(float *out, const struct unstir_image *in,
                        const struct taps *t, uint32_t width)
{
    uint32_t n = in->channels;
    for (uint32_t y = 0; y < in->height; y++) {
        const uint8_t *row = in->pixels + y * image_row_bytes(in);
        for (uint32_t x = 0; x < width; x++) {
            const float *weight = t->weight + (size_t)x * t->width;
            for (uint32_t c = 0; c < n; c++) {
                float sum = 0.0f;
                for (uint32_t k = 0;
                     k < t->width && t->first[x] + k < in->width; k++)
                    sum += weight[k] * row[(t->first[x] + k) * n + c];
                *out++ = sum;
            }
        }
    }
}

static void resize_columns(struct unstir_image *out, const float *in,
                           const struct taps *t, uint32_t in_height)
{
    size_t n = image_row_bytes(out);
    for (uint32_t y = 0; y < out->height; y++) {
        const float *weight = t->weight + (size_t)y * t->width;
        for (size_t x = 0; x < n; x++) {
            float sum = 0.5f;
            for (uint32_t k = 0; k < t->width && t->first[y] + k < in_height;
                 k++)
                sum += weight[k] * in[(t->first[y] + k) * n + x];
            out->pixels[y * n + x] = (uint8_t)(sum < 0.0f     ? 0.0f
                                               : sum > 255.0f ? 255.0f
                                                              : sum);
        }
    }
}

enum unstir_status unstir_image_resize(const struct unstir_image *image,
                                       uint32_t width, uint32_t height,
                                       struct unstir_image *out,
                                       struct unstir_error *err)
{
    struct taps across = {0}, down = {0};
    float *middle = NULL;
    enum unstir_status status;
    *out = (struct unstir_image){0};
    TRY(image_check(image, err));
    TRY(image_init(out, width, height, image->channels, err));
    status = taps_init(&across, image->width, width, err);
    if (status == UNSTIR_OK)
        status = taps_init(&down, image->height, height, err);
    if (status == UNSTIR_OK)
        status = alloc_zero(&middle, image_row_bytes(out) * image->height,
                            sizeof(float), err);
    if (status != UNSTIR_OK) {
        unstir_image_fini(out);
        goto out;
    }
    resize_rows(middle, image, &across, width);
    resize_columns(out, middle, &down, image->height);
out:
    alloc_free(middle);
    taps_fini(&down);
    taps_fini(&across);
    return status;
}
