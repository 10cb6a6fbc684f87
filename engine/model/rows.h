/* rows.h - rows of floats by key, the oldest going first.
 *
 * What a network computes from timestep and label alone (ops/hoist.h), kept
 * from step to step and from request to request.  Keys are compared bit by
 * bit.  All memory is taken at the beginning; pages that no row has reached
 * cost nothing.  One thread at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_ROWS_H
#define MODEL_ROWS_H

#include <stddef.h>

#include "base/error.h"

struct rows;

/* As many rows as max_bytes hold, at least one. */
enum unstir_status rows_new(struct rows **out, size_t key_floats,
                            size_t row_floats, size_t max_bytes,
                            struct unstir_error *err);
void rows_free(struct rows *rows);

size_t rows_capacity(const struct rows *rows);

/* NULL: not there.  Valid until the next rows_put(). */
const float *rows_find(const struct rows *rows, const float *key);

/* Room for the row of a key that is not there. */
float *rows_put(struct rows *rows, const float *key);

#endif
