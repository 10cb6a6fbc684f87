/* job.h - one job: its states, its events, its watchers.
 *
 * A job is the loop's record of a request: its state, its events, its pictures
 * and who watches it.  What a worker needs is a struct work (worker.h), which
 * the job owns while no worker has it.  States change in one place,
 * job_set_state(), which checks the move, logs and emits the event.
 *
 * Every change of a job is an event, so the id of the newest event is the
 * version of the job (its ETag).  Watchers are called after each change; they
 * look at the job and decide.
 *
 * Ids are "job_" and 26 characters of base32: 130 random bits, so that nobody
 * finds the job of another.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "artifacts.h"
#include "buf.h"
#include "events.h"
#include "genreq.h"
#include "job_states.h"
#include "previews.h"
#include "queue.h"
#include "ring.h"
#include "sha256.h"
#include "worker.h"

#define JOB_ID_LENGTH 30 /* "job_" and 26 */
#define JOB_ID_SIZE   (JOB_ID_LENGTH + 1)
#define JOB_KEY_BYTES 255 /* longest Idempotency-Key */

struct job;
struct jobs;

/* Embedded in whoever wants to be called after each change.  `changed` may
 * remove its own watch and answer requests; it must not delete the job. */
struct job_watch {
    struct ring link;
    struct job *job; /* NULL: not watching                                  */
    void (*changed)(struct job_watch *watch);
};

/* A picture of a job. */
struct job_picture {
    bool is_done;
    uint32_t step; /* newest                                          */
    uint32_t width, height;
    size_t n_bytes;
    char hex[SHA256_HEX_SIZE];
};

struct job {
    struct job *next_hash, *next_key;
    struct ring by_age, by_end; /* all of the table; those that have ended    */
    struct queue_item item;
    struct jobs *jobs; /* the table it stands in                             */

    char id[JOB_ID_SIZE];
    uint64_t number; /* rises by creation: the list's cursor                */
    enum job_state state;
    enum job_stage stage;
    int64_t created_ms, started_ms, completed_ms, expires_ms; /* wall; 0: no */
    int64_t created_ns, started_ns, deadline_ns; /* monotonic; 0: no        */
    int64_t kept_to_ms; /* monotonic: what expires_ms is on that clock      */

    struct genreq req;
    char *key; /* Idempotency-Key, or NULL                            */
    uint8_t key_digest[SHA256_BYTES];

    struct work *work;
    bool is_admitting; /* the store has not answered                        */
    bool is_in_hand;   /* a worker has the work                             */
    bool is_over;      /* the last event has been told                      */
    bool is_forgotten; /* deleted: out of the table, ends with its turn     */
    bool is_finishing; /* canceled by "finish"                              */
    size_t n_waiting;  /* clients that wait for the answer                  */
    bool cancels_on_hangup;

    struct job_picture pictures[WORK_MAX_PICTURES];
    uint32_t newest_image;  /* of the newest step                           */
    uint64_t n_steps_taken; /* of all pictures                              */
    double step_ms;         /* newest measurement                           */
    unsigned position;      /* in the queue, 0: none                        */
    double ahead_s;
    int64_t denoise_ms, begin_ms, encode_ms;

    bool has_error;
    enum error_code error;
    enum job_stage error_stage;
    char error_detail[464]; /* as long as the engine's                   */

    struct event_ring events;
    struct previews previews;
    struct ring watches; /* of job_watch                                    */

    struct buf text; /* the job object as of text_version, once asked for   */
    uint32_t text_version;
};

const char *job_state_name(enum job_state state);
bool job_state_is_terminal(enum job_state state);
/* JOB_N_STATES if there is none. */
enum job_state job_state_by_name(const char *name);
bool job_state_may_follow(enum job_state from, enum job_state to);
const char *job_stage_name(enum job_stage stage);

/* A fresh id; false when the system gives no random bytes. */
bool job_make_id(char id[JOB_ID_SIZE]);

/* Well formed, whether it exists or not. */
bool job_is_id(const char *id);

/* Free what it has but its work, of which there must be none any more. */
void job_free(struct job *job);

/* The one setter.  Asserts that the move is allowed. */
void job_set_state(struct job *job, enum job_state state);

/* Append an event and call the watchers. */
void job_emit(struct job *job, struct event event);

uint32_t job_version(const struct job *job);
bool job_is_terminal(const struct job *job);

/* Terminal, and its last event has been told: nothing changes any more. */
bool job_is_over(const struct job *job);

/* Steps of all pictures. */
uint64_t job_n_steps(const struct job *job);

/* Predicted seconds of computing what is left of it. */
double job_left_s(const struct job *job);

/* The artifact of a finished picture, NULL when it has been dropped. */
struct artifact *job_artifact(const struct job *job, uint32_t image,
                              struct artifacts *artifacts);

void job_watch_add(struct job *job, struct job_watch *watch,
                   void (*changed)(struct job_watch *watch));
void job_watch_remove(struct job_watch *watch); /* twice is allowed */

/* ------------------------------------------------------------------ JSON */

/* A job object without pictures' bytes: two prompts of at most 8 KiB and a tag,
 * six times that when escaped, and names and hashes of LoRAs. */
#define JOB_BYTES (128u << 10)

/* The job object.  With artifacts (else NULL) the pictures' bytes are added. */
void job_write(const struct job *job, struct json_out *out, const char *key,
               struct artifacts *artifacts);

/* The same without bytes, written once a version: a thousand clients may poll
 * one job.  Lives with the job until its next version; check `failed`. */
const struct buf *job_text(struct job *job);

/* The data of one event of this job. */
void job_write_event(const struct job *job, const struct event *event,
                     struct json_out *out);

#endif
