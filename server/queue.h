/* queue.h - who is served next, and when.
 *
 * Jobs wait in three classes of priority, each in order of arrival.  A job
 * that has had its quantum goes to the end of its class, so a long job never
 * holds up short ones for longer than a quantum and short ones run in order,
 * each in one go.  Every eighth turn belongs to the lowest class that waits:
 * nobody starves.
 *
 * The queue is bounded twice: by the number of jobs that wait for their first
 * turn, and by predicted seconds of all the work that is left.  Jobs that have
 * begun were admitted and count no more in the first; how many there are of all
 * is for jobs.c to bound.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_QUEUE_H
#define SERVER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

#define QUEUE_N_CLASSES 3
#define QUEUE_LOW_TURN  8 /* every n-th turn serves the lowest class */

/* Embedded in a job. */
struct queue_item {
    struct ring link; /* in a class of the queue                         */
    double cost_s;    /* predicted seconds that are left                  */
    int priority;     /* -1, 0, 1                                          */
    bool has_begun;   /* had a turn already                                */
};

struct queue {
    struct ring classes[QUEUE_N_CLASSES]; /* of queue_item                    */
    size_t n;       /* in the lists                                    */
    size_t n_fresh; /* of them, not begun                              */
    size_t max_fresh;
    double max_s;
    double quantum_s; /* a turn lasts about so long                      */
    unsigned n_turns;
};

void queue_init(struct queue *queue, size_t max_fresh, double max_s,
                double quantum_s);

/* Work that is not in the lists: what the workers have in hand. */
struct queue_load {
    double turn_s; /* until a worker is free for the next turn            */
    double rest_s; /* of the jobs in hand, all of it                      */
    unsigned n_workers;
};

/* Whether a job of `cost_s` may come in.  If not, *wait_s is when it may,
 * as far as can be foreseen. */
bool queue_admits(const struct queue *queue, double cost_s,
                  const struct queue_load *load, double *wait_s);

/* Add at the end of the item's class. */
void queue_push(struct queue *queue, struct queue_item *item);

/* Take out whose turn it is; NULL if nobody waits. */
struct queue_item *queue_pop(struct queue *queue);

/* The same among those that `may_run`, which is asked in the order of serving
 * and must not change the queue. */
typedef bool (*queue_filter_fn)(void *user, struct queue_item *item);
struct queue_item *queue_pop_if(struct queue *queue, queue_filter_fn may_run,
                                void *user);

/* Take one out that is in a list. */
void queue_remove(struct queue *queue, struct queue_item *item);

struct queue_forecast {
    unsigned position; /* 1: the next first turn                            */
    double start_s;    /* until its next turn                               */
    double finish_s;   /* until it is done, if nobody else comes            */
};

/* For an item in a list. */
struct queue_forecast queue_predict(const struct queue *queue,
                                    const struct queue_item *item,
                                    const struct queue_load *load);

/* Every item in the order of serving, with its place among those that have not
 * begun and the seconds until its turn.  `fn` must not change the queue. */
typedef void (*queue_fn)(void *user, struct queue_item *item, unsigned position,
                         double start_s);
void queue_each(const struct queue *queue, const struct queue_load *load,
                queue_fn fn, void *user);

/* Seconds until all that is known is done. */
double queue_backlog_s(const struct queue *queue,
                       const struct queue_load *load);

#endif
