/* dit.h - DiTTransformer2DModel: a transformer over patches of latents,
 * steered by time and class (old files: Transformer2DModel, ada_norm_zero).
 *
 *     patches -> + places -> dit blocks -> norm, modulated -> patches
 *
 * Pitfalls, each guarded by tests/golden/t_families.c (dit, dit_wide):
 *  - places are sines and cosines with the column first, frequencies in
 *    double; at another size than sample_size they are stretched;
 *  - the last norm is steered by the embedders of block 0;
 *  - the class table has one row more than classes: the null class.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_DIT_H
#define MODEL_DIT_H

#include "model/model.h"

enum unstir_status dit_facts(struct model_facts *facts,
                             const struct json *config,
                             struct unstir_error *err);
enum unstir_status dit_build(struct graph *g, const struct json *config,
                             const struct model_size *size,
                             struct unstir_error *err);

#endif
