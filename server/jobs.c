/* jobs.c - jobs as a part of the service: coming in, being stopped, the end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "jobs.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "scheduler.h"

static struct sched *sched_of(const struct jobs *jobs)
{
    return jobs->service->sched;
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
    refusal->backlog_s = queue_backlog_s(&sched_of(jobs)->queue, load);
    refusal->running_s = load->rest_s;
    refusal->n_waiting = sched_of(jobs)->queue.n_fresh;
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

    sched_load(sched_of(jobs), &load);
    queue_push(&sched_of(jobs)->queue, &item);
    result = queue_predict(&sched_of(jobs)->queue, &item, &load);
    queue_remove(&sched_of(jobs)->queue, &item);
    return result;
}

bool jobs_refuse_draining(const struct jobs *jobs, struct jobs_refusal *refusal)
{
    struct queue_load load;

    if (!jobs->is_draining)
        return false;
    sched_load(sched_of(jobs), &load);
    refuse(jobs, &load, refusal, ERROR_DRAINING,
           queue_backlog_s(&sched_of(jobs)->queue, &load));
    (void)snprintf(refusal->detail, sizeof refusal->detail,
                   "the server is stopping and takes no new work");
    return true;
}

/* Jobs that have begun wait as well, for their next turn, and no longer count
 * with those that the queue bounds. */
static bool refuse_too_many(struct jobs *jobs, const struct queue_load *load,
                            struct jobs_refusal *refusal)
{
    double mean_s;

    if (jobs->n_active < (size_t)jobs->service->config->max_jobs)
        return false;
    mean_s =
        queue_backlog_s(&sched_of(jobs)->queue, load) / (double)jobs->n_active;
    refuse(jobs, load, refusal, ERROR_QUEUE_FULL, mean_s);
    (void)snprintf(refusal->detail, sizeof refusal->detail,
                   "%zu jobs wait or have begun, as many as this server keeps; "
                   "each takes %.1f s more in the mean",
                   jobs->n_active, mean_s);
    return true;
}

