/* rows.c - a ring of rows with chains by hash.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/rows.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

#define N_CHAINS 256U
#define MAX_ROWS ((size_t)4096)
#define NO_ROW   UINT32_MAX

struct rows {
    size_t n_key, n_row, capacity, used;
    size_t oldest; /* the next to go, once all are used                      */
    uint32_t chains[N_CHAINS];
    uint32_t *next; /* [capacity]                                            */
    float *memory;  /* [capacity][n_key + n_row]                             */
};

enum unstir_status rows_new(struct rows **out, size_t key_floats,
                            size_t row_floats, size_t max_bytes,
                            struct unstir_error *err)
{
    size_t bytes = (key_floats + row_floats) * sizeof(float);
    enum unstir_status status;
    struct rows *rows;

    *out = NULL;
    TRY(alloc_zero(&rows, 1, sizeof *rows, err));
    rows->n_key = key_floats;
    rows->n_row = row_floats;
    rows->capacity = max_bytes / bytes;
    if (rows->capacity > MAX_ROWS)
        rows->capacity = MAX_ROWS;
    if (rows->capacity == 0)
        rows->capacity = 1;
    for (size_t i = 0; i < N_CHAINS; i++)
        rows->chains[i] = NO_ROW;
    status = alloc_zero(&rows->next, rows->capacity, sizeof *rows->next, err);
    if (status != UNSTIR_OK)
        goto out;
    status = alloc_zero(&rows->memory, rows->capacity, bytes, err);
    if (status != UNSTIR_OK)
        goto out;
    *out = rows;
    rows = NULL;
out:
    rows_free(rows);
    return status;
}

void rows_free(struct rows *rows)
{
    if (!rows)
        return;
    alloc_free(rows->next);
    alloc_free(rows->memory);
    alloc_free(rows);
}

size_t rows_capacity(const struct rows *rows)
{
    return rows->capacity;
}

static float *key_at(const struct rows *rows, size_t i)
{
    return rows->memory + i * (rows->n_key + rows->n_row);
}

/* FNV-1a over the words of a key, folded. */
static uint32_t chain_of(const struct rows *rows, const float *key)
{
    uint32_t h = 2166136261U, word;

    for (size_t i = 0; i < rows->n_key; i++) {
        memcpy(&word, key + i, sizeof word);
        h = (h ^ word) * 16777619U;
        h ^= h >> 15;
    }
    return (h ^ h >> 8) % N_CHAINS;
}

const float *rows_find(const struct rows *rows, const float *key)
{
    uint32_t i = rows->chains[chain_of(rows, key)];

    for (; i != NO_ROW; i = rows->next[i])
        if (memcmp(key_at(rows, i), key, rows->n_key * sizeof *key) == 0)
            return key_at(rows, i) + rows->n_key;
    return NULL;
}

static void unlink_row(struct rows *rows, uint32_t row)
{
    uint32_t *at = &rows->chains[chain_of(rows, key_at(rows, row))];

    while (*at != row)
        at = &rows->next[*at];
    *at = rows->next[row];
}

float *rows_put(struct rows *rows, const float *key)
{
    uint32_t *chain = &rows->chains[chain_of(rows, key)], row;

    if (rows->used < rows->capacity) {
        row = (uint32_t)rows->used++;
    } else {
        row = (uint32_t)rows->oldest;
        rows->oldest = (rows->oldest + 1) % rows->capacity;
        unlink_row(rows, row);
    }
    memcpy(key_at(rows, row), key, rows->n_key * sizeof *key);
    rows->next[row] = *chain;
    *chain = row;
    return key_at(rows, row) + rows->n_key;
}
