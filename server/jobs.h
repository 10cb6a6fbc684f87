/* jobs.h - the table of jobs, the scheduler, and the part of the service they
 * are.
 *
 * Life of a job:
 *
 *     jobs_submit    admitted, or refused with a reason and a Retry-After
 *     store answers  queued
 *     its turn       running: a worker has its work for a quantum at a time
 *     the end        succeeded, failed, canceled; pictures are artifacts
 *     ttl_s later    expired: a tombstone stays
 *
 * Ceilings: jobs that wait and predicted seconds (queue.h), jobs remembered
 * (--max-jobs) and bytes of their events (JOBS_EVENT_BYTES), pictures and
 * previews by bytes.  Above, the jobs that finished first are forgotten.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include "artifacts.h"
#include "job.h"
#include "service.h"
#include "store.h"

#define JOBS_BUCKETS     4096u
#define JOBS_TOMBSTONES  4096u
#define JOBS_MAX_WORKERS 64u
#define JOBS_EVENT_BYTES (64u << 20)
/* Of pictures that jobs wait with. */
#define JOBS_UPLOAD_BYTES ((size_t)256 << 20)

struct warm_up;

struct jobs_slot {
    struct worker *worker;
    struct work *work; /* NULL: idle                                   */
    int64_t turn_started_ns;
};

struct jobs_counters {
    uint64_t n_submitted, n_finished[JOB_N_STATES], n_refused;
    uint64_t n_steps, n_pictures, n_hangups, n_replayed;
};

struct jobs {
    struct service *service;
    const struct store_ops *store_ops;
    struct store *store;
    struct loop_timer *tick;

    struct job *buckets[JOBS_BUCKETS], *keys[JOBS_BUCKETS];
    struct job *oldest, *newest;
    struct job *first_finished, *last_finished;
    size_t n, n_active;  /* in the table; not terminal, forgotten included   */
    size_t event_bytes;  /* of finished jobs                                 */
    size_t upload_bytes; /* of pictures held for jobs to come               */
    uint64_t next_number;
    char (*gone)[JOB_ID_SIZE];
    size_t n_gone, next_gone;

    struct queue queue;
    struct jobs_slot slots[JOBS_MAX_WORKERS];
    unsigned n_workers;
    struct warm_up *warm_ups; /* wait for a worker; sched.c's               */
    struct job *forgotten; /* deleted while somebody held them, by next_hash */
    struct artifacts artifacts;
    struct preview_budget previews;
    struct jobs_counters counters;
    size_t n_streams;
    bool is_draining, is_stopped;
};

/* --------------------------------------------------------------- lifetime */

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

struct job *jobs_find(struct jobs *jobs, const char *id);
struct job *jobs_find_key(struct jobs *jobs, const char *key);
bool jobs_is_gone(const struct jobs *jobs, const char *id);

/* Stop between steps; `finish` takes what is there as the result.  A job that
 * has ended is left alone. */
void jobs_cancel(struct jobs *jobs, struct job *job, bool finish);

/* Cancel if active, drop record and pictures. */
void jobs_delete(struct jobs *jobs, struct job *job);

/* A client waits for the end; it got its answer; it hung up before. */
void jobs_wait_begin(struct job *job);
void jobs_wait_end(struct job *job);
void jobs_wait_gone(struct job *job);

/* The artifact of a finished picture, NULL when it has been dropped. */
struct artifact *jobs_artifact(const struct job *job, uint32_t image);

/* The pictures that a job came with are not needed any more. */
void jobs_drop_pictures(struct job *job);

/* Seconds of work that are left, of all that is known. */
double jobs_backlog_s(const struct jobs *jobs);

/* The part (service.h). */
bool jobs_open(struct service *service, char *why, size_t why_size);
void jobs_drain(struct service *service);
size_t jobs_busy(const struct service *service);
void jobs_stop(struct service *service);
void jobs_close(struct service *service);

/* -------------------------------------- between job.c, jobs.c and sched.c */

void jobs_link(struct jobs *jobs, struct job *job);
void jobs_unlink(struct jobs *jobs, struct job *job);
void jobs_link_finished(struct jobs *jobs, struct job *job);
void job_free(struct job *job);

/* Forget what is over its time or above the ceilings. */
void jobs_expire(struct jobs *jobs, int64_t now_ms);

/* Give idle workers something to do; tell waiting jobs their places. */
void sched_run(struct jobs *jobs);

/* Free its work, which no worker has, and let go of the model. */
void sched_drop_work(struct job *job);

/* End a job in a terminal state. */
void sched_settle(struct job *job, enum job_state state);
bool sched_open(struct jobs *jobs, char *why, size_t why_size);
void sched_close(struct jobs *jobs);
void sched_load(const struct jobs *jobs, struct queue_load *load);
/* Predicted seconds of computing all its pictures. */
double sched_cost_s(const struct genreq *req);

#endif
