/* mapfile.h - a whole file as read-only memory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_MAPFILE_H
#define BASE_MAPFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Which file it was, as it was: of the descriptor that was mapped. */
struct mapfile_stamp {
    uint64_t device, inode; /* inode 0: of no file                           */
    int64_t mtime_ns, ctime_ns;
};

struct mapfile {
    const unsigned char *bytes;
    size_t n_bytes;
    void *map;
    struct mapfile_stamp stamp;
};

/* Map a regular file of at most max_bytes (0: no ceiling).  A file that
 * shrinks while it is mapped kills the process (SIGBUS), so map only what the
 * operator installed; read small files with mapfile_read(). */
enum unstir_status mapfile_open(struct mapfile *m, const char *path,
                                size_t max_bytes, struct unstir_error *err);
void mapfile_close(struct mapfile *m);

/* Let the system have the pages until they are read again. */
void mapfile_forget(const struct mapfile *m);
/* Of n bytes, the page that begins at `at` first. */
void mapfile_forget_part(const struct mapfile *m, size_t at, size_t n);

/* The whole file in memory of its own, with a NUL behind; alloc_free(). */
enum unstir_status mapfile_read(char **out, size_t *n, const char *path,
                                size_t max_bytes, struct unstir_error *err);

/* Write beside `path`, flush to disk, rename over it. */
enum unstir_status mapfile_write(const char *path, const void *bytes, size_t n,
                                 struct unstir_error *err);

/* The same in pieces, for what is too large to stand in memory: fill() calls
 * mapfile_put() until it is done; its failure leaves nothing behind. */
struct mapfile_sink;
typedef enum unstir_status (*mapfile_fill_fn)(void *arg,
                                              struct mapfile_sink *sink,
                                              struct unstir_error *err);
enum unstir_status mapfile_put(struct mapfile_sink *sink, const void *bytes,
                               size_t n, struct unstir_error *err);
enum unstir_status mapfile_write_by(const char *path, mapfile_fill_fn fill,
                                    void *arg, struct unstir_error *err);
/* The same for what can be made again: private, and not waited for until it is
 * on the disk. */
enum unstir_status mapfile_write_cache(const char *path, mapfile_fill_fn fill,
                                       void *arg, struct unstir_error *err);

#endif
