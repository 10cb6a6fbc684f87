/* weights.h - named tensors of a checkpoint, over one or more files
 * (safetensors, GGUF), read in place.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_WEIGHTS_H
#define FORMAT_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/dtype.h"

struct weights;

struct tensor_view {
    const char *name;
    enum dtype dtype;
    uint32_t rank;
    uint64_t dims[8];
    size_t n;         /* elements                                           */
    const void *data; /* maybe unaligned: use dtype_load()                  */
    size_t n_bytes;
};

/* Map a file of tensors, whichever of the formats its first bytes say. */
enum unstir_status weights_open(struct weights **out, const char *path,
                                struct unstir_error *err);

size_t weights_len(const struct weights *w);
const struct tensor_view *weights_at(const struct weights *w, size_t i);
/* NULL if absent. */
const struct tensor_view *weights_find(const struct weights *w,
                                       const char *name);
void weights_close(struct weights *w);

/* A text of the files' metadata, or NULL; lives with w. */
const char *weights_metadata(const struct weights *w, const char *key);

/* After reading much: pages of the files need not stay in memory. */
void weights_forget(const struct weights *w);

#endif
