/* jobs.c - the table of jobs: coming in, being found, being forgotten.
 *
 * SPDX-License-Identifier: MIT
 */
#include "jobs.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "log.h"

/* Longest canonical request in JSON. */
#define REQUEST_BYTES 65536u

/* ---------------------------------------------------------------- table -- */

/* FNV-1a. */
static size_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return (size_t)(hash % JOBS_BUCKETS);
}

void jobs_link(struct jobs *jobs, struct job *job)
{
    struct job **bucket = &jobs->buckets[hash_text(job->id)];

    job->next_hash = *bucket;
    *bucket = job;
    if (job->key != NULL) {
        struct job **keys = &jobs->keys[hash_text(job->key)];

        job->next_key = *keys;
        *keys = job;
    }
    job->number = ++jobs->next_number;
    job->older = jobs->newest;
    if (jobs->newest != NULL)
        jobs->newest->newer = job;
    else
        jobs->oldest = job;
    jobs->newest = job;
    jobs->n++;
}

static void unlink_chains(struct jobs *jobs, struct job *job)
{
    struct job **at = &jobs->buckets[hash_text(job->id)];

    while (*at != job)
        at = &(*at)->next_hash;
    *at = job->next_hash;
    if (job->key == NULL)
        return;
    at = &jobs->keys[hash_text(job->key)];
    while (*at != job)
        at = &(*at)->next_key;
    *at = job->next_key;
}

static void unlink_finished(struct jobs *jobs, struct job *job)
{
    bool is_in = job->prev_finished != NULL || jobs->first_finished == job;

    if (!is_in)
        return;
    if (job->prev_finished != NULL)
        job->prev_finished->next_finished = job->next_finished;
    else
        jobs->first_finished = job->next_finished;
    if (job->next_finished != NULL)
        job->next_finished->prev_finished = job->prev_finished;
    else
        jobs->last_finished = job->prev_finished;
    job->next_finished = job->prev_finished = NULL;
    jobs->event_bytes -= events_bytes(&job->events);
}

void jobs_link_finished(struct jobs *jobs, struct job *job)
{
    job->prev_finished = jobs->last_finished;
    if (jobs->last_finished != NULL)
        jobs->last_finished->next_finished = job;
    else
        jobs->first_finished = job;
    jobs->last_finished = job;
    jobs->event_bytes += events_bytes(&job->events);
}

void jobs_unlink(struct jobs *jobs, struct job *job)
{
    unlink_finished(jobs, job);
    unlink_chains(jobs, job);
    if (job->older != NULL)
        job->older->newer = job->newer;
    else
        jobs->oldest = job->newer;
    if (job->newer != NULL)
        job->newer->older = job->older;
    else
        jobs->newest = job->older;
    jobs->n--;
}

struct job *jobs_find(struct jobs *jobs, const char *id)
{
    struct job *at = jobs->buckets[hash_text(id)];

    while (at != NULL && strcmp(at->id, id) != 0)
        at = at->next_hash;
    return at;
}

struct job *jobs_find_key(struct jobs *jobs, const char *key)
{
    struct job *at = jobs->keys[hash_text(key)];

    while (at != NULL && strcmp(at->key, key) != 0)
        at = at->next_key;
    return at;
}

bool jobs_is_gone(const struct jobs *jobs, const char *id)
{
    for (size_t i = 0; i < jobs->n_gone; i++)
        if (strcmp(jobs->gone[i], id) == 0)
            return true;
    return false;
}

/* ----------------------------------------------------------- forgetting -- */

static void expire(struct jobs *jobs, struct job *job)
{
    job_set_state(job, JOB_EXPIRED);
    memcpy(jobs->gone[jobs->next_gone], job->id, JOB_ID_SIZE);
    jobs->next_gone = (jobs->next_gone + 1) % JOBS_TOMBSTONES;
    if (jobs->n_gone < JOBS_TOMBSTONES)
        jobs->n_gone++;
    jobs->store_ops->forget(jobs->store, job->id);
    jobs_unlink(jobs, job);
    job_free(job);
}

/* Somebody is still reading it, or its worker has not come back. */
static bool is_held(const struct job *job)
{
    return job->watches.next != &job->watches || job->is_in_hand ||
           job->is_admitting;
}

static bool is_above_ceilings(const struct jobs *jobs)
{
    return jobs->n > (size_t)jobs->service->config->max_jobs ||
           jobs->event_bytes > JOBS_EVENT_BYTES;
}

