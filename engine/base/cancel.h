/* cancel.h - one atomic flag that asks a computation to stop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

struct cancel {
    atomic_bool is_raised;
};

/* Relaxed order suffices: the flag carries no data, only a wish. */
static inline void cancel_set(struct cancel *c, bool is_raised)
{
    atomic_store_explicit(&c->is_raised, is_raised, memory_order_relaxed);
}

static inline bool cancel_is_raised(const struct cancel *c)
{
    return c && atomic_load_explicit(&((struct cancel *)c)->is_raised,
                                     memory_order_relaxed);
}

#endif
