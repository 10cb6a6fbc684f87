/* job_table.h - all jobs, and what is kept of them.
 *
 * Jobs are found by id and by Idempotency-Key, stand in order of creation, and
 * once they have ended also in the order of that.  Beside them: the store that
 * an accepted job is recorded in, the pictures they made, and counters.
 *
 * Ceilings: jobs remembered (--max-jobs) and bytes of their events
 * (JOBS_EVENT_BYTES), pictures and previews by bytes.  Above, the jobs that
 * finished first are forgotten.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_JOB_TABLE_H
#define SERVER_JOB_TABLE_H

#include "artifacts.h"
#include "encode.h"
#include "job.h"
#include "ring.h"
#include "service.h"
#include "store.h"

#define JOBS_BUCKETS     4096u
#define JOBS_TOMBSTONES  4096u
#define JOBS_EVENT_BYTES (64u << 20)
/* Of pictures that jobs wait with. */
#define JOBS_UPLOAD_BYTES ((size_t)256 << 20)
/* Of steps that are being encoded for clients. */
#define JOBS_ENCODE_BYTES ((size_t)256 << 20)

struct jobs_counters {
    uint64_t n_submitted, n_finished[JOB_N_STATES], n_refused;
    uint64_t n_steps, n_pictures, n_hangups, n_replayed;
};

struct jobs {
    struct service *service;
    const struct store_ops *store_ops;
    struct store *store;
    struct loop_timer *tick; /* jobs.c's                                     */

    struct job *buckets[JOBS_BUCKETS], *keys[JOBS_BUCKETS];
    struct ring by_age, by_end; /* of jobs: all, oldest first; ended ones     */
    size_t n, n_active;  /* in the table; not terminal, forgotten included   */
    size_t event_bytes;  /* of finished jobs                                 */
    size_t upload_bytes; /* of pictures held for jobs to come               */
    uint64_t next_number;
    char (*gone)[JOB_ID_SIZE];
    size_t n_gone, next_gone;

    struct job *forgotten; /* deleted while somebody held them, by next_hash */
    struct artifacts artifacts;
    struct preview_budget previews;
    struct budget encodes; /* of steps that clients ask for           */
    struct jobs_counters counters;
    size_t n_streams;
    bool is_draining; /* jobs.c refuses new ones                            */
};

/* False and *why when it cannot be; then and later it is ended by jobs_fini(). */
bool jobs_init(struct jobs *jobs, struct service *service, char *why,
               size_t why_size);

/* Frees all jobs; none has work any more. */
void jobs_fini(struct jobs *jobs);

/* The youngest one, and the next older one; NULL behind the last. */
struct job *jobs_newest(const struct jobs *jobs);
struct job *jobs_older(const struct jobs *jobs, const struct job *job);

struct job *jobs_find(struct jobs *jobs, const char *id);
struct job *jobs_find_key(struct jobs *jobs, const char *key);
bool jobs_is_gone(const struct jobs *jobs, const char *id);

/* job_artifact() of the table's own. */
struct artifact *jobs_artifact(const struct job *job, uint32_t image);

/* Add a new one, and record it in the store: `answer` comes once, later. */
void jobs_add(struct jobs *jobs, struct job *job, store_answer_fn answer);

/* Bytes of the pictures that a request came with. */
size_t jobs_picture_bytes(const struct genreq *req);

/* The pictures that a job came with are not needed any more. */
void jobs_drop_pictures(struct job *job);

/* The end of a job, in a terminal state; no worker has it from now on. */
void jobs_settle(struct job *job, enum job_state state);

/* Take one out: it is not found any more, and ends with its turn. */
void jobs_forget(struct jobs *jobs, struct job *job);

/* Forget what is over its time or above the ceilings. */
void jobs_expire(struct jobs *jobs, int64_t now_ms);

/* Free those that were forgotten once nobody holds them any more.  Not while a
 * function of a job is on the stack. */
void jobs_reap(struct jobs *jobs);

#endif
