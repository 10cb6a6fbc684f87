/* answers.h - what all answers share: room for large ones, and the count of
 * problems told.
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_ANSWERS_H
#define SERVER_ANSWERS_H

#include <stdint.h>

#include "budget.h"
#include "problem.h"

/* An answer up to this always finds room. */
#define SMALL_ANSWER_BYTES (64u << 10)

struct answers {
    struct budget room;            /* of those above SMALL_ANSWER_BYTES      */
    uint64_t n_problems[N_ERRORS]; /* sent since the start                   */
};

/* Make the share *held what an answer of n_bytes takes of the room.  False, and
 * nothing is changed, when there is none. */
static inline bool answers_hold(struct answers *answers, size_t *held,
                                size_t n_bytes)
{
    return budget_hold(&answers->room, held,
                       n_bytes > SMALL_ANSWER_BYTES ? n_bytes : 0);
}

#endif
