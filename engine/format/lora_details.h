/* lora_details.h - what a LoRA file says of itself.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_LORA_DETAILS_H
#define FORMAT_LORA_DETAILS_H

#include "format/lora.h"
#include "unstir.h"

/* *out from an opened file. */
enum unstir_status lora_details(struct unstir_lora_details *out,
                                const struct lora *lora,
                                struct unstir_error *err);

#endif
