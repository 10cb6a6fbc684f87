/* attention_keys.h - keys and values in blocks: those of all heads of all
 * images in a row, as a pool counts them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_ATTENTION_KEYS_H
#define OPS_ATTENTION_KEYS_H

#include <stddef.h>

#include "ops/attention.h"

struct attention_keys {
    size_t head;        /* of those of all images                            */
    size_t at, n;       /* keys of the head from `at` on                     */
    const float *k, *v; /* the first one's rows: a->ldk, a->ldv to the next  */
};

/* Block i of n_blocks a head, each of `step` keys but the last. */
static inline struct attention_keys
attention_keys_of(const struct attention_args *a, size_t n_blocks, size_t step,
                  size_t i)
{
    struct attention_keys b = {.head = i / n_blocks, .at = i % n_blocks * step};
    size_t row = b.head / a->heads * a->len_k + b.at;
    size_t column = b.head % a->heads * a->d;

    b.n = a->len_k - b.at < step ? a->len_k - b.at : step;
    b.k = a->k + row * a->ldk + column;
    b.v = a->v + row * a->ldv + column;
    return b;
}

#endif
