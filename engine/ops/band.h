/* band.h - some rows of a convolution's input, ready to be read as windows.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_BAND_H
#define OPS_BAND_H

#include <stdint.h>

#include "ops/conv2d_args.h"

struct kernel_table;

/* Write n_rows rows of band_w columns of c0 + c1 floats to `band`: row r is
 * row y0 + r of picture `image` after norm, activation and upsampling, column
 * x is column x - pad_l; zeros outside the picture.  Of args only s, act, x0,
 * x1, scale and shift are read. */
void band_fill(const struct kernel_table *k, const struct conv2d_args *args,
               uint32_t image, int64_t y0, uint32_t n_rows, uint32_t band_w,
               float *band);

#endif
