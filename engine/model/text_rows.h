/* text_rows.h - what a network computed from the contexts of a batch.
 *
 * Place i holds the context of picture i of the last batch and its rows (keys
 * and values of the text, ops/hoist.h).  The next step of the same requests
 * finds them all; another request's contexts take their places.  One thread
 * at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_TEXT_ROWS_H
#define MODEL_TEXT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct network;

struct text_rows {
    const struct network *net;
    uint64_t opened_ns;
    size_t n_key, n_row; /* floats of a context, of its rows                 */
    size_t n_places;     /* that have memory                                 */
    float *keys;
    float *rows;
    bool *is_full;
};

/* Get ready for n contexts; what is there stays if it is of the same network
 * and length. */
enum unstir_status text_rows_reserve(struct text_rows *t,
                                     const struct network *net, size_t n,
                                     size_t n_key, size_t n_row,
                                     struct unstir_error *err);
void text_rows_fini(struct text_rows *t);

/* The rows of place i if they are those of `context`, or those of another
 * place copied there; else NULL. */
const float *text_rows_find(struct text_rows *t, size_t i,
                            const float *context);

/* Where the rows of place i are to be written. */
float *text_rows_begin(struct text_rows *t, size_t i);

/* They are written. */
void text_rows_end(struct text_rows *t, size_t i, const float *context);

#endif
