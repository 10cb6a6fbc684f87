/* tiled.h - large pictures through an autoencoder in bands.
 *
 * Nearly all memory of an autoencoder is held by the layers that work at the
 * picture's own size.  Here they run band by band, stage by stage; a stage
 * leads from one norm to the next and takes its norms as they are of the whole
 * picture, since their statistics are what a tile of its own would get wrong.
 * Attention and all smaller layers run whole.  What comes out is that of the
 * whole evaluation within the rounding of the products, and to the bit where a
 * convolution's tiles fall on the same rows (tests/golden/t_tiled.c).
 *
 * Between stages one or two values of the picture's size are kept, where the
 * whole evaluation needs four; that takes convolutions behind an upsampling
 * three times instead of once.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_TILED_H
#define MODEL_TILED_H

#include "model/network.h"

struct tiling {
    uint32_t rows;      /* of a band at least, in the latent; 0: 8           */
    size_t whole_bytes; /* pictures of which no layer holds more are
                           evaluated whole                                   */
    size_t *peak_bytes; /* NULL, or told: most held at once, the arena in it */
};

/* network_eval() for an autoencoder; other networks, those without a layer
 * that is larger than its neighbours, and pictures of one band are evaluated
 * whole. */
enum unstir_status tiled_eval(const struct network *net, struct executor *x,
                              const struct network_io *io,
                              const struct tiling *tiling,
                              const struct cancel *cancel,
                              struct unstir_error *err);

#endif
