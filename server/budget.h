/* budget.h - bytes that many hold together, under one ceiling.
 *
 * A holder keeps its share in a size_t of its own, 0 at first.  One that is
 * alone may hold more than the ceiling: what may be asked for must be possible
 * when nobody else is there.
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_BUDGET_H
#define SERVER_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

struct budget {
    size_t n_bytes, max_bytes;
};

/* Make the share *held be `wanted`.  False, and nothing is changed, when that
 * is more than it was and the others leave no room for it. */
bool budget_hold(struct budget *budget, size_t *held, size_t wanted);

#endif
