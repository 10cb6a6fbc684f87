/* pack_file.h - packed weights in a file, checked before every use.
 *
 * A header of one page, then the image as memory holds it:
 *
 *     "UNSTPACK", byte order, version, bytes of the image, layout, sum of the
 *     image, key (text, NUL-padded), sum of all that.
 *
 * The key says of what the image is: digest of the weights, part, rung, rules
 * version, precision.  Nothing in a file is trusted: the file must belong to
 * this user or root, be writable by nobody else, and every field and sum must
 * be right; else it is as if there were none.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_PACK_FILE_H
#define FORMAT_PACK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mapfile.h"

#define PACK_FILE_HEADER 4096
#define PACK_FILE_KEY    256

struct pack_key {
    const char *text; /* shorter than PACK_FILE_KEY                          */
    uint64_t layout;  /* a number that follows from what lies where          */
    size_t n_bytes;   /* of the image, a multiple of 64                      */
};

/* Whether n bytes are a whole and undamaged file of this key. */
bool pack_file_check(const unsigned char *bytes, size_t n,
                     const struct pack_key *key);

/* Map a file whose image, PACK_FILE_HEADER bytes in, is good; else an error
 * that says what is wrong. */
enum unstir_status pack_file_open(struct mapfile *m, const char *path,
                                  const struct pack_key *key,
                                  struct unstir_error *err);

/* Whether a file of the cache may be believed at all: regular, of this user or
 * root, writable by nobody else. */
enum unstir_status pack_file_is_ours(const char *path,
                                     struct unstir_error *err);

/* Write beside `path`, rename over it. */
enum unstir_status pack_file_write(const char *path, const struct pack_key *key,
                                   const void *image, struct unstir_error *err);

/* Whether is_it() says so of a file of the folder whose name ends so. */
typedef bool (*pack_file_fn)(const char *path, const void *arg);
bool pack_folder_any(const char *folder, const char *ending, pack_file_fn is_it,
                     const void *arg);

/* Make the folder (and those above it) if it is not there. */
enum unstir_status pack_folder_make(const char *folder,
                                    struct unstir_error *err);

/* Let the pack files that were not used for longest go, until `room` more
 * bytes leave them at or below max_bytes; false if they cannot, or if the
 * file system would be left with less than it has room for twice. */
bool pack_folder_trim(const char *folder, uint64_t room, uint64_t max_bytes);

#endif
