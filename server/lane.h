/* lane.h - one helper thread that does pieces of work one after the other.
 *
 * For work that is begun for a client and may be many: in the order given, one
 * at a time, so that however much is asked for, memory and computing beside
 * the loop are those of one piece; loop_offload() has threads for what must
 * not wait in line.  What has not begun can be taken back.
 *
 * The thread runs at the niceness of the loop's helpers.
 *
 * Threads: loop only; `run` on the lane's own.  A lane has no ceiling: who
 * adds has one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_LANE_H
#define SERVER_LANE_H

#include <stdbool.h>

#include "loop.h"

struct lane;

/* First member of the owner's struct, which is the lane's from lane_add() until
 * `done` is called on the loop thread, once, or lane_remove() was true. */
struct lane_task {
    struct loop_message message; /* the lane's                               */
    struct lane_task *next;      /* the lane's                               */
    void (*run)(struct lane_task *task);
    void (*done)(struct lane_task *task); /* may free the task               */
};

/* NULL when the system refuses. */
struct lane *lane_new(struct loop *loop);

void lane_add(struct lane *lane, struct lane_task *task);

/* True: it had not begun, and will not.  False: it has, and `done` follows. */
bool lane_remove(struct lane *lane, struct lane_task *task);

/* Waits for the task under way; `done` is called for it and for those whose
 * turn has not come, which are not run.  NULL allowed. */
void lane_free(struct lane *lane);

#endif