void jobs_expire(struct jobs *jobs, int64_t now_ms)
{
    struct job *next;

    for (struct job *at = jobs->first_finished; at != NULL; at = next) {
        next = at->next_finished;
        if (!is_held(at) &&
            (at->expires_ms <= now_ms || is_above_ceilings(jobs)))
            expire(jobs, at);
    }
    artifacts_expire(&jobs->artifacts, now_ms);
}

void jobs_delete(struct jobs *jobs, struct job *job)
{
    for (uint32_t i = 0; i < job->req.n; i++) {
        struct artifact *artifact = jobs_artifact(job, i);

        if (artifact != NULL)
            artifacts_remove(&jobs->artifacts, artifact);
    }
    jobs_cancel(jobs, job, false);
    jobs->store_ops->forget(jobs->store, job->id);
    jobs_unlink(jobs, job);
    job->is_forgotten = true;
    job->next_hash = jobs->forgotten;
    jobs->forgotten = job;
}

/* End those that were deleted once nobody holds them any more.  Called from
 * the timer only, when no function of a job is on the stack. */
static void reap(struct jobs *jobs)
{
    struct job **at = &jobs->forgotten;

    while (*at != NULL) {
        struct job *job = *at;

        if (!job_is_terminal(job) || is_held(job)) {
            at = &job->next_hash;
            continue;
        }
        *at = job->next_hash;
        job_free(job);
    }
}

struct artifact *jobs_artifact(const struct job *job, uint32_t image)
{
    if (image >= job->req.n || !job->pictures[image].is_done)
        return NULL;
    return artifacts_find(&job->jobs->artifacts, job->pictures[image].hex);
}

/* ------------------------------------------------------------- coming in -- */

/* Refuse for now: `wait_s` is when it may be tried again. */
static void refuse(const struct jobs *jobs, const struct queue_load *load,
                   struct jobs_refusal *refusal, enum error_code code,
                   double wait_s)
{
    uint64_t mix = (uint64_t)clock_mono_ns() * UINT64_C(0x9e3779b97f4a7c15);

    refusal->code = code;
    refusal->predicted_s = wait_s;
    refusal->backlog_s = queue_backlog_s(&jobs->queue, load);
    refusal->running_s = load->rest_s;
    refusal->n_waiting = jobs->queue.n_fresh;
    refusal->retry_after_s =
        cost_retry_after(wait_s, (double)(mix >> 40) / (double)(1 << 24));
}

/* Where a job of this cost would stand if it came now. */
static struct queue_forecast forecast(struct jobs *jobs,
                                      const struct genreq *req, double cost_s)
{
    struct queue_item item = {.cost_s = cost_s, .priority = req->priority};
    struct queue_forecast result;
    struct queue_load load;

    sched_load(jobs, &load);
    queue_push(&jobs->queue, &item);
    result = queue_predict(&jobs->queue, &item, &load);
    queue_remove(&jobs->queue, &item);
    return result;
}

bool jobs_refuse_draining(const struct jobs *jobs, struct jobs_refusal *refusal)
{
    struct queue_load load;

    if (!jobs->is_draining)
        return false;
    sched_load(jobs, &load);
    refuse(jobs, &load, refusal, ERROR_DRAINING,
           queue_backlog_s(&jobs->queue, &load));
    (void)snprintf(refusal->detail, sizeof refusal->detail,
                   "the server is stopping and takes no new work");
    return true;
}

static bool is_admitted(struct jobs *jobs, const struct genreq *req,
                        double cost_s, struct jobs_refusal *refusal)
{
    struct queue_load load;
    double wait_s;

    if (jobs_refuse_draining(jobs, refusal))
        return false;
    sched_load(jobs, &load);
    if (!queue_admits(&jobs->queue, cost_s, &load, &wait_s)) {
        refuse(jobs, &load, refusal, ERROR_QUEUE_FULL, wait_s);
        (void)snprintf(refusal->detail, sizeof refusal->detail,
                       "%zu jobs wait, %.1f s of work are accepted already; "
                       "room is predicted in %.1f s",
                       refusal->n_waiting, refusal->backlog_s, wait_s);
        return false;
    }
    if (req->deadline_s > 0) {
        double finish_s = forecast(jobs, req, cost_s).finish_s;

        /* A guess is no reason to refuse. */
        if (finish_s > req->deadline_s &&
            cost_is_measured(model_cost(req->model), req->resolved.width,
                             req->resolved.height)) {
            refuse(jobs, &load, refusal, ERROR_DEADLINE_UNMEETABLE,
                   finish_s - req->deadline_s);
            (void)snprintf(refusal->detail, sizeof refusal->detail,
                           "it would take %.2f s with the work that waits, "
                           "deadline_s is %.2f",
                           finish_s, req->deadline_s);
            return false;
        }
    }
    return true;
}

