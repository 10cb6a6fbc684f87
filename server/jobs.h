/* jobs.h - jobs as a part of the service: coming in, being stopped, the end.
 *
 * Life of a job:
 *
 *     jobs_submit    admitted, or refused with a reason and a Retry-After
 *     store answers  queued
 *     its turn       running: a worker has its work for a quantum at a time
 *     the end        succeeded, failed, canceled; pictures are artifacts
 *     ttl_s later    expired: a tombstone stays
 *
 * Built of, each knowing only those before it:
 *
 *     genreq.c, model.c ...  what is asked for, and of which model (models.h)
 *     job.c, job_json.c      one job
 *     job_table.c            all of them
 *     progress.c, warm.c     what a worker's messages do
 *     scheduler.c            the queue and the workers
 *     jobs.c                 who may come in; the part
 *
 * What stands above is told by callbacks alone: watchers of a job, the answer
 * of the store, the listener of the models.
 *
 * Ceilings: jobs that wait and predicted seconds (queue.h), what is remembered
 * (job_table.h).
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include "job_table.h"
#include "service.h"

struct jobs_refusal {
    enum error_code code;
    unsigned retry_after_s; /* 0: none, and none of the four below          */
    double predicted_s;     /* before rounding up and jitter                */
    double backlog_s;       /* all work that is accepted                    */
    double running_s;       /* of it, what is in hand                       */
    size_t n_waiting;
    char detail[200];
};

struct jobs_options {
    const char *key;           /* Idempotency-Key, or NULL                  */
    const uint8_t *key_digest; /* of the request                            */
};

/* Takes *req on success (emptied then); on refusal it stays the caller's. */
struct job *jobs_submit(struct jobs *jobs, struct genreq *req,
                        const struct jobs_options *options,
                        struct jobs_refusal *refusal);

/* What jobs_submit() would say, without doing it: seconds until the job would
 * start and end.  False when it would be refused. */
bool jobs_estimate(struct jobs *jobs, const struct genreq *req, double *start_s,
                   double *finish_s, struct jobs_refusal *refusal);

/* Refuse other new work while draining: true, *refusal says until when. */
bool jobs_refuse_draining(const struct jobs *jobs,
                          struct jobs_refusal *refusal);

/* Stop between steps; `finish` takes what is there as the result.  A job that
 * has ended is left alone. */
void jobs_cancel(struct jobs *jobs, struct job *job, bool finish);

/* Cancel if active, drop record and pictures. */
void jobs_delete(struct jobs *jobs, struct job *job);

/* A client waits for the end; it got its answer; it hung up before. */
void jobs_wait_begin(struct job *job);
void jobs_wait_end(struct job *job);
void jobs_wait_gone(struct job *job);

/* The part (service.h). */
bool jobs_open(struct service *service, char *why, size_t why_size);
void jobs_drain(struct service *service);
size_t jobs_busy(const struct service *service);
void jobs_stop(struct service *service);
void jobs_close(struct service *service);

#endif
