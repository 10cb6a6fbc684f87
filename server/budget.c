/* budget.c - a share that grows and shrinks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "budget.h"

bool budget_hold(struct budget *budget, size_t *held, size_t wanted)
{
    size_t others = budget->n_bytes - *held;

    if (wanted > *held && others > 0 &&
        (others > budget->max_bytes || wanted > budget->max_bytes - others))
        return false;
    budget->n_bytes = others + wanted;
    *held = wanted;
    return true;
}
