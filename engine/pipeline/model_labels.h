/* model_labels.h - names of classes: from unstir.json or id2label.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_MODEL_LABELS_H
#define PIPELINE_MODEL_LABELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json;

/* unstir's "labels" {"name": class}, else the index's "id2label"
 * {"class": "name, other name"}; either may be NULL.  Class numbers below
 * n_classes.  *labels and *text are ended by alloc_free(); names live in the
 * JSON documents or in *text. */
enum unstir_status labels_read(struct unstir_label **labels, size_t *n,
                               char **text, uint32_t n_classes,
                               const struct json *unstir,
                               const struct json *index,
                               struct unstir_error *err);

/* Class of a label (case and blanks around it ignored) or of a decimal
 * number below n_classes. */
enum unstir_status labels_find(const struct unstir_model_info *info,
                               uint32_t n_classes, const char *text,
                               int64_t *class_id, struct unstir_error *err);

/* The label nearest to text, or NULL. */
const char *labels_nearest(const struct unstir_model_info *info,
                           const char *text);

/* First label of a class, or NULL. */
const char *labels_name(const struct unstir_model_info *info, int64_t class_id);

#endif
