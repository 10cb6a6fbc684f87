/* gguf.h - the reader of the GGUF format, versions 2 and 3, little-endian.
 *
 * Tensors are read in place, quantised ones block by block wherever they are
 * loaded (tensor/dtype.h): an opened file takes no memory of its own beside
 * names.  Dimensions come in the order of the other formats, outermost first
 * (the file has them the other way round).  Types: F32, F16, BF16, F64, I8,
 * I32, I64 and those of tensor/blocks.h; another one is UNSTIR_ERR_UNSUPPORTED
 * by its name.
 *
 * Everything in the file is taken for hostile.  A breach is UNSTIR_ERR_FORMAT
 * naming file, tensor or key, and reason: counts and lengths above a ceiling
 * or beyond the file, unknown value types, duplicate keys and names, sizes
 * that overflow, rows that are not whole blocks, offsets that are not aligned,
 * tensors that overlap, leave holes or bytes behind.
 *
 * weights_metadata() gives the values that are texts.
 *
 * Source: the format's description, gguf.md of ggml.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_GGUF_H
#define FORMAT_GGUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct json;
struct weights;

/* Whether n bytes at the start of a file are this format's. */
bool gguf_is(const void *bytes, size_t n);

/* A weights_read_fn of weights_build.h; weights_open() finds it by itself. */
enum unstir_status gguf_read(struct weights *w, struct json **header,
                             const char *name, const unsigned char *bytes,
                             size_t n_bytes, struct unstir_error *err);

#endif
