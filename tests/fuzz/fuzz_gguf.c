/* fuzz_gguf.c - GGUF: every accepted tensor can be read and loaded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdlib.h>

#include "format/gguf.h"
#include "format/weights_build.h"

#define PIECE 256u /* whole blocks of every type */

void fuzz_gguf(const uint8_t *bytes, size_t n)
{
    struct weights *w;
    struct unstir_error err;
    float x[PIECE];

    if (weights_parse_as(&w, bytes, n, "fuzz", gguf_read, &err) != UNSTIR_OK)
        return;
    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *t = weights_at(w, i);

        if (weights_find(w, t->name) != t ||
            t->n_bytes != dtype_bytes(t->dtype, t->n))
            abort();
        for (size_t k = 0; k < t->n; k += PIECE)
            dtype_load(x, (const char *)t->data + dtype_bytes(t->dtype, k),
                       t->dtype, t->n - k < PIECE ? t->n - k : PIECE);
    }
    (void)weights_metadata(w, "general.architecture");
    weights_close(w);
}

FUZZ_ENTRY(fuzz_gguf)
