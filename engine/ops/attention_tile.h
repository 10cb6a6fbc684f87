/* attention_tile.h - tile sizes that attention and its adjoint share.
 *
 * Scores are held transposed, keys down and queries across, so that the
 * softmax runs over 8 queries at a time without horizontal sums, and keys and
 * values are read in place.  64 queries by 96 keys of f32 are 24 KiB.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_ATTENTION_TILE_H
#define OPS_ATTENTION_TILE_H

#include <stddef.h>

#include "base/size.h"

#define TILE_QUERIES ((size_t)64)
#define TILE_KEYS    ((size_t)96) /* a multiple of 6, the product's rows */

static inline size_t tile_len(size_t len, size_t step, size_t at)
{
    return len - at < step ? len - at : step;
}

/* Queries are padded to whole vectors with zero columns: tiles lie in scratch
 * memory, and part vectors are slow to store. */
static inline size_t tile_padded(size_t nq)
{
    return size_align(nq, 8);
}

static inline void tile_pad(float *qt, size_t d, size_t nq)
{
    for (size_t i = 0; i < d; i++)
        for (size_t j = nq; j < tile_padded(nq); j++)
            qt[i * TILE_QUERIES + j] = 0;
}

#endif
