/* safetensors.h - the reader and writer of the safetensors format.
 *
 * The reader enforces every rule of the format (REFERENCE: header size, UTF-8,
 * no duplicate names, tensors contiguous from 0 without holes or trailing
 * bytes, sizes that agree); a breach is UNSTIR_ERR_FORMAT naming file, tensor
 * and reason.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include "format/weights.h"

/* Map a file and read its header.  weights_close(). */
enum unstir_status safetensors_open(struct weights **out, const char *path,
                                    struct unstir_error *err);

/* The same over memory, which must outlive *out. `name` is for errors. */
enum unstir_status safetensors_parse(struct weights **out, const void *bytes,
                                     size_t n_bytes, const char *name,
                                     struct unstir_error *err);

/* __metadata__ entry or NULL. */
const char *weights_metadata(const struct weights *w, const char *key);

/* Writing: tensors sorted by alignment then name, header padded to 8. */
struct safetensors_entry {
    const char *name;
    enum dtype dtype; /* stored as; data is f32 for float types, else raw    */
    uint32_t rank;
    uint64_t dims[8];
    const void *data; /* f32 for F32/F16/BF16, raw bytes for others         */
};
struct safetensors_meta {
    const char *key, *value;
};
/* The file in memory; alloc_free(). */
enum unstir_status safetensors_build(unsigned char **bytes, size_t *n_bytes,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err);
/* mapfile_write() of it. */
enum unstir_status safetensors_write(const char *path,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err);

#endif
