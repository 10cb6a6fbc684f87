/* codec.h - picture files: PNG, JPEG and WebP behind one pair of functions.
 *
 * A format is a row: how its files begin, what their head says, and both
 * directions.  Which row reads a file is decided by its bytes, never by a
 * name or a media type.
 *
 * Reading is in two parts.  `probe` looks at the head alone, allocates nothing
 * and refuses what is too large or claims more pixels than so few bytes can
 * hold; `decode` is called only after it and gives a picture that is not yet
 * turned.  So a limit is enforced before memory is taken, and a server may
 * enforce it on the thread that must never wait.
 *
 * Adding a format: a file with both directions and a row in codec.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef IMAGE_CODEC_H
#define IMAGE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What the head of a file says. */
struct codec_head {
    uint32_t width, height, channels; /* as stored, before turning           */
    unsigned orientation;             /* of EXIF: 1..8, 1 is upright         */
};

struct codec {
    struct unstir_format_info info;
    bool (*is_mine)(const unsigned char *bytes, size_t n);
    enum unstir_status (*probe)(const unsigned char *bytes, size_t n,
                                uint32_t max_edge, struct codec_head *head,
                                struct unstir_error *err);
    enum unstir_status (*decode)(const unsigned char *bytes, size_t n,
                                 const struct codec_head *head,
                                 struct unstir_image *image,
                                 struct unstir_error *err);
    enum unstir_status (*encode)(const struct unstir_image *image,
                                 const struct unstir_encode_options *options,
                                 const struct unstir_text *texts,
                                 size_t n_texts, unsigned char **bytes,
                                 size_t *n_bytes, struct unstir_error *err);
};

extern const struct codec codec_png, codec_jpeg, codec_webp;

#define CODEC_DEFAULT_QUALITY 90

/* -- codec_parts.c: for the formats ---------------------------------------- */

/* UNSTIR_ERR_LIMIT or _FORMAT unless the edges are 1..max_edge. */
enum unstir_status codec_check_edges(const char *format, uint32_t width,
                                     uint32_t height, uint32_t max_edge,
                                     struct unstir_error *err);

/* The value of a text, or NULL. */
const char *codec_text(const struct unstir_text *texts, size_t n,
                       const char *key);
#define CODEC_KEY_XMP        "XML:com.adobe.xmp"
#define CODEC_KEY_PARAMETERS "parameters"

/* Lay `channels` 2 or 4 over white into an image of 1 or 3. */
void codec_lay_over_white(const uint8_t *pixels, uint32_t channels,
                          struct unstir_image *image);

/* A copy for the caller, ended by alloc_free(): libraries have heaps of their
 * own. */
enum unstir_status codec_copy(const void *from, size_t n, unsigned char **bytes,
                              size_t *n_bytes, struct unstir_error *err);

#endif
