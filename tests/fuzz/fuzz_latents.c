/* fuzz_latents.c - latents of a safetensors file: what is taken has the shape
 * that its head says, and finite numbers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>

#include "unstir.h"

void fuzz_latents(const uint8_t *bytes, size_t n)
{
    struct unstir_latents shape, latents;
    struct unstir_error err = {0};

    if (unstir_latents_probe(bytes, n, &shape, &err) != UNSTIR_OK) {
        if (err.detail[0] == '\0' ||
            unstir_latents_decode(bytes, n, &latents, &err) == UNSTIR_OK)
            abort();
        return;
    }
    if (unstir_latents_decode(bytes, n, &latents, &err) != UNSTIR_OK)
        return; /* a number that is not finite                               */
    size_t n_values =
        (size_t)shape.n * shape.channels * shape.height * shape.width;
    if (latents.n != shape.n || latents.channels != shape.channels ||
        latents.height != shape.height || latents.width != shape.width ||
        n_values == 0 || n_values * 2 > n)
        abort();
    for (size_t i = 0; i < n_values; i++)
        if (!isfinite(latents.values[i]))
            abort();
    unstir_latents_fini(&latents);
}

FUZZ_ENTRY(fuzz_latents)
