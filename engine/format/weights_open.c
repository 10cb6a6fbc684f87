/* weights_open.c - a file of tensors in whichever format it is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/mapfile.h"
#include "format/gguf.h"
#include "format/safetensors.h"

enum unstir_status weights_open(struct weights **out, const char *path,
                                struct unstir_error *err)
{
    struct mapfile map;
    bool is_gguf;

    *out = NULL;
    TRY(mapfile_open(&map, path, 0, err));
    is_gguf = gguf_is(map.bytes, map.n_bytes);
    mapfile_close(&map);
    return is_gguf ? gguf_open(out, path, err)
                   : safetensors_open(out, path, err);
}
