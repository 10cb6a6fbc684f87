/* safetensors.h - the reader of the safetensors format.
 *
 * It enforces every rule of the format (size of the header, UTF-8, no
 * duplicate names, tensors from byte 0 on without holes or bytes behind them,
 * sizes that agree); a breach is UNSTIR_ERR_FORMAT naming file, tensor and
 * reason, a type that no network here can use UNSTIR_ERR_UNSUPPORTED.  Files
 * of PyTorch's own format are refused with advice (format/pickle.h).
 *
 * Any thread.  safetensors_write.h writes them.
 *
 * Source: the format's description, huggingface/safetensors README.md.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include "format/weights.h"

struct json;

#define SAFETENSORS_METADATA "__metadata__" /* texts beside the tensors     */
#define SAFETENSORS_MAX_NAME 512u
#define SAFETENSORS_MAX_RANK 8u /* that of struct tensor_view             */

/* Map a file and read its header.  weights_close(). */
enum unstir_status safetensors_open(struct weights **out, const char *path,
                                    struct unstir_error *err);

/* The same over memory, which must outlive *out. `name` is for errors. */
enum unstir_status safetensors_parse(struct weights **out, const void *bytes,
                                     size_t n_bytes, const char *name,
                                     struct unstir_error *err);

/* A weights_read_fn of weights_build.h. */
enum unstir_status safetensors_read(struct weights *w, struct json **header,
                                    const char *name,
                                    const unsigned char *bytes, size_t n_bytes,
                                    struct unstir_error *err);

#endif
