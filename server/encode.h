/* encode.h - pixels to a file on a helper thread, one picture or a sheet.
 *
 * The pixels are copied in, so the job may drop its previews meanwhile.  The
 * answer comes on the loop, once, unless it was abandoned before.
 *
 * Ceiling: all that are under way share a budget of bytes, of pixels copied in
 * and of sheets; one that is alone may be larger.
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_ENCODE_H
#define SERVER_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "budget.h"
#include "loop.h"
#include "unstir.h"

#define ENCODE_MAX_IMAGES 64u
#define ENCODE_MAX_ZOOM   16u

/* Enlarging is for small pictures: what comes of it has at most so many
 * pixels, 48 MiB in RGB. */
#define ENCODE_MAX_ENLARGED ((uint64_t)16 << 20)
#define ENCODE_MAX_EDGE     16383u /* of WebP; other formats know more */

struct encode;

/* n pictures of width x height. */
struct encode_sheet {
    uint32_t width, height;
    size_t n;
    uint32_t gap;     /* white pixels between them                           */
    uint32_t columns; /* 0: as many as fit                                   */
    uint32_t zoom;    /* 1 or more: each pixel becomes zoom x zoom           */
};

/* Is the whole of a size that is made?  Then columns says how many, else how
 * far each may be enlarged is in zoom, 0: not even as they are. */
bool encode_fits(struct encode_sheet *sheet);

/* bytes is NULL when it failed (memory); it belongs to the receiver, ended by
 * unstir_free(). */
typedef void (*encode_fn)(void *user, unsigned char *bytes, size_t n_bytes);

struct encode_options {
    uint32_t max_edge; /* 0: as they are; a longer edge is made shorter      */
    uint32_t zoom;     /* 1..16, each pixel becomes zoom x zoom              */
    uint32_t columns;  /* of a sheet; 0: all in one row                      */
    uint32_t gap;      /* white pixels between the pictures of a sheet       */
    enum unstir_format format;
    int quality; /* 0: the engine's own                                      */
};

/* Pictures of one size.  An encode is begun empty, filled, and started.
 * encode_add() is false without memory or room in the budget. */
struct encode *encode_new(struct budget *budget, uint32_t width,
                          uint32_t height, uint32_t channels);
bool encode_add(struct encode *encode, const uint8_t *pixels);
size_t encode_len(const struct encode *encode);
void encode_free(struct encode *encode); /* before it was started */

/* False, and the encode is freed, when it cannot be started. */
bool encode_start(struct encode *encode, struct loop *loop,
                  const struct encode_options *options, encode_fn done,
                  void *user);

/* `done` shall not be called any more; NULL allowed. */
void encode_abandon(struct encode *encode);

#endif
