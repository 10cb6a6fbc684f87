/* band.h - some rows of a convolution's input, ready to be read as windows.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_BAND_H
#define OPS_BAND_H

#include <stdint.h>

#include "ops/conv2d_args.h"

struct kernel_table;

/* A part of picture `image` after norm, activation and upsampling: from row y0
 * and column x0 on, which may lie outside, channels c0 .. c0 + c of both
 * sources side by side. */
struct band_window {
    uint32_t image;
    int64_t y0, x0;
    uint32_t rows, cols;
    uint32_t c0, c;
};

/* Write a window to `band`, [rows][cols][c], zeros outside the picture.  Of
 * args only s, act, x0, x1, scale and shift are read. */
void band_fill_window(const struct kernel_table *k,
                      const struct conv2d_args *args,
                      const struct band_window *window, float *band);

/* n_rows rows of band_w columns of all channels: row r is row y0 + r of the
 * picture, column x is column x - pad_l. */
void band_fill(const struct kernel_table *k, const struct conv2d_args *args,
               uint32_t image, int64_t y0, uint32_t n_rows, uint32_t band_w,
               float *band);

#endif
