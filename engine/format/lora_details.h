/* lora_details.h - what a LoRA file says of itself.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_LORA_DETAILS_H
#define FORMAT_LORA_DETAILS_H

#include "format/lora.h"
#include "unstir.h"

/* "sd1", "sd2" or "sdxl": what the file says, else what its names and shapes
 * tell; NULL: nothing. */
const char *lora_family(const struct lora *lora);

/* "Stable Diffusion 1.x" of "sd1"; "another kind of model" of NULL. */
const char *lora_family_title(const char *family);

/* *out from an opened file. */
enum unstir_status lora_details(struct unstir_lora_details *out,
                                const struct lora *lora,
                                struct unstir_error *err);

#endif
