/* convert.h - a model rewritten: other layout, other number format, LoRAs
 * added for good.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_CONVERT_H
#define PIPELINE_CONVERT_H

#include "base/error.h"
#include "unstir.h"

/* As unstir_convert(). */
enum unstir_status convert_model(const struct unstir_convert_options *options,
                                 char **report, struct unstir_error *err);

#endif
