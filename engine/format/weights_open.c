/* weights_open.c - a file of tensors in whichever format it is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/gguf.h"
#include "format/safetensors.h"
#include "format/weights_build.h"

static enum unstir_status read_any(struct weights *w, struct json **header,
                                   const char *name, const unsigned char *bytes,
                                   size_t n_bytes, struct unstir_error *err)
{
    return gguf_is(bytes, n_bytes)
               ? gguf_read(w, header, name, bytes, n_bytes, err)
               : safetensors_read(w, header, name, bytes, n_bytes, err);
}

enum unstir_status weights_open(struct weights **out, const char *path,
                                struct unstir_error *err)
{
    return weights_open_as(out, path, read_any, err);
}