static bool is_admitted(struct jobs *jobs, const struct genreq *req,
                        double cost_s, struct jobs_refusal *refusal)
{
    struct queue_load load;
    double wait_s;

    if (jobs_refuse_draining(jobs, refusal))
        return false;
    sched_load(sched_of(jobs), &load);
    if (refuse_too_many(jobs, &load, refusal))
        return false;
    if (!queue_admits(&sched_of(jobs)->queue, cost_s, &load, &wait_s)) {
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
    double cost_s = genreq_cost_s(req, req->n);
    struct queue_forecast at = forecast(jobs, req, cost_s);

    *start_s = at.start_s;
    *finish_s = at.finish_s;
    return is_admitted(jobs, req, cost_s, refusal);
}

/* Everything that can happen to it, twice: progress and preview of each step,
 * places in the queue, pictures, states. */
static size_t n_events_of(const struct jobs *jobs, const struct genreq *req)
{
    return 2 * (size_t)req->n * (req->steps + 1) + req->n +
           sched_of(jobs)->queue.max_fresh + 16;
}

static void fill_times(struct job *job)
{
    job->created_ms = clock_wall_ms();
    job->created_ns = clock_mono_ns();
    if (job->req.deadline_s > 0)
        job->deadline_ns =
            job->created_ns + (int64_t)(job->req.deadline_s * 1e9);
}

static struct job *make_job(struct jobs *jobs, struct genreq *req,
                            const struct jobs_options *options)
{
    struct job *job = mem_zero(1, sizeof *job);

    if (job == NULL)
        return NULL;
    ring_init(&job->watches);
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
    memset(req, 0, sizeof *req);
    job->state = JOB_ADMITTING;
    job->cancels_on_hangup = !job->req.continues_on_disconnect;
    fill_times(job);
    events_init(&job->events, n_events_of(jobs, &job->req));
    if (previews_init(&job->previews, &jobs->previews, job->req.n,
                      job->req.steps)) {
        job->previews.every = job->req.preview_every;
        job->previews.keeps_all = job->req.keeps_previews;
    }
    job->item.priority = job->req.priority;
    job->item.cost_s = genreq_cost_s(&job->req, job->req.n);
    return job;
}

static void admitted(void *user, bool is_good)
{
    struct job *job = user;
    struct sched *sched = sched_of(job->jobs);

    job->is_admitting = false;
    if (job_is_terminal(job)) /* canceled or stopped meanwhile */
        return;
    if (is_good)
        sched_admitted(sched, job);
    else
        sched_fail(sched, job, ERROR_NO_MEMORY, "the job could not be stored");
}

struct job *jobs_submit(struct jobs *jobs, struct genreq *req,
                        const struct jobs_options *options,
                        struct jobs_refusal *refusal)
{
    struct queue_load load;
    struct job *job;
    bool is_full;

    memset(refusal, 0, sizeof *refusal);
    if (!is_admitted(jobs, req, genreq_cost_s(req, req->n), refusal)) {
        jobs->counters.n_refused++;
        return NULL;
    }
    is_full = jobs_picture_bytes(req) > JOBS_UPLOAD_BYTES - jobs->upload_bytes;
    job = is_full ? NULL : make_job(jobs, req, options);
    if (job == NULL) {
        sched_load(sched_of(jobs), &load);
        refuse(jobs, &load, refusal, ERROR_NO_MEMORY, 1);
        (void)snprintf(refusal->detail, sizeof refusal->detail, "%s",
                       is_full ? "the pictures of waiting jobs fill the room "
                                 "there is for them"
                               : "out of memory");
        jobs->counters.n_refused++;
        return NULL;
    }
    sched_add(sched_of(jobs), job);
    jobs_add(jobs, job, admitted);
    return job;
}

/* ---------------------------------------------------------- being stopped -- */

void jobs_cancel(struct jobs *jobs, struct job *job, bool finish)
{
    sched_cancel(sched_of(jobs), job, finish);
}

void jobs_delete(struct jobs *jobs, struct job *job)
{
    for (uint32_t i = 0; i < job->req.n; i++) {
        struct artifact *artifact = jobs_artifact(job, i);

        if (artifact != NULL)
            artifacts_remove(&jobs->artifacts, artifact);
    }
    jobs_cancel(jobs, job, false);
    jobs_forget(jobs, job);
}

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

    jobs_reap(jobs);
    jobs_expire(jobs, clock_mono_ms());
    sched_run(sched_of(jobs));
}

bool jobs_open(struct service *service, char *why, size_t why_size)
{
    struct jobs *jobs = mem_zero(1, sizeof *jobs);

    if (jobs == NULL) {
        (void)snprintf(why, why_size, "out of memory");
        return false;
    }
    service->jobs = jobs;
    service->artifacts = &jobs->artifacts;
    if (!jobs_init(jobs, service, why, why_size))
        goto out;
    (void)snprintf(why, why_size, "out of memory");
    jobs->tick = loop_timer_new(service->loop, tick, jobs);
    if (jobs->tick == NULL)
        goto out;
    service->sched = sched_new(service, why, why_size);
    if (service->sched == NULL)
        goto out;
    /* Expiry and deadlines in the queue are kept to about a tick. */
    loop_timer_start(jobs->tick, 200, 200);
    return true;
out:
    jobs_close(service);
    return false;
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
    struct ring *next;

    jobs->is_draining = true;
    sched_stop(service->sched);
    for (struct ring *at = jobs->by_age.next; at != &jobs->by_age; at = next) {
        struct job *job = RING_OF(at, struct job, by_age);

        next = at->next;
        if (!job_is_terminal(job))
            sched_fail(service->sched, job, ERROR_SHUTTING_DOWN,
                       "the server stopped before the job was done");
    }
}

void jobs_close(struct service *service)
{
    struct jobs *jobs = service->jobs;

    if (jobs == NULL)
        return;
    jobs->is_draining = true;
    loop_timer_free(jobs->tick);
    sched_free(service->sched);
    while (jobs->encodes.n_bytes > 0) /* they count in it to their end       */
        loop_run_once(service->loop, 100);
    jobs_fini(jobs);
    mem_free(jobs);
    service->jobs = NULL;
    service->artifacts = NULL;
    service->sched = NULL;
}
