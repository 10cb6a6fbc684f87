/* models.h - the registry of models: which are in memory, and why.
 *
 * A part of the service.  Models are opened by helper threads while the loop
 * already answers; at the start a model is ready when it has been opened and,
 * if that is a matter of a moment, has taken a few steps (the listener does
 * that): then plans, pool and memory are warm and the first prediction of a
 * waiting time is a measured one.  A large model is ready as soon as it is
 * open: its first step warms what it needs, and what a warm-up would save that
 * step is a small part of it.
 *
 * Under a ceiling (--models-memory) every model is described first: opened
 * without its weights, which tells what it will take and is enough to check
 * requests.  In the order given, those are loaded that fit beside the ones
 * before; the others when a job wants them.  If there is no room then, those
 * used least recently give way: idle ones at once, others when their running
 * jobs are done, and no job of theirs begins before.  What a ceiling counts is
 * weights as they stand in memory, not the workers' scratch.
 *
 * A model with LoRAs is derived from one of these when a request asks for it:
 * an entry of its own beside the table, shared by all that ask for the same
 * base, files and scales, and kept by those until they are forgotten.  It has
 * no weights until a job wants it; then it is made by a helper thread out of
 * its loaded base, which cannot be unloaded while it is there, and gives way as
 * any model does.  While it is made it counts with the most that this takes,
 * the files of its LoRAs included.  Of those there are --max-derived at one
 * time.  A file that does not fit fails the jobs of that entry alone; when no
 * job waits for it any more, the making is given up.
 *
 * A model that work is done with is held by a count.  A job that waits or has
 * ended holds nothing: what it needs to be told is in the description.
 *
 * Built of, each knowing only those before it:
 *
 *     model.c        one model
 *     model_files.c  where models are found
 *     model_task.c   what helper threads do for one
 *     model_table.c  all of them, and what they take of the ceilings
 *     model_room.c   who is next, who gives way
 *     models.c       moves them from state to state, and tells the listener
 *
 * Ids of models are keys of the table, never paths.
 *
 * Threads: loop only; the engine's model itself may be used by any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODELS_H
#define SERVER_MODELS_H

#include <stdbool.h>
#include <stddef.h>

#include "model_table.h"
#include "service.h"

/* Who uses models says so before the loop runs, and takes it back (NULL) before
 * it ends:
 *
 *   loaded    its engine is there for the first time: take a step with it, then
 *             call model_warmed()
 *   failed    jobs that wait for it wait for nothing
 *   changed   something that jobs wait for may have come                     */
void models_listen(struct models *models,
                   const struct models_listener *listener);

/* Around work with the engine's model. */
void model_hold(struct model *model);
void model_drop(struct model *model);

/* A job waits for it, and for `other` (or NULL) beside it: load what is not
 * there if there is room; may_evict: make room, but not of one of the two for
 * the other. */
void models_want(struct model *model, struct model *other, bool may_evict);

/* Whether a job of these may begin; other NULL: of one. */
static inline bool models_are_ready(const struct model *model,
                                    const struct model *other)
{
    return model_is_ready(model) && (other == NULL || model_is_ready(other));
}

/* Whether the ceiling has room for both, as far as is known what they take; if
 * not, why. */
bool models_fit_together(const struct model *a, const struct model *b,
                         char *why, size_t why_size);

/* No job waits for it any more: it need not be made. */
void model_unwant(struct model *model);

/* The warm-up is over: ready, or failed and why. */
void model_warmed(struct model *model, const char *why);

/* Why no work is taken for it, as a client may read it.  is_named: it was asked
 * for by its id, not as the first one. */
void model_say_unusable(const struct model *model, bool is_named, char *out,
                        size_t size);

/* The part (service.h). */
bool models_open(struct service *service, char *why, size_t why_size);
enum part_state models_state(const struct service *service, char *why,
                             size_t why_size);
void models_stop(struct service *service);
void models_close(struct service *service);

#endif
