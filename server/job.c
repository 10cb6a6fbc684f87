/* job.c - one job: its states, its events, its watchers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "job.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "buf.h"
#include "clock.h"
#include "log.h"

struct state_row {
    const char *name;
    bool is_terminal;
    unsigned moves;
};

static const struct state_row states[] = {
#define X(state, text, terminal, next) [JOB_##state] = {text, terminal, next},
    JOB_STATES(X)
#undef X
};

_Static_assert(sizeof states / sizeof *states == JOB_N_STATES,
               "a row for each state");

const char *job_state_name(enum job_state state)
{
    return states[state].name;
}

bool job_state_is_terminal(enum job_state state)
{
    return states[state].is_terminal;
}

enum job_state job_state_by_name(const char *name)
{
    for (int i = 0; i < JOB_N_STATES; i++)
        if (strcmp(states[i].name, name) == 0)
            return (enum job_state)i;
    return JOB_N_STATES;
}

bool job_state_may_follow(enum job_state from, enum job_state to)
{
    return (states[from].moves >> to & 1) != 0;
}

const char *job_stage_name(enum job_stage stage)
{
    static const char *const names[] = {
#define X(name, text) [STAGE_##name] = text,
        JOB_STAGES(X)
#undef X
    };

    return names[stage];
}

/* ----------------------------------------------------------------- ids -- */

/* Crockford's alphabet in lower case: no i, l, o, u. */
static const char base32[] = "0123456789abcdefghjkmnpqrstvwxyz";

bool job_make_id(char id[JOB_ID_SIZE])
{
    uint8_t random[JOB_ID_LENGTH - 4];

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return false;
    memcpy(id, "job_", 4);
    for (size_t i = 0; i < sizeof random; i++)
        id[4 + i] = base32[random[i] & 31]; /* 5 of 8 bits each */
    id[JOB_ID_LENGTH] = '\0';
    return true;
}

bool job_is_id(const char *id)
{
    if (strlen(id) != JOB_ID_LENGTH || memcmp(id, "job_", 4) != 0)
        return false;
    return strspn(id + 4, base32) == JOB_ID_LENGTH - 4;
}

/* ------------------------------------------------------------- watchers -- */

void job_watch_add(struct job *job, struct job_watch *watch,
                   void (*changed)(struct job_watch *watch))
{
    watch->job = job;
    watch->changed = changed;
    ring_add(&job->watches, &watch->link);
}

void job_watch_remove(struct job_watch *watch)
{
    if (watch->job == NULL)
        return;
    ring_remove(&watch->link);
    watch->job = NULL;
}

/* A watcher may remove itself or any other: those that are due stand in a
 * ring of their own, and each goes back before it is called. */
static void call_watchers(struct job *job)
{
    struct ring due;

    ring_take(&due, &job->watches);
    while (!ring_is_empty(&due)) {
        struct job_watch *watch = RING_OF(due.next, struct job_watch, link);

        job_watch_remove(watch);
        job_watch_add(job, watch, watch->changed);
        watch->changed(watch);
    }
}

/* --------------------------------------------------------------- changes -- */

uint32_t job_version(const struct job *job)
{
    return job->events.last_id;
}

bool job_is_terminal(const struct job *job)
{
    return job_state_is_terminal(job->state);
}

bool job_is_over(const struct job *job)
{
    return job->is_over;
}

uint64_t job_n_steps(const struct job *job)
{
    return (uint64_t)job->req.n * job->req.steps;
}

/* Steps are taken for equal; the decoding is at the end of the last. */
double job_left_s(const struct job *job)
{
    uint64_t n_steps = job_n_steps(job);
    double share =
        n_steps > 0 ? (double)(n_steps - job->n_steps_taken) / (double)n_steps
                    : 0;

    return genreq_cost_s(&job->req, share * job->req.n);
}

struct artifact *job_artifact(const struct job *job, uint32_t image,
                              struct artifacts *artifacts)
{
    if (image >= job->req.n || !job->pictures[image].is_done)
        return NULL;
    return artifacts_find(artifacts, job->pictures[image].hex);
}

void job_emit(struct job *job, struct event event)
{
    events_add(&job->events, event);
    call_watchers(job);
}

static void log_state(const struct job *job)
{
    struct log_line line;
    bool is_end = job_is_terminal(job) && job->state != JOB_EXPIRED;

    log_begin(&line, is_end ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
              is_end ? "job ended" : "job state");
    log_text(&line, "job_id", job->id);
    log_text(&line, "state", job_state_name(job->state));
    if (is_end) {
        log_text(&line, "model", model_id(job->req.model));
        log_int(&line, "n", job->req.n);
        log_int(&line, "steps", job->req.steps);
        log_int(&line, "prompt_bytes",
                job->req.prompt != NULL ? (int64_t)strlen(job->req.prompt) : 0);
        if (job->started_ns != 0)
            log_int(&line, "queue_ms",
                    (job->started_ns - job->created_ns) / 1000000);
        log_int(&line, "dur_ms", (clock_mono_ns() - job->created_ns) / 1000000);
        if (job->has_error)
            log_text(&line, "error", error_info(job->error)->code);
    }
    log_end(&line);
}

void job_set_state(struct job *job, enum job_state state)
{
    assert(job_state_may_follow(job->state, state));
    job->state = state;
    log_state(job);
    if (state == JOB_EXPIRED)
        return; /* nobody can look at it any more */
    job_emit(job, (struct event){.kind = EVENT_STATUS,
                                 .state = (uint8_t)state,
                                 .position = job->position,
                                 .seconds = (float)job->ahead_s});
}

void job_free(struct job *job)
{
    if (job == NULL)
        return;
    assert(job->work == NULL);
    buf_fini(&job->text);
    events_fini(&job->events);
    previews_fini(&job->previews);
    genreq_fini(&job->req);
    mem_free(job->key);
    mem_free(job);
}
