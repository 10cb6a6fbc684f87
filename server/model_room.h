/* model_room.h - which models are in memory: what fits, who gives way, who is
 * next.
 *
 * It decides and marks, no more: models.c loads who is next and unloads who
 * shall leave.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODEL_ROOM_H
#define SERVER_MODEL_ROOM_H

#include <stdbool.h>

#include "model_table.h"

/* Whether there is room for it beside what is there. */
bool room_fits(const struct model *model);

/* Mark it, and its base before it, as wanted from now on (or as long as it is
 * already), by a job that needs `with` (or NULL) beside it, which then does not
 * give way to it; not may_evict: only where it fits. */
void room_want(struct model *model, const struct model *with, bool may_evict);

/* Bytes that both take, as far as is known, what they are made of included. */
uint64_t room_of_both(const struct model *a, const struct model *b);

/* Wanted longest of those that can be loaded now, or NULL. */
struct model *room_next_wanted(const struct models *models);

/* Mark who shall leave until there will be room for `wanted`: idle ones first,
 * then by last use. */
void room_make(struct models *models, const struct model *wanted);

/* One that shall leave and may, or NULL. */
struct model *room_next_leaver(const struct models *models);

#endif
