/* lora_factor.h - by how much a layer of a LoRA counts: alpha / rank.
 *
 * alpha is, in this order:
 *
 *     a tensor          beside the layer
 *     the adapter's     PEFT's adapter_config.json, else the file's
 *                       lora_adapter_metadata with <part>. before each key:
 *                       lora_alpha, or what alpha_pattern says of the layer;
 *                       with use_rslora the root of the rank divides
 *     the trainer's     ss_network_alpha
 *     the rank          if nothing says anything
 *
 * The keys of a pattern are ends of layers' names; with a leading ^ whole ones.
 * Patterns that are more of a regular expression are refused, and so are
 * use_dora and other peft_types, which are other kinds of change, and beginnings
 * (init_lora_weights) that changed the model's own weights as well.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_LORA_FACTOR_H
#define FORMAT_LORA_FACTOR_H

#include "base/error.h"
#include "format/lora.h"

struct json;

struct lora_factors {
    struct json *adapter; /* NULL: none                                      */
    const char *source;   /* where that stood, for errors                    */
    double trainer_alpha; /* NaN: none                                       */
};

/* config: of an adapter_config.json, or NULL.  On failure there is nothing to
 * close. */
enum unstir_status lora_factors_open(struct lora_factors *f,
                                     const struct weights *file,
                                     const char *config,
                                     struct unstir_error *err);
void lora_factors_close(struct lora_factors *f);

/* Of a layer whose halves are there and whose rank is set; own_alpha is the
 * tensor's, NaN if there is none. */
enum unstir_status lora_factor(float *factor, const struct lora_factors *f,
                               const struct lora_layer *l, double own_alpha,
                               struct unstir_error *err);

#endif