bool jobs_estimate(struct jobs *jobs, const struct genreq *req, double *start_s,
                   double *finish_s, struct jobs_refusal *refusal)
{
    double cost_s = sched_cost_s(req);
    struct queue_forecast at = forecast(jobs, req, cost_s);

    *start_s = at.start_s;
    *finish_s = at.finish_s;
    return is_admitted(jobs, req, cost_s, refusal);
}

/* Everything that can happen to it, twice: progress and preview of each step,
 * places in the queue, pictures, states. */
static size_t n_events_of(const struct jobs *jobs, const struct genreq *req)
{
    return 2 * (size_t)req->n * (genreq_steps(req) + 1) + req->n +
           jobs->queue.max_fresh + 16;
}

static void fill_times(struct job *job)
{
    job->created_ms = clock_wall_ms();
    job->created_ns = clock_mono_ns();
    if (job->req.deadline_s > 0)
        job->deadline_ns =
            job->created_ns + (int64_t)(job->req.deadline_s * 1e9);
}

static size_t picture_bytes(const struct genreq *req)
{
    return upload_bytes(&req->init_image) + upload_bytes(&req->mask);
}

void jobs_drop_pictures(struct job *job)
{
    job->jobs->upload_bytes -= picture_bytes(&job->req);
    genreq_drop_pictures(&job->req);
}

static struct job *make_job(struct jobs *jobs, struct genreq *req,
                            const struct jobs_options *options)
{
    struct job *job = mem_zero(1, sizeof *job);

    if (job == NULL)
        return NULL;
    job->watches.next = job->watches.prev = &job->watches;
    job->jobs = jobs;
    if (!job_make_id(job->id) ||
        (options->key != NULL &&
         (job->key = mem_strdup(options->key)) == NULL)) {
        mem_free(job);
        return NULL;
    }
    if (options->key != NULL)
        memcpy(job->key_digest, options->key_digest, SHA256_BYTES);
    job->req = *req;
    jobs->upload_bytes += picture_bytes(req);
    memset(req, 0, sizeof *req);
    job->state = JOB_ADMITTING;
    job->cancels_on_hangup = !job->req.continues_on_disconnect;
    fill_times(job);
    events_init(&job->events, n_events_of(jobs, &job->req));
    if (previews_init(&job->previews, &jobs->previews, job->req.n,
                      genreq_steps(&job->req))) {
        job->previews.every = job->req.preview_every;
        job->previews.keeps_all = job->req.keeps_previews;
    }
    job->item.priority = job->req.priority;
    job->item.cost_s = sched_cost_s(&job->req);
    return job;
}

static void admitted(void *user, bool is_good)
{
    struct job *job = user;
    struct jobs *jobs = job->jobs;

    job->is_admitting = false;
    if (job_is_terminal(job)) /* canceled or stopped meanwhile */
        return;
    if (!is_good) {
        job->has_error = true;
        job->error = ERROR_NO_MEMORY;
        (void)snprintf(job->error_detail, sizeof job->error_detail,
                       "the job could not be stored");
        sched_settle(job, JOB_FAILED);
        return;
    }
    queue_push(&jobs->queue, &job->item);
    job_set_state(job, JOB_QUEUED);
    sched_run(jobs);
}

static void record(struct job *job)
{
    struct jobs *jobs = job->jobs;
    struct store_record row = {.id = job->id,
                               .state = job_state_name(job->state),
                               .created_ms = job->created_ms};
    struct json_out out;
    struct buf buf;

    buf_init(&buf, REQUEST_BYTES);
    jout_init(&out, &buf);
    genreq_write(&job->req, &out, NULL);
    job->is_admitting = true;
    row.request = buf.failed ? "{}" : buf.bytes;
    jobs->store_ops->admit(jobs->store, &row, admitted, job);
    buf_fini(&buf);
}

struct job *jobs_submit(struct jobs *jobs, struct genreq *req,
                        const struct jobs_options *options,
                        struct jobs_refusal *refusal)
{
    struct queue_load load;
    struct job *job;

