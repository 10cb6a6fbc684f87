/* winograd_parts.h - what the files of Winograd's convolutions share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_WINOGRAD_PARTS_H
#define OPS_WINOGRAD_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "ops/conv2d_args.h"
#include "ops/op.h"

/* A batch as rows of tiles of e x e outputs, one picture's behind another's. */
struct winograd_grid {
    uint32_t e, points;        /* edge of a tile; (e + 2)^2                   */
    uint32_t c, n_pad, panel;  /* channels in, out rounded up; of a panel     */
    size_t v_size;             /* bytes of a transformed value                */
    uint32_t tiles_h, tiles_w; /* of one picture                              */
    uint32_t band_w;           /* columns of a band                           */
    uint32_t band_rows;        /* rows of tiles that share one, at most       */
    size_t n_rows;             /* rows of tiles in the batch                  */
    size_t band_floats;
};

struct winograd_grid winograd_grid_of(const struct kernel_table *k,
                                      const struct conv2d_shape *s);

/* Rows of tiles that go through all transforms together. */
struct winograd_blocks {
    uint32_t rows;   /* of tiles in a block                                  */
    size_t tiles, n; /* in a block; blocks                                   */
};

struct winograd_blocks winograd_blocks_of(const struct kernel_table *k,
                                          const struct winograd_grid *g);

/* How a convolution forward is cut into blocks that go through all transforms
 * together: rectangles of tiles.  Of large pictures strips of few rows cut into
 * short pieces, so that their patches and sums stay in a cache and few pixels
 * are computed for two of them; else whole rows, of several pictures. */
struct winograd_cut {
    uint32_t rows, cols;         /* of a block                               */
    uint32_t low_rows, low_cols; /* of those in a picture's last strip       */
    size_t per_strip, per_low, per_picture; /* blocks; per_picture 0: whole
                                               rows                          */
    size_t tiles, n; /* in a block, at most; blocks                          */
    uint32_t band_rows, slice; /* of tiles and channels that share a band    */
    size_t band_floats;
};

/* Rows row .. row + n_rows of tiles, columns x .. x + n_cols of them. */
struct winograd_block {
    size_t row, n_rows;
    uint32_t x, n_cols;
};

struct winograd_cut winograd_cut_of(const struct kernel_table *k,
                                    const struct winograd_grid *g);
struct winograd_block winograd_block_at(const struct winograd_grid *g,
                                        const struct winograd_cut *cut,
                                        size_t i);

/* The input of n_rows rows of tiles of one picture, from row `row` of the batch
 * on, side by side as patches overlap: [e n_rows + 2][band_w][c]. */
void winograd_fill_band(const struct kernel_table *k,
                        const struct winograd_grid *g,
                        const struct conv2d_args *a, size_t row, size_t n_rows,
                        float *band);

/* Columns c0 .. c0 + n of some tiles of one picture: add[i] is what is added to
 * outputs of column c0 + i. */
struct winograd_columns {
    uint32_t c0, n;
    float *add;
};

/* Bias and vector of the columns for that picture. */
void winograd_fill_add(const struct winograd_columns *to,
                       const struct conv2d_args *a, size_t image);

/* Tile tx of row `row` of tiles from its sums at m. */
void winograd_put_tile(const struct kernel_table *k,
                       const struct winograd_grid *g,
                       const struct conv2d_args *a,
                       const struct winograd_columns *columns, size_t row,
                       size_t tx, const float *m, size_t plane);

/* F(4x4) whose filters are transformed when they are used (winograd_made.c). */
size_t winograd_made_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct conv2d_shape *s);
void winograd_made_run(const struct op_ctx *ctx,
                       const struct conv2d_args *args);

#endif
