/* cancel.h - one atomic flag that asks a computation to stop.
 *
 * Flags of computations that run as one batch are chained by `next`, which
 * only the computing thread writes and reads; any thread may raise a flag.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

struct cancel {
    atomic_bool is_raised;
    const struct cancel *next; /* polled as well; usually NULL */
};

/* Relaxed order suffices: the flag carries no data, only a wish. */
static inline void cancel_set(struct cancel *c, bool is_raised)
{
    atomic_store_explicit(&c->is_raised, is_raised, memory_order_relaxed);
}

static inline bool cancel_is_raised(const struct cancel *c)
{
    for (; c; c = c->next)
        if (atomic_load_explicit(&((struct cancel *)c)->is_raised,
                                 memory_order_relaxed))
            return true;
    return false;
}

#endif
