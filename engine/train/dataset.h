/* dataset.h - the pictures that a network learns from, held as bytes.
 *
 * Sources: IDX files (plain or gz, as MNIST and its kin come), a folder of PNG
 * pictures with one subfolder a class (or none), and named sets
 * ("fashion-mnist": where Debian's package puts it, or $UNSTIR_DATA;
 * "swiss-roll" and "heartbeat-bits": made on the spot, dataset_toy.c).
 *
 * Pictures of one size, rows top to bottom, channels interleaved.  Files are
 * hostile: every field is checked before it is used, and a set has ceilings.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_DATASET_H
#define TRAIN_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define DATASET_MAX_BYTES    ((size_t)4 << 30)
#define DATASET_MAX_PICTURES 10000000u
#define DATASET_MAX_EDGE     1024u
#define DATASET_MAX_CLASSES  1000u

struct dataset {
    uint32_t n, width, height, channels;
    uint8_t *pixels;     /* [n][height][width][channels]                     */
    uint32_t *labels;    /* [n] or NULL                                      */
    uint32_t n_classes;  /* 0: no labels                                     */
    char **class_names;  /* [n_classes]                                      */
    const char *title;   /* of a named set, else NULL; static                */
    const char *licence; /* likewise                                         */
    const char *source;  /* likewise                                         */
};

/* `where`: a folder or a named set.  size 0: as the data has it, else every
 * picture is cut to a centred square and resized.  max_pictures 0: all. */
enum unstir_status dataset_open(struct dataset *d, const char *where,
                                uint32_t size, uint32_t max_pictures,
                                struct unstir_error *err);
void dataset_close(struct dataset *d);

/* Picture i as floats -1..1, [height][width][channels], mirrored if asked. */
void dataset_picture(const struct dataset *d, uint32_t i, int is_mirrored,
                     float *out);

/* -- sets made by rule, in dataset_toy.c --------------------------------- */

int dataset_is_toy(const char *name);
/* `name` is a toy; *d is zeroed.  UNSTIR_ERR_NOMEM only. */
enum unstir_status dataset_make_toy(struct dataset *d, const char *name,
                                    uint32_t max_pictures,
                                    struct unstir_error *err);

/* The mean log2 density a dimension of a toy's own distribution, in -1..1 with
 * a uniform part of a byte added: what no model can surpass.  NaN for a set
 * whose distribution nobody knows. */
double dataset_known_bits(const char *name);

/* -- IDX, in idx.c ------------------------------------------------------- */

/* Unsigned bytes of rank 1..4; data has the product of dims bytes
 * (alloc_free). */
struct idx {
    uint32_t rank;
    uint32_t dims[4];
    size_t n_bytes;
    uint8_t *data;
};

/* Read `path` (gz or plain).  wanted_rank 0: any.  UNSTIR_ERR_FORMAT names
 * file and field; nothing bigger than max_bytes is allocated. */
enum unstir_status idx_read(struct idx *out, const char *path,
                            uint32_t wanted_rank, size_t max_bytes,
                            struct unstir_error *err);

#endif
