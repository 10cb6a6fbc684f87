/* lora_derive.h - a model's weights with LoRAs added.
 *
 * Tensors that no LoRA touches are shared with the base; the others are f32 in
 * memory, whatever the base stores: the reference adds in f32 and so do we, and
 * a sum rounded to the 10 bits of f16 is another model.  The base is not
 * changed, so taking a LoRA away is using the base again.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_LORA_DERIVE_H
#define MODEL_LORA_DERIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "format/lora.h"

struct weights;

struct lora_use {
    const struct lora *lora;
    double scale;
    const char *name; /* for errors; NULL: "LoRA"                            */
};

/* What to add, to the tensors of which part. */
struct lora_task {
    enum single_file_part_id part;
    const struct lora_use *uses;
    size_t n_uses;
    bool (*is_canceled)(void *user); /* asked before each tensor; NULL: never */
    void *user;
};

/* Whether any changes this tensor.  A layer that does not fit it is
 * UNSTIR_ERR_FORMAT. */
enum unstir_status lora_touches(bool *is_touched, const struct tensor_view *t,
                                const struct lora_task *task,
                                struct unstir_error *err);

/* *out shares the bytes of `base`, which must outlive it; weights_close().
 * *n_touched counts changed tensors, each a block that can be taken
 * (weights_take_block()); layers that do not fit their tensor, and numbers that
 * are not finite, are UNSTIR_ERR_FORMAT. */
enum unstir_status lora_derive(struct weights **out, const struct weights *base,
                               const struct lora_task *task, size_t *n_touched,
                               struct unstir_error *err);

#endif
