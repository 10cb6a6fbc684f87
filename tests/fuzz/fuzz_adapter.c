/* fuzz_adapter.c - PEFT's adapter_config.json: what it says of layers is a
 * number or a refusal.
 *
 * The layers are always the same, one of each part: only the text is hostile.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/lora.h"
#include "format/lora_factor.h"
#include "format/safetensors.h"

#define RANK  2
#define WIDTH 3
#define HALF  "{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%d,%d]}"

static const char *const modules[] = {"unet.down_blocks.0.to_k",
                                      "text_encoder.text_model.layers.0.q_proj",
                                      "text_encoder_2.text_model.layers.1.fc1"};
#define N_MODULES (sizeof modules / sizeof *modules)

/* Two halves a layer, of zeros; its length. */
static size_t write_file(char *out, size_t size)
{
    const int n_half = RANK * WIDTH * 4;
    uint64_t n_header;
    size_t n = 8;
    int at = 0;

    for (size_t i = 0; i < N_MODULES; i++, at += 2 * n_half) {
        n += (size_t)snprintf(
            out + n, size - n,
            "%c\"%s.lora_A.weight\":" HALF ",\"%s.lora_B.weight\":" HALF,
            i ? ',' : '{', modules[i], RANK, WIDTH, at, at + n_half, modules[i],
            WIDTH, RANK, at + n_half, at + 2 * n_half);
    }
    out[n++] = '}';
    n_header = n - 8;
    memcpy(out, &n_header, sizeof n_header); /* the machine's order, as the
                                                engine itself reads it      */
    memset(out + n, 0, (size_t)at);
    return n + (size_t)at;
}

static void check_layers(const struct lora *lora,
                         const struct lora_factors *factors)
{
    const double alphas[] = {NAN, 4.0};
    float factor;

    for (size_t i = 0; i < 2 * lora->n; i++)
        if (lora_factor(&factor, factors, &lora->layers[i / 2], alphas[i % 2],
                        NULL) == UNSTIR_OK &&
            !isfinite(factor))
            abort();
}

void fuzz_adapter(const uint8_t *bytes, size_t n)
{
    char file[2048] = "";
    size_t n_file = write_file(file, sizeof file);
    struct lora_factors factors;
    struct weights *weights;
    struct lora lora;
    char *text;

    if (safetensors_parse(&weights, file, n_file, "fuzz", NULL) != UNSTIR_OK ||
        lora_from_weights(&lora, weights, NULL) != UNSTIR_OK ||
        lora.n != N_MODULES)
        abort();
    text = calloc(1, n + 1); /* a file is handed over with a NUL behind it   */
    if (text && n)
        memcpy(text, bytes, n);
    if (text &&
        lora_factors_open(&factors, lora.file, text, NULL) == UNSTIR_OK) {
        check_layers(&lora, &factors);
        lora_factors_close(&factors);
    }
    free(text);
    lora_close(&lora);
}

FUZZ_ENTRY(fuzz_adapter)
