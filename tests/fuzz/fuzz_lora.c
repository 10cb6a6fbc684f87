/* fuzz_lora.c - LoRA files: every accepted layer is whole, and can be found and
 * told of.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/lora_details.h"
#include "format/safetensors.h"

static void check_layer(const struct lora_layer *l)
{
    size_t rank = (size_t)l->rank;

    if (!l->down || !l->up || rank == 0 || rank > LORA_MAX_RANK ||
        l->up->n != l->up->dims[0] * rank || l->down->n % rank != 0 ||
        !isfinite(l->factor))
        abort();
}

static void check_details(const struct lora *lora)
{
    struct unstir_lora_details details;

    if (lora_details(&details, lora, NULL) != UNSTIR_OK)
        return; /* no memory */
    if (details.n_layers != lora->n || details.min_rank > details.max_rank ||
        details.n_triggers > UNSTIR_MAX_TRIGGERS || !details.kind)
        abort();
    for (size_t i = 0; i < details.n_triggers; i++)
        if (details.triggers[i][0] == '\0' ||
            !memchr(details.triggers[i], 0, sizeof details.triggers[i]))
            abort();
}

void fuzz_lora(const uint8_t *bytes, size_t n)
{
    struct weights *file;
    struct lora lora;

    if (safetensors_parse(&file, bytes, n, "fuzz", NULL) != UNSTIR_OK ||
        lora_from_weights(&lora, file, NULL) != UNSTIR_OK)
        return;
    for (size_t i = 0; i < lora.n; i++) {
        check_layer(&lora.layers[i]);
        if (i > 0 && lora.layers[i - 1].part == lora.layers[i].part &&
            strcmp(lora.layers[i - 1].name, lora.layers[i].name) >= 0)
            abort();
    }
    (void)lora_find(&lora, SINGLE_FILE_UNET, "a.weight");
    check_details(&lora);
    lora_close(&lora);
}

FUZZ_ENTRY(fuzz_lora)
