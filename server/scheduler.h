/* scheduler.h - who computes now: the queue, the workers, and what passes between
 * them.
 *
 * One slot a worker.  Whenever something changes, sched_run() gives idle
 * workers the next work and tells waiting jobs their places.  The messages of a
 * worker arrive in order, the turn's end last.
 *
 * A job that waits may wait for its model too: the scheduler wants it for the
 * job (models.h), and listens to what becomes of models.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_SCHEDULER_H
#define SERVER_SCHEDULER_H

#include "job_table.h"
#include "queue.h"

#define SCHED_MAX_WORKERS 64u

struct warm_up;

struct sched_slot {
    struct worker *worker;
    struct work *work; /* NULL: idle                                         */
    int64_t turn_started_ns;
};

struct sched {
    struct service *service;
    struct queue queue;
    struct sched_slot slots[SCHED_MAX_WORKERS];
    unsigned n_workers;
    struct warm_up *warm_ups; /* wait for a worker                           */
    bool is_stopped;          /* nothing is given out any more               */
};

/* The scheduler of the service's jobs, whose workers run.  NULL and *why on
 * failure. */
struct sched *sched_new(struct service *service, char *why, size_t why_size);

/* Join the workers; what they have posted is run while the jobs still exist.
 * NULL is allowed. */
void sched_free(struct sched *sched);

/* Put a job in line: it takes its place from now on, so that the next one finds
 * no more room than there is, and gets no turn while it is `admitting`. */
void sched_add(struct sched *sched, struct job *job);

/* The store has it: it is queued. */
void sched_admitted(struct sched *sched, struct job *job);

/* Give idle workers something to do; tell waiting jobs their places. */
void sched_run(struct sched *sched);

/* Stop a job between steps; `finish` takes what is there as the result.  One
 * that has ended is left alone. */
void sched_cancel(struct sched *sched, struct job *job, bool finish);

/* End a job, in line or not, as failed. */
void sched_fail(struct sched *sched, struct job *job, enum error_code code,
                const char *detail);

/* Stop what is computed; jobs are left as they are. */
void sched_stop(struct sched *sched);

/* What the workers have in hand. */
void sched_load(const struct sched *sched, struct queue_load *load);

/* Seconds of work that are left, of all that is known. */
double sched_backlog_s(const struct sched *sched);

#endif
