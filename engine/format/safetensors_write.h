/* safetensors_write.h - tensors into a safetensors file.
 *
 * The header is padded to a multiple of 8 bytes; behind it stand the tensors,
 * widest types first, so that each is aligned to its own size, then by name.
 * What is stored in another type than it is given in is converted a piece at a
 * time: a model of any size takes some hundred kilobytes of memory.
 *
 * Any thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_SAFETENSORS_WRITE_H
#define FORMAT_SAFETENSORS_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/dtype.h"

struct weights;

struct safetensors_entry {
    const char *name; /* 1 to 512 bytes, not __metadata__                    */
    enum dtype dtype; /* stored as; no quantised one, the format has none    */
    uint32_t rank;
    uint64_t dims[8];
    const void *data; /* f32 for F32, F16 and BF16, else as it is stored     */
};

/* A text of the file's metadata. */
struct safetensors_meta {
    const char *key, *value;
};

/* The file in memory; alloc_free().  UNSTIR_ERR_ARG names an entry that cannot
 * stand in a file. */
enum unstir_status safetensors_build(unsigned char **bytes, size_t *n_bytes,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err);

/* The same as a file, which appears whole or not at all (mapfile_write()). */
enum unstir_status safetensors_write(const char *path,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err);

/* Asked after each piece of some megabytes, of the bytes of its tensors; false
 * ends the writing with UNSTIR_ERR_CANCELLED. */
struct safetensors_watch {
    bool (*goes_on)(void *arg, size_t n_bytes);
    void *arg;
};

/* All of w.  Floats are stored as *dtype, or, if that is NULL, as they are,
 * quantised ones in half precision; whole numbers stay.  No watch: NULL. */
enum unstir_status safetensors_write_weights(
    const char *path, const struct weights *w, const enum dtype *dtype,
    const struct safetensors_meta *meta, size_t n_meta,
    const struct safetensors_watch *watch, struct unstir_error *err);

/* How many bytes its tensors will be. */
uint64_t safetensors_weights_bytes(const struct weights *w,
                                   const enum dtype *dtype);

#endif