    memset(refusal, 0, sizeof *refusal);
    if (!is_admitted(jobs, req, sched_cost_s(req), refusal)) {
        jobs->counters.n_refused++;
        return NULL;
    }
    bool is_full = picture_bytes(req) > JOBS_UPLOAD_BYTES - jobs->upload_bytes;
    job = is_full ? NULL : make_job(jobs, req, options);
    if (job == NULL) {
        sched_load(jobs, &load);
        refuse(jobs, &load, refusal, ERROR_NO_MEMORY, 1);
        (void)snprintf(refusal->detail, sizeof refusal->detail, "%s",
                       is_full ? "the pictures of waiting jobs fill the room "
                                 "there is for them"
                               : "out of memory");
        jobs->counters.n_refused++;
        return NULL;
    }
    jobs_link(jobs, job);
    jobs->n_active++;
    jobs->counters.n_submitted++;
    jobs_expire(jobs, job->created_ms);
    record(job);
    return job;
}

double jobs_backlog_s(const struct jobs *jobs)
{
    struct queue_load load;

    sched_load(jobs, &load);
    return queue_backlog_s(&jobs->queue, &load);
}

/* ------------------------------------------------------ those who wait -- */

void jobs_wait_begin(struct job *job)
{
    job->n_waiting++;
}

void jobs_wait_end(struct job *job)
{
    assert(job->n_waiting > 0);
    job->n_waiting--;
}

void jobs_wait_gone(struct job *job)
{
    jobs_wait_end(job);
    job->jobs->counters.n_hangups++;
    if (job->n_waiting == 0 && job->cancels_on_hangup)
        jobs_cancel(job->jobs, job, false);
}

/* ------------------------------------------------------------- the part -- */

static void tick(void *user)
{
    struct jobs *jobs = user;

    reap(jobs);
    jobs_expire(jobs, clock_wall_ms());
    sched_run(jobs);
}

bool jobs_open(struct service *service, char *why, size_t why_size)
{
    const struct config *config = service->config;
    struct jobs *jobs = mem_zero(1, sizeof *jobs);

    if (jobs == NULL) {
        (void)snprintf(why, why_size, "out of memory");
        return false;
    }
    service->jobs = jobs;
    jobs->service = service;
    jobs->store_ops = &store_memory;
    queue_init(&jobs->queue, (size_t)config->max_queue,
               (double)config->max_queue_ms / 1e3,
               (double)config->quantum_ms / 1e3);
    preview_budget_init(&jobs->previews, config->preview_bytes);
    jobs->gone = mem_zero(JOBS_TOMBSTONES, sizeof *jobs->gone);
    jobs->tick = loop_timer_new(service->loop, tick, jobs);
    (void)snprintf(why, why_size, "out of memory");
    if (jobs->gone == NULL || jobs->tick == NULL ||
        !artifacts_init(&jobs->artifacts, config->result_bytes) ||
        (jobs->store = jobs->store_ops->open(service->loop, NULL, why,
                                             why_size)) == NULL ||
        !sched_open(jobs, why, why_size)) {
        jobs_close(service);
        return false;
    }
    /* Expiry and deadlines in the queue are kept to about a tick. */
    loop_timer_start(jobs->tick, 200, 200);
    return true;
}

void jobs_drain(struct service *service)
{
    service->jobs->is_draining = true;
}

size_t jobs_busy(const struct service *service)
{
    return service->jobs->n_active;
}

void jobs_stop(struct service *service)
{
    struct jobs *jobs = service->jobs;
    struct job *newer;

    jobs->is_draining = jobs->is_stopped = true;
    for (struct job *at = jobs->oldest; at != NULL; at = newer) {
        newer = at->newer;
        if (job_is_terminal(at))
            continue;
        at->has_error = true;
        at->error = ERROR_SHUTTING_DOWN;
        at->error_stage = at->stage;
        (void)snprintf(at->error_detail, sizeof at->error_detail,
                       "the server stopped before the job was done");
        if (at->work != NULL)
            work_stop(at->work, WORK_ABORT);
        sched_settle(at, JOB_FAILED);
    }
}

void jobs_close(struct service *service)
{
    struct jobs *jobs = service->jobs;
    struct job *newer;

    if (jobs == NULL)
        return;
    jobs->is_draining = jobs->is_stopped = true;
    loop_timer_free(jobs->tick);
    sched_close(jobs);
    if (jobs->store != NULL)
        jobs->store_ops->close(jobs->store);
    for (struct job *at = jobs->oldest; at != NULL; at = newer) {
        newer = at->newer;
        job_free(at);
    }
    for (struct job *at = jobs->forgotten; at != NULL; at = newer) {
        newer = at->next_hash;
        job_free(at);
    }
    artifacts_fini(&jobs->artifacts);
    mem_free(jobs->gone);
    mem_free(jobs);
    service->jobs = NULL;
}
