/* tiled.h - large pictures through an autoencoder in pieces.
 *
 * Tiles overlap; in an overlap their outputs are blended by linear ramps, so
 * that no seam shows.  A tile's norms and attention see the tile alone, and
 * that is all that differs from the whole picture: with the whole's statistics
 * and no attention, tiles of 64 with an overlap of 16 agree with it to 75 dB.
 * With their own, latents that look alike everywhere give 38 dB
 * (tests/golden/t_tiled.c), latents that differ from place to place as little
 * as 24: choose tiles as large as memory allows.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_TILED_H
#define MODEL_TILED_H

#include "model/network.h"

/* Edges of the input; what fits one tile is evaluated whole. */
struct tiling {
    uint32_t edge;    /* of a tile, a multiple of the network's size_multiple */
    uint32_t overlap; /* at least, below edge, a multiple too                */
};

/* network_eval() for a network that reads pictures alone.  Takes memory of its
 * own: one tile, in and out. */
enum unstir_status tiled_eval(const struct network *net, struct executor *x,
                              const struct network_io *io,
                              const struct tiling *tiling,
                              const struct cancel *cancel,
                              struct unstir_error *err);

#endif
