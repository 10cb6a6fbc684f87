/* lora.h - the reader of LoRA files: small changes of a model's layers.
 *
 *     W' = W + scale * alpha / rank * up * down
 *
 * Tensors of these namings, over flattened layer names (points as _, without
 * "text_model_"), so that all find the same layer:
 *
 *     kohya      lora_unet_..., lora_te_..., lora_te1_..., lora_te2_... with
 *                .lora_down.weight .lora_up.weight .alpha; SDXL files have the
 *                original names of the UNet (input_blocks_4_1_...)
 *     PEFT       unet....lora_A.weight .lora_B.weight; in files of one network
 *                base_model.model....
 *     diffusers  unet....lora.down.weight .lora.up.weight,
 *                text_encoder....lora_linear_layer.down.weight,
 *                unet....processor.to_q_lora.down.weight,
 *                text_encoder....self_attn.to_q_lora.down.weight; the oldest
 *                without the unet. before it
 *
 * alpha is a tensor, or in the file's metadata or PEFT's adapter_config.json
 * beside it, else equal to the rank: lora_factor.h.  Layers of convolutions (LoCon) are matrices of the flattened
 * kernel.  Other kinds of changes (DoRA, LoHa, LoKr ...) are refused by name.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_LORA_H
#define FORMAT_LORA_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/single_file.h"

#define LORA_MAX_LAYERS 20000u
#define LORA_MAX_RANK   4096u

struct tensor_view;
struct weights;

struct lora_layer {
    enum single_file_part_id part;
    char *name;                     /* flattened                             */
    const char *module;             /* in the tensor's own name              */
    const struct tensor_view *down; /* [rank][in...]                         */
    const struct tensor_view *up;   /* [out][rank] (1x1)                     */
    uint64_t rank;
    float factor; /* alpha / rank                                            */
};

struct lora {
    struct weights *file;
    char *bytes; /* of the file; NULL: the weights' own                      */
    size_t n_bytes;
    char *config; /* adapter_config.json; NULL: there is none                */
    size_t n_config;
    struct lora_layer *layers; /* sorted by part and name                    */
    size_t n, capacity;
};

/* Read a file of at most max_bytes (0: no ceiling) into memory: it may change
 * or shrink under us, and what was hashed must be what is used.  Errors call
 * it `name`.  A folder is one that PEFT (adapter_model.safetensors) or the
 * reference (pytorch_lora_weights.safetensors) wrote; PEFT's configuration is
 * read beside a file of its name, wherever that is. */
enum unstir_status lora_open(struct lora *lora, const char *path,
                             const char *name, size_t max_bytes,
                             struct unstir_error *err);
/* The same over tensors, which it takes over, also on failure. */
enum unstir_status lora_from_weights(struct lora *lora, struct weights *file,
                                     struct unstir_error *err);
void lora_close(struct lora *lora);

/* SHA-256 of what was read: the file, then the configuration if there is one.
 */
enum unstir_status lora_digest(char hex[65], const struct lora *lora,
                               struct unstir_error *err);

/* The change of a weight ("down_blocks.0....to_q.weight"), or NULL. */
const struct lora_layer *lora_find(const struct lora *lora,
                                   enum single_file_part_id part,
                                   const char *weight);

#endif
