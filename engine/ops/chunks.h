/* chunks.h - how operations cut streams into pieces for the pool.
 *
 * Pieces depend on sizes only.  STREAM_CHUNK floats are 64 KiB: two or three
 * streams of that length stay inside a second-level cache, and handing out a
 * piece (about 0.1 us) costs less than 2 % of the time to stream it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_CHUNKS_H
#define OPS_CHUNKS_H

#include <stddef.h>

#include "base/pool.h"
#include "kernels/kernels.h"
#include "ops/op.h"

#define STREAM_CHUNK ((size_t)16384)

static inline size_t chunks_of(size_t n, size_t chunk)
{
    return n / chunk + (n % chunk != 0);
}

/* Length of piece i of n items. */
static inline size_t chunk_len(size_t n, size_t chunk, size_t i)
{
    size_t left = n - i * chunk;

    return left < chunk ? left : chunk;
}

/* Rows of c floats in a piece: at least one. */
static inline size_t chunk_rows(size_t c)
{
    return c >= STREAM_CHUNK ? 1 : STREAM_CHUNK / c;
}

/* Number of pieces for n images of hw rows of c floats, cut inside images
 * (a piece never holds rows of two), and what piece i covers. */
struct row_piece {
    size_t image, row, rows;
};

static inline size_t row_pieces(size_t n, size_t hw, size_t c)
{
    return n * chunks_of(hw, chunk_rows(c));
}

static inline struct row_piece row_piece_at(size_t hw, size_t c, size_t i)
{
    size_t rows = chunk_rows(c), per_image = chunks_of(hw, rows);
    size_t k = i % per_image;

    return (struct row_piece){i / per_image, k * rows, chunk_len(hw, rows, k)};
}

/* What a piece of an operation gets, and running n of them. */
struct vec_job {
    const struct vector_kernels *vec;
    const void *args;
};

static inline void vec_run(const struct op_ctx *ctx, size_t n, pool_fn fn,
                           const void *args)
{
    struct vec_job job = {&ctx->k->vec, args};

    pool_run(ctx->pool, n, fn, &job);
}

#endif
