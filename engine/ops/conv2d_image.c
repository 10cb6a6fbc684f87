/* conv2d_image.c - sources to operand images, one row at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/conv2d_parts.h"

#include <string.h>

#include "kernels/kernels.h"

#define PIECE 256u /* floats converted at a time; on the stack               */

size_t conv_image_size(const struct conv_image *im)
{
    return (size_t)im->ph * im->pw * im->cp;
}

bool conv_image_is_direct(const struct conv_image *im)
{
    return !im->is_narrow && !im->scale && im->act == ACT_NONE && im->c1 == 0 &&
           im->cp == im->c0 && im->up_h == im->h && im->up_w == im->w &&
           im->dilation == 1 && im->pad_t == 0 && im->pad_l == 0 &&
           im->ph <= im->h && im->pw <= im->w;
}

/* dst[j] = act(scale[j] * x[j] + shift[j]) in f32. */
static void apply_f32(const struct kernel_table *k, float *dst, const float *x,
                      const float *scale, const float *shift, enum act act,
                      size_t n)
{
    if (!scale && act == ACT_NONE) {
        memcpy(dst, x, n * sizeof *x);
        return;
    }
    k->vec.affine_act(act, 1, n, x, n, scale, shift, dst, n);
}

/* The same in the operand type. */
static void apply(const struct kernel_table *k, const struct conv_image *im,
                  void *dst, const float *x, const float *scale,
                  const float *shift, size_t n)
{
    if (!im->is_narrow) {
        apply_f32(k, dst, x, scale, shift, im->act, n);
        return;
    }
    if (k->gemm.narrow_act) {
        k->gemm.narrow_act(dst, im->act, n, x, scale, shift);
        return;
    }
    float piece[PIECE];
    size_t size = dtype_size(im->type);
    for (size_t j = 0; j < n; j += PIECE) {
        size_t m = n - j < PIECE ? n - j : PIECE;
        apply_f32(k, piece, x + j, scale ? scale + j : NULL,
                  shift ? shift + j : NULL, im->act, m);
        k->gemm.narrow((char *)dst + j * size, piece, m);
    }
}

static void put_pixel(const struct kernel_table *k, const struct conv_image *im,
                      uint32_t i, uint32_t y, uint32_t x, char *dst)
{
    size_t size = dtype_size(im->type), c = im->c0 + im->c1;
    size_t at = ((size_t)i * im->h + y) * im->w + x;
    const float *scale = im->scale ? im->scale + i * c : NULL;
    const float *shift = im->scale ? im->shift + i * c : NULL;
    apply(k, im, dst, im->x0 + at * im->c0, scale, shift, im->c0);
    if (im->c1 != 0)
        apply(k, im, dst + im->c0 * size, im->x1 + at * im->c1,
              scale ? scale + im->c0 : NULL, scale ? shift + im->c0 : NULL,
              im->c1);
    memset(dst + c * size, 0, (im->cp - c) * size);
}

static uint32_t nearest(uint32_t at, uint32_t n_in, uint32_t n_out)
{
    return (uint32_t)((uint64_t)at * n_in / n_out);
}

/* Columns of the operand image that hold pixels: first and one past the
 * last, for the undilated case. */
static void inside(const struct conv_image *im, int32_t *first, int32_t *end)
{
    int32_t last = (int32_t)im->up_w + im->pad_l;
    *first = im->pad_l > 0 ? im->pad_l : 0;
    *end = last < (int32_t)im->pw ? last : (int32_t)im->pw;
    if (*first > (int32_t)im->pw)
        *first = (int32_t)im->pw;
    if (*end < *first)
        *end = *first;
}

/* A row without upsampling: whole where nothing changes by the channel. */
static void plain_row(const struct kernel_table *k, const struct conv_image *im,
                      uint32_t i, uint32_t y, char *dst)
{
    size_t pixel = im->cp * dtype_size(im->type);
    int32_t first, end;
    inside(im, &first, &end);
    memset(dst, 0, (size_t)first * pixel);
    memset(dst + (size_t)end * pixel, 0, (im->pw - (size_t)end) * pixel);
    if (!im->scale && im->c1 == 0 && im->cp == im->c0) {
        const float *x = im->x0 + (((size_t)i * im->h + y) * im->w +
                                   (size_t)(first - im->pad_l)) *
                                      im->c0;
        apply(k, im, dst + (size_t)first * pixel, x, NULL, NULL,
              (size_t)(end - first) * im->c0);
        return;
    }
    for (int32_t px = first; px < end; px++)
        put_pixel(k, im, i, y, (uint32_t)(px - im->pad_l),
                  dst + (size_t)px * pixel);
}

static void upsampled_row(const struct kernel_table *k,
                          const struct conv_image *im, uint32_t i, uint32_t y,
                          char *dst)
{
    size_t pixel = im->cp * dtype_size(im->type);
    int32_t first, end;
    uint32_t last = UINT32_MAX;
    inside(im, &first, &end);
    memset(dst, 0, (size_t)first * pixel);
    memset(dst + (size_t)end * pixel, 0, (im->pw - (size_t)end) * pixel);
    for (int32_t px = first; px < end; px++) {
        char *d = dst + (size_t)px * pixel;
        uint32_t x = nearest((uint32_t)(px - im->pad_l), im->w, im->up_w);
        if (x == last)
            memcpy(d, d - pixel, pixel);
        else
            put_pixel(k, im, i, y, x, d);
        last = x;
    }
}

static void dilated_row(const struct kernel_table *k,
                        const struct conv_image *im, uint32_t i, uint32_t y,
                        char *dst)
{
    size_t pixel = im->cp * dtype_size(im->type);
    memset(dst, 0, im->pw * pixel);
    for (uint32_t x = 0; x < im->w; x++) {
        int64_t px = (int64_t)x * im->dilation + im->pad_l;
        if (px >= 0 && px < im->pw)
            put_pixel(k, im, i, y, x, dst + (size_t)px * pixel);
    }
}

void conv_image_row(const struct kernel_table *k, const struct conv_image *im,
                    uint32_t i, uint32_t py, void *dst)
{
    int64_t y = (int64_t)py - im->pad_t;
    bool is_inside = y >= 0 && y < (int64_t)(im->up_h - 1) * im->dilation + 1 &&
                     y % im->dilation == 0;
    if (!is_inside)
        memset(dst, 0, (size_t)im->pw * im->cp * dtype_size(im->type));
    else if (im->dilation != 1)
        dilated_row(k, im, i, (uint32_t)(y / im->dilation), dst);
    else if (im->up_w != im->w || im->up_h != im->h)
        upsampled_row(k, im, i, nearest((uint32_t)y, im->h, im->up_h), dst);
    else
        plain_row(k, im, i, (uint32_t)y, dst);
}

struct conv_image conv_image_of(const struct conv2d_shape *s)
{
    return (struct conv_image){.type = DTYPE_F32,
                               .n = s->n,
                               .h = s->h,
                               .w = s->w,
                               .c0 = s->c0,
                               .up_h = s->h,
                               .up_w = s->w,
                               .dilation = 1,
                               .pad_t = (int32_t)s->pad_t,
                               .pad_l = (int32_t)s->pad_l,
                               .ph = (s->oh - 1) * s->stride + s->kh,
                               .pw = (s->ow - 1) * s->stride + s->kw,
                               .cp = s->c0};
}
