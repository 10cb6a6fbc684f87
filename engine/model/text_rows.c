/* text_rows.c - what a network computed from the contexts of a batch.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/text_rows.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "model/network_parts.h"

void text_rows_fini(struct text_rows *t)
{
    alloc_free(t->keys);
    alloc_free(t->rows);
    alloc_free(t->is_full);
    *t = (struct text_rows){.net = NULL};
}

static enum unstir_status take(float **out, size_t n, size_t floats,
                               struct unstir_error *err)
{
    size_t total;

    if (!size_mul(n, floats, &total))
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "%zu contexts are too many to keep", n);
    TRY(alloc_aligned(out, total, sizeof(float), err));
    return UNSTIR_OK;
}

enum unstir_status text_rows_reserve(struct text_rows *t,
                                     const struct network *net, size_t n,
                                     size_t n_key, size_t n_row,
                                     struct unstir_error *err)
{

    if (t->net == net && t->opened_ns == net->opened_ns && t->n_key == n_key &&
        t->n_places >= n)
        return UNSTIR_OK;
    text_rows_fini(t);
    TRY(take(&t->keys, n, n_key, err));
    TRY(take(&t->rows, n, n_row, err));
    TRY(alloc_zero(&t->is_full, n, sizeof *t->is_full, err));
    t->net = net;
    t->opened_ns = net->opened_ns;
    t->n_key = n_key;
    t->n_row = n_row;
    t->n_places = n;
    return UNSTIR_OK;
}

static bool holds(const struct text_rows *t, size_t i, const float *context)
{
    return t->is_full[i] && memcmp(t->keys + i * t->n_key, context,
                                   t->n_key * sizeof *context) == 0;
}

const float *text_rows_find(struct text_rows *t, size_t i, const float *context)
{
    float *rows = t->rows + i * t->n_row;

    if (holds(t, i, context))
        return rows;
    for (size_t j = 0; j < t->n_places; j++) {
        if (!holds(t, j, context))
            continue;
        memcpy(rows, t->rows + j * t->n_row, t->n_row * sizeof *rows);
        text_rows_end(t, i, context);
        return rows;
    }
    return NULL;
}

float *text_rows_begin(struct text_rows *t, size_t i)
{
    t->is_full[i] = false;
    return t->rows + i * t->n_row;
}

void text_rows_end(struct text_rows *t, size_t i, const float *context)
{
    memcpy(t->keys + i * t->n_key, context, t->n_key * sizeof *context);
    t->is_full[i] = true;
}
