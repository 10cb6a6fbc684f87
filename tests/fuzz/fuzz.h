/* fuzz.h - entry points that take hostile bytes and must neither crash nor
 * leak.
 *
 * `make fuzz` builds each with clang's libFuzzer, ASan and UBSan; the unit
 * test t_corpus.c replays the corpus through the same functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

void fuzz_json(const uint8_t *bytes, size_t n);
void fuzz_safetensors(const uint8_t *bytes, size_t n);
void fuzz_lora(const uint8_t *bytes, size_t n);
void fuzz_adapter(const uint8_t *bytes, size_t n);
void fuzz_gguf(const uint8_t *bytes, size_t n);
void fuzz_png(const uint8_t *bytes, size_t n);
void fuzz_image(const uint8_t *bytes, size_t n);
void fuzz_folder_config(const uint8_t *bytes, size_t n);
void fuzz_idx(const uint8_t *bytes, size_t n);
void fuzz_pack_file(const uint8_t *bytes, size_t n);
void fuzz_state(const uint8_t *bytes, size_t n);
void fuzz_bpe(const uint8_t *bytes, size_t n);
void fuzz_single_file(const uint8_t *bytes, size_t n);
void fuzz_sampler(const uint8_t *bytes, size_t n);
void fuzz_prompt(const uint8_t *bytes, size_t n);
void fuzz_latents(const uint8_t *bytes, size_t n);

/* Makes `entry` the one that libFuzzer calls; nothing in ordinary builds. */
#ifdef UNSTIR_FUZZ
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
#define FUZZ_ENTRY(entry)                                      \
    int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) \
    {                                                          \
        entry(bytes, n);                                       \
        return 0;                                              \
    }
#else
#define FUZZ_ENTRY(entry)
#endif

#endif
