/* fuzz_safetensors.c - safetensors: every accepted tensor can be read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdlib.h>

#include "format/safetensors.h"
#include "format/weights.h"

void fuzz_safetensors(const uint8_t *bytes, size_t n)
{
    struct weights *w;
    struct unstir_error err;
    volatile uint8_t sink = 0;
    if (safetensors_parse(&w, bytes, n, "fuzz", &err) != UNSTIR_OK)
        return;
    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *t = weights_at(w, i);
        const uint8_t *data = t->data;
        float x[8];
        if (weights_find(w, t->name) != t)
            abort();
        for (size_t k = 0; k < t->n_bytes; k++)
            sink = (uint8_t)(sink ^ data[k]);
        dtype_load(x, data, t->dtype, t->n < 8 ? t->n : 8);
    }
    (void)weights_metadata(w, "format");
    weights_close(w);
}

FUZZ_ENTRY(fuzz_safetensors)
